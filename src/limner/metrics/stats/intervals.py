"""How far to trust a difference: Student's t, Welch's t for unequal variances, and Holm's correction for many tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

CONFIDENCE_LEVEL = 0.95
NO_DIFFERENCE = "no difference can be claimed"
"""What a comparison says where its interval contains 0."""


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error, and the degrees of freedom of that error."""

    value: float
    error: float
    freedom: float

    def interval(self, level: float = CONFIDENCE_LEVEL) -> tuple[float, float]:
        """(low, high) of the confidence interval, which contains the true value in the share `level` of cases."""
        reach = student_t_quantile((1 + level) / 2, self.freedom) * self.error
        return self.value - reach, self.value + reach

    @property
    def p(self) -> float:
        """Two-sided: the probability of a value at least as far from 0 if the truth is 0."""
        if self.error == 0:
            return 1.0 if self.value == 0 else 0.0
        return two_sided_p(self.value / self.error, self.freedom)


def difference(a: Estimate, b: Estimate) -> Estimate:
    """`a` − `b` of two independent estimates, with the degrees of freedom of Welch 1947 (Biometrika 34).

    >>> difference(Estimate(5.0, 3.0, 10), Estimate(1.0, 4.0, 10)).error
    5.0
    """
    variance_a, variance_b = a.error**2, b.error**2
    denominator = variance_a**2 / a.freedom + variance_b**2 / b.freedom
    freedom = (variance_a + variance_b) ** 2 / denominator if denominator > 0 else min(a.freedom, b.freedom)
    return Estimate(a.value - b.value, math.sqrt(variance_a + variance_b), freedom)


def mean(values: Sequence[float]) -> Estimate:
    """The mean of two or more independent values.

    >>> mean([1.0, 3.0])
    Estimate(value=2.0, error=1.0, freedom=1)
    """
    count = len(values)
    average = math.fsum(values) / count
    variance = math.fsum((value - average) ** 2 for value in values) / (count - 1)
    return Estimate(average, math.sqrt(variance / count), count - 1)


def holm(ps: Sequence[float]) -> list[float]:
    """The p-values corrected for the number of tests (Holm 1979, Scandinavian Journal of Statistics 6), in the order of `ps`.

    Claims where the corrected p is below 5 % are all true in at least 95 % of cases, however the tests depend on each other.

    >>> holm([0.01, 0.04])
    [0.02, 0.04]
    """
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    corrected, largest = [0.0] * len(ps), 0.0
    for place, i in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - place) * ps[i]))
        corrected[i] = largest
    return corrected


def two_sided_p(t: float, freedom: float) -> float:
    """P(|T| ≥ |t|) for Student's T: the p of a two-sided test."""
    from scipy import stats

    return float(2 * stats.t.sf(abs(t), freedom))


@lru_cache(maxsize=1024)
def student_t_quantile(share: float, freedom: float) -> float:
    """Quantile of Student's t for a `share` in ½ … 1."""
    from scipy import stats

    return float(stats.t.ppf(share, freedom))

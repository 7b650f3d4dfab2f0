"""How far to trust a difference: Student's t, Welch's for two of unequal spread, and Holm's rule for many at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

LEVEL = 0.95
NONE = "no difference can be claimed"
"""What is said where an interval allows no more."""


@dataclass(frozen=True)
class Estimate:
    """A value, its standard error, and the degrees of freedom that error is known with."""

    value: float
    error: float
    freedom: float

    def ends(self, level: float = LEVEL) -> tuple[float, float]:
        """The interval that holds the truth in `level` of cases."""
        reach = student((1 + level) / 2, self.freedom) * self.error
        return self.value - reach, self.value + reach

    @property
    def p(self) -> float:
        """Two-sided: how often chance alone brings a value as far from 0."""
        if self.error == 0:
            return 1.0 if self.value == 0 else 0.0
        return tails(self.value / self.error, self.freedom)


def difference(a: Estimate, b: Estimate) -> Estimate:
    """`a` − `b` of two that know nothing of each other, with the degrees of freedom of Welch 1947 (Biometrika 34)."""
    one, other = a.error**2, b.error**2
    spread = one**2 / a.freedom + other**2 / b.freedom
    freedom = (one + other) ** 2 / spread if spread > 0 else min(a.freedom, b.freedom)
    return Estimate(a.value - b.value, math.sqrt(one + other), freedom)


def mean(values: Sequence[float]) -> Estimate:
    """Of two values or more that know nothing of each other."""
    count = len(values)
    middle = math.fsum(values) / count
    square = math.fsum((value - middle) ** 2 for value in values) / (count - 1)
    return Estimate(middle, math.sqrt(square / count), count - 1)


def holm(ps: Sequence[float]) -> list[float]:
    """Each p as it stands when all are looked at together (Holm 1979, Scandinavian Journal of Statistics 6).

    Claiming where these are below 5 % errs, anywhere among them, in at most 5 % of cases, however they depend on one another.
    """
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    found, worst = [0.0] * len(ps), 0.0
    for place, i in enumerate(order):
        worst = max(worst, min(1.0, (len(ps) - place) * ps[i]))
        found[i] = worst
    return found


def tails(t: float, freedom: float) -> float:
    """P(|T| ≥ |t|) for Student's T: the p of a two-sided test."""
    from scipy import stats

    return float(2 * stats.t.sf(abs(t), freedom))


@lru_cache(maxsize=1024)
def student(share: float, freedom: float) -> float:
    """Quantile of Student's t for a `share` in ½ … 1."""
    from scipy import stats

    return float(stats.t.ppf(share, freedom))

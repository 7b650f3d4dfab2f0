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
    """P(|T| ≥ |t|) for Student's T: the incomplete beta function I_x(ν/2, ½) at x = ν/(ν + t²) (DLMF 8.17)."""
    a, b, x = freedom / 2, 0.5, freedom / (freedom + t * t)
    if x == 0 or x == 1:
        return x
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(a, b, x) / a
    return 1 - front * _fraction(b, a, 1 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function (DLMF 8.17.22), by Lentz's method."""
    tiny = 1e-300
    c, d = 1.0, 1 / ((1 - (a + b) * x / (a + 1)) or tiny)
    found = d
    for m in range(1, 10_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / ((1 + term * d) or tiny)
            c = (1 + term / c) or tiny
            found *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return found


@lru_cache(maxsize=1024)
def student(share: float, freedom: float) -> float:
    """Quantile of Student's t for a `share` in ½ … 1, by halving."""
    low, high = 0.0, 1.0
    while tails(high, freedom) > 2 * (1 - share):
        low, high = high, 2 * high
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if tails(middle, freedom) > 2 * (1 - share) else (low, middle)
    return (low + high) / 2

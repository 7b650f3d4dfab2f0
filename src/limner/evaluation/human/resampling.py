"""Intervals by a bootstrap clustered by person: people are resampled, each with all of their answers.

The answers of one person are correlated (some people notice more, some call most pictures generated). An interval that treats
each answer as independent would therefore be too narrow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from limner.core.seeds import fold
from limner.evaluation.human.study_types import EstimateRow
from limner.metrics.stats.intervals import CONFIDENCE_LEVEL, student_t_quantile

BOOTSTRAP_SAMPLES = 2000
"""How often the people are resampled."""
MIN_PEOPLE = 8
"""With fewer people no interval is given, and so nothing is claimed: of 5 people, a 95 % interval holds the truth in 89 to 94
of 100 studies."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BootstrapEstimate:
    """A value, its bootstrap standard error and its 95 % interval; all but the value are None for fewer than `MIN_PEOPLE`."""

    value: float
    error: float | None = None
    low: float | None = None
    high: float | None = None

    def to_dict(self) -> EstimateRow:
        """The fields, for JSON."""
        return {"value": self.value, "error": self.error, "low": self.low, "high": self.high}


def bootstrap_weights(people: int, repeats: int = BOOTSTRAP_SAMPLES, seed: int = 0) -> Floats:
    """[1 + repeats, people]: how often each person counts. Row 0 has everyone once, the others are samples with replacement."""
    generator = np.random.Generator(np.random.Philox(fold(seed, "people")))
    samples = generator.multinomial(people, np.full(people, 1 / people), size=repeats)
    return np.concatenate([np.ones((1, people)), samples.astype(np.float64)])


def bootstrap_interval(values: Floats, people: int, level: float = CONFIDENCE_LEVEL) -> tuple[Floats, Floats]:
    """The lower and upper ends [...] of intervals, from `values` [1 + repeats, ...], whose row 0 is the estimate itself.

    They are percentiles, further out than `level` by as much as Student's t requires for n people (Hesterberg 2015, The
    American Statistician 69, section 3.3): plain percentiles are too narrow by a factor √((n−1)/n) · z/t.
    """
    tail = float(normal_cdf(np.array(-math.sqrt(people / (people - 1)) * student_t_quantile((1 + level) / 2, people - 1))))
    low, high = np.quantile(values[1:], [tail, 1 - tail], axis=0)
    return low, high


def bootstrap_estimate(values: Floats, people: int) -> BootstrapEstimate:
    """The estimate, its error and its interval, from one quantity's `values` [1 + repeats]."""
    if people < MIN_PEOPLE:
        return BootstrapEstimate(float(values[0]))
    low, high = bootstrap_interval(values, people)
    return BootstrapEstimate(float(values[0]), float(values[1:].std(ddof=1)), float(low), float(high))


def normal_cdf(x: Floats) -> Floats:
    """Φ, the distribution function of the standard normal."""
    from scipy import special

    share: Floats = special.ndtr(x)
    return share


def normal_quantile(p: Floats) -> Floats:
    """Φ⁻¹, the quantiles of the standard normal."""
    from scipy import special

    x: Floats = special.ndtri(p)
    return x

"""One number, and what is needed to read it: how much chance moves it, and what real pictures get in the samples' place."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from limner.metrics.distribution.frechet import Null

Better = Literal["lower", "higher", "as real"]
"""Which values of a metric are better; "as real": those that real pictures have (density, diversity, …)."""


@dataclass(frozen=True)
class Metric:
    """A number that `evaluate` gives: its name, which way it is better, and what it says, in words for a report."""

    name: str
    better: Better
    meaning: str


@dataclass(frozen=True)
class Score:
    """`value`, and how far to trust it.

    `error`: standard error over other draws of as many samples. `null`: what as many real images score in the samples' place,
    on average. `z` = (value − null) / spread of the null. `p`: the share of the null that is at least as bad as the value,
    counting the value itself, so that it never is 0 (1/(repeats+1) is the least it can be); where it is best to have what real
    pictures have, at least as far from the null's mean. None where it does not exist. `parts`: what is averaged, where the
    definition says so (the splits of the Inception Score).
    """

    value: float
    error: float | None = None
    null: float | None = None
    z: float | None = None
    p: float | None = None
    parts: tuple[float, ...] = ()

    def told(self) -> dict[str, Any]:
        """For a report; `parts` only where there are some."""
        found = asdict(self)
        return found if self.parts else {key: value for key, value in found.items() if key != "parts"}


def beside_null(better: Better, value: float, error: float | None, null: Null | None) -> Score:
    """`value` of a metric that is `better` so, beside its null."""
    if null is None:
        return Score(value, error)
    if better == "as real":
        worse = sum(abs(score - null.mean) >= abs(value - null.mean) for score in null.scores)
    else:
        sign = 1 if better == "lower" else -1
        worse = sum(sign * score >= sign * value for score in null.scores)
    z = (value - null.mean) / null.std if null.std > 0 else None
    return Score(value, error, null.mean, z, (1 + worse) / (1 + len(null.scores)))


def mean_of(values: NDArray[np.float64]) -> Score:
    """Of one value for each picture [N]."""
    return Score(float(values.mean()), float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else None)

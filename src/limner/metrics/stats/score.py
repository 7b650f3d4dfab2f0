"""One number, and what is needed to read it: how much chance moves it, and what real pictures get in the samples' place."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # it imports torch
    from limner.metrics.distribution.frechet import Null

Better = Literal["lower", "higher", "as real"]
"""Which values of a metric are better; "as real": the values that real pictures have (density, diversity, …)."""


@dataclass(frozen=True)
class Score:
    """The value of a metric, and how far to trust it. None stands for what does not exist."""

    value: float
    error: float | None = None
    """Standard error over other draws of as many samples."""
    null: float | None = None
    """What as many real pictures score in the samples' place, on average."""
    z: float | None = None
    """(value − null) / standard deviation of the null."""
    p: float | None = None
    """The share of the null's draws that are at least as bad as the value, which is itself counted among them, so that p is
    never 0 (with R draws, 1/(R + 1) is the smallest). Of a metric that is best "as real": at least as far from the null's
    mean."""
    parts: tuple[float, ...] = ()
    """What is averaged, where the definition says so (the splits of the Inception Score)."""
    p_floor: float | None = None
    """The smallest p that the draws of the null allow; None where p is exact, or there is none."""

    def to_dict(self) -> dict[str, Any]:
        """The entry of a report; it has `parts` and `p_floor` only where there are some."""
        entries = asdict(self)
        absent = {name for name in ("parts", "p_floor") if not entries[name]}
        return {key: value for key, value in entries.items() if key not in absent}


@dataclass(frozen=True)
class Measurement:
    """What a metric of samples computes: a value, its standard error, and the scores of real pictures in the samples' place.

    `measure` (in `limner.metrics.measure`) makes a `Score` of it, whose z and p follow from the null and from the direction
    that the metric's row declares.
    """

    value: float
    error: float | None = None
    null: Null | None = None
    parts: tuple[float, ...] = ()


def compare_with_null(better: Better, measurement: Measurement) -> Score:
    """The `Score` of a `measurement` whose metric is `better` so.

    >>> from limner.metrics.distribution.frechet import Null
    >>> score = compare_with_null("lower", Measurement(5.0, null=Null(scores=(1.0, 2.0, 3.0), sizes=(10, 10))))
    >>> score.null, score.z, score.p, score.p_floor
    (2.0, 3.0, 0.25, 0.25)
    """
    value, null = measurement.value, measurement.null
    if null is None:
        return Score(value, measurement.error, parts=measurement.parts)
    if better == "as real":
        worse = sum(abs(score - null.mean) >= abs(value - null.mean) for score in null.scores)
    else:
        sign = 1 if better == "lower" else -1
        worse = sum(sign * score >= sign * value for score in null.scores)
    z = (value - null.mean) / null.std if null.std > 0 else None
    draws = len(null.scores)
    return Score(value, measurement.error, null.mean, z, (1 + worse) / (1 + draws), measurement.parts, 1 / (1 + draws))


def mean_score(values: NDArray[np.float64]) -> Score:
    """The mean of one value for each picture, [N] with N ≥ 1, and its standard error, which takes two pictures or more.

    >>> mean_score(np.array([1.0, 3.0]))
    Score(value=2.0, error=1.0, null=None, z=None, p=None, parts=(), p_floor=None)
    """
    return Score(float(values.mean()), float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else None)

"""One number, and what is needed to read it: how much chance moves it, and what real pictures get in the samples' place."""

from __future__ import annotations

from dataclasses import dataclass

from limner.metrics.frechet import Null

LOWER_IS_BETTER = frozenset(
    {"frechet", "mmd", "class_distance", "sliced", "two_sample", "copies", "copies_double", "copies_nearer"}
)


@dataclass(frozen=True)
class Score:
    """`value`, and how far to trust it.

    `error`: standard error over other draws of as many samples. `null`: what as many real images score in the samples' place,
    on average. `z` = (value − null) / spread of the null. `p`: the share of the null that is at least as bad as the value,
    counting the value itself, so that it never is 0 (one-sided; 1/(repeats+1) is the least it can be). None where it does not
    exist.
    """

    value: float
    error: float | None = None
    null: float | None = None
    z: float | None = None
    p: float | None = None


def scored(name: str, value: float, error: float | None, null: Null | None) -> Score:
    """`value` beside its null."""
    if null is None:
        return Score(value, error)
    sign = 1 if name in LOWER_IS_BETTER else -1
    worse = sum(sign * score >= sign * value for score in null.scores)
    z = (value - null.mean) / null.std if null.std > 0 else None
    return Score(value, error, null.mean, z, (1 + worse) / (1 + len(null.scores)))

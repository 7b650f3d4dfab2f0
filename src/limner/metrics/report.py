"""All scores of one set of samples, each beside what real images get at the same size."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from limner.metrics.classes import class_distance, class_error, class_null
from limner.metrics.coverage import NEIGHBOUR_SCORES, neighbour_counts, neighbour_null
from limner.metrics.frechet import Null, frechet_distance, frechet_error, frechet_null, split
from limner.metrics.statistics import Moments
from limner.metrics.threads import one_thread

_SMALL = 1 << 23  # distances between two sets up to which one thread measures them
LOWER_IS_BETTER = frozenset({"frechet", "class_distance"})


@dataclass(frozen=True)
class Score:
    """One number and what is needed to read it.

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


def score(
    sample_features: Tensor,
    sample_logits: Tensor | None,
    reference_features: Tensor,
    reference_logits: Tensor | None,
    real_features_for_null: Tensor | None = None,
    seed: int = 0,
    repeats: int = 10,
) -> dict[str, Score]:
    """`frechet`, `precision`, `recall`, `density`, `coverage`, and `class_distance` where both logits are given.

    Samples [M, d] and [M, K], reference [N, d] and [N, K]. Every null compares M real images with N other real ones, taken from
    `real_features_for_null` [R, d] (the reference, where None); that should be of the reference's own split, since a judge sees
    the images it was trained on with other eyes. With R < M + N both sets are shrunk and the null is corrected: frechet_null,
    neighbour_null.
    """
    pool = reference_features if real_features_for_null is None else real_features_for_null
    m, n = len(sample_features), len(reference_features)
    reference = Moments.of(reference_features)
    found = {
        "frechet": scored(
            "frechet",
            frechet_distance(Moments.of(sample_features), reference),
            frechet_error(sample_features, reference),
            frechet_null(pool, m, repeats, seed, m=n) if split(len(pool), m, n) else None,
        )
    }
    with one_thread(m * n <= _SMALL):
        counts, nulls = neighbour_counts(sample_features, reference_features), neighbour_null(pool, m, repeats, seed, m=n)
    values, errors = counts.scores(), counts.errors()
    for name in NEIGHBOUR_SCORES:
        found[name] = scored(name, getattr(values, name), getattr(errors, name), nulls.get(name))
    if sample_logits is not None and reference_logits is not None:
        found["class_distance"] = scored(
            "class_distance",
            class_distance(sample_logits, reference_logits),
            class_error(sample_logits, reference_logits, seed=seed),
            class_null(reference_logits, m, seed=seed, m=n),
        )
    return found


def quick_frechet(sample_features: Tensor, reference_moments: Moments) -> float:
    """The Fréchet distance alone, as training asks for it at every preview: [M, d] against stored moments."""
    return frechet_distance(Moments.of(sample_features), reference_moments)

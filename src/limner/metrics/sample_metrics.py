"""How each metric of samples is computed from the two sides of a comparison; `limner.metrics.scores` is their table.

Moments are of all pictures, everything else is of the first `limner.metrics.features.summary.MAX_FEATURES`. The nulls compare
real pictures with others of them, at the numbers of pictures that are compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core.errors import InputError
from limner.core.images import batches_of
from limner.metrics.distribution import sliced
from limner.metrics.distribution.classes import class_distance, class_error, class_null
from limner.metrics.distribution.coverage import NEIGHBOUR_SCORES, neighbour_counts, neighbour_null
from limner.metrics.distribution.frechet import Null, frechet_error, frechet_null, frechet_to, jackknife, split
from limner.metrics.distribution.inception_score import inception_score, inception_score_null
from limner.metrics.distribution.mmd import mmd2, mmd2_error, mmd2_null
from limner.metrics.distribution.two_sample import two_sample_test
from limner.metrics.distribution.utility import (
    diversity_error,
    diversity_null,
    gan_train,
    label_accuracy,
    pairwise_distance,
    pairwise_distances,
    probe_accuracy,
    probe_accuracy_null,
    vendi,
)
from limner.metrics.features.pixels import Source, take
from limner.metrics.memorisation.data_copying import data_copying
from limner.metrics.memorisation.memorisation import Excess, memorisation
from limner.metrics.representation.probes import Share
from limner.metrics.sides import Sides, has_labels
from limner.metrics.stats.score import Measurement, Score
from limner.metrics.stats.threads import one_thread

T = TypeVar("T")

_ONE_THREAD_DISTANCES = 1 << 23  # distances between two sets up to which one thread measures them
DIRECTIONS = 128
"""Random directions of pixels; samples and nulls are compared along the same ones."""
_VALUES = 1 << 22  # of pictures that are projected at a time: pictures may be large


def _require(value: T | None) -> T:
    """What the metric's row says that it needs, so that it is there."""
    assert value is not None
    return value


def measure_frechet(sides: Sides) -> Measurement:
    """The Fréchet distance of all features; its error is a jackknife over blocks of samples."""
    distance, whole = frechet_to(sides.real.moments), sides.samples.moments
    error = frechet_error(distance, whole, sides.samples.blocks)
    pool, (n, m) = sides.real.features, (sides.n, sides.m)
    nulls = sides.cached_nulls(
        "frechet", lambda: {"frechet": frechet_null(pool, n, 10, sides.seed, m=m)} if split(len(pool), n, m) else {}
    )
    return Measurement(distance(whole), error, nulls.get("frechet"))


def measure_mmd(sides: Sides) -> Measurement:
    """KID's distance of the features in memory; its error is a jackknife over blocks of samples."""
    samples, real, (n, m) = sides.samples.features, sides.real.features, sides.feature_counts
    nulls = sides.cached_nulls(
        "mmd", lambda: {"mmd": mmd2_null(real, n, 100, sides.seed, m=m)} if split(len(real), n, m) else {}
    )
    return Measurement(mmd2(samples, real), mmd2_error(samples, real), nulls.get("mmd"))


def measure_neighbours(sides: Sides) -> dict[str, Measurement]:
    """`NEIGHBOUR_SCORES` together. At most as many samples as real pictures take part: more would cover any real picture."""
    (_, m), real = sides.feature_counts, sides.real.features
    samples = sides.samples.features[:m]
    n = len(samples)
    with one_thread(n * m <= _ONE_THREAD_DISTANCES):
        counts = neighbour_counts(samples, real, real_radii=sides.real_radii)
        nulls = sides.cached_nulls("neighbours", lambda: neighbour_null(real, n, 10, sides.seed, m=m))
    values, errors = counts.scores(), counts.errors()
    return {name: Measurement(getattr(values, name), getattr(errors, name), nulls.get(name)) for name in NEIGHBOUR_SCORES}


def measure_class_distance(sides: Sides) -> Measurement:
    """Total variation between the shares of predicted classes; its error is a bootstrap of the samples' classes."""
    samples, real = _require(sides.samples.logits), _require(sides.real.logits)
    value, error = class_distance(samples, real), class_error(samples, real, seed=sides.seed)
    return Measurement(value, error, class_null(real, len(samples), seed=sides.seed, m=len(real)))


def measure_inception_score(sides: Sides) -> Measurement:
    """The mean over ten splits, which are the score's `parts`; its error is that of this mean."""
    logits, real = _require(sides.samples.logits), _require(sides.real.logits)
    score = inception_score(logits)
    nulls = sides.cached_nulls(
        "inception_score", lambda: {"inception_score": inception_score_null(real, len(logits), seed=sides.seed)}
    )
    return Measurement(score.mean, score.error, nulls["inception_score"], parts=score.splits)


def measure_sliced(sides: Sides) -> Measurement:
    """All real pictures in memory take part: a random choice of few would move the value, and not the null."""
    (n, m), (samples, real) = sides.feature_counts, sides.images
    theta = sliced.directions(math.prod(samples.shape[1:]), DIRECTIONS, sides.seed)

    def project(images: Source, count: int) -> Tensor:
        parts = batches_of(count, max(1, _VALUES // len(theta)))
        return torch.cat([sliced.project(torch.from_numpy(take(images, part)).flatten(1), theta) for part in parts])

    ours, theirs = project(samples, n), project(real, m)
    nulls = sides.cached_nulls(
        "sliced", lambda: {"sliced": sliced.null(theirs, n, m, 20, sides.seed)} if split(m, n, m) else {}
    )
    return Measurement(sliced.distance(ours, theirs), sliced.error(ours, theirs), nulls.get("sliced"))


def measure_two_sample(sides: Sides) -> Score:
    """A classifier that sees no difference gets half of its answers right, so the null is ½; the p is exact."""
    test = two_sample_test(sides.samples.features, sides.real.features, seed=sides.seed)
    error = (0.25 / test.images) ** 0.5
    return Score(test.accuracy.value, error, 0.5, test.z, test.p)


def measure_vendi(sides: Sides) -> Measurement:
    """The Vendi score of the samples beside that of real pictures."""
    samples = sides.samples.features
    return _diversity(sides, "vendi", vendi, vendi(samples), diversity_error(vendi, samples))


def measure_pairwise(sides: Sides) -> Measurement:
    """The mean distance of two samples beside that of two real pictures."""
    value, *without_block = pairwise_distances(sides.samples.features)
    return _diversity(sides, "pairwise", pairwise_distance, value, jackknife(without_block))


def _diversity(sides: Sides, name: str, function: Callable[[Tensor], float], value: float, error: float) -> Measurement:
    real = sides.real.features

    def make() -> dict[str, Null]:
        return {name: diversity_null(function, real, sides.feature_counts[0], seed=sides.seed)} if len(real) >= 4 else {}

    return Measurement(value, error, sides.cached_nulls(name, make).get(name))


def measure_label_accuracy(sides: Sides) -> Score:
    """The null: of how many real pictures the same judge names the class."""
    requested, real_labels = _require(sides.labels.samples), sides.labels.real
    accuracy = label_accuracy(_require(sides.samples.logits), requested)
    null = None
    if has_labels(real_labels):
        null = label_accuracy(_require(sides.real.logits), _require(real_labels)).value
    return _score_of_share(accuracy, int((requested >= 0).sum()), null)


def measure_gan_test(sides: Sides) -> Measurement:
    """Accuracy on samples of a probe that learned from real pictures (Shmelkov et al. 2018)."""
    samples, real, classes = sides.samples.features, sides.real.features, sides.labels.classes
    requested, real_labels = _require(sides.labels.samples), _require(sides.labels.real)
    accuracy = probe_accuracy(real, real_labels, samples, requested, classes, sides.seed)
    count = int((requested >= 0).sum())
    null = probe_accuracy_null(real, real_labels, count, classes, 20, sides.seed, tested=True)
    return Measurement(accuracy.value, _deviation(accuracy.value, count), null)


def measure_gan_train(sides: Sides) -> Score:
    """Accuracy on real pictures of a network that learned from samples; the null is that of one that learned from as many real
    ones (Shmelkov et al. 2018)."""
    (_, m), classes = sides.feature_counts, sides.labels.classes
    if m < 4:
        raise InputError(f"GAN-train is examined on real pictures, and {m} are too few")
    requested, real_labels = _require(sides.labels.samples).numpy(), _require(sides.labels.real).numpy()
    samples, real = (take(images, slice(0, count)) for images, count in zip(sides.images, (len(requested), m), strict=True))
    half = m // 2
    fair = min(len(samples), half)

    def accuracy_after(pictures: NDArray[np.uint8], labels: NDArray[np.int64]) -> Share:
        return gan_train(pictures, labels, real[half:], real_labels[half:], classes, sides.seed)

    def make() -> dict[str, Null]:
        return {"gan_train": Null((accuracy_after(real[:fair], real_labels[:fair]).value,), (fair, m - half))}

    count = int((real_labels[half:] >= 0).sum())
    null = sides.cached_nulls("gan_train", make)["gan_train"]
    return _score_of_share(accuracy_after(samples, requested), count, null.mean)


def _score_of_share(share: Share, count: int, null: float | None) -> Score:
    return Score(share.value, _deviation(share.value, count), null)


def _deviation(share: float, count: int) -> float:
    """Standard error of a share of `count`, with one success and one failure added (Agresti & Caffo 2000): that of none among
    few is then not 0."""
    share = (share * count + 1) / (count + 2)
    return math.sqrt(share * (1 - share) / (count + 2))


def measure_copies(sides: Sides) -> dict[str, Score]:
    """`limner.metrics.memorisation.memorisation`: the nulls are the shares among held-out pictures, the p exact."""
    copies = _require(sides.copies)
    counts = memorisation(copies.samples, copies.held_out)
    count = len(copies.samples.distance)

    def score(excess: Excess) -> Score:
        return Score(excess.share, _deviation(excess.share, count), excess.held_out, None, excess.p)

    return {"copies": score(counts.relative), "copies_double": score(counts.double), "copies_nearer": score(counts.nearer)}


def measure_data_copying(sides: Sides) -> Score:
    """C_T, which is 0 on average where nothing is copied; its z and p are the test's own."""
    test = data_copying(sides.samples.features, sides.real.features, _require(sides.training_features), seed=sides.seed)
    return Score(test.value, None, 0.0, test.z, test.p)

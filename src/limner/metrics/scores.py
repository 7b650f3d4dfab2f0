"""The table of scores of samples, each beside what real pictures get in the samples' place.

Every row says which scores it gives, which way each is better and what it means, what it needs, and how it is computed; what a
detector knows no classes for, or pictures have no labels for, is left out. Scores of moments are of all pictures, the others of
the first `observed.KEPT`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
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
from limner.metrics.distribution.frechet import Null, frechet_null, frechet_to, jackknife, split
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
    taught,
    taught_null,
    vendi,
)
from limner.metrics.features.detectors import Seen
from limner.metrics.features.observed import Observed
from limner.metrics.features.pixels import Source, take
from limner.metrics.memorisation.data_copying import data_copying
from limner.metrics.memorisation.memorisation import Excess, Memorisation, memorisation
from limner.metrics.representation.probes import Share
from limner.metrics.representation.reconstruction import CEILING, mse, psnr, ssim
from limner.metrics.sides import NEEDS, Sides, has_labels
from limner.metrics.stats.score import Metric, Score, beside_null
from limner.metrics.stats.threads import one_thread

T = TypeVar("T")
Found = dict[str, Score]

_SMALL = 1 << 23  # distances between two sets up to which one thread measures them
LINES = 128
"""Random directions of pixels; samples and nulls are compared along the same ones."""
_VALUES = 1 << 22  # of pictures that are projected at a time: pictures may be large


@dataclass(frozen=True)
class Row:
    """Scores that are measured together. `needs`: of `NEEDS`. `asked`: measured only where one is asked for by name."""

    metrics: tuple[Metric, ...]
    of: Callable[[Sides], Found]
    needs: tuple[str, ...] = ()
    asked: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(metric.name for metric in self.metrics)


@dataclass(frozen=True)
class PairRow:
    """A score of each picture beside its reconstruction: `of` takes both, [N, H, W, C] uint8, and gives [N] float64."""

    metric: Metric
    of: Callable[[NDArray[np.uint8], NDArray[np.uint8]], Tensor]


def scored(name: str, value: float, error: float | None, null: Null | None) -> Score:
    """`value` beside its null; which side of the null is worse is the metric's own, as its row says."""
    return beside_null(ALL_METRICS[name].better, value, error, null)


def _had(found: T | None) -> T:
    """What the row `needs`, and so is there."""
    assert found is not None
    return found


def _frechet(sides: Sides) -> Found:
    distance, whole = frechet_to(sides.real.moments), sides.samples.moments
    left_out = [whole.without(part) for part in sides.samples.parts]
    error = jackknife([distance(rest) for rest in left_out if rest.n >= 2])
    pool, (n, m) = sides.real.features, (sides.n, sides.m)
    nulls = sides.remember(
        "frechet", lambda: {"frechet": frechet_null(pool, n, 10, sides.seed, m=m)} if split(len(pool), n, m) else {}
    )
    return {"frechet": scored("frechet", distance(whole), error, nulls.get("frechet"))}


def _mmd(sides: Sides) -> Found:
    samples, real, (n, m) = sides.samples.features, sides.real.features, sides.kept
    nulls = sides.remember("mmd", lambda: {"mmd": mmd2_null(real, n, 100, sides.seed, m=m)} if split(len(real), n, m) else {})
    return {"mmd": scored("mmd", mmd2(samples, real), mmd2_error(samples, real), nulls.get("mmd"))}


def _neighbours(sides: Sides) -> Found:
    (_, m), real = sides.kept, sides.real.features
    samples = sides.samples.features[:m]  # more samples than real pictures would cover these whatever they look like
    n = len(samples)
    with one_thread(n * m <= _SMALL):
        counts = neighbour_counts(samples, real, real_radii=sides.real_radii)
        nulls = sides.remember("neighbours", lambda: neighbour_null(real, n, 10, sides.seed, m=m))
    values, errors = counts.scores(), counts.errors()
    return {name: scored(name, getattr(values, name), getattr(errors, name), nulls.get(name)) for name in NEIGHBOUR_SCORES}


def _classes(sides: Sides) -> Found:
    samples, real = _had(sides.samples.logits), _had(sides.real.logits)
    value, error = class_distance(samples, real), class_error(samples, real, seed=sides.seed)
    return {
        "class_distance": scored("class_distance", value, error, class_null(real, len(samples), seed=sides.seed, m=len(real)))
    }


def _inception_score(sides: Sides) -> Found:
    logits, real = _had(sides.samples.logits), _had(sides.real.logits)
    found = inception_score(logits)
    nulls = sides.remember(
        "inception_score", lambda: {"inception_score": inception_score_null(real, len(logits), seed=sides.seed)}
    )
    told = scored("inception_score", found.mean, found.error, nulls["inception_score"])
    return {"inception_score": replace(told, parts=found.splits)}


def _sliced(sides: Sides) -> Found:
    """All kept real pictures take part: how far a chance choice of few lies off would be in the value and not in the null."""
    (n, m), (samples, real) = sides.kept, sides.images
    theta = sliced.directions(math.prod(samples.shape[1:]), LINES, sides.seed)

    def projected(images: Source, count: int) -> Tensor:
        parts = batches_of(count, max(1, _VALUES // len(theta)))
        return torch.cat([sliced.project(torch.from_numpy(take(images, part)).flatten(1), theta) for part in parts])

    ours, theirs = projected(samples, n), projected(real, m)
    nulls = sides.remember("sliced", lambda: {"sliced": sliced.null(theirs, n, m, 20, sides.seed)} if split(m, n, m) else {})
    return {"sliced": scored("sliced", sliced.distance(ours, theirs), sliced.error(ours, theirs), nulls.get("sliced"))}


def _two_sample(sides: Sides) -> Found:
    """Half of the answers of a classifier that cannot tell are right: its null is ½, and its p exact."""
    found = two_sample_test(sides.samples.features, sides.real.features, seed=sides.seed)
    error = (0.25 / found.examined) ** 0.5
    return {"two_sample": Score(found.accuracy.value, error, 0.5, found.z, found.p)}


def _vendi(sides: Sides) -> Found:
    samples = sides.samples.features
    return _diversity(sides, "vendi", vendi, vendi(samples), diversity_error(vendi, samples))


def _pairwise(sides: Sides) -> Found:
    value, *left_out = pairwise_distances(sides.samples.features)
    return _diversity(sides, "pairwise", pairwise_distance, value, jackknife(left_out))


def _diversity(sides: Sides, name: str, measure: Callable[[Tensor], float], value: float, error: float) -> Found:
    real = sides.real.features
    nulls = sides.remember(
        name, lambda: {name: diversity_null(measure, real, sides.kept[0], seed=sides.seed)} if len(real) >= 4 else {}
    )
    return {name: scored(name, value, error, nulls.get(name))}


def _label_accuracy(sides: Sides) -> Found:
    """Beside it: of how many real pictures the same judge knows the class."""
    asked, true, real = _had(sides.labels.samples), sides.labels.real, _had(sides.real.logits)
    found = label_accuracy(_had(sides.samples.logits), asked)
    null = label_accuracy(real, _had(true)).value if has_labels(true) else None
    return {"label_accuracy": _share(found, int((asked >= 0).sum()), null)}


def _gan_test(sides: Sides) -> Found:
    samples, real, classes = sides.samples.features, sides.real.features, sides.labels.classes
    asked, true = _had(sides.labels.samples), _had(sides.labels.real)
    found = taught(real, true, samples, asked, classes, sides.seed)
    known = int((asked >= 0).sum())
    null = taught_null(real, true, known, classes, 20, sides.seed, examined=True)
    return {"gan_test": scored("gan_test", found.value, _deviation(found.value, known), null)}


def _gan_train(sides: Sides) -> Found:
    """A network that learned from samples, examined on real pictures; beside it, one that learned from as many real ones."""
    (_, m), classes = sides.kept, sides.labels.classes
    if m < 4:
        raise InputError(f"GAN-train is examined on real pictures, and {m} are too few")
    asked, true = _had(sides.labels.samples).numpy(), _had(sides.labels.real).numpy()
    samples, real = (take(images, slice(0, count)) for images, count in zip(sides.images, (len(asked), m), strict=True))
    half = m // 2
    fair = min(len(samples), half)

    def taught_by(pictures: NDArray[np.uint8], labels: NDArray[np.int64]) -> Share:
        return gan_train(pictures, labels, real[half:], true[half:], classes, sides.seed)

    nulls = sides.remember(
        "gan_train", lambda: {"gan_train": Null((taught_by(real[:fair], true[:fair]).value,), (fair, m - half))}
    )
    return {"gan_train": _share(taught_by(samples, asked), int((true[half:] >= 0).sum()), nulls["gan_train"].mean)}


def _share(found: Share, count: int, null: float | None) -> Score:
    return Score(found.value, _deviation(found.value, count), null)


def _deviation(share: float, count: int) -> float:
    """With one more that is and one more that is not (Agresti & Caffo 2000): none among few is not known to be none."""
    share = (share * count + 1) / (count + 2)
    return math.sqrt(share * (1 - share) / (count + 2))


def _copies(sides: Sides) -> Found:
    copies = _had(sides.copies)
    told: Memorisation = memorisation(copies.samples, copies.held_out)
    count = len(copies.samples.distance)

    def score(found: Excess) -> Score:
        return Score(found.share, _deviation(found.share, count), found.held_out, None, found.p)

    return {"copies": score(told.relative), "copies_double": score(told.double), "copies_nearer": score(told.nearer)}


def _data_copying(sides: Sides) -> Found:
    found = data_copying(sides.samples.features, sides.real.features, _had(sides.learned), seed=sides.seed)
    return {"data_copying": Score(found.value, None, 0.0, found.z, found.p)}


METRICS_VERSION = "metrics-1"
"""Part of every report; a report is used again only where it is equal. To be raised whenever a figure of a report is computed
in another way: a score of this table or of `limner.metrics.representation`, its error, its null, a likelihood, or what a model
of the same weights draws, encodes or decodes. An edit that moves no figure leaves it as it is."""

TABLE: tuple[Row, ...] = (
    Row((Metric("frechet", "lower", "distance of two Gaussians fitted to the features"),), _frechet),
    Row((Metric("mmd", "lower", "maximum mean discrepancy, cubic kernel: unbiased, 0 for real pictures"),), _mmd),
    Row(
        (
            Metric("precision", "higher", "share of samples that lie among real pictures"),
            Metric("recall", "higher", "share of real pictures that lie among samples"),
            Metric("density", "as real", "how many real neighbourhoods a sample lies in, 1 for real pictures"),
            Metric("coverage", "higher", "share of real neighbourhoods that hold a sample"),
        ),
        _neighbours,
        ("neighbours",),
    ),
    Row(
        (Metric("class_distance", "lower", "how far the shares of classes are from the real ones, 0 to 1"),),
        _classes,
        ("logits", "classes"),
    ),
    Row(
        (Metric("label_accuracy", "higher", "share of samples that show the class that was asked for"),),
        _label_accuracy,
        ("logits", "classes", "sample labels"),
    ),
    Row(
        (Metric("inception_score", "higher", "clear classes, and many of them"),),
        _inception_score,
        ("logits", "splits"),
        asked=True,
    ),
    Row((Metric("sliced", "lower", "Wasserstein distance of pixels along random lines"),), _sliced, ("images",)),
    Row(
        (Metric("two_sample", "lower", "how often a classifier tells samples from real pictures; one half is chance"),),
        _two_sample,
        ("halves",),
    ),
    Row((Metric("vendi", "as real", "effective number of different pictures"),), _vendi, ("directions",)),
    Row((Metric("pairwise", "as real", "mean distance of two samples"),), _pairwise),
    Row(
        (
            Metric(
                "copies",
                "lower",
                "share of samples that lie oddly near to one training picture, by the distance of its neighbours",
            ),
            Metric("copies_double", "lower", "share of samples three times as near to one training picture as to the next"),
            Metric(
                "copies_nearer", "lower", "share of samples nearer to a training picture than all but one in 1,000 real ones"
            ),
        ),
        _copies,
        ("copies",),
    ),
    Row(
        (
            Metric(
                "data_copying",
                "as real",
                "C_T: clearly below 0 where samples lie nearer to training pictures than real ones do",
            ),
        ),
        _data_copying,
        ("learned",),
        asked=True,
    ),
    Row(
        (Metric("gan_train", "higher", "accuracy on real pictures of a network that learned from samples alone"),),
        _gan_train,
        ("images", "labels", "sample labels"),
        asked=True,
    ),
    Row(
        (Metric("gan_test", "as real", "accuracy on samples of a classifier that learned from real pictures"),),
        _gan_test,
        ("labels", "sample labels"),
        asked=True,
    ),
)
"""Scores of samples against real pictures."""
PAIR_TABLE: tuple[PairRow, ...] = (
    PairRow(Metric("mse", "lower", "mean squared error of reconstructions, of values from 0 to 1"), mse),
    PairRow(Metric("psnr", "higher", "of reconstructions, in dB"), lambda a, b: psnr(a, b).clamp(max=CEILING)),
    PairRow(Metric("ssim", "higher", "structural similarity of reconstructions, 1 for equal ones"), ssim),
)
"""Scores of reconstructions, picture by picture."""
MODEL_METRICS: tuple[Metric, ...] = (
    Metric("elbo", "higher", "nats per picture, a lower bound of the likelihood's logarithm"),
    Metric("nll", "lower", "nats per picture, an upper bound of the negative log-likelihood"),
    Metric("bits_per_dim", "lower", "the same in bits for each value of each pixel"),
    Metric("exact", "higher", "nats per picture: the log density of a linear-Gaussian model, times the bins' widths"),
    Metric("density_bound", "higher", "nats per picture: the bound of what is exact"),
    Metric("beta_vae", "higher", "how often a linear classifier knows which factor two sets of pictures share"),
    Metric("factor_vae", "higher", "how often the latent that varies least tells which factor is fixed"),
    Metric("mig", "higher", "by how much the best latent knows a factor better than the second best, 0 to 1"),
    Metric("dci_disentanglement", "higher", "1 where each latent matters for one factor only"),
    Metric("dci_completeness", "higher", "1 where one latent alone matters for each factor"),
    Metric("dci_informativeness", "higher", "how well the factors are read off all latents, as an accuracy"),
    Metric("sap", "higher", "by how much the best latent predicts a factor better than the second best"),
)
"""What a model itself is judged by, without samples: likelihoods (`limner.evaluation.likelihood`) and disentanglement."""
ALL_METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (*(one for row in TABLE for one in row.metrics), *(row.metric for row in PAIR_TABLE), *MODEL_METRICS)
}
"""All that `evaluate` can measure, by name."""
OF_SAMPLES: tuple[str, ...] = tuple(name for row in TABLE for name in row.names)
ASKED = frozenset(name for row in TABLE if row.asked for name in row.names)
"""Measured only where they are asked for by name: they take long, or mislead who did not ask."""


def measure(
    sides: Sides, wanted: Collection[str], insist: bool = False, tell: Callable[[str], object] = lambda _: None
) -> Found:
    """The scores `wanted`, as far as there is what they need; `tell` hears of each.

    Errors: `InputError` for what is not there, if one `insist`s.
    """
    found: Found = {}
    for row in TABLE:
        if not set(row.names) & set(wanted):
            continue
        lacking = [why for need in row.needs for there, why in [NEEDS[need]] if not there(sides)]
        if not lacking:
            tell(f"measuring {', '.join(name for name in row.names if name in wanted)}")
            told = {name: score for name, score in row.of(sides).items() if name in wanted}
            # Of fewer than four samples nothing can be left out, and a jackknife of one part says 0.
            found |= told if sides.n >= 4 else {name: replace(score, error=None) for name, score in told.items()}
        elif insist:
            raise InputError(f"{', '.join(name for name in row.names if name in wanted)}: {lacking[0]}")
    return found


COMPARED = ("frechet", *NEIGHBOUR_SCORES, "class_distance")


def score(samples: Seen, real: Seen, seed: int = 0) -> Found:
    """`COMPARED` of what one detector saw of samples and of real pictures."""
    sides = Sides(Observed.of(samples.features, samples.logits), Observed.of(real.features, real.logits), seed=seed)
    return measure(sides, COMPARED)

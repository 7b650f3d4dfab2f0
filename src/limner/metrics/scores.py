"""The table of scores of samples, each beside what real pictures get in the samples' place.

Every row says which scores it gives, what it needs, and how they are computed; what a detector knows no classes for, or
pictures have no labels for, is left out. Scores of moments are of all pictures, the others of the first `observed.KEPT`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core.errors import InputError
from limner.core.images import batches_of
from limner.metrics.distribution import sliced
from limner.metrics.distribution.classes import class_distance, class_error, class_null
from limner.metrics.distribution.coverage import COVERAGE_K, NEIGHBOUR_SCORES, neighbour_counts, neighbour_null
from limner.metrics.distribution.frechet import Null, frechet_null, frechet_to, jackknife, split
from limner.metrics.distribution.inception_score import SPLITS, inception_score, inception_score_null
from limner.metrics.distribution.mmd import mmd2, mmd2_error, mmd2_null
from limner.metrics.distribution.two_sample import FEWEST, two_sample_test
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
from limner.metrics.features.observed import BLOCKS, Observed
from limner.metrics.features.pixels import Source, take
from limner.metrics.memorisation.data_copying import data_copying
from limner.metrics.memorisation.memorisation import Excess, Memorisation, memorisation
from limner.metrics.memorisation.nearest import Nearest
from limner.metrics.representation.probes import Share
from limner.metrics.stats.score import Score, scored
from limner.metrics.stats.threads import one_thread

T = TypeVar("T")
Nulls = Mapping[str, Null]
Found = dict[str, Score]

_SMALL = 1 << 23  # distances between two sets up to which one thread measures them
LINES = 128
"""Random directions of pixels; samples and nulls are compared along the same ones."""
_VALUES = 1 << 22  # of pictures that are projected at a time: pictures may be large


@dataclass(frozen=True)
class Labels:
    """Classes of pictures, −1 for none: of those in `Observed.features`, in their order."""

    samples: Tensor | None = None
    real: Tensor | None = None
    classes: int = 0


@dataclass(frozen=True)
class Copies:
    """What lies nearest to samples and to pictures that were held out, among the pictures that were trained on."""

    samples: Nearest
    held_out: Nearest


def _anew(_: str, make: Callable[[], Nulls]) -> Nulls:
    return make()


@dataclass(frozen=True)
class Sides:
    """Samples and the reference, as far as they are known. `images` are [N, H, W, C] uint8 in the order of the features."""

    samples: Observed
    real: Observed
    sample_images: Source | None = None
    real_images: Source | None = None
    labels: Labels = Labels()
    copies: Copies | None = None
    learned: Tensor | None = None
    """[n, d]: features of pictures that were trained on."""
    remember: Callable[[str, Callable[[], Nulls]], Nulls] = field(default=_anew)
    """Gives the nulls of a name, which do not depend on samples: made, or remembered from another time."""
    real_radii: list[Tensor] | None = None
    own_classes: bool = True
    """Whether logits are of the data's own classes, and not of those that a foreign detector was taught."""
    seed: int = 0

    @property
    def n(self) -> int:
        return self.samples.count

    @property
    def m(self) -> int:
        return self.real.count

    @property
    def images(self) -> tuple[Source, Source]:
        """Of both sides, which are there."""
        assert self.sample_images is not None
        assert self.real_images is not None
        return self.sample_images, self.real_images

    @property
    def kept(self) -> tuple[int, int]:
        """Pictures on either side whose features are there."""
        return len(self.samples.features), len(self.real.features)


def _fewest(count: int) -> tuple[Callable[[Sides], object], str]:
    return lambda sides: min(sides.kept) >= count, f"fewer than {count} pictures on one side"


def _some(labels: Tensor | None) -> bool:
    return labels is not None and bool((labels >= 0).any())


NEEDS: dict[str, tuple[Callable[[Sides], object], str]] = {
    "logits": (
        lambda s: s.samples.logits is not None and s.real.logits is not None,
        "these features know no classes: that takes --features judge, and data that have classes (--data SRC)",
    ),
    "classes": (lambda s: s.own_classes, "these features know other classes than the data's; take --features judge"),
    "labels": (lambda s: _some(s.labels.real), "the reference has no labels; give one that has, with --data SRC"),
    "sample labels": (
        lambda s: _some(s.labels.samples),
        "what class they show is unknown; give a run that knows classes, folders with the classes' names, or labels in an .npz",
    ),
    "directions": (
        lambda s: all(int(x.any(1).sum()) > -(-len(x) // BLOCKS) for x in (s.samples.features, s.real.features)),
        "the features of nearly all pictures are zero",
    ),
    "neighbours": _fewest(COVERAGE_K + 1),
    "halves": _fewest(FEWEST),
    "splits": _fewest(SPLITS),
    "images": (lambda s: s.sample_images is not None and s.real_images is not None, "the pictures themselves are not there"),
    "copies": (
        lambda s: s.copies is not None,
        "copies are sought among pictures that were trained on, and need 20 or more that were held out of the same data",
    ),
    "learned": (lambda s: s.learned is not None, "the data have no pictures that were held out"),
}
"""What a score may need, how one sees that it is there, and what to say where it is not."""


@dataclass(frozen=True)
class Row:
    """`needs`: of `NEEDS`. `asked`: measured only where one of `names` is asked for by name."""

    names: tuple[str, ...]
    of: Callable[[Sides], Found]
    needs: tuple[str, ...] = ()
    asked: bool = False


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
    null = label_accuracy(real, _had(true)).value if _some(true) else None
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
    Row(("frechet",), _frechet),
    Row(("mmd",), _mmd),
    Row(NEIGHBOUR_SCORES, _neighbours, ("neighbours",)),
    Row(("class_distance",), _classes, ("logits", "classes")),
    Row(("label_accuracy",), _label_accuracy, ("logits", "classes", "sample labels")),
    Row(("inception_score",), _inception_score, ("logits", "splits"), asked=True),
    Row(("sliced",), _sliced, ("images",)),
    Row(("two_sample",), _two_sample, ("halves",)),
    Row(("vendi",), _vendi, ("directions",)),
    Row(("pairwise",), _pairwise),
    Row(("copies", "copies_double", "copies_nearer"), _copies, ("copies",)),
    Row(("data_copying",), _data_copying, ("learned",), asked=True),
    Row(("gan_train",), _gan_train, ("images", "labels", "sample labels"), asked=True),
    Row(("gan_test",), _gan_test, ("labels", "sample labels"), asked=True),
)
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

"""The two sides of a comparison, samples and real pictures, and what a metric may need of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from limner.metrics.distribution.coverage import COVERAGE_K
from limner.metrics.distribution.frechet import Null
from limner.metrics.distribution.inception_score import SPLITS
from limner.metrics.distribution.two_sample import MIN_IMAGES
from limner.metrics.features.pixels import Source
from limner.metrics.features.summary import JACKKNIFE_BLOCKS, FeatureSummary
from limner.metrics.memorisation.nearest import Nearest
from limner.metrics.needs import Need

Nulls = Mapping[str, Null]


@dataclass(frozen=True)
class Labels:
    """Classes of pictures as int64 [n], −1 for none: of those in `FeatureSummary.features`, in their order."""

    samples: Tensor | None = None
    real: Tensor | None = None
    classes: int = 0
    """How many classes the data have."""


@dataclass(frozen=True)
class Copies:
    """The training pictures nearest to samples, and those nearest to held-out pictures, for comparison."""

    samples: Nearest
    held_out: Nearest


def _compute(_: str, make: Callable[[], Nulls]) -> Nulls:
    return make()


@dataclass(frozen=True)
class Sides:
    """Samples and real pictures, as far as they are there. Images are [N, H, W, C] uint8 in the order of the features."""

    samples: FeatureSummary
    real: FeatureSummary
    sample_images: Source | None = None
    real_images: Source | None = None
    labels: Labels = Labels()
    copies: Copies | None = None
    training_features: Tensor | None = None
    """[n, d]: features of pictures that the model was trained on."""
    cached_nulls: Callable[[str, Callable[[], Nulls]], Nulls] = field(default=_compute)
    """`cached_nulls(name, make)` gives the nulls of that `name` from the cache, or those that `make` computes. They must depend
    on the real pictures, the detector, the number of samples and `seed` alone; the name must change when their code does."""
    real_radii: list[Tensor] | None = None
    """What `radii` gives of the real features for PRECISION_K and COVERAGE_K, where it is there already."""
    own_classes: bool = True
    """Whether logits are of the data's own classes, and not of those that a foreign detector was taught."""
    seed: int = 0

    @property
    def n(self) -> int:
        """Samples."""
        return self.samples.count

    @property
    def m(self) -> int:
        """Real pictures."""
        return self.real.count

    @property
    def images(self) -> tuple[Source, Source]:
        """Samples and real pictures themselves; for metrics that need "images"."""
        assert self.sample_images is not None
        assert self.real_images is not None
        return self.sample_images, self.real_images

    @property
    def feature_counts(self) -> tuple[int, int]:
        """Samples, and real pictures, whose features are in memory: all, or the first `MAX_FEATURES`."""
        return len(self.samples.features), len(self.real.features)


def _at_least(count: int) -> tuple[Callable[[Sides], bool], str]:
    return lambda sides: min(sides.feature_counts) >= count, f"fewer than {count} pictures on one side"


def has_labels(labels: Tensor | None) -> bool:
    """Whether any picture has a class, in `labels` [N] with −1 for none."""
    return labels is not None and bool((labels >= 0).any())


def _have_directions(sides: Sides) -> bool:
    """Whether leaving out any jackknife block leaves a feature vector that is not zero, on both sides."""
    return all(
        int(features.any(1).sum()) > -(-len(features) // JACKKNIFE_BLOCKS)
        for features in (sides.samples.features, sides.real.features)
    )


NEEDS: Mapping[Need, tuple[Callable[[Sides], bool], str]] = {
    "logits": (
        lambda sides: sides.samples.logits is not None and sides.real.logits is not None,
        "these features know no classes: that takes those of the judge, and data that have classes",
    ),
    "classes": (
        lambda sides: sides.own_classes,
        "these features know other classes than the data's; take those of the judge",
    ),
    "labels": (
        lambda sides: has_labels(sides.labels.real),
        "the reference has no labels; name data that have some",
    ),
    "sample labels": (
        lambda sides: has_labels(sides.labels.samples),
        "what class they show is unknown; give a run that knows classes, folders with the classes' names, or labels in an .npz",
    ),
    "directions": (_have_directions, "the features of nearly all pictures are zero"),
    "neighbours": _at_least(COVERAGE_K + 1),
    "halves": _at_least(MIN_IMAGES),
    "splits": _at_least(SPLITS),
    "images": (
        lambda sides: sides.sample_images is not None and sides.real_images is not None,
        "the pictures themselves are not there",
    ),
    "copies": (
        lambda sides: sides.copies is not None,
        "copies are sought among pictures that were trained on, and need 20 or more that were held out of the same data",
    ),
    "training features": (
        lambda sides: sides.training_features is not None,
        "the data have no pictures that were held out",
    ),
}
"""What a metric may need -> whether it is there, and what to say where it is not."""

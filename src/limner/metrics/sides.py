"""Samples and real pictures as the scores take them, and what a score may need of either side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from limner.metrics.distribution.coverage import COVERAGE_K
from limner.metrics.distribution.frechet import Null
from limner.metrics.distribution.inception_score import SPLITS
from limner.metrics.distribution.two_sample import FEWEST
from limner.metrics.features.observed import BLOCKS, Observed
from limner.metrics.features.pixels import Source
from limner.metrics.memorisation.nearest import Nearest

Nulls = Mapping[str, Null]


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


def has_labels(labels: Tensor | None) -> bool:
    """Whether any picture has a class, in `labels` [N] with −1 for none."""
    return labels is not None and bool((labels >= 0).any())


NEEDS: dict[str, tuple[Callable[[Sides], object], str]] = {
    "logits": (
        lambda s: s.samples.logits is not None and s.real.logits is not None,
        "these features know no classes: that takes --features judge, and data that have classes (--data SRC)",
    ),
    "classes": (lambda s: s.own_classes, "these features know other classes than the data's; take --features judge"),
    "labels": (lambda s: has_labels(s.labels.real), "the reference has no labels; give one that has, with --data SRC"),
    "sample labels": (
        lambda s: has_labels(s.labels.samples),
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

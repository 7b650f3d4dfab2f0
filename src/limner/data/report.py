"""What `check` says about a source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from limner.data.dataset import Dataset, caption_count, class_counts
from limner.data.listing import Listing, Rejected
from limner.data.notes import suggested_size
from limner.data.pictures import PictureInfo
from limner.data.plan import Plan
from limner.data.reading import Reading


@dataclass(frozen=True)
class CheckReport:
    """What `prepare` would make of a source, and what its pictures are like; nothing was written.

    `exact` and `near` count the pictures that repeat an earlier one; `given_shape` is the shape (H, W, C) of the given
    pictures, None where there are none; `infos` are the pictures as they were; `other` counts files that are no pictures;
    `notes` are sentences for a person: how the source was read, and what is lost or strange in its pictures.
    """

    path: str
    name: str
    images: int
    rejected: tuple[Rejected, ...]
    exact: int
    near: int
    classes: Mapping[str, int]
    captions: int
    given_shape: tuple[int, int, int] | None
    shape: tuple[int, int, int]
    splits: Mapping[str, int]
    fingerprint: str
    seconds: float
    infos: tuple[PictureInfo, ...]
    other: int
    notes: tuple[str, ...] = ()

    @property
    def heights(self) -> tuple[int, int, int]:
        """(smallest, median, largest) in pixels, of the pictures as they are."""
        return _spread([one.height for one in self.infos])

    @property
    def widths(self) -> tuple[int, int, int]:
        """The same of their widths."""
        return _spread([one.width for one in self.infos])

    @property
    def modes(self) -> dict[str, int]:
        """How many pictures have each of Pillow's modes."""
        return dict(sorted(Counter(one.mode for one in self.infos).items()))

    @property
    def suggested_size(self) -> int:
        """The largest usual size that at least half of the pictures fill without being enlarged."""
        return suggested_size(self.infos)

    def summary(self) -> dict[str, Any]:
        """What `limner data check --json` prints."""
        return {
            "path": self.path,
            "name": self.name,
            "images": self.images,
            "rejected": [one.as_json() for one in self.rejected],
            "duplicates": {"exact": self.exact, "near": self.near},
            "classes": dict(self.classes),
            "captions": self.captions,
            "given_shape": None if self.given_shape is None else list(self.given_shape),
            "shape": list(self.shape),
            "splits": dict(self.splits),
            "fingerprint": self.fingerprint,
            "seconds": self.seconds,
            "heights": dict(zip(("min", "median", "max"), self.heights, strict=True)),
            "widths": dict(zip(("min", "median", "max"), self.widths, strict=True)),
            "modes": self.modes,
            "other_files": self.other,
            "suggested_size": self.suggested_size,
            "notes": list(self.notes),
        }


def report_of_plan(path: str, name: str, listing: Listing, reading: Reading, plan: Plan, *, seconds: float) -> CheckReport:
    """The report of a source that was read and planned, and not written."""
    return CheckReport(
        path=path,
        name=name,
        images=len(plan.rows),
        rejected=plan.rejected,
        exact=plan.groups.exact,
        near=plan.groups.near,
        classes=class_counts(plan.labels, listing.classes),
        captions=caption_count(plan.captions),
        given_shape=plan.given_shape,
        shape=plan.shape,
        splits={name: len(rows) for name, rows in plan.splits.items()},
        fingerprint=plan.fingerprint,
        seconds=round(seconds, 3),
        infos=tuple(reading.infos.values()),
        other=listing.other,
        notes=plan.notes,
    )


def report_of(dataset: Dataset) -> CheckReport:
    """The report of a folder that is prepared already; its pictures have one size."""
    manifest, (height, width, channels) = dataset.manifest, dataset.shape
    return CheckReport(
        path=str(dataset.path),
        name=dataset.name,
        images=len(dataset.images),
        rejected=tuple(Rejected(one["file"], one["reason"]) for one in manifest["rejected"]),
        exact=manifest["duplicates"]["exact"],
        near=manifest["duplicates"]["near"],
        classes=class_counts(dataset.labels, dataset.classes),
        captions=caption_count(dataset.captions),
        given_shape=None if dataset.given_images is None else dataset.given_images.shape[1:],
        shape=dataset.shape,
        splits={name: len(rows) for name, rows in dataset.splits.items()},
        fingerprint=dataset.fingerprint,
        seconds=manifest["seconds"],
        infos=(PictureInfo(height, width, {1: "L", 3: "RGB", 4: "RGBA"}[channels]),) * len(dataset.images),
        other=manifest["other_files"],
        notes=dataset.notes,
    )


def _spread(values: Sequence[int]) -> tuple[int, int, int]:
    return min(values), int(np.median(values)), max(values)

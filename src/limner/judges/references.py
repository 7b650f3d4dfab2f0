"""What is known of the real pictures: their judge, what a detector sees of them, and what they score against each other.

All of it depends on the pictures and the detector alone, so it is kept by their checksums and read again the next time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core import parallel
from limner.core.environment import version
from limner.core.files import cache_folder
from limner.core.tensor_cache import read_tensors, write_tensors
from limner.data.dataset import Dataset
from limner.judges.judge import ordered
from limner.metrics.distribution.coverage import COVERAGE_K, PRECISION_K, radii
from limner.metrics.distribution.frechet import Null
from limner.metrics.features.detectors import Detector
from limner.metrics.features.observed import Observed, observe
from limner.metrics.features.pixels import Rows
from limner.metrics.memorisation.nearest import Nearest, nearest
from limner.metrics.stats.moments import Moments

VERSION = "reference-5"
"""To be raised whenever what is kept, or a null, is computed in another way."""
SOUGHT = 2_000
"""Samples, and held-out pictures, whose nearest training pictures are sought."""
LEARNED = 20_000
"""Training pictures whose features are compared with those of samples."""


@dataclass(frozen=True)
class Reference:
    """One split of a data set in the eyes of one detector; `rows` are in a seeded order."""

    dataset: Dataset
    split: str
    detector: Detector
    seen: Observed
    folder: Path

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        return ordered(self.dataset, self.split)

    @cached_property
    def labels(self) -> Tensor | None:
        """[n] of the pictures in `seen.features`; None where the data have none."""
        if self.dataset.labels is None or len(self.dataset.classes) < 2:
            return None
        return torch.from_numpy(self.dataset.labels[self.rows[: len(self.seen.features)]])

    def radii(self) -> list[Tensor] | None:
        """Of balls around the pictures in `seen.features`; None where there are too few."""
        if len(self.seen.features) <= COVERAGE_K:
            return None

        def make() -> dict[str, Tensor]:
            return dict(zip(("precision", "coverage"), radii(self.seen.features, PRECISION_K, COVERAGE_K), strict=True))

        found = kept(self.folder / "radii.safetensors", make)
        return [found["precision"], found["coverage"]]

    def nulls(self, count: int, seed: int) -> Callable[[str, Callable[[], Mapping[str, Null]]], Mapping[str, Null]]:
        """What real pictures score in the place of `count` samples: made by the second argument, or read."""

        def remember(name: str, make: Callable[[], Mapping[str, Null]]) -> Mapping[str, Null]:
            def tensors() -> dict[str, Tensor]:
                return {
                    f"{each}/{part}": torch.tensor(value, dtype=torch.float64)
                    for each, null in make().items()
                    for part, value in asdict(null).items()
                }

            found = kept(self.folder / f"null-{name}-{count}-{seed}.safetensors", tensors)
            return {
                each: Null(tuple(found[f"{each}/scores"].tolist()), (int(n), int(m)), float(found[f"{each}/shrunk"]))
                for each in dict.fromkeys(key.partition("/")[0] for key in found)
                for n, m in [found[f"{each}/sizes"].tolist()]
            }

        return remember

    def learned(self) -> Tensor | None:
        """[n, d] features of training pictures; None where the reference is of them."""
        if self.split == "train":
            return None
        rows = ordered(self.dataset, "train")[:LEARNED]
        make = lambda: {"features": self.detector.features(Rows(self.dataset.images, rows))}  # noqa: E731
        return kept(self.folder / "learned.safetensors", make)["features"]


def reference(dataset: Dataset, split: str, detector: Detector) -> Reference:
    """What `detector` sees of the `split`: looked at once, then read."""
    told = [VERSION, version("limner"), dataset.fingerprint, split, detector.checksum]
    folder = cache_folder() / "references" / hashlib.sha256(json.dumps(told).encode()).hexdigest()[:20]
    rows = ordered(dataset, split)

    def make() -> dict[str, Tensor]:
        seen = observe(dataset.images, detector, rows)
        return {**seen.moments.state(), "features": seen.features} | ({} if seen.logits is None else {"logits": seen.logits})

    found = kept(folder / "seen.safetensors", make, together=True)
    moments = Moments.from_state(found)  # of all together: errors are those of samples, the reference is taken as given
    return Reference(dataset, split, detector, Observed((moments,), found["features"], found.get("logits")), folder)


def held_out_nearest(dataset: Dataset, split: str) -> Nearest:
    """What lies nearest to pictures of `split` among the training pictures: searched once, then read."""
    told = [VERSION, version("limner"), "nearest", dataset.fingerprint, split]
    path = cache_folder() / "references" / f"{hashlib.sha256(json.dumps(told).encode()).hexdigest()[:20]}.safetensors"

    def make() -> dict[str, Tensor]:
        found = nearest(Rows(dataset.images, ordered(dataset, split)[:SOUGHT]), dataset.images, dataset.indices("train"))
        return {"distance": found.distance, "index": found.index, "view": found.view}

    return Nearest(**kept(path, make))


def kept(path: Path, make: Callable[[], dict[str, Tensor]], together: bool = False) -> dict[str, Tensor]:
    """The tensors in `path`, if it is there and whole; otherwise what `make` gives, which is then there.

    `together`: all processes take part in `make`, so if one of them has no such file, all of them make it.
    """
    found = read_tensors(path)
    everywhere = not together or bool(parallel.all_gather_rows(torch.tensor([found is not None])).all())
    if found is not None and everywhere:
        return found[0]
    made = make()
    if parallel.is_main_process():
        write_tensors(path, made)
    return made

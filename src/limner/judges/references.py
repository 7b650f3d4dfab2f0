"""Cached facts about real pictures: a detector's features of them, and what they score against each other.

These depend on the pictures and the detector alone, so they are cached under their checksums.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
from limner.judges.judge import shuffled_rows
from limner.metrics.distribution.coverage import COVERAGE_K, PRECISION_K, radii
from limner.metrics.distribution.frechet import Null
from limner.metrics.features.detectors import Detector
from limner.metrics.features.pixels import ImageSubset
from limner.metrics.features.summary import FeatureSummary, summarise
from limner.metrics.memorisation.nearest import Nearest, nearest
from limner.metrics.stats.moments import Moments

VERSION = "reference-5"
"""To be raised whenever a cached tensor or a null is computed in another way."""
MAX_SEARCHED_IMAGES = 2_000
"""Samples, and held-out pictures, whose nearest training pictures are searched."""
MAX_TRAINING_FEATURES = 20_000
"""Training pictures whose features `data_copying` compares with those of samples."""


@dataclass(frozen=True)
class Reference:
    """One split of a data set, as one detector describes it; `rows` are in a seeded order."""

    dataset: Dataset
    split: str
    detector: Detector
    summary: FeatureSummary
    folder: Path

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Of the data set."""
        return shuffled_rows(self.dataset, self.split)

    @cached_property
    def labels(self) -> Tensor | None:
        """[n] of the pictures in `summary.features`; None where the data have none."""
        if self.dataset.labels is None or len(self.dataset.classes) < 2:
            return None
        return torch.from_numpy(self.dataset.labels[self.rows[: len(self.summary.features)]])

    def radii(self) -> list[Tensor] | None:
        """Distances of the pictures in `summary.features` to their k-th neighbours, for PRECISION_K and COVERAGE_K; None where
        there are too few pictures."""
        if len(self.summary.features) <= COVERAGE_K:
            return None

        def make() -> dict[str, Tensor]:
            return dict(zip(("precision", "coverage"), radii(self.summary.features, PRECISION_K, COVERAGE_K), strict=True))

        tensors = cached_tensors(self.folder / "radii.safetensors", make)
        return [tensors["precision"], tensors["coverage"]]

    def nulls(self, count: int, seed: int) -> Callable[[str, Callable[[], Mapping[str, Null]]], Mapping[str, Null]]:
        """`Sides.cached_nulls` for `count` samples: nulls from the cache, or computed and cached."""

        def cached_nulls(name: str, make: Callable[[], Mapping[str, Null]]) -> Mapping[str, Null]:
            def tensors() -> dict[str, Tensor]:
                entries = {}
                for metric, null in make().items():
                    # "shrunk" is the name of the size correction in the files of before.
                    parts = {"scores": null.scores, "sizes": null.sizes, "shrunk": null.size_correction}
                    for part, value in parts.items():
                        entries[f"{metric}/{part}"] = torch.tensor(value, dtype=torch.float64)
                return entries

            cached = cached_tensors(self.folder / f"null-{name}-{count}-{seed}.safetensors", tensors)
            return {
                metric: Null(tuple(cached[f"{metric}/scores"].tolist()), (int(n), int(m)), float(cached[f"{metric}/shrunk"]))
                for metric in dict.fromkeys(key.partition("/")[0] for key in cached)
                for n, m in [cached[f"{metric}/sizes"].tolist()]
            }

        return cached_nulls

    def training_features(self) -> Tensor | None:
        """[n, d] features of training pictures; None where the reference is the train split itself."""
        if self.split == "train":
            return None
        rows = shuffled_rows(self.dataset, "train")[:MAX_TRAINING_FEATURES]
        make = lambda: {"features": self.detector.features(ImageSubset(self.dataset.images, rows))}  # noqa: E731
        return cached_tensors(self.folder / "learned.safetensors", make)["features"]


def reference(dataset: Dataset, split: str, detector: Detector) -> Reference:
    """The reference of a `split` in the features of `detector`: computed once, then from the cache."""
    key = [VERSION, version("limner"), dataset.fingerprint, split, detector.checksum]
    folder = cache_folder() / "references" / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:20]
    rows = shuffled_rows(dataset, split)

    def make() -> dict[str, Tensor]:
        summary = summarise(dataset.images, detector, rows)
        logits = {} if summary.logits is None else {"logits": summary.logits}
        return {**summary.moments.state(), "features": summary.features} | logits

    tensors = cached_tensors(folder / "seen.safetensors", make, together=True)
    moments = Moments.from_state(tensors)  # one block: errors are over other samples, the reference is taken as fixed
    return Reference(dataset, split, detector, FeatureSummary((moments,), tensors["features"], tensors.get("logits")), folder)


def held_out_nearest(dataset: Dataset, split: str) -> Nearest:
    """The training pictures nearest to pictures of `split`: searched once, then from the cache."""
    key = [VERSION, version("limner"), "nearest", dataset.fingerprint, split]
    path = cache_folder() / "references" / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:20]}.safetensors"

    def make() -> dict[str, Tensor]:
        result = nearest(
            ImageSubset(dataset.images, shuffled_rows(dataset, split)[:MAX_SEARCHED_IMAGES]),
            dataset.images,
            dataset.indices("train"),
        )
        return {"distance": result.distance, "index": result.index, "view": result.view}

    return Nearest(**cached_tensors(path, make))


def cached_tensors(path: Path, make: Callable[[], dict[str, Tensor]], together: bool = False) -> dict[str, Tensor]:
    """The tensors in the file `path` if it is intact; otherwise those of `make`, which are then written there.

    `together`: all processes take part in `make`, so if one of them has no such file, all of them call it.
    """
    cached = read_tensors(path)
    everywhere = not together or bool(parallel.all_gather_rows(torch.tensor([cached is not None])).all())
    if cached is not None and everywhere:
        return cached[0]
    tensors = make()
    if parallel.is_main_process():
        write_tensors(path, tensors)
    return tensors

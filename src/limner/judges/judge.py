"""Which judge a data set has: one that ships with limner, one in the cache, or one trained now."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limner.core.files import cache_folder
from limner.core.seeds import fold
from limner.data.dataset import Dataset
from limner.metrics.features.judge import Judge, judge_key, load_judge
from limner.metrics.features.judge_training import train_judge
from limner.metrics.features.pixels import Rows

JUDGE_SEED = 0
SHIPPED = Path(__file__).parent


def judge_for(dataset: Dataset) -> Judge:
    """The judge of this data: shipped with limner, or trained once on the train split, then kept by fingerprint."""
    name = f"{judge_key(dataset.fingerprint, JUDGE_SEED)}.safetensors"
    path = cache_folder() / "judges" / name
    for there in (SHIPPED / name, path):
        if there.is_file():
            return load_judge(there)
    judge = trained_judge(dataset)
    judge.save(path)
    return judge


def trained_judge(dataset: Dataset) -> Judge:
    """A judge that learned from the train split; the val split says how good it is."""
    held_out = None
    if dataset.labels is not None and "val" in dataset.splits:
        rows = dataset.indices("val")
        held_out = (Rows(dataset.images, rows), dataset.labels[rows])
    return train_judge(
        dataset.images,
        dataset.indices("train"),
        dataset.labels,
        len(dataset.classes),
        JUDGE_SEED,
        held_out,
        dataset.fingerprint,
    )


def ordered(dataset: Dataset, split: str) -> NDArray[np.int64]:
    """The rows of `split` in a seeded order: files often lie class by class, and the first of them are to stand for all."""
    return np.random.default_rng(fold("reference", split)).permutation(dataset.indices(split))

"""The judge of a data set: one that ships with limner, one from the cache, or one that is trained now."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limner.core.errors import InputError
from limner.core.files import cache_folder
from limner.core.progress import OnProgress, Progress, silent
from limner.core.seeds import fold
from limner.data.dataset import Dataset
from limner.metrics.features.judge import Judge, judge_key, load_judge
from limner.metrics.features.judge_training import train_judge
from limner.metrics.features.pixels import ImageSubset

JUDGE_SEED = 0
SHIPPED_JUDGES = Path(__file__).parent
"""Where the files of the judges lie that ship with limner."""


def judge_for(dataset: Dataset, on_progress: OnProgress = silent) -> Judge:
    """The judge of `dataset`: shipped with limner, or trained once on the train split and then cached by its fingerprint.

    One in the cache that is damaged, or of other data, is trained anew; a note tells of it. Errors: `InputError` where the file
    of a shipped one is damaged.
    """
    name = f"{judge_key(dataset.fingerprint, JUDGE_SEED)}.safetensors"
    if (SHIPPED_JUDGES / name).is_file():
        return load_judge(SHIPPED_JUDGES / name)
    path = cache_folder() / "judges" / name
    if path.is_file():
        try:
            judge = load_judge(path)
            if (judge.card.fingerprint, judge.card.seed) == (dataset.fingerprint, JUDGE_SEED):
                return judge
            reason = f"the judge {path} is that of other data"
        except InputError as error:
            reason = str(error).partition(";")[0]
        on_progress(Progress("training the judge", note=f"{reason}; it is trained anew"))
    judge = train_judge_for(dataset)
    judge.save(path)
    return judge


def train_judge_for(dataset: Dataset) -> Judge:
    """Trains a judge on the train split; its accuracy is measured on the val split, where there is one with labels."""
    held_out = None
    if dataset.labels is not None and "val" in dataset.splits:
        rows = dataset.indices("val")
        held_out = (ImageSubset(dataset.images, rows), dataset.labels[rows])
    return train_judge(
        dataset.images,
        dataset.indices("train"),
        dataset.labels,
        len(dataset.classes),
        JUDGE_SEED,
        held_out,
        dataset.fingerprint,
    )


def shuffled_rows(dataset: Dataset, split: str) -> NDArray[np.int64]:
    """The rows of `split` in a seeded order: files are often sorted by class, and the first rows must represent all."""
    return np.random.default_rng(fold("reference", split)).permutation(dataset.indices(split))

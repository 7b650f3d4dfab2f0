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
from limner.metrics.features.judge_networks import NETWORKS
from limner.metrics.features.judge_training import train_judge
from limner.metrics.features.pixels import ImageSubset

JUDGE_SEED = 0
SHIPPED_JUDGES = Path(__file__).parent
"""Where the files of the judges lie that ship with limner."""


def judge_for(
    dataset: Dataset, on_progress: OnProgress = silent, *, labelled: bool = True, checksum: str | None = None
) -> Judge:
    """The judge of `dataset`: shipped with limner, or trained once on the train split and then cached by its fingerprint.

    With `labelled` = False the one that is trained without labels (the detector `contrast`). With a `checksum`, that of an
    older architecture is taken where it is that one and still there. One in the cache that is damaged, or of other data, is
    trained anew; a note tells of it. Errors: `InputError` where the file of a shipped one is damaged.
    """
    for architecture in NETWORKS if checksum is not None else ():
        file = f"{judge_key(dataset.fingerprint, JUDGE_SEED, architecture)}.safetensors"
        for folder in (SHIPPED_JUDGES, _cached_judges()):
            older = _load(folder / file, dataset, silent)
            if older is not None and older.checksum == checksum:
                return older
    file = f"{judge_key(dataset.fingerprint, JUDGE_SEED, labelled=labelled or dataset.labels is None)}.safetensors"
    if (SHIPPED_JUDGES / file).is_file():
        judge = load_judge(SHIPPED_JUDGES / file)
    else:
        judge = _load(_cached_judges() / file, dataset, on_progress) or _train_and_keep(dataset, labelled, file)
    judge.name = "judge" if labelled else "contrast"
    return judge


def _train_and_keep(dataset: Dataset, labelled: bool, file: str) -> Judge:
    judge = train_judge_for(dataset, labelled=labelled)
    judge.save(_cached_judges() / file)
    return judge


def _cached_judges() -> Path:
    return cache_folder() / "judges"


def _load(path: Path, dataset: Dataset, on_progress: OnProgress) -> Judge | None:
    """The judge at `path`; None where there is none, or it is damaged, or that of other data, which a note tells of."""
    if not path.is_file():
        return None
    try:
        judge = load_judge(path)
        if (judge.card.fingerprint, judge.card.seed) == (dataset.fingerprint, JUDGE_SEED):
            return judge
        reason = f"the judge {path} is that of other data"
    except InputError as error:
        reason = str(error).partition(";")[0]
    on_progress(Progress("training the judge", note=f"{reason}; it is trained anew"))
    return None


def train_judge_for(dataset: Dataset, *, labelled: bool = True) -> Judge:
    """Trains a judge on the train split; its accuracy is measured on the val split, where there is one with labels."""
    labels, held_out = dataset.labels if labelled else None, None
    if labels is not None and "val" in dataset.splits:
        rows = dataset.indices("val")
        held_out = (ImageSubset(dataset.images, rows), labels[rows])
    return train_judge(
        dataset.images,
        dataset.indices("train"),
        labels,
        len(dataset.classes),
        JUDGE_SEED,
        held_out,
        dataset.fingerprint,
    )


def shuffled_rows(dataset: Dataset, split: str) -> NDArray[np.int64]:
    """The rows of `split` in a seeded order: files are often sorted by class, and the first rows must represent all."""
    return np.random.default_rng(fold("reference", split)).permutation(dataset.indices(split))

"""The judge of a data set: one that ships with limner, one from the cache, or one that is trained now."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limner.core.errors import InputError
from limner.core.files import cache_folder
from limner.core.progress import OnProgress, Progress, silent
from limner.core.seeds import fold
from limner.data.dataset import Dataset
from limner.metrics.features.judge import Judge, judge_key, load_judge
from limner.metrics.features.judge_networks import ARCHITECTURE, NETWORKS
from limner.metrics.features.judge_training import train_judge
from limner.metrics.features.pixels import ImageSubset

JUDGE_SEED = 0
SHIPPED_JUDGES = Path(__file__).parent
"""Where the files of the judges lie that ship with limner."""
TRAINING_STAGE = "training a judge of these pictures, once"
"""The stage of the progress events while a judge is trained."""
MIN_TIMED_SECONDS = 1.0
"""Seconds of a judge's training after which its speed is believed."""


def judge_for(
    dataset: Dataset, on_progress: OnProgress = silent, *, labelled: bool = True, checksum: str | None = None
) -> Judge:
    """The judge of `dataset`: shipped with limner, or trained once on the train split and then cached by its fingerprint.

    With `labelled` = False the one that is trained without labels (the detector `contrast`). With a `checksum`, the judge of it
    is taken, of an older architecture too, where it is still there. Training one takes seconds to minutes, of which
    `on_progress` hears as the stage `TRAINING_STAGE`. One in the cache that is damaged, or of other data, is trained anew; a
    note tells of it. Errors: `InputError` where the file of a shipped one is damaged.
    """
    for architecture in NETWORKS if checksum is not None else ():
        for path in _paths(dataset, architecture=architecture):
            earlier = _load(path, dataset, silent)
            if earlier is not None and earlier.checksum == checksum:
                return earlier
    shipped, cached = _paths(dataset, labelled or not has_classes(dataset))
    judge = load_judge(shipped) if shipped.is_file() else _load(cached, dataset, on_progress)
    if judge is None:
        which = "samples are judged in its features" if labelled else "a second one, without labels (contrast), for the verdict"
        on_progress(Progress(TRAINING_STAGE, note=f"{which}; it is kept for these pictures"))
        judge = train_judge_for(dataset, lambda event: on_progress(replace(event, what=TRAINING_STAGE)), labelled)
        judge.save(cached)
    judge.name = "judge" if labelled else "contrast"
    return judge


def has_classes(dataset: Dataset) -> bool:
    """Whether the training pictures have two classes or more; without, the judge is trained as `contrast` is."""
    if dataset.labels is None:
        return False
    labels = dataset.labels[dataset.indices("train")]
    return len(np.unique(labels[labels >= 0])) >= 2


def _paths(dataset: Dataset, labelled: bool = True, architecture: str = ARCHITECTURE) -> tuple[Path, Path]:
    """Where the judge of `dataset` may lie: among those that ship with limner, and in the cache."""
    file = f"{judge_key(dataset.fingerprint, JUDGE_SEED, architecture, labelled=labelled)}.safetensors"
    return SHIPPED_JUDGES / file, cache_folder() / "judges" / file


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
    on_progress(Progress(TRAINING_STAGE, note=f"{reason}; it is trained anew"))
    return None


def train_judge_for(
    dataset: Dataset, on_progress: OnProgress = silent, labelled: bool = True, images_seen: int | None = None
) -> Judge:
    """Trains a judge on the train split; its accuracy is measured on the val split, where there is one with labels.

    `images_seen` is the length of the training, as `train_judge` has it.
    """
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
        on_progress,
        images_seen,
    )


def has_judge(dataset: Dataset) -> bool:
    """Whether a judge of `dataset` ships with limner or lies in the cache, so that `judge_for` need not train one."""
    return any(path.is_file() for path in _paths(dataset))


def estimate_training_seconds(dataset: Dataset) -> float:
    """Seconds in which `judge_for` would train a judge of `dataset` on this machine; 0 where it need not.

    The training is begun and given up once it has reported how long it will take.
    """
    if has_judge(dataset):
        return 0.0
    began = time.perf_counter()

    def stop_when_known(event: Progress) -> None:
        seconds = time.perf_counter() - began
        if event.seconds_left is not None and seconds >= MIN_TIMED_SECONDS:
            raise _TimeKnownError(seconds + event.seconds_left)

    try:
        train_judge_for(dataset, stop_when_known)
    except _TimeKnownError as error:
        return error.seconds
    return time.perf_counter() - began


class _TimeKnownError(Exception):
    """Ends a training whose duration is known by now."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


def shuffled_rows(dataset: Dataset, split: str) -> NDArray[np.int64]:
    """The rows of `split` in a seeded order: files are often sorted by class, and the first rows must represent all."""
    return np.random.default_rng(fold("reference", split)).permutation(dataset.indices(split))

"""What is judged, and what it is compared with: samples of a run, a folder or file of pictures, or arrays out of Python.

Each becomes an `EvaluationInput`, so that the code that computes scores does not depend on where pictures come from.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core import parallel
from limner.core.cond import Cond
from limner.core.errors import InputError
from limner.core.images import batches_of
from limner.core.invocation import option
from limner.core.progress import OnProgress, Progress, silent
from limner.core.seeds import SCORED_SEEDS, fold
from limner.data.conditions import Conditions, generate_images, takes_text_or_image
from limner.data.dataset import Dataset, Images, is_prepared
from limner.data.npz import Pixels, is_array_file, read_array, read_array_file, require_images
from limner.data.prepare import prepare
from limner.data.remarks import preparation_notes, rejections, sheets
from limner.data.sizing import sizes
from limner.data.sources import is_data_set
from limner.evaluation.data_differences import check_same_pictures
from limner.evaluation.sample_labels import labels_in_samples
from limner.evaluation.spool import on_disk
from limner.metrics.features.pixels import ImageSubset, Source, format_shape, take
from limner.runs.lookup import is_run
from limner.runs.model import Loaded, load

MIN_REFERENCE_IMAGES = 10
"""A held-out split with fewer pictures is too small to compare anything with."""
_BATCH = 256  # pictures that each process draws, or reads, at a time


class SampledImages:
    """Samples of a model as a source of images [N, H, W, C]: row i is the sample of seed `first` + i.

    A row is drawn when it is read, under the conditions (class, text, given picture) that its seed draws.
    """

    def __init__(self, model: Loaded, first: int, count: int, conditions: Conditions | None = None) -> None:
        """`conditions` are those that seeds draw; None: those that the run folder holds."""
        self.model, self.first, self.shape = model, first, (count, *model.shape)
        self._conditions = conditions

    @cached_property
    def conditions(self) -> Conditions:
        """What seeds draw where the method takes a text or a given picture."""
        return self._conditions or self.model.conditions

    def gather(self, indices: NDArray[np.int64]) -> Pixels:
        """The samples [n, H, W, C] uint8 at `indices` [n], in that order."""
        seeds = [self.first + int(row) for row in indices]
        if seeds and takes_text_or_image(self.model.method):
            return generate_images(self.model.method, seeds, self.conditions)
        return self.model.sample(seeds)

    def labels(self, classes: Sequence[str]) -> NDArray[np.int64] | None:
        """[N]: the class of each sample as an index into `classes`, −1 for one of another name.

        None where the model has no labels, or none of its classes is among `classes`.
        """
        method = self.model.method
        seeds = range(self.first, self.first + self.shape[0])
        requested = self._labels_of_conditions(seeds) if takes_text_or_image(method) else None
        labels = method.conditions(seeds, Cond(label=requested)).label
        return None if labels is None else _renumber(labels.cpu().numpy(), self.model.recipe.data.classes, classes)

    def _labels_of_conditions(self, seeds: Sequence[int]) -> Tensor | None:
        """[len(seeds)]: the classes of the pictures whose conditions `seeds` draw; None where these have none."""
        accepts, parts = self.model.method.accepts, batches_of(len(seeds), _BATCH)
        labels = [self.conditions.draw(seeds[part], accepts).label for part in parts]
        return torch.cat([one for one in labels if one is not None]) if all(one is not None for one in labels) else None


@dataclass(frozen=True)
class EvaluationInput:
    """Pictures to be judged, with their classes where these are known."""

    images: Source
    """[N, H, W, C] uint8, which can be read any number of times."""
    labels: NDArray[np.int64] | None = None
    """[N]: indices into the classes of the reference, −1 for none."""
    notes: tuple[str, ...] = ()
    """How the pictures, or those that they are compared with, were changed; a report shows these beside its numbers."""
    remarks: tuple[str, ...] = ()
    """What a person should know about the files: how many were set aside and why. A report shows these among its warnings."""
    rejected: tuple[Mapping[str, str], ...] = ()
    """The files that were set aside: `file` and `reason` of each."""


# ---- runs and reference data --------------------------------------------------------------------------------------------


def model_or_none(path: str | Path, checkpoint: str = "last") -> Loaded | None:
    """The model of the run that `path` names; None where a folder of pictures or a file of a data set is there.

    What exists at `path` comes first: a folder of pictures called ``0007`` is no name of a run. Errors: `InputError` where it
    is none of these, or the run has no such checkpoint.
    """
    path = Path(path).expanduser()
    if is_array_file(path):
        return None
    if is_run(path) or not os.path.exists(path):
        return load(path, checkpoint)
    if os.path.isfile(path) and not is_data_set(path.absolute()):
        allowed = "a run, a folder of pictures or a file with many, such as .npz or .zip"
        raise InputError(f"{path} is a file; what can be judged is {allowed}")
    return None


def held_out_split(dataset: Dataset) -> str:
    """The name of the split that pictures are compared with: test, or else val, where it has `MIN_REFERENCE_IMAGES` pictures;
    otherwise the largest split, which is usually train."""
    for name in ("test", "val"):
        if len(dataset.splits.get(name, ())) >= MIN_REFERENCE_IMAGES:
            return name
    return max(dataset.splits, key=lambda name: len(dataset.splits[name]))


def prepare_reference(path: str | Path, data: str | None) -> Dataset:
    """The data set `data`, prepared to be compared with the pictures at `path`: at the size and channels of an array
    file, otherwise as the data are.

    Errors: `InputError` where no `data` is named, or where it cannot be prepared.
    """
    if data is None:
        raise InputError(f"{path} is not a run, so say what it is to be compared with: {option('data', 'SRC')}")
    if is_array_file(Path(path)):
        height, width, channels = _read_images(Path(path).expanduser())[0].shape[1:]
        return prepare(data, size=(height, width), channels=_check_channels(channels))
    return prepare(data)


def short_names(paths: Sequence[str | Path], models: Sequence[Loaded | None]) -> list[str]:
    """A name for each of `paths`, all different: its last part, or as many last parts as it takes to tell them apart.

    `models` holds the model of each run, and None for pictures. Errors: `InputError` where two paths lead to the same place.
    """
    resolved = [
        (Path(path).expanduser() if model is None else model.run.path).resolve()
        for path, model in zip(paths, models, strict=True)
    ]
    for number, path in enumerate(resolved):
        if path in resolved[:number]:
            raise InputError(f"{paths[number]} is named twice; name each thing once, since none differs from itself")
    return next(
        names
        for length in range(1, max((len(path.parts) for path in resolved), default=0) + 1)
        if len(set(names := ["/".join(path.parts[-length:]) for path in resolved])) == len(names)
    )


def common_reference(paths: Sequence[str | Path], models: Sequence[Loaded | None], data: str | None) -> Dataset:
    """The data set that all of `paths` are compared with: `data`, or else what the runs were trained on.

    `models` holds the model of each run, and None for pictures. Errors: `InputError` where runs were trained on different data
    and no `data` is named, where their pictures differ in shape, and where there is neither a run nor `data`.
    """
    runs = [model for model in models if model is not None]
    if not runs:
        return prepare_reference(next((path for path in paths if is_array_file(Path(path))), paths[0]), data)
    check_same_pictures(runs, same_data=data is None)
    return runs[0].dataset(data)


# ---- files and samples --------------------------------------------------------------------------------------------------


def note_on_array_shape(dataset: Dataset) -> str:
    """The note that the real pictures were resized to the shape of the array that is judged, and not the other way round."""
    return f"the real pictures were prepared at {format_shape(dataset.shape)}, as those that are judged are"


def open_images(path: Path, dataset: Dataset) -> EvaluationInput:
    """The pictures of an array file, a folder, or another file of a data set, in the order of the file or of the files' names.

    Except for those of an array file, they are resized to the shape of `dataset`. Errors: `InputError` for a folder whose
    pictures differ in size, an array of another shape than the `dataset`'s or with labels that are none of its classes, and
    files that cannot be read.
    """
    return _open_array_file(path, dataset) if is_array_file(path) else _open_pictures(path.absolute(), dataset)


def _read_images(path: Path) -> tuple[Pixels, NDArray[np.int64] | None]:
    """Pictures [N, H, W, C] and perhaps labels [N] of an array file. Errors: `InputError` for another array or file."""
    images, labels = read_array_file(path)
    return require_images(images, str(path)), labels


def _open_array_file(path: Path, dataset: Dataset) -> EvaluationInput:
    images, labels = _read_images(path)
    if images.shape[1:] != dataset.shape:
        raise InputError(
            f"{path} has pictures of the shape {format_shape(images.shape[1:])}, and the real ones are "
            f"{format_shape(dataset.shape)}; make them equal"
        )
    notes, class_count = [note_on_array_shape(dataset)], len(dataset.classes)
    names = None if labels is None else _class_names(path, labels)
    if labels is not None and not class_count:
        labels = None
        notes.append(f"its labels were left aside, since {dataset.name} has no classes")
    elif labels is not None and names is not None:
        labels = _renumber(labels, names, dataset.classes)
        if labels is None:
            notes.append(f"its labels were left aside, since none of its classes is one of {dataset.name}")
    if labels is not None and len(labels) and not -1 <= labels.min() <= labels.max() < class_count:
        raise InputError(
            f"{path}: 'labels' go from {labels.min()} to {labels.max()}; the data have {class_count} classes, "
            "counted from 0, and -1 is for none"
        )
    return EvaluationInput(Images([images]), labels, tuple(notes))


def _class_names(path: Path, labels: NDArray[np.int64]) -> list[str] | None:
    """The array `classes` [K] of an ``.npz``, which names the classes that its `labels` [N] count into, as in limner's samples.

    None where there is none, or where it is no list of names for these labels.
    """
    names = read_array(path, "classes") if path.suffix.lower() == ".npz" else None
    if names is None or names.ndim != 1 or names.dtype.kind != "U" or not len(labels):
        return None
    return names.tolist() if -1 <= labels.min() <= labels.max() < len(names) else None


def _open_pictures(path: Path, dataset: Dataset) -> EvaluationInput:
    """`path` is absolute, so that a folder with the name of a built-in set is the folder."""
    height, width, channels = dataset.shape
    notes: tuple[str, ...] = ()
    if not is_prepared(path):
        examples = list(sizes(path).items())  # of each size the name of one file
        if len(examples) > 1:
            (size, name), (other_size, other_name) = examples[:2]
            raise InputError(
                f"{path} has pictures of different sizes ({name} is {format_shape(size)}, {other_name} "
                f"{format_shape(other_size)}), and every score depends on how they are made equal; do that first: "
                f"`limner data prepare {path} --size {height}x{width} --split none --out DIR`"
            )
        if examples and examples[0][0] != (height, width):
            sides = format_shape(examples[0][0]), format_shape((height, width))
            notes = (f"pictures were brought from {sides[0]} to {sides[1]} (crop, Lanczos)",)
    split = None if is_prepared(path) else "none"
    folder = prepare(path, size=(height, width), channels=_check_channels(channels), split=split)
    labels = None if folder.labels is None else _renumber(folder.labels, folder.classes, dataset.classes)
    if labels is None and dataset.classes:
        labels = labels_in_samples(path, folder, dataset.classes)
    notes = (*notes, *sheets(folder, str(path)), *preparation_notes(folder))
    return EvaluationInput(
        folder.images, labels, notes, tuple(rejections(folder, str(path))), tuple(folder.manifest["rejected"])
    )


def _renumber(labels: NDArray[np.integer[Any]], names: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64] | None:
    """[N] indices into `names` as indices into `classes`, by name. −1 stands for none, and for a name that is not in `classes`;
    the result is None where no name is in `classes`."""
    if not set(names) & set(classes):
        return None
    numbers = [classes.index(name) if name in classes else -1 for name in names]
    by_index = np.append(np.array(numbers, np.int64), -1)  # index −1 finds the last entry
    renumbered: NDArray[np.int64] = by_index[labels]
    return renumbered


def conditions_for(model: Loaded, dataset: Dataset, split: str) -> Conditions:
    """The conditions that seeds draw for samples of `model` that are compared with `split` of `dataset`.

    Errors: `InputError` where `model` takes given pictures, and those of `dataset` have another shape or do not exist.
    """
    data = model.recipe.data
    if "image" in model.method.accepts and dataset.condition_shape != data.condition_shape:
        own, other = (_describe_given_pictures(shape) for shape in (data.condition_shape, dataset.condition_shape))
        raise InputError(
            f"{model.run.path} was trained with {own}, and {dataset.name} has {other}; name data that are alike: "
            f"{option('data', 'SRC')}"
        )
    return Conditions(dataset, split, caption_length=data.caption_length)


def _describe_given_pictures(shape: tuple[int, int, int] | None) -> str:
    """What an error calls given pictures of the shape (C, H, W)."""
    return "no given pictures" if shape is None else f"given pictures of {format_shape((*shape[1:], shape[0]))}"


def open_samples(
    model: Loaded, count: int, classes: Sequence[str], first: int = SCORED_SEEDS, conditions: Conditions | None = None
) -> EvaluationInput:
    """`count` samples of `model`, with their labels as indices into `classes`. Nothing is drawn before it is read.

    The seeds begin at `first`; those from `SCORED_SEEDS` on are used for scores alone, so that nobody picked a checkpoint by
    looking at their samples.
    """
    samples = SampledImages(model, first, count, conditions)
    return EvaluationInput(samples, samples.labels(classes))


# ---- pictures on disk ---------------------------------------------------------------------------------------------------


@contextmanager
def materialised(pictures: EvaluationInput, count: int | None, on_progress: OnProgress = silent) -> Iterator[EvaluationInput]:
    """The first `count` (all, where None) of `pictures` in a form that can be read again and again at little cost.

    Files come in a seeded order, so that no class comes first; it depends on what the pictures show and not on their names or
    places, so that the same pictures in another order get the same scores. Samples are drawn once, by all processes that
    torchrun has started, into a temporary file that is removed at the end of the block; `on_progress` hears how many there are.
    """
    total = int(pictures.images.shape[0])
    if not isinstance(pictures.images, SampledImages):
        rows = _order_by_content(pictures.images)[np.random.default_rng(fold("judged")).permutation(total)[:count]]
        labels = None if pictures.labels is None else pictures.labels[rows]
        yield replace(pictures, images=ImageSubset(pictures.images, rows), labels=labels)
        return
    rows = np.arange(total if count is None else min(count, total))
    batches, process_count = batches_of(len(rows), _BATCH), parallel.process_count()
    what, began = f"drawing {len(rows):,} samples", time.monotonic()
    on_progress(Progress(what))

    def pieces() -> Iterator[Pixels]:
        """In every round each process draws one batch, and gets those of all the others."""
        done = 0
        for start in range(0, len(batches), process_count):
            number = start + parallel.rank()
            own = take(pictures.images, rows[batches[number]] if number < len(batches) else rows[:0])
            piece = parallel.all_gather_rows(torch.from_numpy(own)).numpy()
            done += len(piece)
            left = (time.monotonic() - began) * (len(rows) - done) / done
            on_progress(Progress(what, done, len(rows), seconds_left=left))
            yield piece

    with on_disk(pieces(), len(rows), pictures.images.shape[1:]) as images:
        yield replace(pictures, images=images)


def _order_by_content(images: Source) -> NDArray[np.int64]:
    """[N] rows in the order of a digest of each picture."""
    digests = np.empty(int(images.shape[0]), np.uint64)
    for part in batches_of(len(digests), _BATCH):
        batch = take(images, part)
        digests[part] = [int.from_bytes(hashlib.blake2b(one.tobytes(), digest_size=8).digest(), "little") for one in batch]
    return np.argsort(digests, kind="stable")


def _check_channels(count: int) -> Any:
    """`count` itself. Errors: `InputError` where pictures cannot have so many channels."""
    if count not in (1, 3, 4):
        raise InputError(f"pictures have 1, 3 or 4 channels, not {count}")
    return count

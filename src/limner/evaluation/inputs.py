"""What is judged: samples of a run, a folder of pictures, an array file, or pictures out of Python; from here on all alike."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core import parallel
from limner.core.address import public_address
from limner.core.cond import Cond
from limner.core.errors import InputError
from limner.core.files import cache_folder, os_errors_as_input_errors
from limner.core.images import batches_of
from limner.core.seeds import SCORED_SEEDS, fold
from limner.data.conditions import Conditions, generate_images, takes_text_or_image
from limner.data.dataset import Dataset, Images, is_prepared
from limner.data.npz import Pixels, read_npz, require_images
from limner.data.prepare import prepare
from limner.data.sizing import sizes
from limner.metrics.features.pixels import ImageSubset, Source, format_shape, take
from limner.runs.model import Loaded, load
from limner.runs.run import Run

Shape = tuple[int, int, int]
_CHUNK = 256  # pictures drawn at a time by each process
FEWEST = 10
"""Held-out pictures below which nothing can be compared with them."""


class SampledImages:
    """Samples of a model as if they lay there: row i is the picture of seed `first` + i, under the conditions it draws."""

    def __init__(self, model: Loaded, first: int, count: int, conditions: Conditions | None = None) -> None:
        """`conditions` are those that seeds draw; None: those that the run folder holds."""
        self.model, self.first, self.shape = model, first, (count, *model.shape)
        self._conditions = conditions

    @cached_property
    def conditions(self) -> Conditions:
        """What seeds draw where the method takes a text or a given picture."""
        return self._conditions or self.model.conditions

    def gather(self, indices: NDArray[np.int64]) -> Pixels:
        seeds = [self.first + int(row) for row in indices]
        if seeds and takes_text_or_image(self.model.method):
            return generate_images(self.model.method, seeds, self.conditions)
        return self.model.sample(seeds)

    def labels(self, classes: Sequence[str]) -> NDArray[np.int64] | None:
        """[N]: the class of each, as a place in `classes`; None where the model knows none of them."""
        method = self.model.method
        seeds = range(self.first, self.first + self.shape[0])
        requested = self._labels_of_conditions(seeds) if takes_text_or_image(method) else None
        labels = method.conditions(seeds, Cond(label=requested)).label
        return None if labels is None else _renumbered(labels.cpu().numpy(), self.model.recipe.data.classes, classes)

    def _labels_of_conditions(self, seeds: Sequence[int]) -> Tensor | None:
        """[len(seeds)]: the classes of the pictures whose conditions `seeds` draw; None where these have none."""
        accepts, parts = self.model.method.accepts, batches_of(len(seeds), _CHUNK)
        labels = [self.conditions.draw(seeds[part], accepts).label for part in parts]
        return torch.cat([one for one in labels if one is not None]) if all(one is not None for one in labels) else None


@dataclass(frozen=True)
class EvaluationInput:
    """Pictures [N, H, W, C] uint8 that may be read again and again, and what is known of them."""

    images: Source
    labels: NDArray[np.int64] | None = None
    """[N]: into the classes of the reference, −1 for none."""
    notes: tuple[str, ...] = ()
    """What was done to them, for whoever reads a number."""


def model_or_none(word: str | Path, checkpoint: str = "last") -> Loaded | None:
    """The model of a run; None where `word` is pictures. Errors: `InputError` where it is neither."""
    path = Path(word).expanduser()
    if path.suffix == ".npz":
        return None
    try:
        run = Run.open(path)
    except InputError:
        if path.is_dir():
            return None
        if path.is_file():
            raise InputError(f"{path} is a file; what can be judged is a run, a folder of pictures or an .npz") from None
        raise
    return load(run.path, checkpoint)


def held_out(dataset: Dataset) -> str:
    """The split that pictures are compared with: test, or val, where it has `FEWEST` pictures; otherwise the largest."""
    for name in ("test", "val"):
        if len(dataset.splits.get(name, ())) >= FEWEST:
            return name
    return max(dataset.splits, key=lambda name: len(dataset.splits[name]))


def reference(word: str | Path, data: str | None) -> Dataset:
    """The data that pictures at `word` are compared with; `data` is prepared as they are, if they are an array."""
    if data is None:
        raise InputError(f"{word} is not a run, so say what it is to be compared with: --data SRC")
    if Path(word).suffix == ".npz":
        height, width, channels = read_npz(Path(word))[0].shape[1:]
        return prepare(data, size=(height, width), channels=_channels(channels))
    return prepare(data)


def short_names(words: Sequence[str | Path], models: Sequence[Loaded | None]) -> list[str]:
    """Short names, each different: the last part of a path, and more of it where two are called alike.

    Errors: `InputError` where one thing is named twice.
    """
    paths = [
        (Path(word).expanduser() if model is None else model.run.path).resolve()
        for word, model in zip(words, models, strict=True)
    ]
    for number, path in enumerate(paths):
        if path in paths[:number]:
            raise InputError(f"{words[number]} is named twice; a thing compared with itself says nothing, so name each once")
    return next(
        names
        for length in range(1, max((len(path.parts) for path in paths), default=0) + 1)
        if len(set(names := ["/".join(path.parts[-length:]) for path in paths])) == len(names)
    )


def common_reference(words: Sequence[str | Path], models: Sequence[Loaded | None], data: str | None) -> Dataset:
    """The one data set that all of `words` (runs where there is a model, otherwise pictures) are compared with.

    Errors: `InputError` where runs were trained on different data and none is named, or shapes differ.
    """
    runs = [model for model in models if model is not None]
    if not runs:
        return reference(next((word for word in words if Path(word).suffix == ".npz"), words[0]), data)
    first = runs[0]
    for other in runs[1:] if data is None else ():
        if other.recipe.data.fingerprint != first.recipe.data.fingerprint:
            raise InputError(
                f"{first.run.path} was trained on {public_address(first.recipe.data.source)} and {other.run.path} on "
                f"other data ({public_address(other.recipe.data.source)}); name one set of real pictures for both: --data SRC"
            )
    for other in runs[1:]:
        if other.shape != first.shape:
            raise InputError(
                f"{first.run.path} makes pictures of {format_shape(first.shape)} and "
                f"{other.run.path} of {format_shape(other.shape)}; "
                "only pictures of one shape compare"
            )
    return first.dataset(data)


def note_on_array_shape(dataset: Dataset) -> str:
    """A note for whoever reads a number of an array: it is the real pictures that were made alike."""
    return f"the real pictures were prepared at {format_shape(dataset.shape)}, as those that are judged are"


def open_images(path: Path, dataset: Dataset) -> EvaluationInput:
    """The pictures of a folder or an .npz, in an order that is dealt anew so that no class comes first.

    Errors: `InputError` for pictures of different sizes among each other, or an .npz of another size than the `dataset`'s.
    """
    if path.suffix == ".npz":
        found, numbers = read_npz(path)
        if found.shape[1:] != dataset.shape:
            raise InputError(
                f"{path} has pictures of the shape {format_shape(found.shape[1:])}, and the real ones are "
                f"{format_shape(dataset.shape)}; "
                "make them equal"
            )
        told, classes = [note_on_array_shape(dataset)], len(dataset.classes)
        if numbers is not None and not classes:
            numbers = None
            told.append(f"its labels were left aside, since {dataset.name} has no classes")
        if numbers is not None and len(numbers) and not -1 <= numbers.min() <= numbers.max() < classes:
            raise InputError(
                f"{path}: 'labels' go from {numbers.min()} to {numbers.max()}; the data have {len(dataset.classes)} classes, "
                "counted from 0, and -1 is for none"
            )
        return EvaluationInput(Images([found]), numbers, tuple(told))
    height, width, channels = dataset.shape
    notes: tuple[str, ...] = ()
    if not is_prepared(path):
        there = list(sizes(path).items())
        if len(there) > 1:
            (one, first), (other, second) = there
            raise InputError(
                f"{path} has pictures of different sizes ({first} is {format_shape(one)}, {second} {format_shape(other)}), "
                "and every score "
                f"depends on how they are made equal; do that first: limner data prepare {path} --size {height}x{width} "
                "--split none --out DIR"
            )
        if there and there[0][0] != (height, width):
            notes = (
                f"pictures were brought from {format_shape(there[0][0])} to {format_shape((height, width))} (crop, Lanczos)",
            )
    folder = prepare(path, size=(height, width), channels=_channels(channels), split=None if is_prepared(path) else "none")
    return EvaluationInput(folder.images, _labels(folder, dataset), notes)


def _labels(folder: Dataset, dataset: Dataset) -> NDArray[np.int64] | None:
    """Labels of the folder's pictures as the `dataset` counts classes, by name; None where no name is known there."""
    return None if folder.labels is None else _renumbered(folder.labels, folder.classes, dataset.classes)


def _renumbered(labels: NDArray[np.integer[Any]], names: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64] | None:
    """Labels into `names`, −1 for none, as labels into `classes` by name; None where no name is known there."""
    if not set(names) & set(classes):
        return None
    numbers = [classes.index(name) if name in classes else -1 for name in names]
    found: NDArray[np.int64] = np.append(np.array(numbers, np.int64), -1)[labels]
    return found


def conditions_for(model: Loaded, dataset: Dataset, split: str) -> Conditions:
    """The conditions of samples of `model` that are compared with `split` of `dataset`.

    Errors: `InputError` where the given pictures of `dataset` have not the shape of those that the model was trained with.
    """
    data = model.recipe.data
    if "image" in model.method.accepts and dataset.condition_shape != data.condition_shape:
        mine, other = (_describe_given(shape) for shape in (data.condition_shape, dataset.condition_shape))
        raise InputError(
            f"{model.run.path} was trained with {mine}, and {dataset.name} has {other}; name data that are alike: --data SRC"
        )
    return Conditions(dataset, split, caption_length=data.caption_length)


def _describe_given(shape: tuple[int, int, int] | None) -> str:
    """Given pictures of (C, H, W), in words."""
    return "no given pictures" if shape is None else f"given pictures of {format_shape((*shape[1:], shape[0]))}"


def drawn(
    model: Loaded, count: int, classes: Sequence[str], first: int = SCORED_SEEDS, conditions: Conditions | None = None
) -> EvaluationInput:
    """`count` samples, on seeds that are shown to nobody, with their labels into `classes`. See `SampledImages`."""
    samples = SampledImages(model, first, count, conditions)
    return EvaluationInput(samples, samples.labels(classes))


@contextmanager
def materialised(judged: EvaluationInput, count: int | None) -> Iterator[EvaluationInput]:
    """The first `count` (all, where None) of files in a seeded order, or of samples, where each can be read at no cost.

    The order is that of what files show, not of where they lie: the same pictures in another order get the same numbers.

    Samples are drawn once, shared among the processes that torchrun started, into a file that goes when this ends.
    """
    total = int(judged.images.shape[0])
    if not isinstance(judged.images, SampledImages):
        rows = _by_content(judged.images)[np.random.default_rng(fold("judged")).permutation(total)[:count]]
        labels = None if judged.labels is None else judged.labels[rows]
        yield EvaluationInput(ImageSubset(judged.images, rows), labels, judged.notes)
        return
    rows = np.arange(total if count is None else min(count, total))
    chunks, world = batches_of(len(rows), _CHUNK), parallel.process_count()

    def pieces() -> Iterator[Pixels]:
        for start in range(0, len(chunks), world):
            turn = start + parallel.rank()
            mine = take(judged.images, rows[chunks[turn]] if turn < len(chunks) else rows[:0])
            yield parallel.all_gather_rows(torch.from_numpy(mine)).numpy()

    with on_disk(pieces(), len(rows), judged.images.shape[1:]) as images:
        yield EvaluationInput(images, judged.labels, judged.notes)


def _by_content(images: Source) -> NDArray[np.int64]:
    """[N] rows in the order of a digest of each picture."""
    digests = np.empty(int(images.shape[0]), np.uint64)
    for part in batches_of(len(digests), _CHUNK):
        some = take(images, part)
        digests[part] = [int.from_bytes(hashlib.blake2b(one.tobytes(), digest_size=8).digest(), "little") for one in some]
    return np.argsort(digests, kind="stable")


@contextmanager
def images_from_arrays(pictures: Iterable[NDArray[Any]]) -> Iterator[Pixels]:
    """Single pictures [H, W, C] or batches of them [n, H, W, C], uint8, as one array on disk."""
    if isinstance(pictures, np.ndarray):
        yield require_images(pictures, "the pictures")
        return
    if not isinstance(pictures, Iterable):
        raise InputError(
            f"pictures are a run, a folder, an .npz, an array, or an iterable of arrays, not {type(pictures).__name__}"
        )
    some = iter(pictures)
    first = next(some, None)
    if first is None:
        raise InputError("there is no picture to be judged")
    shape = np.shape(first)[-3:]

    def batches() -> Iterator[Pixels]:
        for number, each in enumerate(chain([first], some)):
            yield _batch(each, number, shape)

    with on_disk(batches(), None, shape) as images:
        yield images


def _batch(each: Any, number: int, shape: tuple[int, ...]) -> Pixels:
    found = np.asarray(each)
    found = require_images(found[None] if found.ndim == 3 else found, f"element {number} of the pictures")
    if found.shape[1:] != shape:
        raise InputError(
            f"element {number} of the pictures is {format_shape(found.shape[1:])}, and the first is {format_shape(shape)}"
        )
    return found


@contextmanager
def on_disk(pieces: Iterable[Pixels], count: int | None, shape: tuple[int, ...]) -> Iterator[Pixels]:
    """All `pieces` [n, H, W, C], one after the other, as one memory map; its file is gone when the block ends."""
    base, total = cache_folder() / "spool", 0
    with ExitStack() as stack:
        with os_errors_as_input_errors(base):
            base.mkdir(parents=True, exist_ok=True)
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=base))) / "images"
            path.touch()
        for piece in pieces:  # what goes wrong in making one is not the spool's fault
            with os_errors_as_input_errors(base), path.open("ab") as file:
                file.write(np.ascontiguousarray(piece).tobytes())
            total += len(piece)
        assert count is None or total == count
        yield np.memmap(path, np.uint8, "r", shape=(total, *shape)) if total else np.empty((0, *shape), np.uint8)


def _channels(count: int) -> Any:
    if count not in (1, 3, 4):
        raise InputError(f"pictures have 1, 3 or 4 channels, not {count}")
    return count

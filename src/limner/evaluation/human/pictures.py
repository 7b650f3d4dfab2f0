"""The pictures of a study: samples of runs on seeds used nowhere else, pictures of folders and arrays, real ones and noise."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from limner.core.images import batches_of, to_pillow
from limner.core.seeds import SCORED_SEEDS, fold
from limner.data.dataset import Dataset
from limner.data.npz import Pixels
from limner.data.remarks import remarks
from limner.evaluation.human.records import ComparedSource, RealPictures
from limner.evaluation.inputs import (
    SampledImages,
    common_reference,
    conditions_for,
    held_out_split,
    model_or_none,
    open_images,
    short_names,
)
from limner.metrics.features import pixels
from limner.runs.model import Loaded

FIRST_STUDY_SEED = 2 * SCORED_SEEDS
"""Studies sample on seeds from here on. Lower ones are used elsewhere: by what people have seen, and by scores."""
SEEDS_PER_STUDY = 10_000
"""Seeds reserved for each study, so that a study with another seed shows other samples."""
MASK_COUNT, TILES_PER_SIDE = 8, 6
"""Masks of a study, and the tiles of a mask along each side."""


@dataclass(frozen=True)
class PictureSource:
    """Something whose pictures are compared."""

    record: ComparedSource
    count: int | None
    """How many pictures it has; None: any number."""
    draw: Callable[[int], tuple[Pixels, list[int]]]
    """``draw(n)`` returns n random pictures [n, H, W, C] and their numbers, which are seeds or rows."""
    remarks: tuple[str, ...] = ()
    """What a person should know about the files: how many were set aside and why."""


def study_generator(*parts: int | str) -> np.random.Generator:
    """A random generator for the purpose that `parts` name; equal parts give equal numbers."""
    return np.random.Generator(np.random.Philox(fold("study", *parts)))


def open_sources(
    words: Sequence[str | Path], data: str | None, checkpoint: str, seed: int
) -> tuple[list[PictureSource], Dataset]:
    """The sources that `words` name (runs, folders of pictures, .npz files), and the data set of the real pictures.

    Errors: `InputError` where one of them does not exist, or cannot be compared with the others.
    """
    models = [model_or_none(word, checkpoint) for word in words]
    sources, names = [], short_names(words, models)
    dataset = common_reference(words, models, data)
    for word, model, name in zip(words, models, names, strict=True):
        if model is not None:
            sources.append(_open_run(model, name, dataset, seed))
        else:
            sources.append(_open_files(Path(word).expanduser(), name, dataset, seed))
    return sources, dataset


def _open_run(model: Loaded, name: str, dataset: Dataset, seed: int) -> PictureSource:
    first = FIRST_STUDY_SEED + seed * SEEDS_PER_STUDY
    record = ComparedSource(
        name=name, path=str(model.run.path), checkpoint=model.checkpoint.images, digest=model.checkpoint.digest()
    )

    def draw(count: int) -> tuple[Pixels, list[int]]:
        samples = SampledImages(model, first, count, conditions_for(model, dataset, held_out_split(dataset)))
        return samples.gather(np.arange(count)), list(range(first, first + count))

    return PictureSource(record, None, draw)


def _open_files(path: Path, name: str, dataset: Dataset, seed: int) -> PictureSource:
    """The pictures of a folder, resized to the shape of `dataset`, or of an .npz file."""
    pictures = open_images(path, dataset)
    images = pictures.images

    def draw(count: int) -> tuple[Pixels, list[int]]:
        rows = study_generator(seed, "rows", name).choice(images.shape[0], count, replace=False)
        return pixels.take(images, rows), [int(row) for row in rows]

    record = ComparedSource(name=name, path=str(path), digest=_pixel_digest(images))
    return PictureSource(record, images.shape[0], draw, pictures.remarks)


def _pixel_digest(images: pixels.Source) -> str:
    """The sha256 of the shape and of every pixel."""
    total = hashlib.sha256(repr([int(size) for size in images.shape]).encode())
    for rows in batches_of(int(images.shape[0]), 256):
        total.update(pixels.take(images, rows).data)
    return total.hexdigest()


def real_source(dataset: Dataset, seed: int) -> tuple[PictureSource, RealPictures]:
    """The real pictures, of the split that `evaluate` uses: test, or val or train where the data set lacks it."""
    split = held_out_split(dataset)
    rows = dataset.indices(split)

    def draw(count: int) -> tuple[Pixels, list[int]]:
        sample = rows[study_generator(seed, "reals").choice(len(rows), count, replace=False)]
        return dataset.images.gather(sample), [int(row) for row in sample]

    reals = RealPictures(data=dataset.name, fingerprint=dataset.fingerprint, split=split)
    about = tuple(remarks(dataset, f"the real pictures ({dataset.name})"))
    return PictureSource(ComparedSource(name="real", path=str(dataset.path)), len(rows), draw, about), reals


def noise_pictures(count: int, shape: tuple[int, int, int], seed: int) -> Pixels:
    """[count, H, W, C] of independent uniform values, for catch trials: nobody who looks takes them for real."""
    return study_generator(seed, "noise").integers(0, 256, (count, *shape), dtype=np.uint8)


def make_masks(images: Pixels, seed: int) -> Pixels:
    """[MASK_COUNT, H, W, C]: tiles from random places of random `images`, real and generated.

    A mask follows a timed picture and erases its afterimage, so that the picture is seen for the set time only.
    """
    _, height, width, channels = images.shape
    high, wide = max(1, height // TILES_PER_SIDE), max(1, width // TILES_PER_SIDE)
    draw = study_generator(seed, "masks")
    masks = np.empty((MASK_COUNT, height, width, channels), np.uint8)
    for mask in masks:
        for top in range(0, height, high):
            for left in range(0, width, wide):
                place = mask[top : top + high, left : left + wide]
                y, x = (
                    int(draw.integers(0, side - part + 1)) for side, part in zip((height, width), place.shape, strict=False)
                )
                origin = images[draw.integers(len(images))]
                place[:] = origin[y : y + place.shape[0], x : x + place.shape[1]]
    return masks


def encode_png(image: Pixels) -> bytes:
    """[H, W, C] as PNG without metadata; real and generated pictures use the same encoder, so that the file reveals nothing."""
    buffer = io.BytesIO()
    to_pillow(image).save(buffer, format="PNG")
    return buffer.getvalue()

"""What a study shows: samples of runs on seeds that nobody has seen, pictures of folders and arrays, and real ones."""

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
from limner.evaluation.human.records import Rated, Reals
from limner.evaluation.inputs import common_reference, held_out, model_or_none, open_images, short_names
from limner.metrics.features import pixels
from limner.runs.model import Loaded

RATED_SEEDS = 2 * SCORED_SEEDS
"""Samples for a study are drawn on seeds from here on; people are shown small ones elsewhere, and scores use those between."""
SEEDS_EACH = 10_000
"""Seeds that one study may take, so that a study with another seed shows other samples."""
MASKS, TILES = 8, 6

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Source:
    """One of the things that are compared; ``draw(n)`` gives n pictures [n, H, W, C] at random, with their numbers."""

    rated: Rated
    count: int | None
    """How many there are; None: as many as one likes."""
    draw: Callable[[int], tuple[Pixels, list[int]]]


def chance(*parts: int | str) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(fold("study", *parts)))


def open_sources(words: Sequence[str | Path], data: str | None, checkpoint: str, seed: int) -> tuple[list[Source], Dataset]:
    """What `words` name (runs, folders of pictures, .npz files), and the data whose held-out pictures are the real ones.

    Errors: `InputError` where one of them is not there, or cannot be compared with the others.
    """
    models = [model_or_none(word, checkpoint) for word in words]
    sources, names = [], short_names(words, models)
    dataset = common_reference(words, models, data)
    for word, model, name in zip(words, models, names, strict=True):
        if model is not None:
            sources.append(_run(model, name, seed))
        else:
            sources.append(_files(Path(word).expanduser(), name, dataset, seed))
    return sources, dataset


def _run(model: Loaded, name: str, seed: int) -> Source:
    first = RATED_SEEDS + seed * SEEDS_EACH
    rated = Rated(name=name, path=str(model.run.path), checkpoint=model.checkpoint.images, digest=model.checkpoint.digest())

    def draw(count: int) -> tuple[Pixels, list[int]]:
        seeds = range(first, first + count)
        return model.sample(seeds), list(seeds)

    return Source(rated, None, draw)


def _files(path: Path, name: str, dataset: Dataset, seed: int) -> Source:
    """Pictures at random out of a folder (brought to the shape of `dataset`) or an .npz."""
    images = open_images(path, dataset).images

    def draw(count: int) -> tuple[Pixels, list[int]]:
        rows = chance(seed, "rows", name).choice(images.shape[0], count, replace=False)
        return pixels.take(images, rows), [int(row) for row in rows]

    return Source(Rated(name=name, path=str(path), digest=_content(images)), images.shape[0], draw)


def _content(images: pixels.Source) -> str:
    """sha256 over the shape and every pixel."""
    total = hashlib.sha256(repr([int(size) for size in images.shape]).encode())
    for rows in batches_of(int(images.shape[0]), 256):
        total.update(pixels.take(images, rows).data)
    return total.hexdigest()


def real_source(dataset: Dataset, seed: int) -> tuple[Source, Reals]:
    """Real pictures at random, of the split that `evaluate` takes: test where there is one, otherwise val, otherwise train."""
    split = held_out(dataset)
    rows = dataset.indices(split)

    def draw(count: int) -> tuple[Pixels, list[int]]:
        chosen = rows[chance(seed, "reals").choice(len(rows), count, replace=False)]
        return dataset.images.gather(chosen), [int(row) for row in chosen]

    reals = Reals(data=dataset.name, fingerprint=dataset.fingerprint, split=split)
    return Source(Rated(name="real", path=str(dataset.path)), len(rows), draw), reals


def noise(count: int, shape: tuple[int, int, int], seed: int) -> Pixels:
    """[count, H, W, C] that nobody who looks takes for real: every value of every pixel by itself."""
    return chance(seed, "noise").integers(0, 256, (count, *shape), dtype=np.uint8)


def masks(shown: Pixels, seed: int) -> Pixels:
    """[MASKS, H, W, C]: tiles from random places of random pictures, real and generated, to end what the eye keeps of one."""
    _, height, width, channels = shown.shape
    high, wide = max(1, height // TILES), max(1, width // TILES)
    draw = chance(seed, "masks")
    found = np.empty((MASKS, height, width, channels), np.uint8)
    for mask in found:
        for top in range(0, height, high):
            for left in range(0, width, wide):
                place = mask[top : top + high, left : left + wide]
                y, x = (
                    int(draw.integers(0, side - part + 1)) for side, part in zip((height, width), place.shape, strict=False)
                )
                taken = shown[draw.integers(len(shown))]
                place[:] = taken[y : y + place.shape[0], x : x + place.shape[1]]
    return found


def png(image: Pixels) -> bytes:
    """[H, W, C] as PNG with nothing but its pixels: the one encoder for real and generated pictures alike."""
    buffer = io.BytesIO()
    to_pillow(image).save(buffer, format="PNG")
    return buffer.getvalue()

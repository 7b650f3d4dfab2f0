"""A person's own pictures, shaped as the run's data was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limner.core.errors import InputError
from limner.data import pictures
from limner.data.dataset import Dataset
from limner.data.listing import Files, Payload, printable
from limner.data.options import DataOptions
from limner.data.pictures import PictureInfo, Shaping, Unreadable, binarised
from limner.data.reading import bytes_of
from limner.data.sources import describe_source, find_source, is_data_set
from limner.runs.model import Loaded

MODES = {1: ("1", "L"), 3: ("RGB",), 4: ("RGBA",)}
"""Pillow's modes that need no conversion, by the channels of the run's data."""
WORDS = {1: "grey", 3: "colour", 4: "colour with transparency"}


@dataclass(frozen=True)
class Given:
    """N pictures as the model takes them."""

    names: list[str]
    images: NDArray[np.uint8]
    """[N, H, W, C]"""
    prepared: dict[str, str]
    """name -> what had to be done to a picture of another size or mode, in words; the others are not in it."""


def read_pictures(model: Loaded, paths: Sequence[object]) -> Given:
    """Picture files with the size, fit, channels and background of the run's data, and what that took.

    `paths` are picture files, or sources of any kind that `limner.prepare` takes; of these, every picture. Errors: `InputError`
    where a path is not there, where none holds a picture, and for a picture that cannot be read, with its name and the reason.
    """
    data = model.recipe.data
    height, width, channels = model.shape
    shaping = Shaping((height, width), data.fit, channels, pictures.parse_background(data.background))
    names: list[str] = []
    images: list[NDArray[np.uint8]] = []
    prepared: dict[str, str] = {}
    for name, payload in (picture for path in paths for picture in _pictures(path)):
        try:
            image, info = _shaped(payload, shaping)
        except Unreadable as error:
            raise InputError(f"{name} cannot be used: {error}; repair it or leave it out") from error
        done = _done(info, shaping)
        if data.binary and not np.isin(image, (0, 255)).all():
            image = binarised(image[None], 0)[0]
            done = "; ".join(part for part in (done, "each pixel drawn black or white") if part)
        names.append(name)
        images.append(image)
        if done:
            prepared[name] = done
    if not images:
        if not paths:
            raise InputError("no pictures given; name files such as .png or .jpg, or a folder of them")
        raise InputError(f"no picture in {', '.join(map(str, paths))}; give files such as .png or .jpg, or a folder of them")
    return Given(names, np.stack(images), prepared)


def read_given(model: Loaded, path: Path) -> NDArray[np.uint8]:
    """[H, W, C'] uint8: the picture file that new pictures are to go with, shaped as those of the run's data were.

    Errors: `InputError` where the model takes none, or the file cannot be read.
    """
    shape, data = model.recipe.data.condition_shape, model.recipe.data
    if shape is None:
        raise InputError(f"{model.run.path} was trained without given pictures; leave --given out")
    channels, height, width = shape
    shaping = Shaping((height, width), data.fit, channels, pictures.parse_background(data.background))
    try:
        return pictures.read(bytes_of(path.expanduser()), shaping)[0]
    except Unreadable as error:
        raise InputError(f"{path} cannot be used: {error}; give a picture file such as .png or .jpg") from error


def _done(info: PictureInfo, shaping: Shaping) -> str:
    """Such as "30x20 RGB -> 8x8 grey (crop)" (height x width); empty where the picture was taken as it is."""
    height, width = shaping.size
    resized = (info.height, info.width) != shaping.size
    if not resized and info.mode in MODES[shaping.channels]:
        return ""
    fit = f" ({shaping.fit})" if resized and info.height * width != info.width * height else ""
    return f"{info.height}x{info.width} {info.mode} -> {height}x{width} {WORDS[shaping.channels]}{fit}"


def describe_preparation(model: Loaded, source: str, dataset: Dataset) -> dict[str, str]:
    """The same for a whole set: `source` -> "all pictures -> 8x8 grey (crop)"; nothing where it is the run's own data."""
    data = model.recipe.data
    if dataset.fingerprint == data.fingerprint:
        return {}
    height, width, channels = model.shape
    return {source: f"all pictures -> {height}x{width} {WORDS[channels]} ({data.fit})"}


def _shaped(picture: Payload | NDArray[np.uint8], shaping: Shaping) -> tuple[NDArray[np.uint8], PictureInfo]:
    """[H, W, C] of a file or of pixels [H', W', C'], and what the picture was before. Errors: `Unreadable`."""
    if isinstance(picture, np.ndarray):
        height, width, channels = picture.shape
        return pictures.from_pixels(picture, shaping), PictureInfo(height, width, MODES[channels][-1])
    return pictures.read(bytes_of(picture), shaping)


def _pictures(source: object) -> Iterator[tuple[str, Payload | NDArray[np.uint8]]]:
    """A single picture file as it is; of a data set each picture: a file by its name, or pixels by their number."""
    shown = describe_source(source)
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        if not path.exists():
            raise InputError(f"there is no file or folder at {path}")
        shown, source = str(path), path.absolute()  # so that a folder called like a built-in set is the folder
        if not is_data_set(source):
            yield shown, path
            return
    listing = find_source(source).listing(DataOptions(split="none", labels="none"))
    content = listing.content
    if isinstance(content, Files):
        for name, payload in sorted(content.tree.read(content.names), key=lambda file: file[0]):
            yield f"{shown}/{printable(name)}", payload
        return
    for row in range(len(listing)):
        yield f"{shown}[{row}]", content.rows(np.array([row]))[0]

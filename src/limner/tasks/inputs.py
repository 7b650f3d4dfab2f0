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
from limner.data.listing import Payload, printable
from limner.data.pictures import PictureInfo, Shaping, Unreadable, binarised
from limner.data.reading import bytes_of
from limner.data.trees import escapes, is_archive, open_tree
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


def read_pictures(model: Loaded, paths: Sequence[Path | str]) -> Given:
    """Picture files with the size, fit, channels and background of the run's data, and what that took.

    `paths` are picture files, folders and archives; of the latter two, every picture in them. Errors: `InputError` where a path
    is not there, where none holds a picture, and for a picture that cannot be read, with its name and the reason.
    """
    data = model.recipe.data
    height, width, channels = model.shape
    shaping = Shaping((height, width), data.fit, channels, pictures.parse_background(data.background))
    names: list[str] = []
    images: list[NDArray[np.uint8]] = []
    prepared: dict[str, str] = {}
    for name, payload in (found for path in paths for found in _files(Path(path).expanduser())):
        try:
            image, info = pictures.read(bytes_of(payload), shaping)
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


def _files(path: Path) -> Iterator[tuple[str, Payload]]:
    """A file as it is; the pictures of a folder or an archive by name."""
    if not path.exists():
        raise InputError(f"there is no file or folder at {path}")
    if not path.is_dir() and not is_archive(path):
        yield str(path), path
        return
    tree, ends = open_tree(path), pictures.openable()[1]
    inside = [one.name for one in tree.entries() if Path(one.name).suffix.lower() in ends and not escapes(one.name)]
    for name, payload in sorted(tree.read(inside), key=lambda found: found[0]):
        yield f"{path}/{printable(name)}", payload

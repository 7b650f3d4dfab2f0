"""Reads a person's picture files in the size and mode of a run's data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limner.core.cond import Cond
from limner.core.errors import InputError
from limner.core.invocation import option
from limner.core.picture_texts import SHEET_REASON
from limner.data import pictures
from limner.data.dataset import Dataset
from limner.data.listing import Files, Payload, printable
from limner.data.options import DataOptions
from limner.data.pictures import PictureInfo, Shaping, Unreadable, binarised
from limner.data.reading import bytes_of
from limner.data.sizing import shaping_of
from limner.data.sources import describe_source, find_source, is_data_set
from limner.runs.model import Loaded
from limner.tasks.model_request import ConditionalRequest

MODES = {1: ("1", "L"), 3: ("RGB",), 4: ("RGBA",)}
"""Pillow's modes that need no conversion, by the channels of the run's data."""
CHANNEL_WORDS = {1: "grey", 3: "colour", 4: "colour with transparency"}
"""What messages call pictures with so many channels."""


@dataclass(frozen=True)
class InputImages:
    """N pictures in the size and mode that a model takes."""

    names: list[str]
    """[N]: their files, or the source and the number of the picture in it."""
    images: NDArray[np.uint8]
    """[N, H, W, C]"""
    prepared: dict[str, str]
    """Name -> how a picture of another size or mode was changed, in words; pictures that fitted have no entry."""


def read_pictures(model: Loaded, paths: Sequence[object]) -> InputImages:
    """Picture files, prepared with the size, fit, channels and background of the run's data.

    `paths` are picture files, or sources of any kind that `limner.prepare` takes, of which every picture is read. Errors:
    `InputError` where a path does not exist, where none holds a picture, and for a picture that cannot be read.
    """
    data = model.recipe.data
    height, width, channels = model.shape
    shaping = shaping_of(data, (height, width), channels)
    names: list[str] = []
    images: list[NDArray[np.uint8]] = []
    prepared: dict[str, str] = {}
    for name, payload in (picture for path in paths for picture in _pictures(path)):
        try:
            image, info = _shaped(payload, shaping)
        except Unreadable as error:
            if str(error) == SHEET_REASON and name not in map(str, paths):
                continue  # a sheet of samples that lies among the pictures of a folder
            raise InputError(f"{name} cannot be used: {error}; repair it or leave it out") from error
        change = _describe_change(info, shaping)
        if data.binary and not np.isin(image, (0, 255)).all():
            image = binarised(image[None], 0)[0]
            change = "; ".join(part for part in (change, "each pixel drawn black or white") if part)
        names.append(name)
        images.append(image)
        if change:
            prepared[name] = change
    if not images:
        if not paths:
            raise InputError("no pictures given; name files such as .png or .jpg, or a folder of them")
        raise InputError(f"no picture in {', '.join(map(str, paths))}; give files such as .png or .jpg, or a folder of them")
    return InputImages(names, np.stack(images), prepared)


def read_given(model: Loaded, path: Path) -> NDArray[np.uint8]:
    """[H, W, C'] uint8: the given picture in the file at `path`, prepared as the given pictures of the run's data were.

    Errors: `InputError` where the model takes no given picture, or the file cannot be read.
    """
    shape, data = model.recipe.data.condition_shape, model.recipe.data
    if shape is None:
        raise InputError(f"{model.run.path} was trained without given pictures; leave {option('given')} out")
    channels, height, width = shape
    shaping = shaping_of(data, (height, width), channels)
    try:
        return pictures.read(bytes_of(path.expanduser()), shaping)[0]
    except Unreadable as error:
        raise InputError(f"{path} cannot be used: {error}; give a picture file such as .png or .jpg") from error


def requested_condition(model: Loaded, request: ConditionalRequest) -> Cond:
    """The conditions that a request names, as tensors of one picture. Errors: `InputError` as `Loaded.request` has them."""
    return model.request(request.label, request.text, None if request.given is None else read_given(model, request.given))


def requested_texts(request: ConditionalRequest) -> dict[str, str | None]:
    """The conditions that a request names, as the texts of a PNG hold them; None where one is not named."""
    return {"label": request.label, "text": request.text, "given": None if request.given is None else request.given.name}


def _describe_change(info: PictureInfo, shaping: Shaping) -> str:
    """Such as "30x20 RGB -> 8x8 grey (crop)", sizes being height x width; "" where the picture needed no change."""
    height, width = shaping.size
    resized = (info.height, info.width) != shaping.size
    if not resized and info.mode in MODES[shaping.channels]:
        return ""
    fit = f" ({shaping.fit})" if resized and info.height * width != info.width * height else ""
    return f"{info.height}x{info.width} {info.mode} -> {height}x{width} {CHANNEL_WORDS[shaping.channels]}{fit}"


def describe_preparation(model: Loaded, source: str, dataset: Dataset) -> dict[str, str]:
    """How a whole data set was changed, as `InputImages.prepared` says it: `source` -> "all pictures -> 8x8 grey (crop)".

    Empty where `dataset` is the data that the run was trained on.
    """
    data = model.recipe.data
    if dataset.fingerprint == data.fingerprint:
        return {}
    height, width, channels = model.shape
    return {source: f"all pictures -> {height}x{width} {CHANNEL_WORDS[channels]} ({data.fit})"}


def _shaped(picture: Payload | NDArray[np.uint8], shaping: Shaping) -> tuple[NDArray[np.uint8], PictureInfo]:
    """[H, W, C] uint8 from a file or from pixels [H', W', C'], and the size and mode before. Errors: `Unreadable`."""
    if isinstance(picture, np.ndarray):
        height, width, channels = picture.shape
        return pictures.from_pixels(picture, shaping), PictureInfo(height, width, MODES[channels][-1])
    return pictures.read(bytes_of(picture), shaping)


def _pictures(source: object) -> Iterator[tuple[str, Payload | NDArray[np.uint8]]]:
    """(name, content) of the picture in a single file, or of each picture of a data set.

    A picture of a data set is called by its file where it has one, otherwise by its number.
    """
    label = describe_source(source)
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        if not path.exists():
            raise InputError(f"there is no file or folder at {path}")
        label, source = printable(str(path)), path.absolute()  # so that a folder called like a built-in set is the folder
        if not is_data_set(source):
            yield label, path
            return
    listing = find_source(source).listing(DataOptions(split="none", labels="none"))
    content = listing.content
    if isinstance(content, Files):
        for name, payload in sorted(content.tree.read(content.names), key=lambda file: file[0]):
            yield f"{label}/{printable(name)}", payload
        return
    for row in range(len(listing)):
        yield f"{label}[{row}]", content.rows(np.array([row]))[0]

"""A kind of source: a contact sheet, one picture cut into equal tiles. ``pets.8x8.sheet.png`` holds tiles of 8×8 pixels."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from limner.core.errors import InputError
from limner.data.memory import open_array
from limner.data.source import DataSource
from limner.data.sources import SourceKind

_NAME = re.compile(r"(?P<name>.+)\.(?P<height>\d+)x(?P<width>\d+)\.sheet\.png", re.IGNORECASE)


def open_sheet(path: Path) -> DataSource:
    """The tiles of a sheet, row by row; what is left at the right and at the bottom is no tile.

    Errors: `InputError` where the name does not say how large the tiles are, or the sheet is smaller than one.
    """
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise InputError(f"{path} does not say how large its tiles are; name it such as pets.8x8.sheet.png (height x width)")
    height, width = int(match["height"]), int(match["width"])
    sheet = np.asarray(Image.open(path).convert("RGB"))
    rows, columns = sheet.shape[0] // height, sheet.shape[1] // width
    if not rows or not columns:
        raise InputError(f"{path} is smaller than one tile of {height}x{width}; give a larger sheet")
    tiles = sheet[: rows * height, : columns * width].reshape(rows, height, columns, width, 3).swapaxes(1, 2)
    source = open_array(np.ascontiguousarray(tiles.reshape(-1, height, width, 3)))
    source.name = match["name"]
    return source


KIND = SourceKind("a contact sheet, such as pets.8x8.sheet.png", open_sheet, endings=(".sheet.png",))

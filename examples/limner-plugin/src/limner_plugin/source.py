"""A kind of source: a contact sheet, one picture cut into equal tiles. ``pets.8x6.sheet.png`` holds tiles 8 high and 6 wide."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from limner.core.errors import InputError
from limner.data.memory import open_array
from limner.data.source import DataSource
from limner.data.sources import SourceKind

FILE_NAME = re.compile(r"(?P<name>.+)\.(?P<height>[1-9]\d{0,3})x(?P<width>[1-9]\d{0,3})\.sheet\.png", re.IGNORECASE)


def open_sheet(path: Path) -> DataSource:
    """The tiles of a sheet, row by row. What is left at its right and bottom edge, narrower than a tile, is no tile.

    Errors: `InputError` where the name does not say how large a tile is, or the file is no picture, or smaller than a tile.
    """
    match = FILE_NAME.fullmatch(path.name)
    if match is None:
        raise InputError(f"{path} does not say how large a tile is; name it such as pets.8x6.sheet.png (height x width)")
    height, width = int(match["height"]), int(match["width"])  # of a tile, from the name of the file
    try:
        sheet = np.asarray(Image.open(path).convert("RGB"))
    except (OSError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as a picture: {error}") from error
    rows, columns = sheet.shape[0] // height, sheet.shape[1] // width
    if rows == 0 or columns == 0:
        raise InputError(f"{path} is smaller than one tile of {height}x{width}; give a larger sheet, or another name")
    sheet = sheet[: rows * height, : columns * width]
    tiles = sheet.reshape(rows, height, columns, width, 3).swapaxes(1, 2).reshape(-1, height, width, 3)
    source = open_array(tiles)
    source.name = match["name"]
    return source


KIND = SourceKind("a contact sheet such as pets.8x6.sheet.png", open_sheet, endings=(".sheet.png",))

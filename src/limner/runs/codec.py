"""The codec of another run, as the first stage of a new one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from limner.core.errors import InputError
from limner.runs.run import Run


def open_codec(path: Path | str) -> Run:
    """The run that ``codec=`` names. Errors: `InputError` where it is not there (any more)."""
    try:
        return Run.open(path)
    except InputError as error:
        raise InputError(f"codec={path}: {error}; where it was moved, give its new place") from error


def taken_over(codec: Path | str, image_shape: tuple[int, int, int]) -> dict[str, Any]:
    """What a recipe for pictures of `image_shape` (H, W, C) says about the run whose codec it takes over: `codec`, `stages`."""
    run = open_codec(codec)
    stages, _ = run.codec()
    known, (height, width, channels) = run.recipe().data, image_shape
    if (known.size, known.channels) != (f"{height}x{width}", channels):
        raise InputError(
            f"{run.path} encodes pictures of {known.size} with {known.channels} channel(s), these are {height}x{width} with "
            f"{channels}; set data.size={known.size} data.channels={known.channels}"
        )
    return {"codec": str(run.path.resolve()), "stages": stages}

"""Pictures out of Python, and samples that are drawn piece by piece, as one array that can be read again and again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.core.errors import InputError
from limner.core.files import cache_folder, make_folder, os_errors_as_input_errors
from limner.data.npz import Pixels, require_images
from limner.metrics.features.pixels import format_shape


@contextmanager
def images_from_arrays(pictures: Iterable[NDArray[Any]]) -> Iterator[Pixels]:
    """Pictures out of Python as one array [N, H, W, C] uint8: an array as it is; single pictures [H, W, C], or batches of them
    [n, H, W, C], from a temporary file that is removed at the end of the block.

    Errors: `InputError` for another type, for values that are not uint8, for pictures that differ in shape, and for none.
    """
    if isinstance(pictures, np.ndarray):
        yield require_images(pictures, "the pictures")
        return
    if not isinstance(pictures, Iterable):
        raise InputError(
            f"pictures are a run, a folder, an .npz, an array, or an iterable of arrays, not {type(pictures).__name__}"
        )
    elements = iter(pictures)
    first = next(elements, None)
    if first is None:
        raise InputError("there is no picture to be judged")
    shape = np.shape(first)[-3:]

    def batches() -> Iterator[Pixels]:
        for number, element in enumerate(chain([first], elements)):
            yield _as_batch(element, number, shape)

    with on_disk(batches(), None, shape) as images:
        yield images


def _as_batch(element: Any, number: int, shape: tuple[int, ...]) -> Pixels:
    """[n, H, W, C] uint8 of one picture or of several. Errors: `InputError` for another type, or another (H, W, C) than
    `shape`."""
    array = np.asarray(element)
    images = require_images(array[None] if array.ndim == 3 else array, f"element {number} of the pictures")
    if images.shape[1:] != shape:
        raise InputError(
            f"element {number} of the pictures is {format_shape(images.shape[1:])}, and the first is {format_shape(shape)}"
        )
    return images


@contextmanager
def on_disk(pieces: Iterable[Pixels], count: int | None, shape: tuple[int, ...]) -> Iterator[Pixels]:
    """All `pieces` [n, H, W, C] uint8, one after the other, as one memory map. Its file is removed at the end of the block.

    `count` is the number of all pictures, where it is known, and `shape` is (H, W, C). Errors: `InputError` where the file
    cannot be written.
    """
    base, total = cache_folder() / "spool", 0
    with ExitStack() as stack:
        with os_errors_as_input_errors(base):
            make_folder(base)
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=base))) / "images"
            path.touch()
        for piece in pieces:  # an OSError of `pieces` itself is not about `base`, so it passes through as it is
            with os_errors_as_input_errors(base), path.open("ab") as file:
                file.write(np.ascontiguousarray(piece).tobytes())
            total += len(piece)
        assert count is None or total == count
        yield np.memmap(path, np.uint8, "r", shape=(total, *shape)) if total else np.empty((0, *shape), np.uint8)

"""Pictures as a detector takes them: gathered from any source, and resized to a bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core.errors import InputError


@runtime_checkable
class Gatherable(Protocol):
    """Anything that gives images [n, H, W, C] at given indices, such as a data set; `shape` is (N, H, W, C)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""

    def gather(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The images at `indices`, in that order."""


Images = NDArray[np.uint8] | Tensor
Source = Images | Gatherable


def take(source: Source, rows: NDArray[np.int64] | slice) -> NDArray[np.uint8]:
    """[n, H, W, C] uint8 of the images at `rows`. Errors: `InputError` for another type or shape."""
    if isinstance(source, Tensor):
        images = source[rows if isinstance(rows, slice) else torch.from_numpy(rows)].cpu().numpy()
    elif isinstance(source, np.ndarray):
        images = source[rows]
    else:
        numbers = np.arange(source.shape[0], dtype=np.int64)[rows] if isinstance(rows, slice) else rows
        images = np.asarray(source.gather(numbers))
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3, 4):
        raise InputError(f"a judge takes uint8 images [N, H, W, 1, 3 or 4], not {images.dtype} {list(images.shape)}")
    # Read-only memory (of a memory map) is copied: torch warns of it, and would let it be written to.
    return np.ascontiguousarray(images) if images.flags.writeable else images.copy()


class ImageSubset:
    """Some images of a source, as a source of its own."""

    def __init__(self, images: Source, rows: NDArray[np.int64]) -> None:
        self.images, self.rows, self.shape = images, rows, (len(rows), *images.shape[1:])

    def gather(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """[n, H, W, C] uint8 at `indices` into the rows of this subset."""
        return take(self.images, self.rows[indices])


def format_shape(shape: Iterable[int]) -> str:
    """A shape for people.

    >>> format_shape((28, 28, 1))
    '28×28×1'
    """
    return "×".join(str(size) for size in shape)


def work_size(height: int, width: int, bound: int, min_side: int = 8) -> tuple[int, int]:
    """The size at which a detector works: the picture's own, or shrunk until its longer side is `bound` pixels; neither side is
    made smaller than `min_side`.

    >>> work_size(28, 28, bound=32), work_size(96, 64, bound=32)
    ((28, 28), (32, 21))
    """
    scale = min(1.0, bound / max(height, width))
    return max(min(height, min_side), round(height * scale)), max(min(width, min_side), round(width * scale))


@lru_cache(maxsize=32)
def resize_matrix(source: int, target: int) -> Tensor:
    """[target, source] float32: antialiased linear resampling of one axis, by a triangle filter that widens as the axis
    shrinks."""
    scale = source / target
    reach = max(scale, 1.0)
    centre = (torch.arange(target, dtype=torch.float64) + 0.5) * scale
    place = torch.arange(source, dtype=torch.float64) + 0.5
    weights = (1 - (place[None] - centre[:, None]).abs() / reach).clamp_min(0)
    return (weights / weights.sum(1, keepdim=True)).to(torch.float32)


def resize(images: Tensor, size: Sequence[int]) -> Tensor:
    """[N, C, H, W] float32 -> [N, C, *size] by two matrix products; equals torch's antialiased bilinear up to rounding."""
    height, width = images.shape[2:]
    if size[0] != height:
        images = resize_matrix(height, size[0]).to(images.device) @ images
    if size[1] != width:
        images = images @ resize_matrix(width, size[1]).T.to(images.device)
    return images


def preprocess(images: NDArray[np.uint8], size: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """[n, H, W, C] uint8 -> [n, C, *size] float32 in [−1, 1], channels last in memory.

    Alpha is treated as one more channel: premultiplied colours would hide what lies under transparent places.
    """
    pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1
    return resize(pixels, size).contiguous(memory_format=torch.channels_last)

"""Pictures as a detector takes them: gathered, and brought to a bounded working size."""

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
    """A data set, as far as a judge needs one: `shape` is (N, H, W, C)."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def gather(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]: ...


Images = NDArray[np.uint8] | Tensor
Source = Images | Gatherable


def take(source: Source, rows: NDArray[np.int64] | slice) -> NDArray[np.uint8]:
    """[n, H, W, C] uint8 of the images at `rows`. Errors: `InputError` where they are no such thing."""
    if isinstance(source, Tensor):
        found = source[rows if isinstance(rows, slice) else torch.from_numpy(rows)].cpu().numpy()
    elif isinstance(source, np.ndarray):
        found = source[rows]
    else:
        numbers = np.arange(source.shape[0], dtype=np.int64)[rows] if isinstance(rows, slice) else rows
        found = np.asarray(source.gather(numbers))
    if found.dtype != np.uint8 or found.ndim != 4 or found.shape[3] not in (1, 3, 4):
        raise InputError(f"a judge takes uint8 images [N, H, W, 1, 3 or 4], not {found.dtype} {list(found.shape)}")
    # torch warns of read-only memory (a memory map's), and would let it be written to.
    return np.ascontiguousarray(found) if found.flags.writeable else found.copy()


class Rows:
    """Some rows of a source, as a source."""

    def __init__(self, images: Source, rows: NDArray[np.int64]) -> None:
        self.images, self.rows, self.shape = images, rows, (len(rows), *images.shape[1:])

    def gather(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return take(self.images, self.rows[indices])


def spell(shape: Iterable[int]) -> str:
    """A shape for people: 28×28×1."""
    return "×".join(str(size) for size in shape)


def work_size(height: int, width: int, bound: int, least: int = 8) -> tuple[int, int]:
    """The size a picture is judged at: its own, or shrunk until the longer side is `bound` (the shorter stays ≥ `least`)."""
    scale = min(1.0, bound / max(height, width))
    return max(min(height, least), round(height * scale)), max(min(width, least), round(width * scale))


@lru_cache(maxsize=32)
def resize_matrix(source: int, target: int) -> Tensor:
    """[target, source] float32: antialiased linear resampling of one axis; the triangle is as wide as the shrinkage."""
    scale = source / target
    reach = max(scale, 1.0)
    centre = (torch.arange(target, dtype=torch.float64) + 0.5) * scale
    place = torch.arange(source, dtype=torch.float64) + 0.5
    weights = (1 - (place[None] - centre[:, None]).abs() / reach).clamp_min(0)
    return (weights / weights.sum(1, keepdim=True)).to(torch.float32)


def resize(images: Tensor, size: Sequence[int]) -> Tensor:
    """[N, C, H, W] float32 -> [N, C, *size]; two dense products, equal to torch's antialiased bilinear to rounding."""
    height, width = images.shape[2:]
    if size[0] != height:
        images = resize_matrix(height, size[0]).to(images.device) @ images
    if size[1] != width:
        images = images @ resize_matrix(width, size[1]).T.to(images.device)
    return images


def standard(images: NDArray[np.uint8], size: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """[n, H, W, C] uint8 -> [n, C, *size] float32 in [−1, 1], channels last in memory.

    Alpha, a fourth channel, is one more channel: premultiplied colours would hide what lies under a transparent place.
    """
    pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1
    return resize(pixels, size).contiguous(memory_format=torch.channels_last)

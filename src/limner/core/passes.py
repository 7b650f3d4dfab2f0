"""Passes of one fixed size through a network.

A convolution may round differently in a batch of another size. With one size for all, the bits of a row are its own, whatever
stands beside it and however many rows there are.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def fixed_passes(count: int, size: int, device: torch.device | None = None) -> Iterator[tuple[Tensor, int]]:
    """Covers rows 0 … count-1, `size` at a time: yields the numbers of the rows [size] int64, and how many of them are meant.

    The last pass is filled up with the last row; its result is cut to the rows that are meant. Nothing is yielded where `count`
    is 0.
    """
    for start in range(0, count, size):
        yield torch.arange(start, start + size, device=device).clamp(max=count - 1), min(size, count - start)

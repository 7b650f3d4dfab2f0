"""Passes of one fixed size through a network.

A convolution may round differently in a batch of another size. When all batches have one size, the bits of a row do not depend
on the other rows, nor on how many there are.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def fixed_passes(count: int, size: int, device: torch.device | None = None) -> Iterator[tuple[Tensor, int]]:
    """Covers the rows 0 … count-1 in passes of exactly `size`: yields (row numbers [size] int64, how many of them are valid).

    The last pass is padded with the last row; only the first rows of its result, as many as are valid, count. Yields nothing
    where `count` is 0.

    >>> [(rows.tolist(), valid) for rows, valid in fixed_passes(5, 3)]
    [([0, 1, 2], 3), ([3, 4, 4], 2)]
    """
    for start in range(0, count, size):
        yield torch.arange(start, start + size, device=device).clamp(max=count - 1), min(size, count - start)

"""Classes where none is asked for: as often as they were in training, each by its seed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from limner.core.cond import Batch
from limner.core.seeds import noise

MOST_COUNTED = 10_000
"""Training images whose labels say how often each class is drawn where none is asked for."""


@torch.no_grad()
def count_labels(batches: Iterable[Batch], shares: Tensor) -> None:
    """Writes into `shares` [classes] how often each class is there; leaves it where nothing is labelled."""
    labels = [batch.cond.label for batch in itertools.islice(batches, MOST_COUNTED // 64) if batch.cond.label is not None]
    if not labels:
        return
    known = torch.cat(labels)
    counts = torch.bincount(known[known >= 0], minlength=len(shares)).float()
    if int(counts.sum()):
        shares.copy_(counts / counts.sum())


def draw_labels(shares: Tensor, seeds: Sequence[int], asked: Tensor | None) -> Tensor:
    """[len(seeds)]: what was `asked` for; where that is nothing (-1, or None), a class drawn by the seed."""
    place = torch.special.ndtr(noise(seeds, stream="label")).to(shares.device)
    drawn = torch.searchsorted(shares.cumsum(0), place).clamp(max=len(shares) - 1)
    return drawn if asked is None else torch.where(asked.to(drawn.device) >= 0, asked.to(drawn.device), drawn)

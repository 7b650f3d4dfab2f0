"""The class of a picture for which none is requested: drawn by the seed, as often as the class was in training."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from limner.core.cond import Batch
from limner.core.config import DataSpec
from limner.core.errors import InputError
from limner.core.seeds import noise

COUNTED_IMAGES = 10_000
"""Training images whose labels are counted."""


def require_classes(spec: DataSpec) -> None:
    """Errors: `InputError` where the pictures have no classes, for a method that is to learn them."""
    if not spec.classes:
        raise InputError(
            "these pictures have no classes (sub-folders, or a label column) to learn; set method.labels=false, or choose "
            "a preset that learns none by itself"
        )


def even_shares(classes: int) -> Tensor:
    """[classes]: as many of each class, before they are counted; [1] for none."""
    return torch.full((max(classes, 1),), 1 / max(classes, 1))


@torch.no_grad()
def count_labels(batches: Iterable[Batch], shares: Tensor) -> None:
    """Writes into `shares` [classes] which share of the labelled images each class has; leaves it where none is labelled."""
    labels = [batch.cond.label for batch in itertools.islice(batches, COUNTED_IMAGES // 64) if batch.cond.label is not None]
    if not labels:
        return
    joined = torch.cat(labels)
    counts = torch.bincount(joined[joined >= 0], minlength=len(shares)).float()
    if int(counts.sum()):
        shares.copy_(counts / counts.sum())


def draw_labels(shares: Tensor, seeds: Sequence[int], requested: Tensor | None) -> Tensor:
    """[len(seeds)] int64: the classes `requested`; where that is -1, or None, a class drawn by the seed.

    `shares` [classes] are the classes' probabilities.
    """
    uniform = torch.special.ndtr(noise(seeds, stream="label")).to(shares.device)
    by_seed = torch.searchsorted(shares.cumsum(0), uniform).clamp(max=len(shares) - 1)
    if requested is None:
        return by_seed
    requested = requested.to(by_seed.device)
    return torch.where(requested >= 0, requested, by_seed)

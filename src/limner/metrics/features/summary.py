"""What a detector gives for many pictures, in one pass and in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core import parallel
from limner.core.errors import InputError
from limner.core.images import batches_of
from limner.metrics.features.detectors import Detector, DetectorOutput
from limner.metrics.features.pixels import Source, take
from limner.metrics.stats.moments import Moments

MAX_FEATURES = 10_000
"""Pictures whose features stay in memory, for metrics of pairs, whose cost grows with the square. Moments are of all."""
JACKKNIFE_BLOCKS = 10
"""Blocks whose moments are kept apart, so that leaving one out at a time gives a standard error."""
_CHUNK = 256  # pictures that one process takes at a time


@dataclass(frozen=True)
class FeatureSummary:
    """The features of N pictures: the moments of all, and the first `MAX_FEATURES` themselves.

    `features` [min(N, MAX_FEATURES), d] and, where the detector knows classes, `logits` [min(N, MAX_FEATURES), K]; float32, on
    the CPU.
    """

    blocks: tuple[Moments, ...]
    """Of at most `JACKKNIFE_BLOCKS` blocks of consecutive pictures."""
    features: Tensor
    logits: Tensor | None

    @property
    def count(self) -> int:
        """N."""
        return sum(block.n for block in self.blocks)

    @cached_property
    def moments(self) -> Moments:
        """Of all N pictures."""
        total = Moments(self.blocks[0].dim)
        for block in self.blocks:
            total = total.merge(block)
        return total

    @classmethod
    def of(cls, features: Tensor, logits: Tensor | None = None) -> FeatureSummary:
        """From features [N, d] and logits [N, K] that are in memory already."""
        blocks = jackknife_blocks(len(features))
        return cls(
            tuple(Moments.of(features[block]) for block in blocks) or (Moments(int(features.shape[1])),),
            features[:MAX_FEATURES].float().cpu(),
            None if logits is None else logits[:MAX_FEATURES].float().cpu(),
        )


def jackknife_blocks(count: int) -> Sequence[slice]:
    """At most `JACKKNIFE_BLOCKS` slices of consecutive pictures, of equal length except that the last may be shorter.

    >>> jackknife_blocks(5)
    [slice(0, 3, None), slice(3, 5, None)]
    """
    return batches_of(count, max(1, -(-count // max(1, min(JACKKNIFE_BLOCKS, count // 2)))))


def _with_logits_everywhere(output: DetectorOutput) -> DetectorOutput:
    """Gives processes without pictures an empty logits tensor, so that every process takes part in the all-gather.

    The main process has pictures in every round, so it knows whether there are logits, and of how many classes.
    """
    classes = parallel.broadcast_object(None if output.logits is None else int(output.logits.shape[1]))
    if classes is None or output.logits is not None:
        return output
    return DetectorOutput(output.features, torch.empty(0, classes))


def summarise(images: Source, detector: Detector, rows: NDArray[np.int64] | None = None) -> FeatureSummary:
    """Summarises `images` [N, H, W, C] uint8 at `rows` (all, where None), in that order, each read once.

    Processes that torchrun has started share the work, and each gets the whole result. Chunks are dealt out in turn, so that
    the number of processes changes no figure. Errors: `InputError` where there is no picture, or the shape is not the
    detector's.
    """
    rows = np.arange(images.shape[0], dtype=np.int64) if rows is None else rows
    if len(rows) == 0:
        raise InputError("there is no picture to be judged")
    chunks, world = batches_of(len(rows), _CHUNK), parallel.process_count()
    blocks = jackknife_blocks(len(rows))
    moments = [Moments(detector.dim) for _ in blocks]
    features, logits, done = [], [], 0
    for first in range(0, len(chunks), world):
        turn = first + parallel.rank()
        own_rows = rows[chunks[turn]] if turn < len(chunks) else rows[:0]
        output = _with_logits_everywhere(detector.outputs(take(images, own_rows)))
        gathered = parallel.all_gather_rows(output.features)
        classes = None if output.logits is None else parallel.all_gather_rows(output.logits)
        if room := max(0, MAX_FEATURES - done):  # an empty slice would hold the whole tensor that it is a slice of in memory
            features.append(gathered[:room])
            if classes is not None:
                logits.append(classes[:room])
        # Chunk by chunk, as one process would: the sums are then rounded alike on any number of processes.
        for chunk in (gathered[rows_of_chunk] for rows_of_chunk in batches_of(len(gathered), _CHUNK)):
            for block_moments, block in zip(moments, blocks, strict=True):
                inside = chunk[max(0, block.start - done) : max(0, block.stop - done)]
                if len(inside):
                    block_moments.update(inside)
            done += len(chunk)
    return FeatureSummary(tuple(moments), torch.cat(features), torch.cat(logits) if logits else None)

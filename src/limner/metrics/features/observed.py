"""What a detector sees of many pictures, in one pass and in bounded memory."""

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
from limner.metrics.features.detectors import Detector, Seen
from limner.metrics.features.pixels import Source, take
from limner.metrics.stats.moments import Moments

KEPT = 10_000
"""Pictures whose features are kept: for scores of pairs, whose cost grows with the square. Moments are of all."""
BLOCKS = 10
"""Parts whose moments are kept apart, so that leaving one out gives an error."""
_CHUNK = 256  # pictures that a process looks at in its turn


@dataclass(frozen=True)
class Observed:
    """Of N pictures: moments of the features of all, in `BLOCKS` parts of consecutive ones, and what was seen of the first.

    `features` [min(N, KEPT), d] and, where the detector knows classes, `logits` [min(N, KEPT), K]; float32, on the CPU.
    """

    parts: tuple[Moments, ...]
    features: Tensor
    logits: Tensor | None

    @property
    def count(self) -> int:
        return sum(part.n for part in self.parts)

    @cached_property
    def moments(self) -> Moments:
        whole = Moments(self.parts[0].dim)
        for part in self.parts:
            whole = whole.merge(part)
        return whole

    @classmethod
    def of(cls, features: Tensor, logits: Tensor | None = None) -> Observed:
        """From features [N, d] and logits [N, K] that are all there."""
        cuts = parts_of(len(features))
        return cls(
            tuple(Moments.of(features[part]) for part in cuts) or (Moments(int(features.shape[1])),),
            features[:KEPT].float().cpu(),
            None if logits is None else logits[:KEPT].float().cpu(),
        )


def parts_of(count: int) -> Sequence[slice]:
    """At most `BLOCKS` slices of consecutive pictures, of one length but for the last, which may be shorter."""
    return batches_of(count, max(1, -(-count // max(1, min(BLOCKS, count // 2)))))


def _alike(seen: Seen) -> Seen:
    """Give empty ranks an empty logits tensor, so that every rank takes part in the all-gather.

    The leading process has pictures in every round, so it knows whether there are logits, and of how many classes.
    """
    classes = parallel.broadcast_object(None if seen.logits is None else int(seen.logits.shape[1]))
    return seen if classes is None or seen.logits is not None else Seen(seen.features, torch.empty(0, classes))


def observe(images: Source, detector: Detector, rows: NDArray[np.int64] | None = None) -> Observed:
    """`images` [N, H, W, C] uint8 at `rows` (all, where None), in that order, each read once.

    Processes that torchrun has started share the work, and all get the answer; chunks are dealt out in turn, so that their
    number changes nothing. Errors: `InputError` where there is no picture, or the shape is not the detector's.
    """
    rows = np.arange(images.shape[0], dtype=np.int64) if rows is None else rows
    if len(rows) == 0:
        raise InputError("there is no picture to be judged")
    chunks, world = batches_of(len(rows), _CHUNK), parallel.process_count()
    cuts = parts_of(len(rows))
    parts = [Moments(detector.dim) for _ in cuts]
    features, logits, seen_until = [], [], 0
    for first in range(0, len(chunks), world):
        turn = first + parallel.rank()
        mine = rows[chunks[turn]] if turn < len(chunks) else rows[:0]
        seen = _alike(detector.see(take(images, mine)))
        together = parallel.all_gather_rows(seen.features)
        classes = None if seen.logits is None else parallel.all_gather_rows(seen.logits)
        if room := max(0, KEPT - seen_until):  # an empty slice would keep the whole of what it is a slice of in memory
            features.append(together[:room])
            if classes is not None:
                logits.append(classes[:room])
        for piece in (together[cut] for cut in batches_of(len(together), _CHUNK)):  # in the order of one process, to the bit
            for part, cut in zip(parts, cuts, strict=True):
                inside = piece[max(0, cut.start - seen_until) : max(0, cut.stop - seen_until)]
                if len(inside):
                    part.update(inside)
            seen_until += len(piece)
    return Observed(tuple(parts), torch.cat(features), torch.cat(logits) if logits else None)

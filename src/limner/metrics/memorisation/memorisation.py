"""Are samples copies of training pictures? Three counts, each against as good a chance: pictures that were held out.

`nearer`: samples nearer to a training picture than all but .1 % of held-out pictures are. `relative`: the same of the distance
in proportion to that of the next fifteen. `double`: samples three times as near to one training picture as to the second
(Yoon et al. 2023, "Diffusion probabilistic models generalize when they fail to memorize").

Believe `relative` and `double`. A plain distance is also short where samples are smooth: of 2,000 averages of six MNIST digits
of the test set, as a blurry model might draw, 18 are `nearer` (p = 3e-7) and none is `relative`. And 20 copies with noise
(σ = 25 of 255), turned by 3° or enlarged by 5 % are `relative` (p < 1e-6) but not `nearer`. Copies that are moved by half a
pixel are seen in part (p from 3e-5 to .1), by two pixels not at all. A mean over all samples, such as C_T (data_copying.py),
does not see 1 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core.errors import InputError
from limner.core.images import grid, side_by_side
from limner.metrics.features.pixels import Source, take
from limner.metrics.memorisation.nearest import VIEWS, Nearest
from limner.metrics.stats.exact_tests import hypergeometric_tail

QUANTILE = 0.001
DOUBLE = 1 / 3


@dataclass(frozen=True)
class Excess:
    """How many samples are suspiciously near.

    `share` of the samples at or below `threshold`, and `held_out`, that of the held-out pictures. `p`: how often chance alone
    would bring samples near to so many different training pictures, if they were held-out pictures themselves. One picture
    shown again and again is one piece of evidence: `share` is large then, and `p` too. `rows`: which samples.
    """

    share: float
    held_out: float
    threshold: float
    p: float
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Memorisation:
    """The three counts; of the samples in either of the latter two, how many are `mirrored` and how many are `moved`."""

    nearer: Excess
    relative: Excess
    double: Excess
    mirrored: int
    moved: int


def memorisation(samples: Nearest, held_out: Nearest) -> Memorisation:
    """From what was found nearest to M samples and to T held-out pictures, among the same training pictures.

    With T < 1,000 the threshold is the shortest held-out distance, and `p` takes that into account. Errors: `InputError` where
    either is empty.
    """
    if len(samples.distance) == 0 or len(held_out.distance) == 0:
        raise InputError("memorisation needs samples, and real images that were held out from training")
    near, hits = held_out.distance[:, 0], samples.index[:, 0]
    nearer = excess(samples.distance[:, 0], near, quantile(near), hits)
    compared = relative_distance(held_out)
    relative = excess(relative_distance(samples), compared, quantile(compared), hits)
    double = excess(ratio(samples), ratio(held_out), DOUBLE, hits, strictly=True)
    found = [VIEWS[int(samples.view[row, 0])] for row in sorted({*relative.rows, *double.rows})]
    mirrored, moved = sum(view.mirrored for view in found), sum((view.down, view.right) != (0, 0) for view in found)
    return Memorisation(nearer, relative, double, mirrored, moved)


def relative_distance(found: Nearest) -> Tensor:
    """[M]: distance of the nearest over the mean of that of the others in `found`; 0 of an exact copy, below 1 always."""
    return _quotient(found.distance[:, 0], found.distance[:, 1:].mean(1))


def ratio(found: Nearest) -> Tensor:
    """[M]: d1/d2, the distance of the nearest over that of the second; 0 of an exact copy."""
    return _quotient(found.distance[:, 0], found.distance[:, 1])


def _quotient(a: Tensor, b: Tensor) -> Tensor:
    # Where a training picture is there twice, both are 0: the sample is a copy of it nevertheless.
    return torch.where(a > 0, a / b.clamp_min(1e-300), 0.0)


def quantile(values: Tensor, share: float = QUANTILE) -> float:
    """The k-th smallest of `values` [T], k = ⌈share·T⌉."""
    return float(values.kthvalue(max(1, math.ceil(share * len(values)))).values)


def excess(samples: Tensor, held_out: Tensor, threshold: float, hits: Tensor, strictly: bool = False) -> Excess:
    """Of values [M] and [T], how many are at or below `threshold` (`strictly`: below); `hits` [M] are training rows.

    If samples and held-out pictures may be exchanged, then of all that are as near the number of samples is hypergeometric. A
    threshold that is itself one of the held-out values only makes this `p` larger than need be, and so does it that several
    samples near one training picture count once.
    """
    below, others = (values < threshold if strictly else values <= threshold for values in (samples, held_out))
    count, chance = len(set(hits[below].tolist())), int(others.sum())
    p = hypergeometric_tail(len(samples) + len(held_out), len(samples), count + chance, count)
    rows = tuple(int(row) for row in below.nonzero()[:, 0])
    return Excess(len(rows) / len(samples), chance / len(held_out), threshold, p, rows)


def suspects(samples: Nearest, count: int) -> NDArray[np.int64]:
    """Rows of the `count` samples that look most like copies: by relative distance, the nearest first."""
    order = np.lexsort((samples.distance[:, 0].numpy(), relative_distance(samples).numpy()))
    return order[:count].astype(np.int64)


def contact_sheet(
    samples: Source, train: Source, found: Nearest, rows: Sequence[int] | NDArray[np.int64] | None = None, beside: int = 5
) -> NDArray[np.uint8]:
    """A picture [H', W', C]: on the left samples, on the right of each the training pictures nearest to it, nearest first.

    `rows` of the samples are shown, the twelve most suspicious where None. Training pictures are mirrored where the sample is,
    since nobody sees the likeness otherwise; `found.view` tells.
    """
    rows = suspects(found, 12) if rows is None else np.asarray(rows, dtype=np.int64)
    beside = min(beside, found.index.shape[1])
    shown = found.index[torch.from_numpy(rows)][:, :beside].reshape(-1).numpy()
    mirrored = np.array([VIEWS[int(view)].mirrored for view in found.view[torch.from_numpy(rows)][:, :beside].reshape(-1)])
    near = take(train, shown)
    near[mirrored] = near[mirrored][:, :, ::-1]
    return side_by_side(grid(take(samples, rows), columns=1), grid(near, columns=beside))

"""Are samples copies of training pictures? Three counts, each compared with that of held-out pictures.

`nearer`: samples nearer to a training picture than all but .1 % of held-out pictures are. `relative`: the same for the distance
divided by the mean distance of the next fifteen training pictures. `double`: samples three times as near to one training
picture as to the second (Yoon et al. 2023, "Diffusion probabilistic models generalize when they fail to memorize").

`relative` and `double` are the ones to rely on. A plain distance is also short where samples are smooth: averages of several
pictures, as a blurry model might draw, are `nearer` without being copies, while copies with noise, turned by a few degrees or
enlarged by a few per cent are `relative` but not `nearer`. Copies that are moved by half a pixel are found in part, those moved
by two pixels are not found. A mean over all samples, such as C_T (data_copying.py), stays as it is if 1 % of the samples are
copies.
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
from limner.core.images import grid
from limner.metrics.features.pixels import Source, take
from limner.metrics.memorisation.nearest import VIEWS, Nearest
from limner.metrics.stats.exact_tests import hypergeometric_tail

HELD_OUT_QUANTILE = 0.001
"""Share of held-out pictures that count as near."""
DOUBLE_RATIO = 1 / 3
"""Distance of the nearest training picture over that of the second below which a sample counts as `double`."""


@dataclass(frozen=True)
class Excess:
    """How many samples are suspiciously near to a training picture."""

    share: float
    """Of the samples at or below `threshold`."""
    held_out: float
    """The same share of the held-out pictures."""
    threshold: float
    p: float
    """The probability of samples near to as many different training pictures if samples and held-out pictures are exchangeable.
    One training picture that is copied many times counts once: then `share` is large, and `p` too."""
    rows: tuple[int, ...]
    """Which samples."""


@dataclass(frozen=True)
class Memorisation:
    """The three counts; of the samples that are `relative` or `double`, how many are `mirrored` and how many are `moved`."""

    nearer: Excess
    relative: Excess
    double: Excess
    mirrored: int
    moved: int


def memorisation(samples: Nearest, held_out: Nearest) -> Memorisation:
    """From the nearest training pictures of M samples and of T held-out pictures.

    With T < 1,000 the threshold is the shortest held-out distance, which `p` takes into account. Errors: `InputError` where
    either is empty.
    """
    if len(samples.distance) == 0 or len(held_out.distance) == 0:
        raise InputError("memorisation needs samples, and real images that were held out from training")
    near, hits = held_out.distance[:, 0], samples.index[:, 0]
    nearer = excess(samples.distance[:, 0], near, quantile(near), hits)
    relative_held_out = relative_distance(held_out)
    relative = excess(relative_distance(samples), relative_held_out, quantile(relative_held_out), hits)
    double = excess(ratio(samples), ratio(held_out), DOUBLE_RATIO, hits, strictly=True)
    views = [VIEWS[int(samples.view[row, 0])] for row in sorted({*relative.rows, *double.rows})]
    mirror_images, shifts = sum(view.mirrored for view in views), sum((view.down, view.right) != (0, 0) for view in views)
    return Memorisation(nearer, relative, double, mirror_images, shifts)


def relative_distance(neighbours: Nearest) -> Tensor:
    """[M]: distance of the nearest training picture over the mean distance of the others, at most 1; 0 of an exact copy."""
    return _quotient(neighbours.distance[:, 0], neighbours.distance[:, 1:].mean(1))


def ratio(neighbours: Nearest) -> Tensor:
    """[M]: d1/d2, the distance of the nearest training picture over that of the second; 0 of an exact copy."""
    return _quotient(neighbours.distance[:, 0], neighbours.distance[:, 1])


def _quotient(a: Tensor, b: Tensor) -> Tensor:
    # Both are 0 for a copy of a training picture that is in the set twice: a copy nevertheless.
    return torch.where(a > 0, a / b.clamp_min(1e-300), 0.0)


def quantile(values: Tensor, share: float = HELD_OUT_QUANTILE) -> float:
    """The k-th smallest of `values` [T], k = ⌈share·T⌉ and at least 1.

    >>> quantile(torch.tensor([3.0, 1.0, 2.0]), share=0.5)
    2.0
    """
    return float(values.kthvalue(max(1, math.ceil(share * len(values)))).values)


def excess(samples: Tensor, held_out: Tensor, threshold: float, hits: Tensor, strictly: bool = False) -> Excess:
    """Counts the values of samples [M] and of held-out pictures [T] at or below `threshold` (`strictly`: below it).

    `hits` [M] are the rows of the samples' nearest training pictures. If samples and held-out pictures are exchangeable, the
    number of samples among all pictures that are as near is hypergeometric. Two things make this `p` larger than necessary, and
    never smaller: the threshold may be one of the held-out values, and several samples near one training picture count once.
    """
    below, others = (values < threshold if strictly else values <= threshold for values in (samples, held_out))
    count, chance = len(set(hits[below].tolist())), int(others.sum())
    p = hypergeometric_tail(len(samples) + len(held_out), len(samples), count + chance, count)
    rows = tuple(int(row) for row in below.nonzero()[:, 0])
    return Excess(len(rows) / len(samples), chance / len(held_out), threshold, p, rows)


def suspects(samples: Nearest, count: int) -> NDArray[np.int64]:
    """Rows of the `count` samples that are most likely copies, by relative distance, the smallest first."""
    order = np.lexsort((samples.distance[:, 0].numpy(), relative_distance(samples).numpy()))
    return order[:count].astype(np.int64)


def contact_sheet(
    samples: Source, train: Source, neighbours: Nearest, rows: Sequence[int] | NDArray[np.int64] | None = None, beside: int = 5
) -> NDArray[np.uint8]:
    """A picture [H', W', C]: samples in the left column, right of each the `beside` nearest training pictures, nearest first.

    `rows` of the samples are shown, the twelve most likely copies where None. A training picture is mirrored where the sample
    is a mirror image of it (`neighbours.view`), so that the likeness can be seen.
    """
    rows = suspects(neighbours, 12) if rows is None else np.asarray(rows, dtype=np.int64)
    beside = min(beside, neighbours.index.shape[1])
    train_rows = neighbours.index[torch.from_numpy(rows)][:, :beside].reshape(-1).numpy()
    mirrored = np.array([VIEWS[int(view)].mirrored for view in neighbours.view[torch.from_numpy(rows)][:, :beside].reshape(-1)])
    near = take(train, train_rows)
    near[mirrored] = near[mirrored][:, :, ::-1]
    pictures = np.concatenate((take(samples, rows)[:, None], near.reshape(len(rows), beside, *near.shape[1:])), axis=1)
    return grid(pictures.reshape(-1, *near.shape[1:]), columns=1 + beside)

"""C_T: do samples lie nearer to training pictures than held-out ones do, region by region? (Meehan et al. 2020,
"A non-parametric test to detect data-copying in generative models", section 4.)

Space is cut into cells by k-means on the training pictures. In each cell a rank test (Mann–Whitney) compares the distances of
samples and of held-out pictures to the nearest training picture; the z-scores are averaged, weighted by the number of held-out
pictures. Clearly below 0: samples are nearer on the whole, as copies are. Clearly above 0: samples are farther away than real
pictures are. A few copies among many samples do not move it; memorisation.py finds those. In pixels, smooth samples lower it
too, and where samples repeat each other it varies more by chance than `z` accounts for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from limner.core.errors import InputError
from limner.core.images import batches_of
from limner.core.process import ignore_warnings
from limner.core.seeds import fold
from limner.metrics.stats.moments import finite_on_cpu
from limner.metrics.stats.threads import one_library_thread

MIN_CELL_SAMPLES = 20
"""A cell counts if it has more samples than this (the paper's τ, in samples)."""
_MAX_ITERATIONS = 20
_MAX_ROWS = 65_536  # training rows that k-means takes
_ROWS = 1024  # rows of a distance matrix held at a time


@dataclass(frozen=True)
class Copying:
    """The result of the test."""

    value: float
    """C_T."""
    z: float
    """C_T in units of its standard deviation if nothing is copied."""
    p: float
    """The probability of a C_T as low if nothing is copied."""
    cells: int
    """How many counted."""
    covered: float
    """Share of held-out pictures in these cells."""


def data_copying(samples: Tensor, held_out: Tensor, train: Tensor, cells: int | None = None, seed: int = 0) -> Copying:
    """C_T of the features `samples` [M, d] against `held_out` [T, d], with distances to `train` [N, d] in the same cell.

    `cells`: where None, one for every hundred held-out pictures and at most fifty. Errors: `InputError` where no cell has more
    than `MIN_CELL_SAMPLES` samples and a held-out picture.
    """
    samples, held_out, train = (finite_on_cpu(x, torch.float32) for x in (samples, held_out, train))
    if min(len(samples), len(held_out), len(train)) == 0:
        raise InputError("C_T needs samples, training images, and images that were held out from training")
    cells = max(1, min(50, len(held_out) // 100)) if cells is None else cells
    centres = k_means(train, min(cells, len(train)), seed)
    cell = [nearest_centre(x, centres) for x in (samples, held_out, train)]
    scores, weights = [], []
    for number in range(len(centres)):
        of_samples, of_held_out, of_train = (x[c == number] for x, c in zip((samples, held_out, train), cell, strict=True))
        if len(of_samples) > MIN_CELL_SAMPLES and len(of_held_out) and len(of_train):
            scores.append(mann_whitney_z(_to_nearest(of_samples, of_train), _to_nearest(of_held_out, of_train)))
            weights.append(len(of_held_out))
    if not scores:
        raise InputError(f"C_T needs more than {MIN_CELL_SAMPLES} samples in some cell with held-out images; take more of both")
    total = sum(weights)
    value = sum(score * weight for score, weight in zip(scores, weights, strict=True)) / total
    # Each cell's score is standard normal where nothing is copied, and independent of the others'.
    z = value * total / math.sqrt(sum(weight**2 for weight in weights))
    return Copying(value, z, 0.5 * math.erfc(-z / math.sqrt(2)), len(scores), total / len(held_out))


def mann_whitney_z(a: Tensor, b: Tensor) -> float:
    """z of the number of pairs in which a value of `a` [n] exceeds one of `b` [m], a tie counting half.

    For equal distributions the mean of that number is nm/2 and its variance nm(n + m + 1)/12, corrected for ties.
    `scipy.stats.mannwhitneyu` gives only the p of this z, which underflows to 0 beyond z = −38 and rounds to 1 beyond z = 8.

    >>> round(mann_whitney_z(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])), 3)
    -1.549
    """
    from scipy import stats

    n, m = len(a), len(b)
    ranks = stats.rankdata(torch.cat((a, b)).double().numpy())
    u = float(ranks[:n].sum()) - n * (n + 1) / 2
    deviation = math.sqrt(n * m * (n + m + 1) / 12 * float(stats.tiecorrect(ranks)))
    return (u - n * m / 2) / deviation if deviation > 0 else 0.0


def k_means(x: Tensor, cells: int, seed: int) -> Tensor:
    """[cells, d]: centres by Lloyd's iterations from k-means++ centres (Arthur & Vassilvitskii 2007) on `x` [N, d].

    The cells need not be optimal: of more than 65,536 rows a seeded choice is used, and at most 20 iterations are made.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    random = np.random.default_rng(fold(seed, "cells"))
    if len(x) > _MAX_ROWS:
        x = x[torch.from_numpy(random.choice(len(x), _MAX_ROWS, replace=False))]
    clustering = KMeans(cells, n_init=1, max_iter=_MAX_ITERATIONS, random_state=int(random.integers(2**32)))
    with one_library_thread(), ignore_warnings(ConvergenceWarning):  # there are fewer different pictures than cells
        clustering.fit(x.numpy())
    return torch.from_numpy(clustering.cluster_centers_)


def nearest_centre(x: Tensor, centres: Tensor) -> Tensor:
    """[N]: which of `centres` is nearest to each row of `x` [N, d]."""
    return torch.cat([torch.cdist(x[rows], centres).argmin(1) for rows in batches_of(len(x), _ROWS)])


def _to_nearest(x: Tensor, train: Tensor) -> Tensor:
    """[n]: distance of each row of `x` to the nearest of `train`, without the cancellation of a matrix product."""
    parts = [
        torch.cdist(x[rows], train, compute_mode="donot_use_mm_for_euclid_dist").amin(1) for rows in batches_of(len(x), 256)
    ]
    return torch.cat(parts)

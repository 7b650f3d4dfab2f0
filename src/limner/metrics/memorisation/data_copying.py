"""C_T: do samples lie nearer to training pictures than held-out ones do, region by region? (Meehan et al. 2020,
"A non-parametric test to detect data-copying in generative models", section 4.)

Space is cut into cells by k-means on the training pictures. In each, a rank test (Mann–Whitney) compares the distance to the
nearest training picture of samples and of held-out pictures; the z-scores are averaged, weighed by the held-out pictures.
Clearly below 0: copies, all in all. Clearly above: samples lie further off than real pictures do. A few copies among many
samples do not move it; memorisation.py finds those. In pixels smooth samples lower it too (averages of six MNIST digits get
−5.6, in a judge's features 3.1), and wherever samples repeat each other chance moves it more than `z` knows.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from limner.core.errors import InputError
from limner.core.images import batches_of
from limner.core.seeds import fold
from limner.metrics.stats.finite import on_cpu
from limner.metrics.stats.threads import one_library_thread

FEWEST = 20
"""Samples below which a cell does not count (the paper's τ, in samples)."""
_ROUNDS = 20
_MOST = 65_536  # training rows that decide on the cells
_ROWS = 1024  # rows of a distance matrix held at a time


@dataclass(frozen=True)
class Copying:
    """`value` is C_T. `z` is the same in standard deviations of what chance does to it; `p`: chance of a C_T as low.

    `cells` that counted, and the share of held-out pictures in them.
    """

    value: float
    z: float
    p: float
    cells: int
    covered: float


def data_copying(samples: Tensor, held_out: Tensor, train: Tensor, cells: int | None = None, seed: int = 0) -> Copying:
    """C_T of `samples` [M, d] against `held_out` [T, d], with distances to `train` [N, d] in the same cell.

    `cells`: one for every hundred held-out pictures, at most fifty, where None. Errors: `InputError` where no cell holds more
    than `FEWEST` samples and a held-out picture.
    """
    samples, held_out, train = (on_cpu(x, torch.float32) for x in (samples, held_out, train))
    if min(len(samples), len(held_out), len(train)) == 0:
        raise InputError("C_T needs samples, training images, and images that were held out from training")
    cells = max(1, min(50, len(held_out) // 100)) if cells is None else cells
    centres = k_means(train, min(cells, len(train)), seed)
    cell = [nearest_centre(x, centres) for x in (samples, held_out, train)]
    scores, weights = [], []
    for place in range(len(centres)):
        inside, others, known = (x[which == place] for x, which in zip((samples, held_out, train), cell, strict=True))
        if len(inside) > FEWEST and len(others) and len(known):
            scores.append(mann_whitney_z(_to_nearest(inside, known), _to_nearest(others, known)))
            weights.append(len(others))
    if not scores:
        raise InputError(f"C_T needs more than {FEWEST} samples in some cell with held-out images; take more of both")
    total = sum(weights)
    value = sum(score * weight for score, weight in zip(scores, weights, strict=True)) / total
    # Each cell's score is standard normal where nothing is copied, and independent of the others'.
    z = value * total / math.sqrt(sum(weight**2 for weight in weights))
    return Copying(value, z, 0.5 * math.erfc(-z / math.sqrt(2)), len(scores), total / len(held_out))


def mann_whitney_z(a: Tensor, b: Tensor) -> float:
    """z of the number of pairs in which a value of `a` [n] exceeds one of `b` [m], a tie counting half.

    Its mean is nm/2 and its variance nm(n + m + 1)/12 for equal distributions, less what ties take away. This is the z of which
    `scipy.stats.mannwhitneyu` gives the p; from that p it could not be had, which is 0 or 1 beyond z = −38 or 8.
    """
    from scipy import stats

    n, m = len(a), len(b)
    ranks = stats.rankdata(torch.cat((a, b)).double().numpy())
    u = float(ranks[:n].sum()) - n * (n + 1) / 2
    deviation = math.sqrt(n * m * (n + m + 1) / 12 * float(stats.tiecorrect(ranks)))
    return (u - n * m / 2) / deviation if deviation > 0 else 0.0


def k_means(x: Tensor, cells: int, seed: int) -> Tensor:
    """[cells, d]: Lloyd's iterations from k-means++ centres (Arthur & Vassilvitskii 2007) on `x` [N, d], or on a part of it.

    Seeded. Cells only have to be sensible: of more than 65,536 rows a seeded choice decides, after 20 iterations at most.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    random = np.random.default_rng(fold(seed, "cells"))
    if len(x) > _MOST:
        x = x[torch.from_numpy(random.choice(len(x), _MOST, replace=False))]
    clustering = KMeans(cells, n_init=1, max_iter=_ROUNDS, random_state=int(random.integers(2**32)))
    with one_library_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different pictures than cells
        clustering.fit(x.numpy())
    return torch.from_numpy(clustering.cluster_centers_)


def nearest_centre(x: Tensor, centres: Tensor) -> Tensor:
    """[N]: which of `centres` is nearest to each row of `x` [N, d]."""
    return torch.cat([torch.cdist(x[rows], centres).argmin(1) for rows in batches_of(len(x), _ROWS)])


def _to_nearest(x: Tensor, train: Tensor) -> Tensor:
    """[n]: distance of each row of `x` to the nearest of `train`, without the cancellation of a matrix product."""
    few = [torch.cdist(x[rows], train, compute_mode="donot_use_mm_for_euclid_dist").amin(1) for rows in batches_of(len(x), 256)]
    return torch.cat(few)

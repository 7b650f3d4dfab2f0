"""The sliced Wasserstein-2 distance: how far sorted values must move, along random directions (Bonneel et al. 2015).

    SW₂² = E over unit vectors θ of W₂²(θ·x, θ·y),    W₂² = ∫₀¹ (Qx(t) − Qy(t))² dt

On a line the optimal transport matches the quantile functions; it is computed exactly, also for sets of different sizes. The
distance depends on the whole shape of a distribution and not only on its moments, and takes pixels as well as features.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from limner.core.errors import InputError
from limner.core.images import batches_of
from limner.core.seeds import fold
from limner.metrics.distribution.frechet import Null, jackknife, split
from limner.metrics.stats.moments import finite_on_cpu

_ROWS = 2048  # that are widened to float64 at a time
_COLUMNS = 64  # directions whose quantile functions are held at a time


def distance(x: Tensor, y: Tensor) -> float:
    """SW₂ of two sets from their projections, [N, L] and [M, L]."""
    return float(wasserstein2_squared(x, y).mean().sqrt())


def error(x: Tensor, y: Tensor, blocks: int = 10) -> float:
    """Standard error of `distance` over other draws of `x` [N, L]: a jackknife over blocks of its rows. `y` is taken as
    fixed."""
    y = y.sort(0).values
    blocks = min(blocks, len(x))
    if blocks < 2:
        return 0.0
    cuts = batches_of(len(x), -(-len(x) // blocks))
    return jackknife([distance(torch.cat((x[: rows.start], x[rows.stop :])), y) for rows in cuts])


def null(x: Tensor, n: int, m: int, repeats: int = 10, seed: int = 0) -> Null:
    """`distance` of `n` and `m` other real pictures, from the projections `x` [R, L] of all, `repeats` times.

    Where there are fewer than n + m both sets are smaller in the same proportion, and the scores are corrected: SW₂² of equal
    distributions is about proportional to 1/n + 1/m.
    """
    sizes = split(len(x), n, m)
    if sizes is None:
        raise InputError(f"{len(x)} real images are too few to compare real with real; at least four are needed")
    scores = []
    for repeat in range(repeats):
        left, right = sizes.rows(len(x), repeat, seed)
        scores.append(distance(x[left], x[right]) * sizes.size_correction**0.5)
    return Null(tuple(scores), (sizes.n, sizes.m), sizes.size_correction)


def directions(dim: int, projections: int, seed: int) -> Tensor:
    """[d, L] float64: unit vectors, uniform on the sphere."""
    random = torch.Generator().manual_seed(fold(seed, "directions"))
    theta = torch.randn(dim, projections, generator=random, dtype=torch.float64)
    unit: Tensor = theta / theta.norm(dim=0)
    return unit


def project(x: Tensor, theta: Tensor) -> Tensor:
    """[N, d] (uint8 as 0..1) on the directions [d, L] -> [N, L] float64. Errors: `InputError` for none, or for NaN."""
    if len(x) == 0:
        raise InputError("a sliced Wasserstein distance needs at least one image on either side")
    if x.ndim != 2 or x.shape[1] != len(theta):
        raise ValueError(f"features must be [n, {len(theta)}], not {list(x.shape)}")
    unit = 255 if x.dtype == torch.uint8 else 1
    return torch.cat([finite_on_cpu(x[rows]) / unit @ theta for rows in batches_of(len(x), _ROWS)])


def wasserstein2_squared(x: Tensor, y: Tensor) -> Tensor:
    """[N, L] and [M, L] -> [L]: W₂² of the two sets of numbers in each column, exactly.

    >>> wasserstein2_squared(torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0]]))
    tensor([4.])

    Both quantile functions are steps: they are constant between neighbours in the union of {i/N} and {j/M}. The ends of
    the steps are counted in integer multiples of 1/(N·M), so that no rounding separates equal ones.
    """
    n, m = len(x), len(y)
    x, y = x.sort(0).values, y.sort(0).values
    if n == m:
        return (x - y).square().mean(0)
    ends = torch.from_numpy(np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n))  # sorted; the last is N·M
    starts = torch.cat((ends.new_zeros(1), ends[:-1]))
    weight = (ends - starts).to(x.dtype) / (n * m)
    # Some columns at a time: for all of them the steps would take more memory than the numbers themselves.
    parts = [
        weight @ (x[starts // m, columns] - y[starts // n, columns]).square() for columns in batches_of(x.shape[1], _COLUMNS)
    ]
    return torch.cat(parts)

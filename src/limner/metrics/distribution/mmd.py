"""Maximum mean discrepancy with the kernel of KID: k(x, y) = (x·y/d + 1)³ (Bińkowski et al. 2018, arXiv:1801.01401).

    MMD² = mean k(x, x') + mean k(y, y') − 2 mean k(x, y)        (its equation 4: pairs of different pictures only)

The estimate is unbiased: two sets of real pictures get 0 on average at any N, so it may be negative, and values at different
numbers of pictures can be compared. The name KID belongs to Inception features alone. Everything is float64; the block size
changes nothing but rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from limner.core.errors import InputError
from limner.core.images import batches_of
from limner.metrics.distribution.frechet import Null, jackknife, split
from limner.metrics.stats.moments import finite_on_cpu

_ROWS = 1024  # and columns of a kernel matrix held at a time


def mmd2(a: Tensor, b: Tensor) -> float:
    """MMD² of features `a` [N, d] and `b` [M, d]: the U-statistic of all pairs. Errors: `InputError` below two on a side.

    >>> mmd2(torch.zeros(3, 2), torch.zeros(4, 2))
    0.0
    """
    return float(_blocked(a, b, 1)[0])


def mmd2_error(a: Tensor, b: Tensor, blocks: int = 10) -> float:
    """Standard error of `mmd2` over other draws of `a` [N, d]: a jackknife over blocks of its rows. `b` is taken as fixed."""
    return jackknife(_blocked(a, b, min(blocks, len(a) // 2))[1:].tolist())


def mmd2_null(real: Tensor, n: int, repeats: int = 100, seed: int = 0, m: int | None = None) -> Null:
    """`mmd2` of `n` real pictures and `m` other real ones (`n`, where None), `repeats` times.

    All repeats come from one pass over the kernel matrix. Their mean is 0 up to chance. Where there are fewer than n + m real
    pictures both sets are smaller in the same proportion and the scores are multiplied by `Null.size_correction`: the spread of
    two equal distributions falls with 1/n + 1/m (Gretton et al. 2012, theorem 12).
    """
    sizes = split(len(real), n, n if m is None else m)
    if sizes is None:
        raise InputError(f"{len(real)} real images are too few to compare real with real; at least four are needed")
    left, right = (torch.zeros(len(real), repeats, dtype=torch.float64) for _ in range(2))
    for repeat in range(repeats):
        rows = sizes.rows(len(real), repeat, seed)
        left[rows[0], repeat], right[rows[1], repeat] = 1, 1
    both = torch.cat((left, right), 1)
    sums = _sums(real, real, both, both)
    # Within a set the sum holds each picture's kernel with itself, which is subtracted; no picture is in both sets.
    within = sums.diagonal() - both.T @ _self_kernel(real)
    between = sums[:repeats, repeats:].diagonal()
    scores = _mmd2(within[:repeats], within[repeats:], between, sizes.n, sizes.m) * sizes.size_correction
    return Null(tuple(scores.tolist()), (sizes.n, sizes.m), sizes.size_correction)


def _mmd2(aa: Tensor, bb: Tensor, ab: Tensor, n: Tensor | int, m: int) -> Tensor:
    """From sums of the kernel: over pairs of different rows within a set, and over all pairs between the sets."""
    return aa / (n * (n - 1)) + bb / (m * (m - 1)) - 2 * ab / (n * m)


def _blocked(a: Tensor, b: Tensor, blocks: int) -> Tensor:
    """[1 + G] float64: MMD² of all of `a`, and without each of its G blocks of consecutive rows."""
    if min(len(a), len(b)) < 2:
        raise InputError(f"a maximum mean discrepancy needs two images on either side, not {len(a)} and {len(b)}")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"features of {a.shape[1]} and of {b.shape[1]} dimensions cannot be compared")
    cuts = batches_of(len(a), -(-len(a) // max(1, blocks)))
    member = torch.zeros(len(a), len(cuts), dtype=torch.float64)
    for block, rows in enumerate(cuts):
        member[rows, block] = 1
    ones = torch.ones(len(b), 1, dtype=torch.float64)
    aa, ab = _sums(a, a, member, member), _sums(a, b, member, ones)[:, 0]
    aa -= torch.diag(member.T @ _self_kernel(a))
    bb = _sums(b, b, ones, ones)[0, 0] - _self_kernel(b).sum()
    sizes = member.sum(0)
    left_out = torch.cat((torch.zeros(1, len(cuts), dtype=torch.float64), torch.eye(len(cuts), dtype=torch.float64)))
    included = 1 - left_out  # row 0 includes all blocks, row 1 + g all but block g
    n = included @ sizes
    return _mmd2(((included @ aa) * included).sum(1), bb, included @ ab, n, len(b))


def _self_kernel(x: Tensor) -> Tensor:
    """[N]: k(x, x)."""
    parts = [finite_on_cpu(x[rows]).square().sum(1) for rows in batches_of(len(x), _ROWS)]
    return (torch.cat(parts) / x.shape[1] + 1) ** 3


def _sums(x: Tensor, y: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """leftᵀ·K·right for the kernel matrix K [N, M] of `x` and `y`, in blocks: [N, r] and [M, s] -> [r, s]."""
    total = torch.zeros(left.shape[1], right.shape[1], dtype=torch.float64)
    for columns in batches_of(len(y), _ROWS):
        transposed = finite_on_cpu(y[columns]).T / y.shape[1]
        for rows in batches_of(len(x), _ROWS):
            inner = (finite_on_cpu(x[rows]) @ transposed).add_(1)
            total += left[rows].T @ ((inner * inner).mul_(inner) @ right[columns])  # pow takes ten times as long
    return total

"""The Fréchet distance between two Gaussians, fitted to two sets of features (Heusel et al. 2017, equation 6):

    d² = |μa − μb|² + tr Σa + tr Σb − 2 tr (Σa^½ Σb Σa^½)^½

The name FID belongs to this distance in Inception features alone. It is reported as d², as everybody does, and it is biased
upwards at a finite number of images (about in proportion to 1/N), which is why every value comes with what real images get.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from limner.core.errors import InputError
from limner.core.seeds import fold
from limner.metrics.stats.moments import SMALL, Moments
from limner.metrics.stats.threads import one_thread


@dataclass(frozen=True)
class Null:
    """What real images score against other real images: the ruler beside a value.

    `scores` are the repeats; `sizes` are the numbers of images in each of the two sets. Where there were too few real images
    for two disjoint sets of the sizes asked for, both are smaller and the scores are corrected for it (see the function that
    made this); `shrunk` is the size correction, 1 where nothing had to be done.
    """

    scores: tuple[float, ...]
    sizes: tuple[int, int]
    shrunk: float = 1.0

    @property
    def mean(self) -> float:
        return float(np.mean(self.scores))

    @property
    def std(self) -> float:
        """Of the repeats. They share images, so it is somewhat too small where the sets take up most of what there is."""
        return float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else 0.0


def factor(covariance: Tensor) -> Tensor:
    """B [d, r] with BBᵀ = `covariance` [d, d]; directions that are rounding error alone are left out.

    Cholesky's where no pivot comes near rounding error: a tenth of the time of an eigendecomposition, and as exact there.
    """
    root: Tensor
    root, failed = torch.linalg.cholesky_ex(covariance)
    rounding = covariance.diagonal().max() * len(covariance) * torch.finfo(covariance.dtype).eps
    if int(failed) == 0 and bool(root.diagonal().square().min() > 100 * rounding):
        return root
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > values[-1].clamp_min(0) * len(values) * torch.finfo(values.dtype).eps
    basis: Tensor = vectors[:, kept] * values[kept].sqrt()
    return basis


def frechet_distance(a: Moments, b: Moments) -> float:
    """d² between the Gaussians of `a` and `b`, in squared units of the features; never negative.

    tr (Σa^½ Σb Σa^½)^½ is the sum of the roots of the eigenvalues of BᵀΣbB, with B a factor of Σa: symmetric, so that no
    complex square root and no ε on the diagonal is needed.
    """
    return frechet_to(reference=b)(a)


def frechet_to(reference: Moments) -> Callable[[Moments], float]:
    """The distance to one reference, whose factor is computed once."""
    with one_thread(reference.dim <= SMALL):
        mean, covariance = reference.mean, reference.covariance
        basis, trace = factor(covariance), covariance.trace()

    def distance(moments: Moments) -> float:
        with one_thread(reference.dim <= SMALL):
            other = moments.covariance
            roots = torch.linalg.eigvalsh(basis.T @ other @ basis).clamp_min(0).sqrt()
            squared = (moments.mean - mean).square().sum() + other.trace() + trace - 2 * roots.sum()
        return max(float(squared), 0.0)

    return distance


@dataclass(frozen=True)
class Split:
    """Sizes of two disjoint sets of real images; `shrunk` = (1/n + 1/m as asked for) / (1/n + 1/m as used), at most 1."""

    n: int
    m: int
    shrunk: float

    def rows(self, available: int, repeat: int, seed: int) -> tuple[Tensor, Tensor]:
        """Row numbers of both sets, drawn afresh for every `repeat`."""
        rows = torch.randperm(available, generator=torch.Generator().manual_seed(fold(seed, "null", repeat)))
        return rows[: self.n], rows[self.n : self.n + self.m]


def split(available: int, n: int, m: int, least: float = 0.25) -> Split | None:
    """How to take sets of `n` and `m` out of `available` images: as asked, or else both smaller in the same proportion.

    Neither is shrunk below the share `least` of what there is, so that a small reference against many samples can still be
    split; the proportion gives way then. None where even that leaves fewer than two in a set.
    """
    if available >= n + m:
        return Split(n, m, 1.0) if min(n, m) >= 2 else None
    few = int(available * least)
    left = min(n, max(few, min(available - few, round(available * n / (n + m)))))
    right = min(m, available - left)
    if min(left, right) < 2:
        return None
    return Split(left, right, (1 / n + 1 / m) / (1 / left + 1 / right))


def frechet_null(real_features: Tensor, n: int, repeats: int = 10, seed: int = 0, m: int | None = None) -> Null:
    """The distance between `n` real images and `m` other real ones (as many as `n` unless told otherwise), `repeats` times.

    Every repeat splits `real_features` [R, d] afresh into two disjoint sets. Where R < n + m both sets are smaller (see
    `split`) and the distance is multiplied by the size correction: at the null it is proportional to 1/n + 1/m to first order,
    in mean and in spread (it is a quadratic form of the error of the moments). Errors: `InputError` where R is too small.
    """
    available = len(real_features)
    sizes = split(available, n, n if m is None else m)
    if sizes is None:
        raise InputError(f"{available} real images are too few to compare real with real: at least 4 are needed")
    scores = []
    for repeat in range(repeats):
        left, right = sizes.rows(available, repeat, seed)
        distance = frechet_distance(Moments.of(real_features[left]), Moments.of(real_features[right]))
        scores.append(distance * sizes.shrunk)
    return Null(tuple(scores), (sizes.n, sizes.m), sizes.shrunk)


def jackknife(left_out: list[float]) -> float:
    """Standard error from the G values that leave out one block each: √((G−1)/G · Σ(θg − θ̄)²) (Efron & Stein 1981)."""
    values = np.asarray(left_out)
    count = len(values)
    return float(np.sqrt((count - 1) / count * np.square(values - values.mean()).sum())) if count > 1 else 0.0

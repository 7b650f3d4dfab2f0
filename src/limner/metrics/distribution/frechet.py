"""The Fréchet distance between two Gaussians, fitted to two sets of features (Heusel et al. 2017, equation 6):

    d² = |μa − μb|² + tr Σa + tr Σb − 2 tr (Σa^½ Σb Σa^½)^½

The name FID belongs to this distance in Inception features alone. As in the literature, d² is reported and not d. It is biased
upwards, about in proportion to 1/N for N images, which is why every value comes with what real images score (`Null`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from limner.core.errors import InputError
from limner.core.seeds import fold
from limner.metrics.stats.moments import ONE_THREAD_DIMENSIONS, Moments
from limner.metrics.stats.threads import one_thread


@dataclass(frozen=True)
class Null:
    """What real images score against other real images, for comparison with a value.

    Where there are too few real images for two disjoint sets of the requested sizes, both sets are smaller and the scores are
    corrected for it, as the function says that makes the null.
    """

    scores: tuple[float, ...]
    """One for each repeat."""
    sizes: tuple[int, int]
    """Images in each of the two sets."""
    size_correction: float = 1.0
    """The factor by which scores were corrected, 1 where the sets had the requested sizes."""

    @property
    def mean(self) -> float:
        """Of the repeats."""
        return float(np.mean(self.scores))

    @property
    def std(self) -> float:
        """Standard deviation of the repeats. These share images, so it is a little too small where the sets hold most
        images."""
        return float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else 0.0


def covariance_factor(covariance: Tensor) -> Tensor:
    """B [d, r] with BBᵀ = `covariance` [d, d]; directions whose variance is only rounding error are left out.

    By Cholesky's decomposition where no pivot comes near rounding error: it takes a tenth of the time of an eigendecomposition
    and is as exact there.
    """
    root: Tensor
    root, failed = torch.linalg.cholesky_ex(covariance)
    rounding = covariance.diagonal().max() * len(covariance) * torch.finfo(covariance.dtype).eps
    if int(failed) == 0 and bool(root.diagonal().square().min() > 100 * rounding):
        return root
    values, vectors = torch.linalg.eigh(covariance)
    significant = values > values[-1].clamp_min(0) * len(values) * torch.finfo(values.dtype).eps
    basis: Tensor = vectors[:, significant] * values[significant].sqrt()
    return basis


def frechet_distance(a: Moments, b: Moments) -> float:
    """d² between the Gaussians of `a` and `b`, in squared units of the features; never negative.

    tr (Σa^½ Σb Σa^½)^½ is the sum of the roots of the eigenvalues of BᵀΣbB, where BBᵀ = Σa. That matrix is symmetric, so that
    no complex square root and no ε on the diagonal is needed. Errors: `InputError` for fewer than two images.

    Two sets of equal spread whose means are 3 apart:

    >>> x = torch.tensor([[-1.0], [0.0], [1.0]])
    >>> round(frechet_distance(Moments.of(x), Moments.of(x + 3)), 6)
    9.0
    """
    return frechet_to(reference=b)(a)


def frechet_to(reference: Moments) -> Callable[[Moments], float]:
    """`frechet_distance` to one `reference`, whose covariance is factorised once, as a function of the other moments."""
    with one_thread(reference.dim <= ONE_THREAD_DIMENSIONS):
        mean, covariance = reference.mean, reference.covariance
        basis, trace = covariance_factor(covariance), covariance.trace()

    def distance(moments: Moments) -> float:
        with one_thread(reference.dim <= ONE_THREAD_DIMENSIONS):
            other = moments.covariance
            roots = torch.linalg.eigvalsh(basis.T @ other @ basis).clamp_min(0).sqrt()
            squared = (moments.mean - mean).square().sum() + other.trace() + trace - 2 * roots.sum()
        return max(float(squared), 0.0)

    return distance


def frechet_error(distance: Callable[[Moments], float], whole: Moments, blocks: Sequence[Moments]) -> float:
    """Standard error of `distance` (of `frechet_to`) over other samples, by a jackknife: `blocks` make up the `whole`."""
    without_block = [whole.without(block) for block in blocks]
    return jackknife([distance(rest) for rest in without_block if rest.n >= 2])


@dataclass(frozen=True)
class Split:
    """Sizes of two disjoint sets of real images.

    `size_correction`: (1/n + 1/m of the requested sizes) / (1/n + 1/m of these sizes), at most 1.
    """

    n: int
    m: int
    size_correction: float

    def rows(self, available: int, repeat: int, seed: int) -> tuple[Tensor, Tensor]:
        """Row numbers of both sets, another draw for every `repeat`."""
        rows = torch.randperm(available, generator=torch.Generator().manual_seed(fold(seed, "null", repeat)))
        return rows[: self.n], rows[self.n : self.n + self.m]


def split(available: int, n: int, m: int, min_share: float = 0.25) -> Split | None:
    """How to take disjoint sets of `n` and `m` out of `available` images: of these sizes, or else both smaller.

    The proportion of the sizes stays, unless one set would have less than `min_share` of the images: a small reference against
    very many samples could not be split otherwise. None where a set would have fewer than two images.

    >>> split(100, n=30, m=50)
    Split(n=30, m=50, size_correction=1.0)
    >>> split(40, n=30, m=50)
    Split(n=15, m=25, size_correction=0.5)
    """
    if available >= n + m:
        return Split(n, m, 1.0) if min(n, m) >= 2 else None
    smallest = int(available * min_share)
    left = min(n, max(smallest, min(available - smallest, round(available * n / (n + m)))))
    right = min(m, available - left)
    if min(left, right) < 2:
        return None
    return Split(left, right, (1 / n + 1 / m) / (1 / left + 1 / right))


def frechet_null(real_features: Tensor, n: int, repeats: int = 10, seed: int = 0, m: int | None = None) -> Null:
    """The distance between `n` real images and `m` other real ones (`n`, where None), `repeats` times.

    Every repeat splits `real_features` [R, d] anew into two disjoint sets. Where R < n + m both sets are smaller (see
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
        scores.append(distance * sizes.size_correction)
    return Null(tuple(scores), (sizes.n, sizes.m), sizes.size_correction)


def jackknife(values_without_block: list[float]) -> float:
    """Standard error from G values, each without one of G blocks: √((G−1)/G · Σ(θg − θ̄)²) (Efron & Stein 1981)."""
    values = np.asarray(values_without_block)
    count = len(values)
    return float(np.sqrt((count - 1) / count * np.square(values - values.mean()).sum())) if count > 1 else 0.0

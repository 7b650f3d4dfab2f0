"""Are all classes there, and in their shares? Total variation between the classes that the judge predicts for two sets.

The judge classifies the real images too, so that its errors affect both sides alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from limner.core.errors import InputError
from limner.core.seeds import fold
from limner.metrics.distribution.frechet import Null


def class_counts(logits: Tensor) -> Tensor:
    """[N, K] logits -> [K] int64: for how many images the judge predicts each class."""
    return torch.bincount(logits.argmax(1), minlength=logits.shape[1]).cpu()


def total_variation(a: Tensor, b: Tensor) -> float:
    """½ Σ|p − q| of two histograms of counts [K]: 0 where the shares are equal, 1 where no class is in both.

    >>> total_variation(torch.tensor([2, 2]), torch.tensor([3, 1]))
    0.25
    """
    if int(a.sum()) == 0 or int(b.sum()) == 0:
        raise InputError("class shares need at least one image on either side")
    return float((a.double() / a.sum() - b.double() / b.sum()).abs().sum() / 2)


def class_distance(sample_logits: Tensor, reference_logits: Tensor) -> float:
    """Total variation between the shares of the classes that are predicted by [M, K] and by [N, K] logits."""
    return total_variation(class_counts(sample_logits), class_counts(reference_logits))


def class_null(reference_logits: Tensor, n: int, repeats: int = 200, seed: int = 0, m: int | None = None) -> Null:
    """The distance of two multinomial draws, of `n` and `m` images, from the shares of the reference.

    A generator with perfect shares scores this by chance.
    """
    m = n if m is None else m
    counts = class_counts(reference_logits).numpy()
    shares = counts / counts.sum()
    random = np.random.default_rng(fold(seed, "class null"))
    a, b = random.multinomial(n, shares, size=repeats) / n, random.multinomial(m, shares, size=repeats) / m
    return Null(tuple(float(value) for value in np.abs(a - b).sum(1) / 2), (n, m))


def class_error(sample_logits: Tensor, reference_logits: Tensor, repeats: int = 200, seed: int = 0) -> float:
    """Standard error of the distance over other draws of as many samples (bootstrap of the samples' histogram)."""
    counts, n = class_counts(sample_logits).numpy(), len(sample_logits)
    reference = class_counts(reference_logits).numpy()
    draws = np.random.default_rng(fold(seed, "class error")).multinomial(n, counts / n, size=repeats) / n
    return float((np.abs(draws - reference / reference.sum()).sum(1) / 2).std(ddof=1))


def class_shares(logits: Tensor, names: Sequence[str] | None = None) -> dict[str, float]:
    """Share of each class as the judge predicts it, by name (or by number where there are no names)."""
    counts = class_counts(logits)
    labels = [str(index) for index in range(len(counts))] if names is None else list(names)
    return {label: float(count) / max(int(counts.sum()), 1) for label, count in zip(labels, counts.tolist(), strict=True)}

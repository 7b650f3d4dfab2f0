"""Streaming moments: the mean and the covariance of any number of features, in one pass.

Sums are float64, so that chunks may come in any order and number, and the sums of several processes can be added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from limner.core.errors import InputError
from limner.core.images import batches_of
from limner.metrics.stats.threads import one_thread

ONE_THREAD_DIMENSIONS = 512
"""Up to which one thread does the linear algebra, which is then faster."""
CHUNK = 4096
"""Rows that are converted to float64 at a time: bounds the memory, changes no figure."""


def finite_on_cpu(x: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """`x` [N, d] without gradient, on the CPU, in `dtype`. Errors: `InputError` where a value is not finite."""
    x = x.detach().cpu()
    for rows in batches_of(len(x), CHUNK):
        if not bool(torch.isfinite(x[rows]).all()):
            raise InputError("a feature is not a finite number: the images to be judged, or the judge, are damaged")
    return x.to(dtype)


@dataclass
class Moments:
    """Sufficient statistics of N feature vectors of dimension d: N, Σx and Σxxᵀ, float64 on the CPU.

    >>> moments = Moments.of(torch.tensor([[1.0], [3.0]]))
    >>> moments.n, moments.mean.tolist(), moments.covariance.tolist()
    (2, [2.0], [[2.0]])
    """

    dim: int
    n: int = 0
    total: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    """[d]: Σx."""
    outer: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.float64))
    """[d, d]: Σxxᵀ."""

    def __post_init__(self) -> None:
        if self.total.numel() == 0:
            self.total = torch.zeros(self.dim, dtype=torch.float64)
            self.outer = torch.zeros(self.dim, self.dim, dtype=torch.float64)

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """The moments of `features` [N, d]."""
        moments = cls(int(features.shape[1]))
        moments.update(features)
        return moments

    def update(self, features: Tensor) -> None:
        """Adds `features` [n, d], on any device and of any floating type. Errors: `InputError` where a value is not finite."""
        if features.ndim != 2 or features.shape[1] != self.dim:
            raise ValueError(f"features must be [n, {self.dim}], not {list(features.shape)}")
        for rows in batches_of(len(features), CHUNK):
            chunk = finite_on_cpu(features[rows])
            with one_thread(self.dim <= ONE_THREAD_DIMENSIONS):
                self.total += chunk.sum(0)
                self.outer += chunk.T @ chunk
            self.n += len(chunk)

    def merge(self, other: Moments) -> Moments:
        """The moments of both sets together, as a new object."""
        if other.dim != self.dim:
            raise ValueError(f"moments of dimension {self.dim} and {other.dim} do not add up")
        return Moments(self.dim, self.n + other.n, self.total + other.total, self.outer + other.outer)

    def without(self, part: Moments) -> Moments:
        """The moments of the set without `part`, a subset of it, as a jackknife needs them."""
        return Moments(self.dim, self.n - part.n, self.total - part.total, self.outer - part.outer)

    @property
    def mean(self) -> Tensor:
        """[d] float64."""
        return self.total / max(self.n, 1)

    @property
    def covariance(self) -> Tensor:
        """[d, d] float64, unbiased (divided by N − 1). Errors: `InputError` for fewer than two images."""
        if self.n < 2:
            raise InputError(f"a covariance needs at least two images, and there are {self.n}")
        mean = self.mean
        covariance = (self.outer - self.n * torch.outer(mean, mean)) / (self.n - 1)
        return (covariance + covariance.T) / 2

    def state(self) -> dict[str, Tensor]:
        """The tensors to save; `from_state` reads them."""
        return {"n": torch.tensor(self.n, dtype=torch.int64), "total": self.total.clone(), "outer": self.outer.clone()}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Moments:
        """The moments whose `state` was saved."""
        total = state["total"].to("cpu", torch.float64)
        return cls(len(total), int(state["n"]), total, state["outer"].to("cpu", torch.float64))

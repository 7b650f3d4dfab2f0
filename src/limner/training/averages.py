"""Averages of the weights by a power of the position in training, and averages of other lengths made of them afterwards.

After Karras et al. 2024, "Analyzing and Improving the Training Dynamics of Diffusion Models", arXiv:2312.02696, section 3 and
appendix C. At position t an average mixes the weights of all positions τ ≤ t in proportion to τ^γ. So it spans a fixed share of
the training so far: the first weights are forgotten without a warm-up, and a longer budget needs no other γ. Its length is σ:
the standard deviation of τ under that distribution, over t. Two averages are tracked. A mixture of their snapshots comes near
to the average of any other length, at any position (`mix_averages`).

Positions are images seen since the stage began.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from limner.core.errors import InputError, short_repr
from limner.core.method import Method
from limner.runs.averages import part_name
from limner.runs.checkpoint import load_weights

SIGMAS = (0.05, 0.10)
"""The lengths of the two averages that are tracked, as in the paper's section 3.2. In training, the first is sampled from."""
MAX_SIGMA = 0.28
"""Lengths are below this. At 0.2887, γ is 0: the mean of all weights."""


@cache
def power_of(sigma: float) -> float:
    """γ of the average of the length `sigma`: the largest real root of γ³ + 7γ² + (16 − σ⁻²)γ + (12 − σ⁻²), by the variance
    (γ + 1) / ((γ + 2)²(γ + 3)) of the distribution that is proportional to τ^γ on 0..1.

    Errors: `InputError` for a length that is not above 0 and below `MAX_SIGMA`.

    >>> round(power_of(0.05), 6), round(power_of(0.10), 6)
    (16.972199, 6.937204)
    """
    if not 0 < sigma < MAX_SIGMA:
        raise InputError(f"the length of an average lies between 0 and {MAX_SIGMA}, such as 0.05; it is {short_repr(sigma)}")
    roots = np.roots([1, 7, 16 - sigma**-2, 12 - sigma**-2])
    return float(roots[np.abs(roots.imag) < 1e-9].real.max())


def decay(power: float, images: int, batch: int) -> float:
    """β = (1 − Δ/t)^(γ + 1): the share of the old average in the new one at t = `images`, after a step of Δ = `batch` images.

    >>> round(decay(power_of(0.10), 1000, 10), 7), decay(2.0, 64, 64)
    (0.9233272, 0.0)
    """
    return float((1 - batch / max(images, batch)) ** (power + 1))


def correlation(power: ArrayLike, at: ArrayLike, other_power: ArrayLike, other_at: ArrayLike) -> NDArray[np.float64]:
    """∫ p(τ)·q(τ) dτ of two averages' distributions, elementwise: that of the power a at position s, and of b at t.

    Where s ≤ t it is (a + 1)(b + 1)·(s/t)^b / ((a + b + 1)·t), and symmetric.
    """
    a, s, b, t = (np.asarray(value, np.float64) for value in (power, at, other_power, other_at))
    scale = (a + 1) * (b + 1) / ((a + b + 1) * np.maximum(s, t))
    return np.asarray(scale * np.where(s < t, (s / t) ** b, (t / s) ** a))


def coefficients(positions: Sequence[tuple[float, int]], sigma: float, at: int) -> NDArray[np.float64]:
    """[len(positions)]: the share of each average, given as (σ, images), in the one of the length `sigma` at `at` images.

    They are the least squares fit of the target's distribution by the averages' distributions, among those with the sum 1. The
    sum keeps weights that stood still where they are; it also halves the error on random walks (measured). Errors: `InputError`
    for a length out of range, and without averages.
    """
    if not positions:
        raise InputError("there are no snapshots from which an average could be made; train with ema.kind=power")
    powers = np.array([power_of(one) for one, _ in positions])
    times = np.array([images for _, images in positions], np.float64) / at
    count = len(positions)
    system = np.ones((count + 1, count + 1))
    system[:count, :count] = correlation(powers[:, None], times[:, None], powers[None], times[None])
    system[count, count] = 0
    target = np.append(correlation(powers, times, power_of(sigma), 1.0), 1.0)
    return np.linalg.solve(system, target)[:count]


@dataclass(frozen=True)
class Average:
    """An average of the weights, which is read when it is needed."""

    sigma: float
    images: int
    """Its position."""
    read: Callable[[], Mapping[str, Tensor]]


def mix_averages(averages: Sequence[Average], sigma: float, at: int) -> dict[str, Tensor]:
    """The average of the length `sigma` at `at` images, as a mixture of `averages` of one stage: float32 on the CPU, by name.

    Sums are in float64, and one average is in memory at a time. Errors: `InputError` as `coefficients` has them.
    """
    shares = coefficients([(one.sigma, one.images) for one in averages], sigma, at)
    sums: dict[str, Tensor] = {}
    for share, average in zip(shares, averages, strict=True):
        if abs(share) < 1e-12:  # where the target is one of the averages, all others
            continue
        for name, tensor in average.read().items():
            part = tensor.to("cpu", torch.float64) * float(share)
            sums[name] = sums[name].add_(part) if name in sums else part
    return {name: total.float() for name, total in sums.items()}


class PowerAverages:
    """The two averages of a method in training, and a copy of the method to sample from.

    As in `Ema`, running moments are averaged too, and counters are copied; players that are not averaged keep their first
    weights in the copy.
    """

    def __init__(self, method: Method) -> None:
        self._method = copy.deepcopy(method).eval().requires_grad_(False)
        prefixes = tuple(f"{player.module}." for player in method.players().values() if player.averaged)
        live = {name: tensor for name, tensor in method.state_dict().items() if name.startswith(prefixes)}
        self._live = {name: tensor for name, tensor in live.items() if tensor.is_floating_point()}
        self._counters = {name: tensor for name, tensor in live.items() if not tensor.is_floating_point()}
        self._averages = {sigma: {name: tensor.clone() for name, tensor in self._live.items()} for sigma in SIGMAS}
        self._is_current = True

    @property
    def method(self) -> Method:
        """A copy of the method with averaged weights: the shortest average's, or those of the last `show` since `update`. It is
        never trained, and always in evaluation mode."""
        if not self._is_current:
            self.show(self._averages[SIGMAS[0]])
        return self._method

    @torch.no_grad()
    def show(self, weights: Mapping[str, Tensor]) -> None:
        """Gives the copy these averaged `weights`, until the next `update`."""
        own = self._method.state_dict()
        for name, tensor in [*weights.items(), *self._counters.items()]:
            own[name].copy_(tensor)
        self._is_current = True

    @torch.no_grad()
    def update(self, batch: int, images: int) -> None:
        """Moves both averages towards the live weights after a step of `batch` images that ends at the position `images`."""
        for sigma, mean in self._averages.items():
            torch._foreach_lerp_(list(mean.values()), list(self._live.values()), 1 - decay(power_of(sigma), images, batch))
        self._is_current = False

    def averages(self) -> Mapping[float, Mapping[str, Tensor]]:
        """Both averages by their lengths, as named tensors that go on moving."""
        return self._averages

    def state(self) -> dict[str, Tensor]:
        """Both averages, under names such as ``sigma-0.050/network.0.weight``."""
        return {f"{part_name(sigma)}/{name}": mean for sigma, one in self._averages.items() for name, mean in one.items()}

    def load_state(self, tensors: Mapping[str, Tensor], where: Path) -> None:
        """The inverse of `state`; `where` is what errors name. Errors: `InputError` where it is that of another network."""
        for sigma, mean in self._averages.items():
            prefix = f"{part_name(sigma)}/"
            own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
            load_weights(self._method, own, where, list(mean))
            loaded = self._method.state_dict()
            for name, tensor in mean.items():
                tensor.copy_(loaded[name])
        self._is_current = False

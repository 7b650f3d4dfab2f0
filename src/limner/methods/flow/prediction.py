"""What a network predicts, as adapters over one velocity (Gao et al. 2024, "Diffusion meets flow matching").

In x_t = (1 − t)·x₀ + t·ε the velocity is v = ε − x₀. From a picture x₀ it is (x_t − x₀)/t, from the noise ε it is
(ε − x_t)/(1 − t); both are far too large where their denominators are small, so these are bounded from below.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Network = Callable[[Tensor], Tensor]
"""A picture [B, ...] of unit variance -> the network's output [B, ...] in float32."""

MIN_DENOMINATOR = 0.05
"""Of a velocity by a picture or by noise (Li & He 2025, arXiv:2511.13720, section 4)."""


def input_deviation(t: Tensor, spread: Tensor) -> Tensor:
    """√((1 − t)²·s² + t²): the standard deviation of x_t, where pictures have the standard deviation s."""
    return ((1 - t) * spread).square().add(t.square()).sqrt()


def by_velocity(network: Network, x: Tensor, t: Tensor, centre: Tensor, spread: Tensor) -> Tensor:
    """v is the output itself."""
    return network((x - (1 - t) * centre) / input_deviation(t, spread))


def by_image(network: Network, x: Tensor, t: Tensor, centre: Tensor, spread: Tensor) -> Tensor:
    """v = (x_t − x₀)/t, where the output is x₀: for transformers, whose patches have more entries than noise leaves
    information in."""
    picture = network((x - (1 - t) * centre) / input_deviation(t, spread))
    return (x - picture) / t.clamp(min=MIN_DENOMINATOR)


def by_noise(network: Network, x: Tensor, t: Tensor, centre: Tensor, spread: Tensor) -> Tensor:
    """v = (ε − x_t)/(1 − t), where the output is ε (Ho et al. 2020, arXiv:2006.11239)."""
    eps = network((x - (1 - t) * centre) / input_deviation(t, spread))
    return (eps - x) / (1 - t).clamp(min=MIN_DENOMINATOR)


def by_residual(network: Network, x: Tensor, t: Tensor, centre: Tensor, spread: Tensor) -> Tensor:
    """v is the velocity for normally distributed data, minus s/S times the output: the preconditioning of EDM (Karras et al.
    2022, arXiv:2206.00364, table 1) in this path's terms, with the mean m and the deviation s of each pixel for 0 and 0.5.

    With S² = (1 − t)²·s² + t² it is v = (t − (1 − t)·s²)/S² · (x_t − (1 − t)·m) − m − s/S · F, where EDM's denoiser is
    x_t − t·v. Output and target have unit variance at every time, and a network that gives zero is already right about means
    and variances.
    """
    deviation = input_deviation(t, spread)
    centred = x - (1 - t) * centre
    gaussian = (t - (1 - t) * spread.square()) / deviation.square() * centred - centre
    return gaussian - spread / deviation * network(centred / deviation)


PREDICTIONS = {"velocity": by_velocity, "image": by_image, "noise": by_noise, "edm": by_residual}
"""By the name in the settings."""

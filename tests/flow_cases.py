"""One network with a closed form, and what limner's solvers make of it: tests compare that with diffusers' schedulers.

The network F is used as EDM does: the denoiser is c_skip·y + c_out·F(c_in·y), y = x/(1 − t), σ = t/(1 − t). Every number here
is a formula in float64, so that the results are the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from limner.methods.flow.prediction import by_residual
from limner.methods.flow.solvers import ancestral, dpm, euler, heun, shifted_times

DEVIATION = 0.5
"""EDM's σ_data."""
FROM_NOISE = shifted_times(7, shift=2.0)
"""Times from 1 to 0."""
FROM_NOISE_LEVEL = [0.98, 0.9, 0.75, 0.5, 0.3, 0.12, 0.04, 0.0]
"""Times of schedulers whose first noise level t/(1 − t) has to be finite."""


def waves(number: int) -> Tensor:
    """[3, 4]: what stands for normally distributed noise, another for each number."""
    return 1.4 * torch.sin(torch.arange(1, 13, dtype=torch.float64) * (1.7 + 0.6 * number) + number).view(3, 4)


START = waves(0)


def network(scaled: Tensor, time: float) -> Tensor:
    """F(c_in·y) at a time, [3, 4] -> [3, 4]; entries depend on their neighbours, and on the time."""
    return torch.tanh(1.7 * scaled + 0.4 * scaled.roll(1, 1)) + 0.5 * torch.sin(3 * scaled) * (0.2 + time)


def velocity(x: Tensor, time: Tensor) -> Tensor:
    """dx/dt of that network, by limner's adapter for EDM's preconditioning."""
    t = time.view(-1, 1)
    centre, spread = torch.zeros(4, dtype=x.dtype), torch.full((4,), DEVIATION, dtype=x.dtype)
    return by_residual(lambda scaled: network(scaled, float(time[0])), x, t, centre, spread)


def noise_level(time: float) -> float:
    """σ of EDM and k-diffusion."""
    return time / (1 - time)


def slope(y: Tensor, sigma: Tensor) -> Tensor:
    """dy/dσ = (y − D(y, σ))/σ, where D is the same network's denoiser."""
    time = float(sigma[0] / (1 + sigma[0]))
    x = (1 - time) * y
    return (y - (x - time * velocity(x, torch.full((3,), time, dtype=y.dtype)))) / sigma.view(-1, 1)


def heun_of_noise_levels() -> Tensor:
    """`heun` in EDM's own variables y and σ; at σ = 0, y is x."""
    sigmas = [noise_level(time) for time in FROM_NOISE_LEVEL]
    return heun(slope, START / (1 - FROM_NOISE_LEVEL[0]), sigmas)


CASES: dict[str, Callable[[], Tensor]] = {
    "FlowMatchEuler": lambda: euler(velocity, START, FROM_NOISE),
    "FlowMatchHeun": lambda: heun(velocity, START, FROM_NOISE),
    "DPMSolverMultistep": lambda: dpm(velocity, START, FROM_NOISE),
    "DDIM": lambda: euler(velocity, START, FROM_NOISE_LEVEL),
    "DDIM, eta 1": lambda: ancestral(velocity, START, FROM_NOISE_LEVEL, lambda step: waves(step + 1)),
    "DDIM, eta 0.6": lambda: ancestral(velocity, START, FROM_NOISE_LEVEL, lambda step: waves(step + 1), churn=0.6),
    "EulerAncestral": lambda: ancestral(velocity, START, FROM_NOISE_LEVEL, lambda step: waves(step + 1)),
    "EDMEuler": lambda: euler(velocity, START, FROM_NOISE_LEVEL),
    "EDMDPMSolverMultistep": lambda: dpm(velocity, START, FROM_NOISE_LEVEL),
    "Heun": heun_of_noise_levels,
}
"""limner's result [3, 4] at time 0, by the name of the scheduler of diffusers that gives the same."""


def variance_preserving(time: float) -> float:
    """√((1 − t)² + t²): x_t divided by it has DDIM's coefficients √ᾱ = (1 − t)/√(…) and √(1 − ᾱ) = t/√(…)."""
    return math.hypot(1 - time, time)

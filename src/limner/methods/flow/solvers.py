"""Integrators of dx/dt = v(x, t) from t = 1, noise, to t = 0, a picture, as pure functions of the velocity.

In x_t = (1 − t)·x₀ + t·ε, the velocity v = ε − x₀ gives the picture x₀ = x_t − t·v and the noise ε = x_t + (1 − t)·v. States
are float64, since the errors of many small steps add up. `times` fall from the first time to the last. Row i of a result
depends on row i of x alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]
"""(x [B, ...], t [B]) -> dx/dt [B, ...], float64."""

SAFETY, MIN_FACTOR, MAX_FACTOR = 0.9, 0.2, 5.0
"""Of a step that an adaptive solver chooses: what it stays below the step that would just be allowed, and how much it may
shrink or grow at once (Hairer, Nørsett & Wanner, Solving Ordinary Differential Equations I, section II.4)."""
FIRST_STEP = 0.05
"""The first step that an adaptive solver tries, in time."""


def shifted_times(steps: int, shift: float = 1.0) -> list[float]:
    """[steps + 1] times from 1 to 0: evenly spaced u as t = s·u / (1 + (s − 1)·u) for the shift s (Esser et al. 2024,
    arXiv:2403.03206, eq. 23). A shift above 1 takes smaller steps where there is more noise.

    >>> shifted_times(4, shift=1.0)
    [1.0, 0.75, 0.5, 0.25, 0.0]
    >>> shifted_times(2, shift=3.0)
    [1.0, 0.75, 0.0]
    """
    evenly = [1 - step / steps for step in range(steps + 1)]
    return [shift * u / (1 + (shift - 1) * u) for u in evenly]


def euler(velocity: Velocity, x: Tensor, times: Sequence[float]) -> Tensor:
    """Euler's method, of first order; on this path it is DDIM (Song et al. 2021, arXiv:2010.02502)."""
    for now, then in pairwise(times):
        x = x + (then - now) * velocity(x, _rows(x, now))
    return x


def heun(velocity: Velocity, x: Tensor, times: Sequence[float]) -> Tensor:
    """Heun's method, of second order; a step to time 0 is Euler's (Karras et al. 2022, arXiv:2206.00364, algorithm 1)."""
    for now, then in pairwise(times):
        slope = velocity(x, _rows(x, now))
        if then != 0:
            slope = (slope + velocity(x + (then - now) * slope, _rows(x, then))) / 2
        x = x + (then - now) * slope
    return x


def midpoint(velocity: Velocity, x: Tensor, times: Sequence[float]) -> Tensor:
    """The midpoint method, of second order."""
    for now, then in pairwise(times):
        half = x + (then - now) / 2 * velocity(x, _rows(x, now))
        x = x + (then - now) * velocity(half, _rows(x, (now + then) / 2))
    return x


def dpm(velocity: Velocity, x: Tensor, times: Sequence[float]) -> Tensor:
    """DPM-Solver++ (2M) of second order, which reuses the picture of the step before (Lu et al. 2022, arXiv:2211.01095,
    algorithm 2), in λ = log((1 − t)/t). The first step, and one to time 0, are of first order."""
    picture_before: Tensor | None = None
    step_before = math.inf
    for now, then in pairwise(times):
        picture = x - now * velocity(x, _rows(x, now))
        step = _log_ratio(then) - _log_ratio(now)
        mixed = picture
        if picture_before is not None and math.isfinite(step) and math.isfinite(step_before):
            weight = step / (2 * step_before)
            mixed = (1 + weight) * picture - weight * picture_before
        # −(1 − s)·expm1(−step), where exp(−step) = s·(1 − t) / (t·(1 − s))
        x = then / now * x + ((1 - then) - then * (1 - now) / now) * mixed
        picture_before, step_before = picture, step
    return x


def ancestral(
    velocity: Velocity, x: Tensor, times: Sequence[float], draw: Callable[[int], Tensor], churn: float = 1.0
) -> Tensor:
    """Each step replaces a part of the noise by fresh noise (Song et al. 2021, arXiv:2010.02502, eq. 16, in this path's terms).

    From t to s, x_s = (1 − s)·x₀ + √(s² − σ²)·ε + σ·z. With `churn` 1, σ is that of the posterior of x_s given x_t and x₀; 0 is
    Euler's method. `draw` gives z [B, ...] of a step by its number.
    """
    for number, (now, then) in enumerate(pairwise(times)):
        slope = velocity(x, _rows(x, now))
        picture, eps = x - now * slope, x + (1 - now) * slope
        # The posterior's variance: σ_s² · (1 − (α_t·σ_s / (α_s·σ_t))²), α = 1 − t, σ = t.
        ratio = (1 - now) * then / ((1 - then) * now) if then < 1 else 1.0
        sigma = churn * then * math.sqrt(max(0.0, 1 - ratio**2))
        x = (1 - then) * picture + math.sqrt(max(0.0, then**2 - sigma**2)) * eps
        if sigma > 0:
            x = x + sigma * draw(number)
    return x


def adaptive(
    velocity: Velocity, x: Tensor, first: float = 1.0, last: float = 0.0, tolerance: float = 1e-2, max_steps: int = 1000
) -> tuple[Tensor, Tensor]:
    """Bogacki & Shampine's method of third order with an error of second order (Applied Mathematics Letters 2(4), 1989).

    Each row chooses its own steps, by its own error, so that a picture does not depend on those beside it: the root mean square
    of the error over `tolerance` · (1 + |x|) stays at or below 1. Returns x and the velocities [B] that each row took, its
    rejected steps included. A row that has not arrived after `max_steps` takes what is left as one step of Euler's.
    """
    shape = (-1, *[1] * (x.dim() - 1))
    time = torch.full((len(x),), first, dtype=x.dtype, device=x.device)
    step = torch.full_like(time, FIRST_STEP)
    counts = torch.ones(len(x), dtype=torch.int64, device=x.device)
    slope = velocity(x, time)
    for _ in range(max_steps):
        moves = time > last
        if not bool(moves.any()):
            return x, counts
        step = torch.minimum(step, time - last)
        h = -step.view(shape)
        second = velocity(x + h / 2 * slope, time - step / 2)
        third = velocity(x + 0.75 * h * second, time - 0.75 * step)
        end = x + h * (2 / 9 * slope + 1 / 3 * second + 4 / 9 * third)
        # So that the last time is reached exactly, although time − (time − last) may not be.
        arrival = torch.where(step >= time - last, last, time - step)
        fourth = velocity(end, arrival)
        error = h * (-5 / 72 * slope + 1 / 12 * second + 1 / 9 * third - 1 / 8 * fourth)
        scale = tolerance * (1 + torch.maximum(x.abs(), end.abs()))
        size = (error / scale).flatten(1).square().mean(1).sqrt()
        counts = counts + 3 * moves
        arrives = moves & (size <= 1)
        wide = arrives.view(shape)
        x, slope = torch.where(wide, end, x), torch.where(wide, fourth, slope)
        time = torch.where(arrives, arrival, time)
        factor = (SAFETY * size.clamp(min=1e-10) ** (-1 / 3)).clamp(MIN_FACTOR, MAX_FACTOR)
        step = torch.where(moves, step * factor, step)
    return x + (last - time).view(shape) * slope, counts


def _log_ratio(time: float) -> float:
    """λ = log((1 − t)/t), which rises from −∞ at t = 1 to ∞ at t = 0."""
    if time in (0.0, 1.0):
        return math.inf if time == 0 else -math.inf
    return math.log((1 - time) / time)


def _rows(x: Tensor, time: float) -> Tensor:
    return torch.full((len(x),), time, dtype=x.dtype, device=x.device)

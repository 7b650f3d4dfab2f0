"""Solvers of flows, on velocities with a closed form and against published samplers."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import RK23
from torch import Tensor

import flow_cases
from limner.methods.flow import solvers
from limner.methods.flow.solvers import Velocity, adaptive, ancestral, dpm, euler, heun, midpoint, shifted_times

MEAN, SPREAD = 0.3, 0.5
"""Of normally distributed one-dimensional data, whose flow has a closed form."""
Solver = Callable[[Callable[[Tensor, Tensor], Tensor], Tensor, Sequence[float]], Tensor]


def deviation(time: float) -> float:
    return math.sqrt((1 - time) ** 2 * SPREAD**2 + time**2)


def gaussian_velocity(x: Tensor, time: Tensor) -> Tensor:
    t = time.view(-1, 1)
    return (t - (1 - t) * SPREAD**2) / ((1 - t) ** 2 * SPREAD**2 + t**2) * (x - (1 - t) * MEAN) - MEAN


def gaussian_flow(x: Tensor, now: float, then: float) -> Tensor:
    """Where the flow carries x from the time `now` to `then`."""
    return (1 - then) * MEAN + (x - (1 - now) * MEAN) * deviation(then) / deviation(now)


def mixture_velocity(x: Tensor, time: Tensor) -> Tensor:
    """Of points at −1 and 1 with equal shares: x₀'s mean, given x_t, is tanh((1 − t)·x/t²)."""
    t = time.view(-1, 1)
    return (x - torch.tanh((1 - t) * x / t**2)) / t


POINTS = torch.tensor([[1.1], [-0.7], [2.0]], dtype=torch.float64)


def test_the_closed_form_has_its_golden_value() -> None:
    assert float(gaussian_flow(torch.tensor(1.1, dtype=torch.float64), 1, 0)) == pytest.approx(0.85, abs=1e-15)


@pytest.fixture(scope="module")
def mixture_end() -> Tensor:
    """Where the flow to two points carries `POINTS` from 0.9 to 0.3, by very small steps."""
    return midpoint(mixture_velocity, POINTS, [0.9 - 0.6 * step / 4000 for step in range(4001)])


@pytest.mark.parametrize("data", ["gaussian", "mixture"])
@pytest.mark.parametrize(("solver", "order"), [(euler, 1), (heun, 2), (midpoint, 2), (dpm, 2)])
def test_errors_fall_with_the_order_of_the_solver(solver: Solver, order: int, data: str, mixture_end: Tensor) -> None:
    """Halving the steps divides the error by 2^order, on normally distributed data and on a mixture of two points.

    On the former dx/dt = a·(x − m(t)) with a = S'/S, where S² is quadratic in t; so a''/24 + a·a'/4 + a³/6 = 0, which is the
    midpoint method's largest error, and its order is 3.
    """
    order += solver is midpoint and data == "gaussian"
    times = [[0.9 - 0.6 * step / steps for step in range(steps + 1)] for steps in (40, 80, 160)]
    velocity, end = {
        "gaussian": (gaussian_velocity, gaussian_flow(POINTS, 0.9, 0.3)),
        "mixture": (mixture_velocity, mixture_end),
    }[data]
    errors = [float((solver(velocity, POINTS, grid) - end).abs().max()) for grid in times]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert orders == pytest.approx([order] * 2, abs=0.15)


@pytest.mark.parametrize("solver", [euler, heun, midpoint, dpm])
def test_the_way_from_noise_to_data_ends_at_the_closed_form(solver: Solver) -> None:
    end = solver(gaussian_velocity, POINTS, shifted_times(2000))
    torch.testing.assert_close(end, gaussian_flow(POINTS, 1, 0), rtol=0, atol=1e-3)
    assert end.dtype == torch.float64


def test_an_adaptive_solver_keeps_its_tolerance_and_each_row_its_own_steps() -> None:
    exact = gaussian_flow(POINTS, 1, 0)
    taken = []
    for tolerance in (1e-2, 1e-4, 1e-6):
        end, counts = adaptive(gaussian_velocity, POINTS, tolerance=tolerance)
        assert float((end - exact).abs().max()) < 10 * tolerance
        taken.append(int(counts.sum()))
        for row in range(3):  # to the bit, whatever stands beside it
            alone, count = adaptive(gaussian_velocity, POINTS[row : row + 1], tolerance=tolerance)
            assert torch.equal(alone[0], end[row])
            assert int(count) == int(counts[row])
    assert taken == sorted(taken)
    assert taken[0] < taken[2] / 4


@pytest.mark.parametrize(
    ("velocity", "first", "last", "tolerance", "rejected"),
    [(gaussian_velocity, 1.0, 0.0, 1e-2, 0), (mixture_velocity, 1.0, 0.2, 1e-2, 1), (mixture_velocity, 0.9, 0.6, 1e-4, 1)],
)
def test_an_adaptive_solver_takes_the_steps_of_scipys(
    velocity: Velocity, first: float, last: float, tolerance: float, rejected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """scipy's RK23 is the same method with the same control of the step, but that a step may grow twice as much at once, and
    not at all after a rejected one; these cases do not come to that."""
    monkeypatch.setattr(solvers, "MAX_FACTOR", 10.0)

    def joint(x: Tensor, time: Tensor) -> Tensor:
        """The three points as the entries of one row, [1, 3], since scipy takes one step for all of a vector."""
        return velocity(x.view(3, 1), time.expand(3)).view(1, 3)

    def slope(t: float, y: np.ndarray) -> np.ndarray:
        values: np.ndarray = joint(torch.from_numpy(y), torch.tensor([t], dtype=torch.float64))[0].numpy()
        return values

    theirs = RK23(slope, first, POINTS[:, 0].numpy(), last, rtol=tolerance, atol=tolerance, first_step=solvers.FIRST_STEP)
    steps = 0
    while theirs.status == "running":
        theirs.step()
        steps += 1
    end, counts = adaptive(joint, POINTS.view(1, 3), first, last, tolerance)
    np.testing.assert_allclose(end[0].numpy(), theirs.y, rtol=0, atol=1e-12)
    assert int(counts) == theirs.nfev == 1 + 3 * (steps + rejected)


def test_an_adaptive_solver_ends_where_it_may_take_no_more_steps() -> None:
    end, counts = adaptive(gaussian_velocity, POINTS, tolerance=1e-12, max_steps=3)
    assert bool(end.isfinite().all())
    assert counts.tolist() == [10, 10, 10]


def test_fresh_noise_keeps_the_distribution() -> None:
    """Ancestral steps carry noise to N(0.3, 0.5²), as the flow does; without churn they are Euler's."""
    own = torch.Generator().manual_seed(0)

    def draw(_: int) -> Tensor:
        return torch.randn(40_000, 1, generator=own, dtype=torch.float64)

    start = draw(0)
    end = ancestral(gaussian_velocity, start, shifted_times(400), draw)
    assert float(end.mean()) == pytest.approx(MEAN, abs=0.01)
    assert float(end.std()) == pytest.approx(SPREAD, abs=0.01)
    assert float(torch.corrcoef(torch.cat([start, end], 1).T)[0, 1]) < 0.7, "as the start, in spite of fresh noise"
    still = ancestral(gaussian_velocity, start, shifted_times(20), draw, churn=0.0)
    torch.testing.assert_close(still, euler(gaussian_velocity, start, shifted_times(20)), rtol=1e-12, atol=1e-12)


def network(x: Tensor, sigma: Tensor) -> Tensor:
    """Some denoiser D(x, σ) in EDM's coordinates, shared by both sides of the comparisons."""
    return torch.tanh(1.7 * x / (1 + sigma)) * 0.8 + 0.1 * torch.sin(3 * x) / (1 + sigma)


def test_heun_is_the_published_edm_sampler() -> None:
    """Algorithm 1 of Karras et al. 2022 without churn, as it is printed, against `heun` of dx/dσ = (x − D)/σ."""
    sigmas = [80.0, 20.0, 5.0, 1.0, 0.2, 0.01, 0.0]
    start = 80 * torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = start
    for now, then in itertools.pairwise(sigmas):
        d = (x - network(x, torch.tensor(now, dtype=x.dtype))) / now
        following = x + (then - now) * d
        if then != 0:
            d_then = (following - network(following, torch.tensor(then, dtype=x.dtype))) / then
            following = x + (then - now) * (0.5 * d + 0.5 * d_then)
        x = following

    def slope(y: Tensor, sigma: Tensor) -> Tensor:
        return (y - network(y, sigma.view(-1, 1))) / sigma.view(-1, 1)

    torch.testing.assert_close(heun(slope, start, sigmas), x, rtol=1e-14, atol=1e-14)


def test_euler_is_ddim_of_the_same_noise_schedule() -> None:
    """DDIM (Song et al. 2021, eq. 12 with σ = 0) with α = 1 − t and σ = t, on the same network."""
    start = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    times = [0.98, 0.7, 0.4, 0.1, 0.0]

    def velocity(x: Tensor, time: Tensor) -> Tensor:
        t = time.view(-1, 1)
        picture = network(x / (1 - t), t / (1 - t))
        return (x - picture) / t

    x = start
    for now, then in itertools.pairwise(times):
        picture = network(x / (1 - now), torch.tensor(now / (1 - now), dtype=x.dtype))
        eps = (x - (1 - now) * picture) / now
        x = (1 - then) * picture + then * eps
    torch.testing.assert_close(euler(velocity, start, times), x, rtol=1e-13, atol=1e-13)


def test_dpm_is_the_published_two_step_formula() -> None:
    """Lu et al. 2022, algorithm 2: x = σ_i/σ_j·x − α_i·(e^(−h) − 1)·((1 + 1/2r)·D_j − 1/2r·D_(j−1))."""
    times = [0.95, 0.8, 0.6, 0.3, 0.1]
    start = torch.randn(4, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def picture(x: Tensor, t: float) -> Tensor:
        return network(x / (1 - t), torch.tensor(t / (1 - t), dtype=x.dtype))

    log_ratio = [math.log((1 - t) / t) for t in times]
    x, before = start, None
    for i in range(1, len(times)):
        h, current = log_ratio[i] - log_ratio[i - 1], picture(x, times[i - 1])
        mixed = current
        if before is not None:
            r = (log_ratio[i - 1] - log_ratio[i - 2]) / h
            mixed = (1 + 1 / (2 * r)) * current - 1 / (2 * r) * before
        x = times[i] / times[i - 1] * x - (1 - times[i]) * math.expm1(-h) * mixed
        before = current

    def velocity(y: Tensor, time: Tensor) -> Tensor:
        t = float(time[0])
        return (y - picture(y, t)) / t

    torch.testing.assert_close(dpm(velocity, start, times), x, rtol=1e-12, atol=1e-12)


GOLDEN = json.loads((Path(__file__).parents[1] / "golden_flows.json").read_text())["ends"]


@pytest.mark.parametrize("name", GOLDEN)
def test_a_solver_ends_where_diffusers_scheduler_does(name: str) -> None:
    """What the schedulers gave in float64: tests/diffusers_flows.py. tests/parity/test_flow_oracles.py runs them."""
    theirs = torch.tensor(GOLDEN[name], dtype=torch.float64)
    torch.testing.assert_close(flow_cases.CASES[name](), theirs, rtol=0, atol=1e-11)


def test_every_case_has_its_golden_value() -> None:
    assert GOLDEN.keys() == flow_cases.CASES.keys()

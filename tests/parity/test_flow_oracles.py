"""Solvers of flows against diffusers' schedulers, where diffusers is installed: one network with a closed form in both.

tests/unit/test_flow_solvers.py holds limner to what they gave, without it. Here is more: each with the times that diffusers
itself takes, in its own float32.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import flow_cases
from limner.methods.flow.solvers import dpm, euler, heun, shifted_times

diffusers = pytest.importorskip("diffusers")

import diffusers_flows  # noqa: E402  (it runs diffusers)

Solver = Callable[[Callable[[Tensor, Tensor], Tensor], Tensor, Sequence[float]], Tensor]


@pytest.mark.parametrize("name", flow_cases.CASES)
def test_a_solver_is_the_scheduler(name: str) -> None:
    theirs = diffusers_flows.CASES[name]()
    assert theirs.dtype == torch.float64
    torch.testing.assert_close(flow_cases.CASES[name](), theirs, rtol=0, atol=1e-13)
    golden = torch.tensor(json.loads(diffusers_flows.GOLDEN.read_text())["ends"][name], dtype=torch.float64)
    torch.testing.assert_close(golden, theirs, rtol=0, atol=1e-11)


def _euler() -> Any:
    return diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)


def _heun() -> Any:
    return diffusers.FlowMatchHeunDiscreteScheduler(shift=3.0)


def _dpm() -> Any:
    return diffusers.DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0)


@pytest.mark.parametrize("steps", [4, 20])  # from 15 on, diffusers' DPM++ treats its last steps otherwise
@pytest.mark.parametrize(("solver", "make"), [(euler, _euler), (heun, _heun), (dpm, _dpm)])
def test_a_solver_given_the_schedulers_own_times_ends_where_it_does(
    solver: Solver, make: Callable[[], Any], steps: int
) -> None:
    scheduler = make()
    scheduler.set_timesteps(steps)
    times = scheduler.sigmas.double().tolist()
    x, at = flow_cases.START.float(), iter(times)
    for timestep in scheduler.timesteps:
        x = scheduler.step(diffusers_flows.velocity_at(x.double(), next(at)).float(), timestep, x, return_dict=False)[0]
    if solver is heun:
        times = [times[0], *times[1:-1:2], times[-1]]
    torch.testing.assert_close(solver(flow_cases.velocity, flow_cases.START, times), x.double(), rtol=0, atol=3e-6)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_shifted_times_are_those_of_a_pipeline(shift: float) -> None:
    """Pipelines of Stable Diffusion 3 give their scheduler 1, …, 1/N. By N alone, it takes a last step from nearly 0."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=[1 - step / 8 for step in range(8)])
    assert scheduler.sigmas.tolist() == pytest.approx(shifted_times(8, shift), abs=1e-7)
    scheduler.set_timesteps(8)
    assert 0 < float(scheduler.sigmas[-2]) < 0.01 < shifted_times(8, shift)[-2]

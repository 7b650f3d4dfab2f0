"""What diffusers' schedulers make of the network of `flow_cases.py`. Needs diffusers.

    PYTHONPATH=src:tests python tests/diffusers_flows.py

writes the results to tests/golden_flows.json, which tests/unit/test_flow_solvers.py compares with limner's where there is no
diffusers. Schedulers compute in float32; here they are run in float64, by a `torch` whose float32 is float64, on times of ours.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from flow_cases import (
    DEVIATION,
    FROM_NOISE,
    FROM_NOISE_LEVEL,
    START,
    network,
    noise_level,
    variance_preserving,
    velocity,
    waves,
)

GOLDEN = Path(__file__).with_name("golden_flows.json")
LAST_LEVEL = len(FROM_NOISE_LEVEL) - 1


@contextlib.contextmanager
def scheduler_module(name: str) -> Iterator[Any]:
    """The module of a scheduler, in float64 while this lasts."""
    module = importlib.import_module(f"diffusers.schedulers.scheduling_{name}")
    usual = module.torch
    module.torch = SimpleNamespace(**{**vars(torch), "float32": torch.float64})
    try:
        yield module
    finally:
        module.torch = usual


def velocity_at(x: Tensor, time: float) -> Tensor:
    return velocity(x, torch.full((len(x),), time, dtype=x.dtype))


def eps_at(x: Tensor, time: float) -> Tensor:
    """The noise in x_t."""
    return x + (1 - time) * velocity_at(x, time)


Output = Callable[[Tensor, float], Tensor]
"""A scheduler's state and a time -> what it takes for the network's output there."""


def run(scheduler: Any, times: list[float], sigmas: list[float], x: Tensor, output: Output) -> Tensor:
    """x, stepped by `scheduler` from the first to the last of `sigmas` [N + 1], which are the noise levels of `times`."""
    scheduler.sigmas = torch.tensor(sigmas, dtype=torch.float64)
    scheduler.timesteps = torch.tensor(times[:-1], dtype=torch.float64)
    scheduler.set_begin_index(0)
    for time, timestep in zip(times[:-1], scheduler.timesteps, strict=True):
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(x, timestep)
        x = scheduler.step(output(x, time), timestep, x, return_dict=False)[0]
    return x


def twice_within(values: list[float]) -> list[float]:
    """Each but the first and the last twice, as schedulers of Heun's method keep them."""
    return [values[0], *(one for value in values[1:-1] for one in (value, value)), values[-1]]


def flow_match_euler() -> Tensor:
    with scheduler_module("flow_match_euler_discrete") as module:
        scheduler = module.FlowMatchEulerDiscreteScheduler()
        return run(scheduler, FROM_NOISE, FROM_NOISE, START, velocity_at)


def flow_match_heun() -> Tensor:
    with scheduler_module("flow_match_heun_discrete") as module:
        scheduler = module.FlowMatchHeunDiscreteScheduler()
        scheduler.set_timesteps(len(FROM_NOISE) - 1)
        times = twice_within(FROM_NOISE)
        return run(scheduler, times, times, START, velocity_at)


def dpm_solver() -> Tensor:
    with scheduler_module("dpmsolver_multistep") as module:
        scheduler = module.DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction")
        scheduler.set_timesteps(len(FROM_NOISE) - 1)
        return run(scheduler, FROM_NOISE, FROM_NOISE, START, velocity_at)


def ddim(eta: float) -> Tensor:
    """Its states are x_t/√((1 − t)² + t²), its timestep k is the k-th time from the end."""
    with scheduler_module("ddim") as module:
        scheduler = module.DDIMScheduler(LAST_LEVEL, clip_sample=False)
        scheduler.set_timesteps(LAST_LEVEL)
        shares = [((1 - time) / variance_preserving(time)) ** 2 for time in FROM_NOISE_LEVEL]
        scheduler.alphas_cumprod = torch.tensor(shares[-2::-1], dtype=torch.float64)
        scheduler.final_alpha_cumprod = torch.tensor(shares[-1], dtype=torch.float64)
        x = START / variance_preserving(FROM_NOISE_LEVEL[0])
        for step, timestep in enumerate(scheduler.timesteps.tolist()):
            time = FROM_NOISE_LEVEL[step]
            eps = eps_at(x * variance_preserving(time), time)
            fresh = waves(step + 1) if eta else None
            x = scheduler.step(eps, timestep, x, eta=eta, variance_noise=fresh, return_dict=False)[0]
        return x


def euler_ancestral() -> Tensor:
    """Its states are x_t/(1 − t)."""
    with scheduler_module("euler_ancestral_discrete") as module:
        scheduler, drawn = module.EulerAncestralDiscreteScheduler(), module.randn_tensor
        numbers = iter(range(1, LAST_LEVEL + 1))
        module.randn_tensor = lambda *args, **kwargs: waves(next(numbers))
        try:
            return run_noise_levels(scheduler, lambda y, time: eps_at((1 - time) * y, time))
        finally:
            module.randn_tensor = drawn


def edm_euler() -> Tensor:
    with scheduler_module("edm_euler") as module:
        return run_noise_levels(module.EDMEulerScheduler(sigma_data=DEVIATION), edm_network)


def edm_dpm_solver() -> Tensor:
    with scheduler_module("edm_dpmsolver_multistep") as module:
        scheduler = module.EDMDPMSolverMultistepScheduler(sigma_data=DEVIATION)
        scheduler.set_timesteps(LAST_LEVEL)
        return run_noise_levels(scheduler, edm_network)


def heun() -> Tensor:
    """Heun's method of k-diffusion, which is EDM's sampler without churn."""
    with scheduler_module("heun_discrete") as module:
        scheduler = module.HeunDiscreteScheduler()
        scheduler.set_timesteps(LAST_LEVEL)
        times = twice_within(FROM_NOISE_LEVEL)
        sigmas = [noise_level(time) for time in times]
        start = START / (1 - times[0])
        return run(scheduler, times, sigmas, start, lambda y, time: eps_at((1 - time) * y, time))


def run_noise_levels(scheduler: Any, output: Output) -> Tensor:
    sigmas = [noise_level(time) for time in FROM_NOISE_LEVEL]
    return run(scheduler, FROM_NOISE_LEVEL, sigmas, START / (1 - FROM_NOISE_LEVEL[0]), output)


def edm_network(y: Tensor, time: float) -> Tensor:
    """F itself; the scheduler has its own preconditioning of the output, and c_in is written out."""
    return network(y / math.hypot(noise_level(time), DEVIATION), time)


CASES: dict[str, Callable[[], Tensor]] = {
    "FlowMatchEuler": flow_match_euler,
    "FlowMatchHeun": flow_match_heun,
    "DPMSolverMultistep": dpm_solver,
    "DDIM": lambda: ddim(0.0),
    "DDIM, eta 1": lambda: ddim(1.0),
    "DDIM, eta 0.6": lambda: ddim(0.6),
    "EulerAncestral": euler_ancestral,
    "EDMEuler": edm_euler,
    "EDMDPMSolverMultistep": edm_dpm_solver,
    "Heun": heun,
}
"""The state [3, 4] at time 0, by the scheduler."""


def main() -> None:
    import diffusers

    ends = {name: [[float(f"{value:.12g}") for value in row] for row in case().tolist()] for name, case in CASES.items()}
    GOLDEN.write_text(json.dumps({"diffusers": diffusers.__version__, "ends": ends}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

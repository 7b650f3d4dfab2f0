"""The exponential moving average of the weights, its half-life counted in images.

β = 0.5^(batch / half-life), as in StyleGAN2-ADA (Karras et al. 2020, arXiv:2006.06676).
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from limner.core.method import Method


class Ema:
    """A copy of the Method with averaged weights, to sample from; it is never trained and always in evaluation mode.

    Buffers such as the running moments of batch norm are averaged too, so that they fit the averaged weights; counters, which
    are integers, are copied. Players that are not averaged (`Player.averaged`) keep the weights that they had at first.
    """

    def __init__(self, method: Method) -> None:
        self.method = copy.deepcopy(method).eval().requires_grad_(False)
        modules = [player.module for player in method.players().values() if player.averaged]
        live, mean = dict(_state(method, modules)), dict(_state(self.method, modules))
        names = [name for name in live if live[name].is_floating_point()]
        self._live, self._mean = [live[name] for name in names], [mean[name] for name in names]
        self._counters = [(mean[name], live[name]) for name in live if not live[name].is_floating_point()]

    @torch.no_grad()
    def update(self, batch: int, half_life: float) -> None:
        """Moves the average towards the live weights after a step of `batch` images. `half_life` is in images; 0 copies."""
        beta = 0.5 ** (batch / half_life) if half_life > 0 else 0.0
        torch._foreach_lerp_(self._mean, self._live, 1 - beta)
        for counter, live in self._counters:
            counter.copy_(live)


def _state(method: Method, modules: list[str]) -> list[tuple[str, Tensor]]:
    """(name, tensor) of every parameter and buffer of the named sub-modules."""
    return [
        (f"{module}.{name}", tensor)
        for module in modules
        for name, tensor in [*method.get_submodule(module).named_parameters(), *method.get_submodule(module).named_buffers()]
    ]

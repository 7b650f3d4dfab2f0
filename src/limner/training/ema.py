"""The moving average of the weights, counted in images (Karras et al. 2020, StyleGAN2-ADA: beta = 0.5^(batch / half-life))."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from limner.core.method import Method


class Ema:
    """A second, averaged copy of the Method, for sampling; it is never trained and always in evaluation mode.

    Running moments of normalisation layers are averaged along with the weights, so that they fit each other.
    """

    def __init__(self, method: Method) -> None:
        self.method = copy.deepcopy(method).eval().requires_grad_(False)
        modules = [player.module for player in method.players().values() if player.averaged]
        live, mine = dict(_state(method, modules)), dict(_state(self.method, modules))
        floating = [name for name in live if live[name].is_floating_point()]
        self._live, self._mine = [live[name] for name in floating], [mine[name] for name in floating]
        self._counters = [(mine[name], live[name]) for name in live if not live[name].is_floating_point()]

    @torch.no_grad()
    def update(self, batch: int, half_life: float) -> None:
        """Moves towards the live weights after `batch` more images; `half_life` in images, 0 copies."""
        beta = 0.5 ** (batch / half_life) if half_life > 0 else 0.0
        torch._foreach_lerp_(self._mine, self._live, 1 - beta)
        for mine, live in self._counters:
            mine.copy_(live)


def _state(method: Method, modules: list[str]) -> list[tuple[str, Tensor]]:
    return [
        (f"{module}.{name}", tensor)
        for module in modules
        for name, tensor in [*method.get_submodule(module).named_parameters(), *method.get_submodule(module).named_buffers()]
    ]

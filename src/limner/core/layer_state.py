"""Layer state that training updates beside the weights: running moments, vectors of a power iteration, averages of codes.

A forward pass only collects statistics. `training.step.Stepper` sums them over chunks and processes and updates the state once
per phase, so that one process with two chunks and two processes with one chunk each end up with the same state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

from torch import Tensor, nn


class StatefulLayer(nn.Module, ABC):
    """A layer with state that is updated from statistics of the forward pass, and not by a gradient.

    In one phase, a layer collects statistics on all processes or on none: they are summed over processes by position.
    """

    @abstractmethod
    def take_statistics(self) -> dict[str, Tensor]:
        """Returns and clears the statistics since the last call, as sums that can be added over chunks and processes."""

    @abstractmethod
    def move_state(self, sums: Mapping[str, Tensor]) -> None:
        """Updates the state once, from the sums over all chunks and processes, after the optimisers' step."""


def stateful_layers(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, StatefulLayer]]:
    """(dotted name, layer) of every `StatefulLayer` inside `module`."""
    for name, layer in module.named_modules(prefix=prefix):
        if isinstance(layer, StatefulLayer):
            yield name, layer

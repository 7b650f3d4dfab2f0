"""Layer state that moves with training beside the weights: running moments, vectors of a power iteration, averages of codes.

A forward pass only notes what it saw; the stepper adds the notes over chunks and processes and moves the state once per phase.
So one process with two chunks and two processes with one chunk each end up with the same state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

from torch import Tensor, nn


class StatefulLayer(nn.Module, ABC):
    """A layer with state of its own that no gradient moves.

    In one phase a layer notes on all processes or on none: sums are added over processes by their order.
    """

    @abstractmethod
    def take_statistics(self) -> dict[str, Tensor]:
        """What was noted since the last call, as sums that may be added over chunks and processes. The notes are cleared."""

    @abstractmethod
    def move_state(self, sums: Mapping[str, Tensor]) -> None:
        """Moves the state once, by the sums over all chunks and processes, after the optimisers have stepped."""


def stateful_layers(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, StatefulLayer]]:
    """(dotted name, layer) of every `StatefulLayer` inside `module`."""
    for name, layer in module.named_modules(prefix=prefix):
        if isinstance(layer, StatefulLayer):
            yield name, layer

"""Spectral normalisation (Miyato et al. 2018, arXiv:1802.05957): every weight matrix is divided by its largest singular value.

The vector of the power iteration is layer state: it moves once per phase that names its module, after the weights have moved,
and never in the forward pass, so that chunks, processes and repeated passes all see the same function.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from limner.core.layer_state import StatefulLayer

FIRST = 15
"""Power iterations on the first weights, so that even the first pass divides by nearly the right value."""


class Spectral(StatefulLayer):
    """W -> W / σ(W), with W as a matrix [out, everything else] and σ ≈ uᵀ W v."""

    u: Tensor

    def __init__(self, weight: nn.Parameter) -> None:
        """`weight` is the parameter that it divides; it stays the owner's, and only a reference is kept."""
        super().__init__()
        self._weight = (weight,)  # in a tuple, so that it is not registered as a parameter of this module as well
        self.register_buffer("u", F.normalize(torch.randn(len(weight)), dim=0))
        for _ in range(FIRST):
            self.move_state({})

    def forward(self, weight: Tensor) -> Tensor:
        kind = "cpu" if weight.is_meta else weight.device.type  # autocast knows no tensors without memory
        with torch.autocast(kind, enabled=False):
            matrix = _matrix(weight)
            with torch.no_grad():
                v = F.normalize(self.u @ matrix, dim=0)
            return weight / (self.u @ (matrix @ v))

    def take_statistics(self) -> dict[str, Tensor]:
        """Nothing: the iteration depends on the weight alone."""
        return {}

    @torch.no_grad()
    def move_state(self, sums: Mapping[str, Tensor]) -> None:
        """One step of the power iteration (algorithm 1 of the paper)."""
        matrix = _matrix(self._weight[0])
        self.u.copy_(F.normalize(matrix @ F.normalize(self.u @ matrix, dim=0), dim=0))


def _matrix(weight: Tensor) -> Tensor:
    """[out, …] -> [out, rest]; the order of columns does not matter, so that of channels-last memory, which needs no copy."""
    return weight.permute(0, 2, 3, 1).flatten(1) if weight.dim() == 4 else weight.flatten(1)


def normalise(module: nn.Module) -> None:
    """Puts it on every linear layer, convolution and embedding inside `module`."""
    for layer in list(module.modules()):
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.Embedding):
            weight = layer.weight
            assert isinstance(weight, nn.Parameter)
            parametrize.register_parametrization(layer, "weight", Spectral(weight))

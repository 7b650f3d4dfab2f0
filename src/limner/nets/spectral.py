"""Spectral normalisation (Miyato et al. 2018, arXiv:1802.05957): every weight matrix is divided by its largest singular value.

The vector of the power iteration is state that moves with training: it moves once per step of the player, by `iterate`, never
in the forward pass, so that chunks, processes and repeated passes all see the same function.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

FIRST = 15
"""Power iterations on the first weights, so that even the first pass divides by nearly the right value."""


class Spectral(nn.Module):
    """W -> W / σ(W), with W as a matrix [out, everything else] and σ ≈ uᵀ W v."""

    u: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("u", F.normalize(torch.randn(len(weight)), dim=0))
        for _ in range(FIRST):
            self.iterate(weight)

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            matrix = _matrix(weight)
            with torch.no_grad():
                v = F.normalize(self.u @ matrix, dim=0)
            return weight / (self.u @ (matrix @ v))

    @torch.no_grad()
    def iterate(self, weight: Tensor) -> None:
        """One step of the power iteration (algorithm 1 of the paper)."""
        matrix = _matrix(weight)
        self.u.copy_(F.normalize(matrix @ F.normalize(self.u @ matrix, dim=0), dim=0))


def _matrix(weight: Tensor) -> Tensor:
    """[out, …] -> [out, rest]; the order of columns does not matter, so that of channels-last memory, which needs no copy."""
    return weight.permute(0, 2, 3, 1).flatten(1) if weight.dim() == 4 else weight.flatten(1)


def normalise(module: nn.Module) -> None:
    """Puts it on every linear layer, convolution and embedding inside `module`."""
    for layer in list(module.modules()):
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.Embedding):
            parametrize.register_parametrization(layer, "weight", Spectral(layer.weight.detach()))


def iterate(module: nn.Module) -> None:
    """One power iteration of every weight inside, after its player has moved."""
    for layer in module.modules():
        if isinstance(layer, parametrize.ParametrizationList) and isinstance(layer[0], Spectral):
            layer[0].iterate(layer.original)

"""Spectral normalisation (Miyato et al. 2018, arXiv:1802.05957): every weight matrix is divided by its largest singular value.

The vector of the power iteration is layer state: it moves once in each phase that names its module, after the optimisers'
step, and never in the forward pass, so that all chunks, processes and repeated passes of a phase use the same function.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from limner.core.layer_state import StatefulLayer
from limner.core.precision import no_autocast

INITIAL_ITERATIONS = 15
"""Power iterations at construction, so that σ is nearly right from the first pass on."""


class SpectralNorm(StatefulLayer):
    """W -> W / σ(W), with W as a matrix [out, everything else] and σ ≈ uᵀ W v."""

    u: Tensor

    def __init__(self, weight: nn.Parameter) -> None:
        """`weight` is the parameter to divide; it stays registered in its own layer, and is only referred to here."""
        super().__init__()
        self._weight = (weight,)  # in a tuple, so that it is not registered as a parameter of this module as well
        self.register_buffer("u", F.normalize(torch.randn(len(weight)), dim=0))
        for _ in range(INITIAL_ITERATIONS):
            self.move_state({})

    def forward(self, weight: Tensor) -> Tensor:
        """The weight over its largest singular value, of the same shape and number format, also under autocast."""
        with no_autocast(weight.device):
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
    """[out, …] -> [out, all other axes]. Singular values do not depend on the order of the columns: convolutions use that
    of channels-last memory, which needs no copy."""
    return weight.permute(0, 2, 3, 1).flatten(1) if weight.dim() == 4 else weight.flatten(1)


def add_spectral_norm(module: nn.Module) -> None:
    """Normalises the weight of every linear layer, convolution and embedding inside `module`, in place."""
    for layer in list(module.modules()):
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.Embedding):
            weight = layer.weight
            assert isinstance(weight, nn.Parameter)
            parametrize.register_parametrization(layer, "weight", SpectralNorm(weight))

"""Fully connected networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from limner.nets.cpu import Dropout
from limner.nets.layers import BatchNorm


def mlp(
    sizes: Sequence[int], *, norm: bool = False, dropout: float = 0.0, slope: float = 0.2, activate_last: bool = False
) -> nn.Sequential:
    """[B, sizes[0]] -> [B, sizes[-1]]: linear layers with LeakyReLU(`slope`) between them.

    `norm` (batch norm before the LeakyReLU) and `dropout` (after it) follow the inner layers; with `activate_last` the last
    layer counts as an inner one.

    >>> [type(layer).__name__ for layer in mlp([4, 8, 2])]
    ['Linear', 'LeakyReLU', 'Linear']
    """
    layers: list[nn.Module] = []
    for place, (before, after) in enumerate(pairwise(sizes)):
        inner = place < len(sizes) - 2 or activate_last
        layers.append(nn.Linear(before, after, bias=not (norm and inner)))
        if inner:
            if norm:
                layers.append(BatchNorm(after))
            layers.append(nn.LeakyReLU(slope, inplace=not norm))
            if dropout:
                layers.append(Dropout(dropout))
    return nn.Sequential(*layers)


class MlpGenerator(nn.Module):
    """[B, latent] -> [B, *shape] in [-1, 1]: the generator of Goodfellow et al. 2014 in its usual form, with a final tanh.

    `widths` are the hidden layers, commonly 256, 512 and 1024. `label` is ignored.
    """

    def __init__(self, latent: int, shape: Sequence[int], widths: Sequence[int], norm: bool) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.layers = mlp([latent, *widths, math.prod(shape)], norm=norm)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        images: Tensor = self.layers(z).tanh().unflatten(1, self.shape)
        return images


class MlpTrunk(nn.Module):
    """[B, *shape] -> [B, widths[-1]]: the discriminator without its last layer; `widths` are commonly 512 and 256."""

    def __init__(self, shape: Sequence[int], widths: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.layers = mlp([math.prod(shape), *widths], dropout=dropout, activate_last=True)
        self.features = widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(x.flatten(1))
        return x

"""A densely connected pair: every layer sees all that the layers before it at its size have found (Huang et al. 2017,
arXiv:1608.06993), with transitions of 1x1 convolutions between sizes, for any height and width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.nets.cpu import Conv2d
from limner.nets.halving import halvings
from limner.nets.layers import Norm, norm_of, pooled, resized


@dataclass(frozen=True)
class DenseSize:
    """How large one of the two networks is."""

    growth: int
    """Channels that every layer adds at full size, doubled at every halving up to `widest`."""
    widest: int
    layers: int
    """Layers at every size."""


class DenseLayer(nn.Module):
    """norm, LeakyReLU, 3x3 to `growth` further channels."""

    def __init__(self, before: int, growth: int, norm: Norm, classes: int) -> None:
        super().__init__()
        self.norm = norm_of(norm, before, classes)
        # Where every later layer normalises its channels, a bias would do nothing but drift.
        self.conv = Conv2d(before, growth, 3, 1, 1, bias=norm == "none")

    def forward(self, x: Tensor, label: Tensor | None) -> Tensor:
        return torch.cat([x, self.conv(F.leaky_relu(self.norm(x, label), 0.2))], 1)


class DenseGenerator(nn.Module):
    """[B, latent] -> [B, C, H, W] in [-1, 1]; `shape` is (C, H, W).

    A transition keeps half of the channels (the paper's θ = .5).
    """

    def __init__(self, latent: int, shape: tuple[int, int, int], size: DenseSize, norm: Norm, classes: int = 0) -> None:
        super().__init__()
        channels, height, tall = shape
        sizes = halvings(height, tall)
        growths = [min(size.widest, size.growth * 2**place) for place in range(len(sizes))][::-1]
        self.sizes = sizes[::-1]
        now = 4 * growths[0]
        self.seed_shape = (now, *self.sizes[0])
        self.seed = nn.Linear(latent, math.prod(self.seed_shape))
        self.dense, self.transitions = nn.ModuleList(), nn.ModuleList()
        for place, more in enumerate(growths):
            self.dense.append(nn.ModuleList(DenseLayer(now + i * more, more, norm, classes) for i in range(size.layers)))
            now += size.layers * more
            if place < len(growths) - 1:
                self.transitions.append(Conv2d(now, now // 2, 1, bias=norm == "none"))
                now //= 2
        self.norm = norm_of(norm, now, 0)
        self.last = Conv2d(now, channels, 3, 1, 1)
        _init(self)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        x: Tensor = self.seed(z).unflatten(1, self.seed_shape).contiguous(memory_format=torch.channels_last)
        for place, block in enumerate(self.dense):
            for layer in block:  # type: ignore[attr-defined]
                x = layer(x, label)
            if place < len(self.transitions):
                x = resized(self.transitions[place](x), self.sizes[place + 1])  # a 1x1 convolution commutes with doubling
        x = self.last(F.leaky_relu(self.norm(x), 0.2)).tanh()
        return x


class DenseTrunk(nn.Module):
    """[B, C, H, W] -> [B, d, h, w], without normalisation: the mirror of `DenseGenerator`."""

    def __init__(self, shape: tuple[int, int, int], size: DenseSize) -> None:
        super().__init__()
        channels, height, tall = shape
        sizes = halvings(height, tall)
        # The first convolution halves at once (the paper's, for large images), where there is anything to halve.
        halves = len(sizes) > 1
        now = 2 * size.growth
        self.first = Conv2d(channels, now, 4 if halves else 3, 2 if halves else 1, 1)
        rest = sizes[1:] if halves else sizes
        height, tall = (height // 2, tall // 2) if halves else (height, tall)
        self.dense, self.transitions = nn.ModuleList(), nn.ModuleList()
        for place in range(len(rest)):
            more = min(size.widest, size.growth * 2**place)
            self.dense.append(nn.ModuleList(DenseLayer(now + i * more, more, "none", 0) for i in range(size.layers)))
            now += size.layers * more
            if place < len(rest) - 1:
                self.transitions.append(Conv2d(now, now // 2, 1))
                now //= 2
                height, tall = (height + 1) // 2, (tall + 1) // 2
        self.features = now * height * tall
        _init(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for place, block in enumerate(self.dense):
            for layer in block:  # type: ignore[attr-defined]
                x = layer(x, None)
            if place < len(self.transitions):
                x = self.transitions[place](pooled(x))  # pooling first: a quarter of the work, and they commute
        return F.leaky_relu(x, 0.2)


def _init(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, 0.2, nonlinearity="leaky_relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

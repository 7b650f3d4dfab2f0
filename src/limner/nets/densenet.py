"""A densely connected generator and discriminator (Huang et al. 2017, arXiv:1608.06993), for any height and width.

The input of every layer is the concatenated output of all layers before it at its size; 1x1 convolutions lead from one size to
the next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.nets.cpu import Conv2d
from limner.nets.halving import halvings
from limner.nets.layers import Norm, average_pool, make_norm, upsample


@dataclass(frozen=True)
class DenseSize:
    """How large one of the two networks is."""

    growth: int
    """Channels that every layer adds at full size, doubled at every halving up to `widest`."""
    widest: int
    layers: int
    """Layers at every size."""


class DenseLayer(nn.Module):
    """[B, before, h, w] -> [B, before + growth, h, w]: the input, and a 3x3 convolution of it after norm and LeakyReLU."""

    def __init__(self, before: int, growth: int, norm: Norm, classes: int) -> None:
        super().__init__()
        self.norm = make_norm(norm, before, classes)
        # Every later layer normalises these channels, which removes a bias: it would have no effect and only drift.
        self.conv = Conv2d(before, growth, 3, 1, 1, bias=norm == "none")

    def forward(self, x: Tensor, label: Tensor | None) -> Tensor:
        return torch.cat([x, self.conv(F.leaky_relu(self.norm(x, label), 0.2))], 1)


class DenseGenerator(nn.Module):
    """[B, latent] -> [B, C, H, W] in [-1, 1]; `shape` is (C, H, W).

    A transition halves the channels (the paper's θ = 0.5). With `classes` > 0 the normalisation depends on the label [B].
    """

    def __init__(self, latent: int, shape: tuple[int, int, int], size: DenseSize, norm: Norm, classes: int = 0) -> None:
        super().__init__()
        channels, image_height, image_width = shape
        sizes = halvings(image_height, image_width)
        growths = [min(size.widest, size.growth * 2**place) for place in range(len(sizes))][::-1]
        self.sizes = sizes[::-1]
        in_channels = 4 * growths[0]
        self.seed_shape = (in_channels, *self.sizes[0])
        self.seed = nn.Linear(latent, math.prod(self.seed_shape))
        self.dense, self.transitions = nn.ModuleList(), nn.ModuleList()
        for place, growth in enumerate(growths):
            self.dense.append(
                nn.ModuleList(DenseLayer(in_channels + i * growth, growth, norm, classes) for i in range(size.layers))
            )
            in_channels += size.layers * growth
            if place < len(growths) - 1:
                self.transitions.append(Conv2d(in_channels, in_channels // 2, 1, bias=norm == "none"))
                in_channels //= 2
        self.norm = make_norm(norm, in_channels, 0)
        self.last = Conv2d(in_channels, channels, 3, 1, 1)
        init_kaiming(self)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        x: Tensor = self.seed(z).unflatten(1, self.seed_shape).contiguous(memory_format=torch.channels_last)
        for place, block in enumerate(self.dense):
            for layer in block:  # type: ignore[attr-defined]
                x = layer(x, label)
            if place < len(self.transitions):
                x = upsample(self.transitions[place](x), self.sizes[place + 1])  # a 1x1 convolution commutes with doubling
        x = self.last(F.leaky_relu(self.norm(x), 0.2)).tanh()
        return x


class DenseTrunk(nn.Module):
    """[B, C, H, W] -> [B, d, h, w], without normalisation: the mirror of `DenseGenerator`."""

    def __init__(self, shape: tuple[int, int, int], size: DenseSize) -> None:
        super().__init__()
        channels, image_height, image_width = shape
        sizes = halvings(image_height, image_width)
        # The first convolution halves the image, as the paper's does for large images, where there is anything to halve.
        halves = len(sizes) > 1
        in_channels = 2 * size.growth
        self.first = Conv2d(channels, in_channels, 4 if halves else 3, 2 if halves else 1, 1)
        rest = sizes[1:] if halves else sizes
        height, width = (image_height // 2, image_width // 2) if halves else (image_height, image_width)
        self.dense, self.transitions = nn.ModuleList(), nn.ModuleList()
        for place in range(len(rest)):
            growth = min(size.widest, size.growth * 2**place)
            self.dense.append(
                nn.ModuleList(DenseLayer(in_channels + i * growth, growth, "none", 0) for i in range(size.layers))
            )
            in_channels += size.layers * growth
            if place < len(rest) - 1:
                self.transitions.append(Conv2d(in_channels, in_channels // 2, 1))
                in_channels //= 2
                height, width = (height + 1) // 2, (width + 1) // 2
        self.features = in_channels * height * width
        init_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for place, block in enumerate(self.dense):
            for layer in block:  # type: ignore[attr-defined]
                x = layer(x, None)
            if place < len(self.transitions):
                # Pooling first: the two commute, and the convolution is then a quarter of the work.
                x = self.transitions[place](average_pool(x))
        return F.leaky_relu(x, 0.2)


def init_kaiming(module: nn.Module) -> None:
    """Sets the weights of all convolutions and linear layers in `module`, in place: normal, scaled for LeakyReLU(0.2) (He et
    al. 2015, arXiv:1502.01852); biases to zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, 0.2, nonlinearity="leaky_relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

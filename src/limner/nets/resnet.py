"""The residual networks of WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028) in the form of SNGAN (Miyato et al. 2018,
arXiv:1802.05957), for any height and width.

At 32x32, with 256 channels in the generator and 128 in the discriminator, they have the parameters of the published networks:
4,276,739 and 1,053,825.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.nets.cpu import Conv2d
from limner.nets.halving import halvings
from limner.nets.layers import BatchNorm, Norm, average_pool, make_norm, upsample


class UpBlock(nn.Module):
    """[B, before, h, w] -> [B, after, *size]: norm, ReLU, doubling, 3x3, norm, ReLU, 3x3, with a shortcut.

    The shortcut's 1x1 convolution stands before the doubling: the two commute, and this is a quarter of the work.
    """

    def __init__(self, before: int, after: int, size: tuple[int, int], norm: Norm, classes: int) -> None:
        super().__init__()
        self.size = size
        self.norm1, self.norm2 = make_norm(norm, before, classes), make_norm(norm, after, classes)
        self.conv1, self.conv2 = Conv2d(before, after, 3, 1, 1), Conv2d(after, after, 3, 1, 1)
        self.shortcut = Conv2d(before, after, 1)
        for layer in (self.conv1, self.conv2, self.shortcut):
            # A later batch norm removes the bias, so that Adam would let it drift: it stays 0, but counts as a parameter, as in
            # the published networks.
            layer.bias.requires_grad_(norm == "none")  # type: ignore[union-attr]

    def forward(self, x: Tensor, label: Tensor | None) -> Tensor:
        y: Tensor = self.conv1(upsample(F.relu(self.norm1(x, label)), self.size))
        y = self.conv2(F.relu(self.norm2(y, label)))
        return y + upsample(self.shortcut(x), self.size)


class ResnetGenerator(nn.Module):
    """[B, latent] -> [B, C, H, W] in [-1, 1]; `shape` is (C, H, W).

    It has `width` channels at full size, doubled at every halving up to `widest`. With `classes` > 0 the normalisation of the
    blocks depends on the label [B].
    """

    def __init__(self, latent: int, shape: tuple[int, int, int], width: int, widest: int, norm: Norm, classes: int = 0) -> None:
        super().__init__()
        channels, image_height, image_width = shape
        sizes = halvings(image_height, image_width)
        widths = [min(widest, width * 2**place) for place in range(len(sizes))][::-1]
        sizes = sizes[::-1]
        self.seed_shape = (widths[0], *sizes[0])
        self.seed = nn.Linear(latent, math.prod(self.seed_shape))
        self.blocks = nn.ModuleList(
            UpBlock(widths[place], widths[place + 1], sizes[place + 1], norm, classes) for place in range(len(sizes) - 1)
        )
        self.norm = make_norm(norm, widths[-1], 0)
        self.last = Conv2d(widths[-1], channels, 3, 1, 1)
        init_glorot(self)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        x: Tensor = self.seed(z).unflatten(1, self.seed_shape).contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = block(x, label)
        x = self.last(F.relu(self.norm(x))).tanh()
        return x


class DownBlock(nn.Module):
    """[B, before, h, w] -> [B, after, h, w], halved where `down`: ReLU, 3x3, ReLU, 3x3, with a shortcut.

    The `first` block takes the image itself, without ReLU. The shortcut has a 1x1 convolution where channels or size change.
    """

    def __init__(self, before: int, after: int, first: bool, down: bool) -> None:
        super().__init__()
        self.first, self.down = first, down
        self.conv1, self.conv2 = Conv2d(before, after, 3, 1, 1), Conv2d(after, after, 3, 1, 1)
        self.shortcut = Conv2d(before, after, 1) if down or before != after else None

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        if self.down:
            x, y = average_pool(x), average_pool(y)
        return y + (x if self.shortcut is None else self.shortcut(x))


class ResnetTrunk(nn.Module):
    """[B, C, H, W] -> [B, features]: blocks that halve the image while both sides stay 7 or more, then `blocks` blocks at that
    size, ReLU, and the sum over all pixels.

    It has `width` channels after the first block, doubled at every halving up to `widest`.
    """

    def __init__(self, shape: tuple[int, int, int], width: int, widest: int, blocks: int) -> None:
        super().__init__()
        before, image_height, image_width = shape
        downs = len(halvings(image_height, image_width, smallest=7)) - 1
        layers: list[nn.Module] = []
        for place in range(max(1, downs) + blocks):
            after = min(widest, width * 2 ** min(place, max(0, downs - 1)))
            layers.append(DownBlock(before, after, place == 0, place < downs))
            before = after
        self.blocks = nn.Sequential(*layers)
        self.features = before
        init_glorot(self)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.blocks(x)).sum((2, 3))


def init_glorot(module: nn.Module) -> None:
    """Glorot's uniform initial weights, with gain √2 on the residual branch (Miyato et al. 2018); biases zero."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            gain = 2**0.5 if name.endswith(("conv1", "conv2")) else 1.0
            nn.init.xavier_uniform_(layer.weight, gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, BatchNorm):
            nn.init.ones_(layer.weight)

"""The networks of R3GAN, "The GAN is dead; long live the GAN! A Modern Baseline GAN" (Huang, Gokaslan, Kuleshov & Tompkin 2024,
arXiv:2501.05441), section 4 and appendix, for any height and width.

They are ResNets without normalisation, mirror images of each other: bottlenecks of 1x1, grouped 3x3 and 1x1 convolutions with
LeakyReLU, and bilinear resampling with a 1x1 convolution where the number of channels changes. Fixup initialisation (Zhang et
al. 2019, arXiv:1901.09321) sets the last convolution of every block to zero, so that each network is at first linear.

`patch` is not in the paper. At 1 the networks work at full size, as in the paper; at 2 one strided convolution leads between
full and half size, which leaves out the most expensive stage and suits budgets of minutes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.nets.cpu import Conv2d, ConvTranspose2d
from limner.nets.halving import halvings
from limner.nets.layers import average_pool

LEAKY_SLOPE = 0.2
"""Of every LeakyReLU."""


class Bottleneck(nn.Module):
    """x + 1x1(σ(3x3(σ(1x1(x))))) with σ = LeakyReLU: `expansion` times as many channels inside, the 3x3 in groups of `group`.

    `blocks` is the number of such blocks in the whole network, on which the initial scale depends.
    """

    def __init__(self, channels: int, expansion: float, group: int, blocks: int) -> None:
        super().__init__()
        inner = max(1, round(channels * expansion / group)) * group
        self.conv1 = Conv2d(channels, inner, 1)
        self.conv2 = (
            Conv2d(inner, inner, 3, 1, 1) if inner == group else nn.Conv2d(inner, inner, 3, 1, 1, groups=inner // group)
        )
        self.conv3 = Conv2d(inner, channels, 1, bias=False)
        # Fixup with L blocks of 3 layers: the first two layers start at He's scale times L^(−1/4), the third at zero.
        for layer in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(layer.weight, LEAKY_SLOPE, nonlinearity="leaky_relu")
            layer.weight.data.mul_(blocks**-0.25)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.conv3.weight)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = F.leaky_relu(self.conv1(x), LEAKY_SLOPE)
        y = self.conv3(F.leaky_relu(self.conv2(y), LEAKY_SLOPE))
        return x + y


def _width_change(before: int, after: int) -> nn.Module:
    """A 1x1 convolution from `before` to `after` channels; the identity where these are equal."""
    if before == after:
        return nn.Identity()
    layer = Conv2d(before, after, 1, bias=False)
    nn.init.kaiming_normal_(layer.weight, 1.0, nonlinearity="leaky_relu")
    return layer


@dataclass(frozen=True)
class R3Size:
    """How large the networks are; the generator and the discriminator may differ."""

    width: int
    """Channels at full size, doubled at every halving up to `widest`."""
    widest: int
    blocks: int
    """Bottlenecks at every size."""
    expansion: float
    """Width inside a bottleneck over the width outside."""
    group: int
    """Channels in one group of a bottleneck's 3x3 convolution."""
    patch: int
    """Pixels of a side that the outermost layer takes at once: 1 or 2."""

    def maps(self, height: int, width: int) -> list[tuple[int, int]]:
        """(height, width) of every stage, from the image's size down; `patch` 2 leaves the full size out, unless it is the only
        one."""
        sizes = halvings(height, width)
        return sizes[1:] if self.patch == 2 and len(sizes) > 1 else sizes

    def widths(self, stages: int) -> list[int]:
        """Channels of every stage, in the order of `maps`."""
        return [min(self.widest, self.width * 2**place) for place in range(stages)]

    def stage(self, channels: int, stages: int) -> nn.Sequential:
        """The bottlenecks of one stage with `channels` channels, in a network of `stages` stages."""
        blocks = self.blocks * stages
        return nn.Sequential(*(Bottleneck(channels, self.expansion, self.group, blocks) for _ in range(self.blocks)))


class R3Generator(nn.Module):
    """[B, latent] -> [B, C, H, W], unbounded; `shape` is (C, H, W).

    The first layer (the paper's basis layer) is a learned map of 4x4 pixels (7x7 for 28x28) whose channels are scaled by linear
    functions of the latent. `label` is ignored.
    """

    def __init__(self, latent: int, shape: tuple[int, int, int], size: R3Size) -> None:
        super().__init__()
        channels, height, width = shape
        sizes = size.maps(height, width)
        widths = size.widths(len(sizes))[::-1]
        self.sizes = sizes[::-1]
        self.full = (height, width)
        self.basis = nn.Parameter(torch.randn(1, widths[0], *self.sizes[0]))
        self.scale = nn.Linear(latent, widths[0], bias=False)
        nn.init.kaiming_normal_(self.scale.weight, 1.0, nonlinearity="leaky_relu")
        self.stages = nn.ModuleList(size.stage(channels, len(sizes)) for channels in widths)
        self.changes = nn.ModuleList(_width_change(a, b) for a, b in pairwise(widths))
        self.last = Conv2d(widths[-1], channels, 1) if sizes[0] == self.full else ConvTranspose2d(widths[-1], channels, 4, 2, 1)
        nn.init.kaiming_normal_(self.last.weight, 1.0, nonlinearity="leaky_relu")
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        x = (self.basis * self.scale(z)[:, :, None, None]).contiguous(memory_format=torch.channels_last)
        for place, stage in enumerate(self.stages):
            if place:  # the 1x1 convolution first: it commutes with resampling, and has a quarter of the pixels
                x = self.changes[place - 1](x)
                x = F.interpolate(x, size=self.sizes[place], mode="bilinear", align_corners=False)
            x = stage(x)
        images: Tensor = self.last(x)
        return images[:, :, : self.full[0], : self.full[1]]


class R3Trunk(nn.Module):
    """[B, C, H, W] -> [B, features]: `R3Generator` mirrored, ending with a depthwise convolution over the whole last map."""

    def __init__(self, shape: tuple[int, int, int], size: R3Size) -> None:
        super().__init__()
        channels, height, width = shape
        sizes = size.maps(height, width)
        widths = size.widths(len(sizes))
        # More padding for an odd side, so that the strided convolution uses its last row or column.
        pad = (1 + height % 2, 1 + width % 2)
        self.first = Conv2d(channels, widths[0], 1) if sizes[0] == (height, width) else Conv2d(channels, widths[0], 4, 2, pad)
        nn.init.kaiming_normal_(self.first.weight, 1.0, nonlinearity="leaky_relu")
        nn.init.zeros_(self.first.bias)  # type: ignore[arg-type]
        self.stages = nn.ModuleList(size.stage(channels, len(sizes)) for channels in widths)
        self.changes = nn.ModuleList(_width_change(a, b) for a, b in pairwise(widths))
        self.features = widths[-1]
        self.classify = nn.Parameter(torch.randn(widths[-1], *sizes[-1]) / math.sqrt(math.prod(sizes[-1])))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for place, stage in enumerate(self.stages):
            x = stage(x)
            if place < len(self.changes):
                x = self.changes[place](average_pool(x))
        return (x * self.classify).sum((2, 3))

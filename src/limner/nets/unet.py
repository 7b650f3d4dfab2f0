"""A U-Net for velocities (Ronneberger et al. 2015, arXiv:1505.04597, in the form of Ho et al. 2020, arXiv:2006.11239), for any
height and width, small enough for minutes on a CPU.

Residual blocks at every size on the way down and up, connected at equal sizes. Time and class enter as a gain and a bias of
each block's second norm (Dhariwal & Nichol 2021, arXiv:2105.05233). Differences from these papers, all for speed:

- `patch` 2 takes two by two pixels at once, which leaves out the most expensive size.
- Norms are over the channels of a pixel, which are neighbours in channels-last memory, and not over groups of channels of a
  picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.nets.cpu import Conv2d, Dropout
from limner.nets.layers import TimeAndClass, average_pool, upsample
from limner.nets.transformer import attend

MAX_ATTENTION_SIDE = 16
"""Attention compares every pixel with every other, so it stands only at sizes up to so many pixels a side."""


@dataclass(frozen=True)
class UNetSize:
    """How large a U-Net is."""

    width: int
    """Channels at the first size."""
    multipliers: tuple[int, ...]
    """Channels of each size, from the largest down, as multiples of `width`; each size is half of the one before."""
    blocks: int
    """Residual blocks of each size on the way down; there is one more on the way up."""
    attention: int
    """Attention follows the blocks at sizes of at most so many pixels a side."""
    heads: int
    """Attention heads; a divisor of the channels where there is attention."""
    patch: int
    """Pixels of a side that the outermost layers take at once: 1 or 2."""
    dropout: float
    """Share of the entries that is dropped in the blocks in training."""


class ChannelNorm(nn.Module):
    """Layer norm (Ba et al. 2016) over the channels of each pixel, [B, C, H, W] -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        rows = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias)
        return rows.permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """[B, before, h, w] and the condition's vector [B, d] -> [B, after, h, w]: norm, SiLU, 3x3, norm, SiLU, 3x3, with a
    shortcut. The last convolution is zero at first, so that the block begins as its shortcut."""

    def __init__(self, before: int, after: int, vector: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = ChannelNorm(before), ChannelNorm(after)
        self.conv1, self.conv2 = Conv2d(before, after, 3, 1, 1), Conv2d(after, after, 3, 1, 1)
        self.modulation = nn.Linear(vector, 2 * after)
        self.shortcut = Conv2d(before, after, 1) if before != after else nn.Identity()
        self.drop = Dropout(dropout)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        gain, bias = self.modulation(vector)[:, :, None, None].chunk(2, 1)
        y: Tensor = self.norm2(self.conv1(F.silu(self.norm1(x))))
        y = self.conv2(self.drop(F.silu(torch.addcmul(bias, y, gain + 1))))
        skip: Tensor = self.shortcut(x)
        return skip + y


class Attention(nn.Module):
    """x + attention(norm(x)) over all pixels of [B, C, h, w]; zero at first."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = ChannelNorm(channels)
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.norm(x).permute(0, 2, 3, 1).flatten(1, 2)
        q, k, v = self.qkv(rows).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        values: Tensor = self.out(attend(q, k, v, causal=False).transpose(1, 2).flatten(2))
        return x + values.view(x.shape[0], *x.shape[2:], -1).permute(0, 3, 1, 2)


class AttentiveBlock(nn.Module):
    """A residual block, and attention after it where the size allows."""

    def __init__(self, before: int, after: int, vector: int, size: UNetSize, side: int) -> None:
        super().__init__()
        self.block = ResidualBlock(before, after, vector, size.dropout)
        self.attention = Attention(after, size.heads) if side <= size.attention else nn.Identity()

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        y: Tensor = self.attention(self.block(x, vector))
        return y


class UNet(TimeAndClass):
    """Pictures [B, C, H, W], times [B], classes [B] and changes [B, changes] -> [B, C, H, W], zero at first.

    `shape` is (C, H, W). A side that is no multiple of the patch is padded with zeros.
    """

    def __init__(self, shape: tuple[int, int, int], size: UNetSize, classes: int = 0, changes: int = 0) -> None:
        vector = 4 * size.width
        super().__init__(size.width, vector, classes, changes)
        channels, height, width = shape
        self.patch = size.patch
        widths = [size.width * multiplier for multiplier in size.multipliers]
        sides = [-(-max(height, width) // (size.patch * 2**place)) for place in range(len(widths))]
        self.first = Conv2d(channels * size.patch**2, widths[0], 3, 1, 1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        before, skips = widths[0], [widths[0]]
        for place, (after, side) in enumerate(zip(widths, sides, strict=True)):
            if place:
                skips.append(before)
            inputs = [before, *[after] * (size.blocks - 1)]
            self.down.append(nn.ModuleList(AttentiveBlock(one, after, vector, size, side) for one in inputs))
            skips += [after] * size.blocks
            before = after
        for after, side in zip(widths[::-1], sides[::-1], strict=True):
            inputs = [before + skips.pop(), *(after + skips.pop() for _ in range(size.blocks))]
            self.up.append(nn.ModuleList(AttentiveBlock(one, after, vector, size, side) for one in inputs))
            before = after
        self.norm = ChannelNorm(widths[0])
        self.last = Conv2d(widths[0], channels * size.patch**2, 3, 1, 1)
        nn.init.zeros_(self.last.weight)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None, change: Tensor | None = None) -> Tensor:
        vector = self.condition(time, label, change)
        height, width = x.shape[2:]
        x = F.pad(x, (0, -width % self.patch, 0, -height % self.patch))
        x = self.first(F.pixel_unshuffle(x, self.patch).contiguous(memory_format=torch.channels_last))
        skips = [x]
        for place, stage in enumerate(self.down):
            if place:
                x = average_pool(x)
                skips.append(x)
            for block in stage:  # type: ignore[attr-defined]  # a ModuleList
                x = block(x, vector)
                skips.append(x)
        for stage in self.up:
            x = upsample(x, (skips[-1].shape[2], skips[-1].shape[3]))
            for block in stage:  # type: ignore[attr-defined]
                x = block(torch.cat([x, skips.pop()], 1), vector)
        x = F.pixel_shuffle(self.last(F.silu(self.norm(x))), self.patch)
        return x[:, :, :height, :width]

"""A diffusion transformer (Peebles & Xie 2023, arXiv:2212.09748) on the patches of a picture, for any height and width.

Each block's norms have gains and biases, and its sublayers gates, that are functions of time and class (adaLN-Zero); one
linear map gives them for all blocks, and each block adds its own (Chen et al. 2023, arXiv:2310.00426, section 2.3), since a map
for each block would hold a third of all weights. Queries and keys are normalised (Henry et al. 2020, arXiv:2010.04245).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.nets.cpu import Dropout
from limner.nets.layers import TimeAndClass
from limner.nets.transformer import attend

FREQUENCIES = 64
"""Of the time's cosines and sines."""


@dataclass(frozen=True)
class DitSize:
    """How large a diffusion transformer is."""

    width: int
    """Entries of each patch's vector."""
    depth: int
    """Blocks."""
    heads: int
    """Attention heads; a divisor of `width`."""
    patch: int
    """Pixels of a side of a patch."""
    dropout: float
    """Share of the entries that is dropped in training."""


class DitBlock(nn.Module):
    """[B, T, width] and gains, biases and gates [B, 6, width] -> [B, T, width]; the identity at first."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.own = nn.Parameter(torch.zeros(6, width))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.gain_q, self.gain_k = nn.Parameter(torch.ones(width // heads)), nn.Parameter(torch.ones(width // heads))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        gain1, bias1, gate1, gain2, bias2, gate2 = (modulation + self.own)[:, :, None].unbind(1)
        rows = torch.addcmul(bias1, F.layer_norm(x, (self.width,)), gain1 + 1)
        q, k, v = self.qkv(rows).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = F.layer_norm(q, q.shape[3:], self.gain_q), F.layer_norm(k, k.shape[3:], self.gain_k)
        values = self.out(attend(q, k, v, causal=False).transpose(1, 2).flatten(2))
        x = torch.addcmul(x, values, gate1)
        rows = torch.addcmul(bias2, F.layer_norm(x, (self.width,)), gain2 + 1)
        return torch.addcmul(x, self.down(self.drop(F.silu(self.up(rows)))), gate2)


class Dit(TimeAndClass):
    """Pictures [B, C, H, W], times [B], classes [B] and changes [B, changes] -> [B, C, H, W], zero at first.

    `shape` is (C, H, W). A side that is no multiple of the patch is padded with zeros.
    """

    def __init__(self, shape: tuple[int, int, int], size: DitSize, classes: int = 0, changes: int = 0) -> None:
        super().__init__(FREQUENCIES, size.width, classes, changes)
        channels, height, width = shape
        self.patch = size.patch
        self.grid = (-(-height // size.patch), -(-width // size.patch))
        self.modulation = nn.Linear(size.width, 6 * size.width)
        self.first = nn.Linear(channels * size.patch**2, size.width)
        self.place = nn.Parameter(0.02 * torch.randn(self.grid[0] * self.grid[1], size.width))
        self.blocks = nn.ModuleList(DitBlock(size.width, size.heads, size.dropout) for _ in range(size.depth))
        self.last_modulation = nn.Linear(size.width, 2 * size.width)
        self.last = nn.Linear(size.width, channels * size.patch**2)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        for layer in (self.modulation, self.last_modulation, self.last):
            nn.init.zeros_(layer.weight)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None, change: Tensor | None = None) -> Tensor:
        vector = self.condition(time, label, change)
        modulation = self.modulation(vector).unflatten(1, (6, -1))
        height, width = x.shape[2:]
        x = F.pad(x, (0, -width % self.patch, 0, -height % self.patch))
        rows = F.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2)
        tokens = self.first(rows) + self.place
        for block in self.blocks:
            tokens = block(tokens, modulation)
        gain, bias = self.last_modulation(vector)[:, None].chunk(2, 2)
        tokens = torch.addcmul(bias, F.layer_norm(tokens, tokens.shape[2:]), gain + 1)
        patches = self.last(tokens).transpose(1, 2).unflatten(2, self.grid)
        return F.pixel_shuffle(patches, self.patch)[:, :, :height, :width]

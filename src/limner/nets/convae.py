"""A convolutional encoder and decoder for any height and width, mirror images of each other.

Strided convolutions halve the image; after each stand blocks, residual ones (He et al. 2016, arXiv:1603.05027) or densely
connected ones (Huang et al. 2017, arXiv:1608.06993). The latent is a vector, or a map of the smallest size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.nets.cpu import Conv2d, ConvTranspose2d
from limner.nets.halving import halvings

Block = Literal["residual", "dense"]
DENSE_LAYERS = 2
"""Layers of a `DenseBlock`."""


@dataclass(frozen=True)
class ConvSize:
    """How large a convolutional encoder or decoder is. Both networks of an autoencoder have the same size."""

    width: int
    """Channels at half of the image's size, doubled at every halving up to `widest`."""
    widest: int
    blocks: int
    """Blocks at every size."""
    block: Block = "residual"
    down: int | None = None
    """Halvings of the image's size; as many as leave 4 pixels where None."""
    spatial: bool = False
    """Whether the latent is a map of the smallest size, instead of a vector."""
    hidden: int = 0
    """Units of a further layer between the smallest map and a latent vector; 0 is no such layer."""


class ResidualBlock(nn.Module):
    """[B, C, H, W] -> the same: a pre-activation residual block without normalisation; its last convolution starts at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Conv2d(channels, channels, 3, 1, 1)
        self.last = Conv2d(channels, channels, 3, 1, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(F.silu(self.first(F.silu(x))))
        return x + y


class DenseBlock(nn.Module):
    """[B, C, H, W] -> the same: a dense block of two 3x3 layers and a 1x1 transition.

    Each layer adds half of `channels` and takes the block's input together with the outputs of the layers before it; the
    transition brings them back to `channels`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        growth = max(1, channels // 2)
        self.layers = nn.ModuleList(Conv2d(channels + i * growth, growth, 3, 1, 1) for i in range(DENSE_LAYERS))
        self.transition = Conv2d(channels + DENSE_LAYERS * growth, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(F.silu(x))], 1)
        x = self.transition(x)
        return x


def _make_blocks(kind: Block, channels: int, count: int) -> list[nn.Module]:
    return [ResidualBlock(channels) if kind == "residual" else DenseBlock(channels) for _ in range(count)]


def _map_sizes(height: int, width: int, down: int | None) -> list[tuple[int, int]]:
    """(height, width) of the image and of every smaller map: `down` halvings, or where None as many as leave 4 pixels."""
    return halvings(height, width)[: None if down is None else down + 1]


class ConvEncoder(nn.Module):
    """[B, C, H, W] -> [B, out], or [B, out, h, w] where `size.spatial`; `shape` is (C, H, W).

    >>> encoder = ConvEncoder((3, 32, 32), 10, ConvSize(width=8, widest=16, blocks=1))
    >>> encoder(torch.zeros(2, 3, 32, 32)).shape, encoder.map_size
    (torch.Size([2, 10]), (4, 4))
    """

    def __init__(self, shape: tuple[int, int, int], out: int, size: ConvSize) -> None:
        super().__init__()
        channels, height, width = shape
        sizes = _map_sizes(height, width, size.down)
        layers: list[nn.Module] = []
        for place in range(len(sizes) - 1):
            out_channels = min(size.widest, size.width * 2**place)
            odd = (sizes[place][0] % 2, sizes[place][1] % 2)
            if any(odd):  # a row or column of zeros at the far edge, so that halving an odd side rounds up
                layers.append(nn.ZeroPad2d((0, odd[1], 0, odd[0])))
            layers.append(Conv2d(channels, out_channels, 4, 2, 1))
            layers += _make_blocks(size.block, out_channels, size.blocks)
            layers.append(nn.SiLU())
            channels = out_channels
        self.layers = nn.Sequential(*layers)
        self.map_size = sizes[-1]
        """(h, w) of the smallest map."""
        self.spatial = size.spatial
        entries = channels * sizes[-1][0] * sizes[-1][1]
        hidden = [nn.Linear(entries, size.hidden), nn.SiLU()] if size.hidden else []
        self.head: nn.Module = (
            Conv2d(channels, out, 1) if size.spatial else nn.Sequential(*hidden, nn.Linear(size.hidden or entries, out))
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(x)
        out: Tensor = self.head(x if self.spatial else x.flatten(1))
        return out


class SpatialBroadcast(nn.Module):
    """[B, latent] -> [B, channels, h, w]: one small network computes every pixel of the map from the latent and the pixel's
    coordinates in [-1, 1] (Watters et al. 2019, "Spatial Broadcast Decoder", arXiv:1901.07017).

    The network need not learn what position is, which helps it to separate position from the other factors.
    """

    places: Tensor

    def __init__(self, latent: int, hidden: int, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        rows, columns = (torch.linspace(-1, 1, side) if side > 1 else torch.zeros(1) for side in size)
        grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), 2).view(-1, 2)
        self.register_buffer("places", grid, persistent=False)
        self.of_latent, self.of_place = nn.Linear(latent, hidden), nn.Linear(2, hidden, bias=False)
        self.between, self.out = nn.Linear(hidden, hidden), nn.Linear(hidden, channels)
        self.size = size

    def forward(self, z: Tensor) -> Tensor:
        x: Tensor = F.silu(self.of_latent(z)[:, None] + self.of_place(self.places)[None])
        x = self.out(F.silu(self.between(x))).mT.unflatten(2, self.size)
        return x


class ConvDecoder(nn.Module):
    """[B, latent], or [B, latent, h, w] where `size.spatial`, -> [B, C, H, W], unbounded; `shape` is (C, H, W).

    The mirror image of `ConvEncoder`, except that with `size.hidden` > 0 a vector enters by a `SpatialBroadcast`.
    """

    def __init__(self, latent: int, shape: tuple[int, int, int], size: ConvSize) -> None:
        super().__init__()
        channels, height, width = shape
        self.sizes = _map_sizes(height, width, size.down)[::-1]
        steps = len(self.sizes) - 1
        widths = [min(size.widest, size.width * 2**place) for place in range(steps)][::-1]
        self.seed_shape = (widths[0], *self.sizes[0])
        seed = widths[0] * self.sizes[0][0] * self.sizes[0][1]
        self.seed: nn.Module
        if size.spatial:
            self.seed = Conv2d(latent, widths[0], 1)
        elif size.hidden:
            self.seed = SpatialBroadcast(latent, size.hidden, widths[0], self.sizes[0])
        else:
            self.seed = nn.Linear(latent, seed)
        self.ups = nn.ModuleList()
        for place in range(steps):
            out_channels = channels if place == steps - 1 else widths[place + 1]
            blocks = _make_blocks(size.block, widths[place], size.blocks)
            self.ups.append(nn.Sequential(*blocks, nn.SiLU(), ConvTranspose2d(widths[place], out_channels, 4, 2, 1)))

    def forward(self, z: Tensor) -> Tensor:
        x: Tensor = self.seed(z)
        x = x.reshape(-1, *self.seed_shape).contiguous(memory_format=torch.channels_last)
        for place, up in enumerate(self.ups):
            height, width = self.sizes[place + 1]
            x = up(x)
            if x.shape[2:] != (height, width):
                x = x[:, :, :height, :width]
        return x

"""A convolutional encoder and decoder pair for any height and width, mirror images of each other.

Between the halvings stand blocks: residual ones (He et al. 2016), or densely connected ones (Huang et al. 2017). The latent is
a vector, or a map of the smallest size.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.nets.cpu import Conv2d, ConvTranspose2d
from limner.nets.layers import halvings

Block = Literal["residual", "dense"]
DENSE_LAYERS = 2


class Residual(nn.Module):
    """Pre-activation residual block (He et al. 2016) without normalisation; its last convolution starts at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Conv2d(channels, channels, 3, 1, 1)
        self.last = Conv2d(channels, channels, 3, 1, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(F.silu(self.first(F.silu(x))))
        return x + y


class Dense(nn.Module):
    """A dense block (Huang et al. 2017, arXiv:1608.06993) of two 3x3 layers, each of half as many channels as come in and each
    seeing all before it; a 1x1 transition brings them back to `channels`."""

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


def _blocks(kind: Block, channels: int, count: int) -> list[nn.Module]:
    return [Residual(channels) if kind == "residual" else Dense(channels) for _ in range(count)]


def _sizes(height: int, width: int, down: int | None) -> list[tuple[int, int]]:
    """From the image's size down: `down` halvings, or as many as leave 4 pixels."""
    return halvings(height, width)[: None if down is None else down + 1]


class ConvEncoder(nn.Module):
    """[B, C, H, W] -> [B, out], or [B, out, h, w] where `spatial`.

    `width` channels at half size, doubled at every halving up to `widest`; `down` halvings (as many as leave 4 pixels where
    None); `blocks` at every size; before a vector a further layer of `hidden` units, where there are any.
    """

    def __init__(
        self, shape: tuple[int, int, int], out: int, width: int, widest: int, blocks: int, kind: Block = "residual",
        down: int | None = None, spatial: bool = False, hidden: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        channels, height, tall = shape
        sizes = _sizes(height, tall, down)
        layers: list[nn.Module] = []
        for place in range(len(sizes) - 1):
            after = min(widest, width * 2**place)
            odd = (sizes[place][0] % 2, sizes[place][1] % 2)
            if any(odd):  # rounded up by a further row or column on the far side, so that none is lost
                layers.append(nn.ZeroPad2d((0, odd[1], 0, odd[0])))
            layers.append(Conv2d(channels, after, 4, 2, 1))
            layers += _blocks(kind, after, blocks)
            layers.append(nn.SiLU())
            channels = after
        self.layers = nn.Sequential(*layers)
        self.map_size = sizes[-1]
        """(h, w) of the smallest map."""
        self.spatial = spatial
        entries = channels * sizes[-1][0] * sizes[-1][1]
        between = [nn.Linear(entries, hidden), nn.SiLU()] if hidden else []
        self.head: nn.Module = (
            Conv2d(channels, out, 1) if spatial else nn.Sequential(*between, nn.Linear(hidden or entries, out))
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(x)
        out: Tensor = self.head(x if self.spatial else x.flatten(1))
        return out


class Broadcast(nn.Module):
    """[B, latent] -> [B, channels, h, w]: at every place the same small network of the latent and of the place, so that
    position is a number of its own from the start (Watters et al. 2019, "Spatial Broadcast Decoder", arXiv:1901.07017)."""

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
    """[B, latent], or [B, latent, h, w] where `spatial`, -> [B, C, H, W], unbounded; the mirror of `ConvEncoder`, but that a
    vector is broadcast where there are `hidden` units."""

    def __init__(
        self, latent: int, shape: tuple[int, int, int], width: int, widest: int, blocks: int, kind: Block = "residual",
        down: int | None = None, spatial: bool = False, hidden: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        channels, height, tall = shape
        self.sizes = _sizes(height, tall, down)[::-1]
        steps = len(self.sizes) - 1
        widths = [min(widest, width * 2**place) for place in range(steps)][::-1]
        self.seed_shape = (widths[0], *self.sizes[0])
        seed = widths[0] * self.sizes[0][0] * self.sizes[0][1]
        self.seed: nn.Module
        if spatial:
            self.seed = Conv2d(latent, widths[0], 1)
        elif hidden:
            self.seed = Broadcast(latent, hidden, widths[0], self.sizes[0])
        else:
            self.seed = nn.Linear(latent, seed)
        self.ups = nn.ModuleList()
        for place in range(steps):
            after = channels if place == steps - 1 else widths[place + 1]
            self.ups.append(
                nn.Sequential(*_blocks(kind, widths[place], blocks), nn.SiLU(), ConvTranspose2d(widths[place], after, 4, 2, 1))
            )

    def forward(self, z: Tensor) -> Tensor:
        x: Tensor = self.seed(z)
        x = x.reshape(-1, *self.seed_shape).contiguous(memory_format=torch.channels_last)
        for place, up in enumerate(self.ups):
            height, width = self.sizes[place + 1]
            x = up(x)
            if x.shape[2:] != (height, width):
                x = x[:, :, :height, :width]
        return x

"""A convolutional encoder and decoder pair for any height and width, mirror images of each other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.nets.layers import halvings


class Residual(nn.Module):
    """Pre-activation residual block (He et al. 2016) without normalisation; its last convolution starts at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, 1, 1)
        self.last = nn.Conv2d(channels, channels, 3, 1, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(F.silu(self.first(F.silu(x))))
        return x + y


class ConvEncoder(nn.Module):
    """[B, C, H, W] -> [B, out]. `width` channels at half size, doubled at every halving up to `widest`."""

    def __init__(self, shape: tuple[int, int, int], out: int, width: int, widest: int, blocks: int) -> None:
        super().__init__()
        channels, height, tall = shape
        sizes = halvings(height, tall)
        layers: list[nn.Module] = []
        for place in range(len(sizes) - 1):
            after = min(widest, width * 2**place)
            # Odd sizes are rounded up by the padding on the far side, so that no row is lost.
            layers += [nn.ZeroPad2d((1, 1 + sizes[place][1] % 2, 1, 1 + sizes[place][0] % 2)), nn.Conv2d(channels, after, 4, 2)]
            layers += [Residual(after) for _ in range(blocks)]
            layers.append(nn.SiLU())
            channels = after
        self.layers = nn.Sequential(*layers)
        self.seed_shape = (channels, *sizes[-1])
        self.head = nn.Linear(channels * sizes[-1][0] * sizes[-1][1], out)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.layers(x).flatten(1))
        return out


class ConvDecoder(nn.Module):
    """[B, latent] -> [B, C, H, W], unbounded; the mirror of `ConvEncoder`."""

    def __init__(self, latent: int, shape: tuple[int, int, int], width: int, widest: int, blocks: int) -> None:
        super().__init__()
        channels, height, tall = shape
        self.sizes = halvings(height, tall)[::-1]
        steps = len(self.sizes) - 1
        widths = [min(widest, width * 2**place) for place in range(steps)][::-1]
        self.seed_shape = (widths[0], *self.sizes[0])
        self.seed = nn.Linear(latent, widths[0] * self.sizes[0][0] * self.sizes[0][1])
        self.ups = nn.ModuleList()
        for place in range(steps):
            after = channels if place == steps - 1 else widths[place + 1]
            self.ups.append(
                nn.Sequential(
                    *[Residual(widths[place]) for _ in range(blocks)],
                    nn.SiLU(),
                    nn.ConvTranspose2d(widths[place], after, 4, 2, 1),
                )
            )

    def forward(self, z: Tensor) -> Tensor:
        x: Tensor = self.seed(z).unflatten(1, self.seed_shape).contiguous(memory_format=torch.channels_last)
        for place, up in enumerate(self.ups):
            height, width = self.sizes[place + 1]
            x = up(x)
            if x.shape[2:] != (height, width):
                x = x[:, :, :height, :width]
        return x

"""Generator and discriminator of DCGAN (Radford, Metz & Chintala 2015, arXiv:1511.06434), for any height and width.

The generator maps the latent to a small map (7x7 for 28x28, 4x4 for powers of two) and doubles it by transposed convolutions,
cropping one row or column where a size is odd; the discriminator halves the image by strided convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.nets.cpu import Conv2d, ConvTranspose2d, Dropout
from limner.nets.halving import halvings
from limner.nets.layers import BatchNorm, Norm, init_normal, make_norm


@dataclass(frozen=True)
class DcganSize:
    """How large one of the two networks is."""

    width: int
    """Channels at half of the image's size, doubled at every halving up to `widest`."""
    widest: int
    extra: int = 0
    """Further 3x3 layers: the generator's at full size, the discriminator's after its halvings."""


class DcganGenerator(nn.Module):
    """[B, latent] -> [B, C, H, W] in [-1, 1]; `shape` is (C, H, W). The extra layers have half of `size.width` channels.

    With `classes` > 0 the normalisation depends on the label [B].
    """

    def __init__(self, latent: int, shape: tuple[int, int, int], size: DcganSize, norm: Norm, classes: int = 0) -> None:
        super().__init__()
        channels, image_height, image_width = shape
        self.sizes = halvings(image_height, image_width)[::-1]
        if (
            len(self.sizes) == 2
        ):  # 8x8 has one doubling only: another layer at the first map's size gives the network some depth
            self.sizes.insert(0, self.sizes[0])
        steps = len(self.sizes) - 1
        widths = [min(size.widest, size.width * 2**place) for place in range(steps)][::-1]
        widths += [max(1, size.width // 2)] * size.extra
        self.sizes += self.sizes[-1:] * size.extra
        steps += size.extra
        self.seed_shape = (widths[0], *self.sizes[0])
        self.seed = nn.Linear(latent, widths[0] * self.sizes[0][0] * self.sizes[0][1], bias=norm == "none")
        self.seed_norm = make_norm(norm, widths[0], classes)
        self.ups = nn.ModuleList()
        self.norms = nn.ModuleList()
        for place, before in enumerate(widths):
            last = place == steps - 1
            after = channels if last else widths[place + 1]
            kernel, stride = (3, 1) if self.sizes[place] == self.sizes[place + 1] else (4, 2)
            self.ups.append(ConvTranspose2d(before, after, kernel, stride, 1, bias=last or norm == "none"))
            if not last:
                self.norms.append(make_norm(norm, after, classes))
        init_normal(self)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        x: Tensor = self.seed(z).unflatten(1, self.seed_shape).contiguous(memory_format=torch.channels_last)
        x = F.relu(self.seed_norm(x, label))
        for place, up in enumerate(self.ups):
            height, width = self.sizes[place + 1]
            x = up(x)
            if x.shape[2:] != (height, width):
                x = x[:, :, :height, :width]
            x = F.relu(self.norms[place](x, label)) if place < len(self.norms) else x.tanh()
        return x


class DcganTrunk(nn.Module):
    """[B, C, H, W] -> [B, d, h, w]; `shape` is (C, H, W).

    The first convolution has `size.width` channels. The extra convolutions continue halving down to 3 or 4 pixels. The paper
    has batch norm from the second layer on and no dropout; a widely taught variant has dropout 0.3 and no batch norm.
    """

    def __init__(self, shape: tuple[int, int, int], size: DcganSize, norm: Norm, dropout: float) -> None:
        super().__init__()
        before, image_height, image_width = shape
        layers: list[nn.Module] = []
        small = len(halvings(image_height, image_width)) <= 2  # one halving only (8x8): a first layer at full size gives depth
        halves, side = max(1, len(halvings(image_height, image_width)) - 1), min(halvings(image_height, image_width)[-1])
        kernels = [(3, 1)] * int(small) + [(4, 2)] * halves
        for _ in range(size.extra):
            kernels.append((3, 2 if side > 4 else 1))
            side = (side + 1) // 2 if side > 4 else side
        for place, (kernel, stride) in enumerate(kernels):
            further = place >= int(small) + halves and stride == 1
            after = size.width if place == 0 else before if further else min(size.widest, 2 * before)
            has_norm = place > 0 and norm == "batch"
            layers.append(Conv2d(before, after, kernel, stride, 1, bias=not has_norm))
            if has_norm:
                layers.append(BatchNorm(after))
            layers.append(nn.LeakyReLU(0.2))
            if dropout:
                layers.append(Dropout(dropout))
            before = after
            image_height, image_width = ((side + 2 - kernel) // stride + 1 for side in (image_height, image_width))
        self.layers = nn.Sequential(*layers)
        self.features = before * image_height * image_width
        init_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(x)
        return x

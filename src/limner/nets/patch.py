"""A discriminator of patches (Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks",
arXiv:1611.07004): it judges every part of an image by itself, and so teaches texture rather than content.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.nets import spectral
from limner.nets.cpu import Conv2d


class PatchDiscriminator(nn.Module):
    """[B, C, H, W] -> logits [B, h, w] in float32, about a quarter as high and wide; every logit sees a patch of 18 pixels.

    Two halvings with `width` and 2·`width` channels and a layer at the smallest size, spectrally normalised.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [Conv2d(channels, width, 4, 2, 1), Conv2d(width, 2 * width, 4, 2, 1), Conv2d(2 * width, 2 * width, 3, 1, 1)]
        )
        self.head = Conv2d(2 * width, 1, 1)
        spectral.normalise(self)

    def forward(self, images: Tensor) -> Tensor:
        return self.verdict(images)[0]

    def verdict(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The logits, and what each layer found."""
        found: list[Tensor] = []
        for layer in self.layers:
            images = F.leaky_relu(layer(images), 0.2)
            found.append(images)
        with torch.autocast(images.device.type, enabled=False):  # as every verdict: too coarse in bfloat16
            logits: Tensor = self.head(images.float())
        return logits[:, 0], found

"""A patch discriminator (Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks",
arXiv:1611.07004): each logit depends on one small patch of the image, so that it judges texture rather than content.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from limner.core.precision import no_autocast
from limner.nets import spectral
from limner.nets.cpu import Conv2d


class PatchDiscriminator(nn.Module):
    """[B, C, H, W] -> logits [B, h, w] in float32, h ≈ H/4 and w ≈ W/4; every logit depends on 18x18 pixels.

    Two halvings with `width` and 2·`width` channels and a layer at the smallest size, spectrally normalised.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [Conv2d(channels, width, 4, 2, 1), Conv2d(width, 2 * width, 4, 2, 1), Conv2d(2 * width, 2 * width, 3, 1, 1)]
        )
        self.head = Conv2d(2 * width, 1, 1)
        spectral.add_spectral_norm(self)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits_and_features(images)[0]

    def logits_and_features(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """[B, C, H, W] -> logits [B, h, w], and the features of each hidden layer, for a feature-matching loss."""
        features: list[Tensor] = []
        for layer in self.layers:
            images = F.leaky_relu(layer(images), 0.2)
            features.append(images)
        with no_autocast(images.device):  # logits in bfloat16 would be too coarse for the loss
            logits: Tensor = self.head(images.float())
        return logits[:, 0], features

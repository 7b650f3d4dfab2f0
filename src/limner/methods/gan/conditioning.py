"""What makes two players of two networks: the discriminator's head, and the four ways in which a class label comes in.

Generator: *concat*, the label's embedding beside the noise (Mirza & Osindero 2014, arXiv:1411.1784), or *norm*, a gain and
bias per class in every normalisation (de Vries et al. 2017, arXiv:1707.00683). Discriminator: *concat*, the label's embedding
as a further channel (the first paper's, for images), *projection* onto the features (Miyato & Koyama 2018, arXiv:1802.05637),
or *auxiliary*, a second head that names the class (Odena et al. 2017, arXiv:1610.09585).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.core.precision import no_autocast
from limner.methods.gan.config import DiscriminatorLabels, GeneratorLabels
from limner.nets import spectral
from limner.nets.layers import flatten_channels_last, rows_for_labels

EMBEDDING = 32
"""Entries of a label's embedding beside the noise."""


class Generator(nn.Module):
    """Noise z [B, latent] (and label [B], -1 for none) -> images [B, C, H, W].

    `network` takes `inputs(latent, classes, how)` numbers, and a label where `how` is "norm".
    """

    def __init__(self, network: nn.Module, classes: int, how: GeneratorLabels) -> None:
        super().__init__()
        self.network = network
        self.embedding = nn.Embedding(classes, EMBEDDING) if classes and how == "concat" else None

    @staticmethod
    def inputs(latent: int, classes: int, how: GeneratorLabels) -> int:
        """How many numbers the network inside takes."""
        return latent + (EMBEDDING if classes and how == "concat" else 0)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        if self.embedding is not None:
            rows = rows_for_labels(self.embedding.weight, label)
            z = torch.cat([z, rows.expand(z.shape[0], -1)], 1)
        images: Tensor = self.network(z, label)
        return images


class Discriminator(nn.Module):
    """Images [B, C, H, W] (and label [B]) -> logits [B]: a trunk that gives features, and a linear head on them.

    The trunk is built for `channels(C, classes, how)` channels and gives [B, d] or [B, d, h, w], `features` entries in all.
    """

    # Many parameters: the network is put together from just these, and `build_networks` is the only one to call it.
    def __init__(
        self, trunk: nn.Module, features: int, size: tuple[int, int], classes: int, how: DiscriminatorLabels, sn: bool
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(features, 1)
        self.size = size
        self.planes = nn.Embedding(classes, size[0] * size[1]) if classes and how == "concat" else None
        self.projection = nn.Embedding(classes, features) if classes and how == "projection" else None
        self.classifier = nn.Linear(features, classes) if classes and how == "auxiliary" else None
        nn.init.normal_(self.head.weight, 0.0, features**-0.5)
        nn.init.zeros_(self.head.bias)
        if self.projection is not None:
            nn.init.normal_(self.projection.weight, 0.0, features**-0.5)
        if sn:  # not the planes: they are a picture of the label, not a layer
            for part in (self.trunk, self.head, self.projection, self.classifier):
                if part is not None:
                    spectral.add_spectral_norm(part)

    @staticmethod
    def channels(channels: int, classes: int, how: DiscriminatorLabels) -> int:
        """How many channels the trunk sees."""
        return channels + int(classes > 0 and how == "concat")

    def logits_and_classes(self, images: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Logits [B], and the classes' logits [B, classes] where there is an auxiliary classifier."""
        if self.planes is not None:
            plane = rows_for_labels(self.planes.weight, label).view(-1, 1, *self.size).to(images.dtype)
            images = torch.cat([images, plane.expand(images.shape[0], -1, -1, -1)], 1).contiguous(
                memory_format=torch.channels_last
            )
        features = flatten_channels_last(self.trunk(images))
        with no_autocast(images.device):  # bfloat16 rounds a logit of 50 by up to .1
            features = features.to(self.head.weight.dtype)
            logits = self.head(features).flatten()
            if self.projection is not None:
                logits = logits + (rows_for_labels(self.projection.weight, label) * features).sum(1)
            return logits, None if self.classifier is None else self.classifier(features)

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        return self.logits_and_classes(images, label)[0]


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """[B]: −log of the probability of the right class; 0 where the label is -1 (unknown)."""
    return F.cross_entropy(logits.float(), label, ignore_index=-1, reduction="none")

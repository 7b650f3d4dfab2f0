"""Weights of the FID network, drawn from a seed: to compare its implementations without the real ones."""

from __future__ import annotations

import torch
from torch import Tensor

from limner.metrics.features.inception_net import Conv, InceptionNet


def published_weights(seed: int = 0) -> dict[str, Tensor]:
    """Under the published names, of sizes that give features as large as the real ones' (mean 0.4)."""
    random = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        net = InceptionNet()
    made = {}
    for name, layer in net.named_modules():
        if not isinstance(layer, Conv):
            continue
        shape, width = layer.weight.shape, layer.out_channels
        made[f"{name}.conv.weight"] = torch.randn(shape, generator=random) * (2 / shape[1:].numel()) ** 0.5
        made[f"{name}.bn.weight"] = torch.rand(width, generator=random) * 0.8 + 0.55
        made[f"{name}.bn.bias"] = torch.randn(width, generator=random) * 0.1
        made[f"{name}.bn.running_mean"] = torch.randn(width, generator=random) * 0.1
        made[f"{name}.bn.running_var"] = torch.rand(width, generator=random) + 0.5
    made["fc.weight"] = torch.randn(net.fc.weight.shape, generator=random) * 0.02
    made["fc.bias"] = torch.randn(net.fc.bias.shape, generator=random) * 0.1
    return made


def pictures(side: int, channels: int) -> Tensor:
    """[2, side, side, channels] uint8: noise, and 16 flat tiles."""
    random = torch.Generator().manual_seed(side * 10 + channels)
    noise = torch.randint(0, 256, (side, side, channels), generator=random, dtype=torch.uint8)
    tile = torch.arange(side) * 4 // side
    colours = torch.randint(0, 256, (4, 4, channels), generator=random, dtype=torch.uint8)
    return torch.stack((noise, colours[tile][:, tile]))

"""Builds the network of a flow from its settings."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from limner.core.errors import InputError
from limner.core.invocation import option
from limner.methods.flow.config import MIN_IMAGE_SIDE, ResolvedNetworkConfig
from limner.nets.dit import Dit, DitSize
from limner.nets.unet import UNet, UNetSize


def build_network(config: ResolvedNetworkConfig, shape: Sequence[int], classes: int, changes: int = 0) -> nn.Module:
    """The untrained network for latents of `shape` (C, H, W), called with (x, times [B], classes [B] or None), and with
    changes [B, changes] or None where pictures are augmented.

    Errors: `InputError` where the latents are no maps or too small, and where heads do not divide the channels.
    """
    if len(shape) != 3 or min(shape[1:]) < MIN_IMAGE_SIDE:
        raise InputError(
            f"a flow draws pictures, or maps of latents, of at least {MIN_IMAGE_SIDE} pixels a side, and these have the shape "
            f"{'x'.join(map(str, shape))}; set a larger data.size, or take {option('preset', 'auto')}"
        )
    channels, height, width = shape
    size = (channels, height, width)
    if config.kind == "transformer":
        widths = [config.width]
    else:
        widths = [config.width * multiplier for multiplier in config.multipliers] if config.attention else []
    if any(one % config.heads for one in widths):
        raise InputError(
            f"method.network.heads={config.heads} does not divide method.network.width={config.width}; set one to fit"
        )
    if config.kind == "transformer":
        return Dit(size, DitSize(config.width, config.depth, config.heads, config.patch, config.dropout), classes, changes)
    unet = UNetSize(
        config.width, config.multipliers, config.blocks, config.attention, config.heads, config.patch, config.dropout
    )
    return UNet(size, unet, classes, changes)

"""Layers that keep the loop's promises: state moves once per phase, and draws repeat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.core.errors import InputError


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015) over [B, C] or [B, C, H, W] whose running moments do not move in forward.

    A training pass only notes its moments; `moments_of` hands them out, to be added over chunks and processes, and
    `move_moments` applies them once. So 1 process with two chunks and 2 processes with one each end up with the same state.
    With `classes`, each class has a gain and a bias of its own (de Vries et al. 2017, arXiv:1707.00683).
    """

    weight: nn.Parameter
    bias: nn.Parameter
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = 1e-5, classes: int = 0) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        shape = (classes, channels) if classes else (channels,)
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.noted: list[tuple[Tensor, Tensor]] = []

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """`label` [B] chooses gain and bias; -1 (or none at all) takes their means over the classes.

        Errors: `InputError` for a single row in training, which has no spread.
        """
        if self.training and x.dim() == 2 and len(x) == 1:
            raise InputError("batch norm needs two images or more in a chunk; raise batch.size, or lower batch.chunks")
        gain, bias = (self.weight, self.bias) if self.weight.dim() == 1 else (None, None)
        if not self.training:
            y = F.batch_norm(x, self.running_mean, self.running_var, gain, bias, False, 0.0, self.eps)
        else:  # with momentum 1 the kernel writes the batch's own moments into these two, at no cost
            mean, var = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
            y = F.batch_norm(x, mean, var, gain, bias, True, 1.0, self.eps)
            self.noted.append((mean, var))
        if gain is not None:
            return y
        ends = (-1, x.shape[1], *[1] * (x.dim() - 2))
        return y * rows_of(self.weight, label).view(ends).to(y.dtype) + rows_of(self.bias, label).view(ends).to(y.dtype)


class Plain(nn.Identity):
    """No normalisation, called like one."""

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        return x


Norm = Literal["batch", "none"]


def norm_of(kind: Norm, channels: int, classes: int = 0) -> nn.Module:
    return BatchNorm(channels, classes=classes) if kind == "batch" else Plain()


def rows_of(table: Tensor, label: Tensor | None) -> Tensor:
    """[classes, d] and [B] labels -> [B, d]; "no label" (-1, or None: [1, d]) is the mean of all rows."""
    mean = table.mean(0, keepdim=True)
    if label is None:
        return mean
    return torch.where((label >= 0).unsqueeze(1), table[label.clamp(min=0)], mean)


def moments_of(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    """Takes what every `BatchNorm` inside noted since the last call: sums of means, of variances, and how many passes."""
    sums: dict[str, Tensor] = {}
    for name, layer in module.named_modules(prefix=prefix):
        if isinstance(layer, BatchNorm) and layer.noted:
            sums[f"{name}.mean"] = torch.stack([mean for mean, _ in layer.noted]).sum(0)
            sums[f"{name}.var"] = torch.stack([var for _, var in layer.noted]).sum(0)
            sums[f"{name}.passes"] = torch.full((1,), float(len(layer.noted)), device=layer.running_mean.device)
            layer.noted.clear()
    return sums


@torch.no_grad()
def move_moments(module: nn.Module, prefix: str, sums: Mapping[str, Tensor]) -> None:
    """Moves running moments towards the mean of what `moments_of` handed out, summed over chunks and processes."""
    for name, layer in module.named_modules(prefix=prefix):
        if isinstance(layer, BatchNorm) and f"{name}.passes" in sums:
            passes = sums[f"{name}.passes"]
            layer.running_mean.lerp_(sums[f"{name}.mean"] / passes, layer.momentum)
            layer.running_var.lerp_(sums[f"{name}.var"] / passes, layer.momentum)


def init_normal(module: nn.Module, std: float = 0.02) -> None:
    """Radford et al. 2015: all weights from N(0, 0.02); normalisation scales from N(1, 0.02); biases zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, BatchNorm):
            nn.init.normal_(layer.weight, 1.0, std)


def flat(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H·W·C] in the order in which channels-last memory lies; [B, C] as it is."""
    return x.permute(0, 2, 3, 1).flatten(1) if x.dim() == 4 else x


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest neighbours, to a size that is at most twice as large."""
    if x.shape[2:] == size:
        return x
    y = F.interpolate(x, scale_factor=2.0, mode="nearest")
    return y[:, :, : size[0], : size[1]]


def pooled(x: Tensor) -> Tensor:
    """Means of 2x2 pixels; of what there is at an odd edge."""
    return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)


def halvings(height: int, width: int, smallest: int = 4) -> list[tuple[int, int]]:
    """Sizes from the image down, halving (rounding up) while both sides stay at `smallest` or more: 28 -> 28, 14, 7."""
    sizes = [(height, width)]
    while min(sizes[-1]) >= 2 * smallest:
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes

"""Layers that keep the loop's promises: state moves once per phase, and draws repeat."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015) over [B, C] or [B, C, H, W] whose running moments do not move in forward.

    A training pass only notes its moments; `moments_of` hands them out, to be added over chunks and processes, and
    `move_moments` applies them once. So 1 process with two chunks and 2 processes with one each end up with the same state.
    """

    weight: nn.Parameter
    bias: nn.Parameter
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.noted: list[tuple[Tensor, Tensor]] = []

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        # With momentum 1 the kernel writes the batch's own moments into these two, at no cost.
        mean, var = torch.empty_like(self.running_mean), torch.empty_like(self.running_var)
        y = F.batch_norm(x, mean.zero_(), var.zero_(), self.weight, self.bias, True, 1.0, self.eps)
        self.noted.append((mean, var))
        return y


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


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) with a mask of one random byte per entry on the CPU.

    torch's own mask draws one Bernoulli per entry, serially, and was 29 % of a tuned DCGAN step; a 64-bit draw gives eight
    bytes. The rate is rounded to 1/256 and the scale is exact for the rounded rate, so the expectation is unchanged.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.threshold = round(rate * 256)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.threshold == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.rate)
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        # The mask takes x's own strides, so that the product runs straight through memory.
        drawn = (
            words.view(torch.uint8)[: x.numel()].as_strided(x.shape, x.stride())
            if dense(x)
            else words.view(torch.uint8)[: x.numel()].view(x.shape)
        )
        return x * (drawn >= self.threshold).to(x.dtype).mul_(256 / (256 - self.threshold))


def dense(x: Tensor) -> bool:
    """Whether x fills its memory without gaps, in row or in channels-last order."""
    return x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last))


def init_normal(module: nn.Module, std: float = 0.02) -> None:
    """Radford et al. 2015: all weights from N(0, 0.02); normalisation scales from N(1, 0.02); biases zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, BatchNorm):
            nn.init.normal_(layer.weight, 1.0, std)


def halvings(height: int, width: int, smallest: int = 4) -> list[tuple[int, int]]:
    """Sizes from the image down, halving (rounding up) while both sides stay at `smallest` or more: 28 -> 28, 14, 7."""
    sizes = [(height, width)]
    while min(sizes[-1]) >= 2 * smallest:
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes

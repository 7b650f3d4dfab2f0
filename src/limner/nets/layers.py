"""Layers that keep the loop's promises: state moves once per phase, and draws repeat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.core.errors import InputError
from limner.core.layer_state import StatefulLayer


class BatchNorm(StatefulLayer):
    """Batch normalisation (Ioffe & Szegedy 2015) over [B, C] or [B, C, H, W] whose running moments do not move in forward.

    A training pass only notes its moments; the running ones move once per phase, towards the mean over all passes. With
    `classes`, each class has a gain and a bias of its own (de Vries et al. 2017, arXiv:1707.00683).
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

    def take_statistics(self) -> dict[str, Tensor]:
        """Sums of means [C] and of variances [C] over the passes, and how many these were [1]; empty where there was none."""
        if not self.noted:
            return {}
        means, variances = (torch.stack(rows).sum(0) for rows in zip(*self.noted, strict=True))
        passes = torch.full((1,), float(len(self.noted)), device=self.running_mean.device)
        self.noted.clear()
        return {"mean": means, "var": variances, "passes": passes}

    @torch.no_grad()
    def move_state(self, sums: Mapping[str, Tensor]) -> None:
        if "passes" in sums:
            self.running_mean.lerp_(sums["mean"] / sums["passes"], self.momentum)
            self.running_var.lerp_(sums["var"] / sums["passes"], self.momentum)


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

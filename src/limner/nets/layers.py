"""Layers and small tensor functions that several networks share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.core.errors import InputError
from limner.core.layer_state import StatefulLayer


class BatchNorm(StatefulLayer):
    """Batch normalisation (Ioffe & Szegedy 2015) over [B, C] or [B, C, H, W] whose running moments do not change in `forward`.

    A training pass only records its mean and variance; `move_state` moves the running ones once per phase, towards the mean
    over all passes, so that the result does not depend on how a batch is cut into chunks and processes. With `classes` > 0
    each class has a gain and a bias of its own (de Vries et al. 2017, arXiv:1707.00683).
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
        self.pass_moments: list[tuple[Tensor, Tensor]] = []
        """(mean [C], variance [C]) of each training pass since `take_statistics` was last called."""

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """[B, C] or [B, C, H, W], and class numbers [B] int64 -> the shape of `x`.

        The label selects gain and bias; -1, or no label at all, uses their means over the classes. Errors: `InputError` for a
        single row [1, C] in training, whose variance is not defined.
        """
        if self.training and x.dim() == 2 and len(x) == 1:
            raise InputError("batch norm needs two images or more in a chunk; raise batch.size, or lower batch.chunks")
        gain, bias = (self.weight, self.bias) if self.weight.dim() == 1 else (None, None)
        if not self.training:
            y = F.batch_norm(x, self.running_mean, self.running_var, gain, bias, False, 0.0, self.eps)
        else:  # with momentum 1 the kernel writes the batch's own moments into these two, at no cost
            mean, var = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
            y = F.batch_norm(x, mean, var, gain, bias, True, 1.0, self.eps)
            self.pass_moments.append((mean, var))
        if gain is not None:
            return y
        ends = (-1, x.shape[1], *[1] * (x.dim() - 2))
        return y * rows_for_labels(self.weight, label).view(ends).to(y.dtype) + rows_for_labels(self.bias, label).view(ends).to(
            y.dtype
        )

    def take_statistics(self) -> dict[str, Tensor]:
        """Sums of means [C] and variances [C] over the passes since the last call, and their number [1]; empty without any."""
        if not self.pass_moments:
            return {}
        means, variances = (torch.stack(rows).sum(0) for rows in zip(*self.pass_moments, strict=True))
        passes = torch.full((1,), float(len(self.pass_moments)), device=self.running_mean.device)
        self.pass_moments.clear()
        return {"mean": means, "var": variances, "passes": passes}

    @torch.no_grad()
    def move_state(self, sums: Mapping[str, Tensor]) -> None:
        """Moves the running moments by `momentum` towards the mean over all passes of the phase."""
        if "passes" in sums:
            self.running_mean.lerp_(sums["mean"] / sums["passes"], self.momentum)
            self.running_var.lerp_(sums["var"] / sums["passes"], self.momentum)


class NoNorm(nn.Identity):
    """The identity, for networks without normalisation; it takes a label as `BatchNorm` does."""

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        return x


Norm = Literal["batch", "none"]


def make_norm(kind: Norm, channels: int, classes: int = 0) -> nn.Module:
    """A normalisation of `channels` that is called with (x, label); with `classes` > 0 it is conditional."""
    return BatchNorm(channels, classes=classes) if kind == "batch" else NoNorm()


def rows_for_labels(table: Tensor, label: Tensor | None) -> Tensor:
    """The row of a table [classes, d] for each label [B] -> [B, d]; -1 gives the mean of all rows, and None that as [1, d].

    >>> rows_for_labels(torch.tensor([[1.0], [3.0]]), torch.tensor([1, -1])).tolist()
    [[3.0], [2.0]]
    """
    mean = table.mean(0, keepdim=True)
    if label is None:
        return mean
    return torch.where((label >= 0).unsqueeze(1), table[label.clamp(min=0)], mean)


class FourierFeatures(nn.Module):
    """Times [B] in 0..1 -> [B, 2·`frequencies`]: cosines and sines with periods from 4 down to 1/250, evenly spaced in
    logarithm, as in the embedding of 1,000 steps of Ho et al. 2020, arXiv:2006.11239."""

    rates: Tensor

    def __init__(self, frequencies: int) -> None:
        super().__init__()
        self.register_buffer("rates", torch.logspace(math.log10(0.5), math.log10(500), frequencies) * math.pi, persistent=False)

    def forward(self, time: Tensor) -> Tensor:
        angles = time.to(self.rates)[:, None] * self.rates
        return torch.cat([angles.cos(), angles.sin()], 1)


class TimeAndClass(nn.Module):
    """A network whose layers are modulated by a vector of the time, the class, and `changes` numbers that say how a picture was
    augmented.

    A class of −1, or None for all, is no class, which is learned as a class of its own. With `classes` 0 the class is ignored.
    """

    def __init__(self, frequencies: int, width: int, classes: int, changes: int = 0) -> None:
        super().__init__()
        self.fourier = FourierFeatures(frequencies)
        self.vector = nn.Sequential(nn.Linear(2 * frequencies, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Embedding(classes + 1, width) if classes else None
        self.change = nn.Linear(changes, width, bias=False) if changes else None

    def condition(self, time: Tensor, label: Tensor | None, change: Tensor | None = None) -> Tensor:
        """[B, width]: the vector of times [B], classes [B] and changes [B, changes]; None is no change."""
        vector: Tensor = self.vector(self.fourier(time))
        if self.label is not None:
            none = self.label.num_embeddings - 1
            rows = torch.full((len(time),), none, device=time.device) if label is None else torch.where(label >= 0, label, none)
            vector = vector + self.label(rows)
        if self.change is not None and change is not None:
            vector = vector + self.change(change)
        return F.silu(vector)


def init_normal(module: nn.Module, std: float = 0.02) -> None:
    """Initial weights as in Radford et al. 2015: weights from N(0, std²), scales of batch norm from N(1, std²), biases zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, BatchNorm):
            nn.init.normal_(layer.weight, 1.0, std)


def flatten_channels_last(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H·W·C], channels fastest, which needs no copy of channels-last memory; [B, C] is returned as is."""
    return x.permute(0, 2, 3, 1).flatten(1) if x.dim() == 4 else x


def upsample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, C, h, w] -> [B, C, *size] by nearest neighbours; `size` is (h, w), or up to twice that, cropped where it is odd."""
    if x.shape[2:] == size:
        return x
    y = F.interpolate(x, scale_factor=2.0, mode="nearest")
    return y[:, :, : size[0], : size[1]]


def average_pool(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, C, ⌈H/2⌉, ⌈W/2⌉]: means of 2x2 pixels; at an odd edge, of the pixels that exist."""
    return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)

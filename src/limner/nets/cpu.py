"""Faster layers for a CPU: convolutions as one matrix product where maps are small, dropout from cheap bits.

Each computes what torch's own layer does; tests/unit/test_fast_paths.py holds them to it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
        # A mask in x's number format, written by the comparison itself, over flat memory and with x's own strides: a mask of
        # booleans, or a product of two memory orders, would be worked on one entry at a time.
        mask = torch.empty(x.numel(), dtype=x.dtype)
        torch.ge(words.view(torch.uint8)[: x.numel()], self.threshold, out=mask)
        mask.mul_(256 / (256 - self.threshold))
        return x * (mask.as_strided(x.shape, x.stride()) if dense(x) else mask.view(x.shape))


def dense(x: Tensor) -> bool:
    """Whether x fills its memory without gaps, in row or in channels-last order."""
    return x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last))


FEW = 4
"""Channels up to which a convolution on a CPU is a matrix product: its kernels work on sixteen channels at a time."""


MANY = 64
"""Channels from which gathering the patches of a strided convolution pays: its two passes take .8 of oneDNN's time from 128
channels, as long from 64, 1.15 times as long from 32."""


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` without groups or dilation, by faster ways on a CPU: the same function and gradients, up to rounding.

    - From up to `FEW` channels: the patches times the weights, where the images have a gradient (which trains a generator). It
      otherwise fills one of sixteen lanes, and the output lies channels first, which slows down all that follows. An encoder,
      whose images have none, is better off without: 3.5 times as fast from three channels, 1.5 times from one.
    - Of single pixels: a product with the weights, since channels last is a matrix already.
    - In bfloat16, with a stride and from `MANY` channels on: the usual kernel forwards, `_Gemm` backwards.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or self.groups > 1:
            return super().forward(x)
        if self.kernel_size == (1, 1) and self.stride == (1, 1) and self.padding == (0, 0):
            return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
        if self.in_channels <= FEW and not x.requires_grad:
            return super().forward(x)
        if self.in_channels <= FEW:
            patches = F.unfold(x, self.kernel_size, padding=self.padding, stride=self.stride)  # type: ignore[arg-type]
            height, width = (
                (n + 2 * p - k) // s + 1  # type: ignore[operator]
                for n, p, k, s in zip(x.shape[2:], self.padding, self.kernel_size, self.stride, strict=True)
            )
            rows = F.linear(patches.transpose(1, 2).reshape(-1, patches.shape[1]), self.weight.flatten(1), self.bias)
            return rows.view(len(x), height, width, -1).permute(0, 3, 1, 2)
        strided = self.stride != (1, 1) and self.in_channels >= MANY
        return _convolve(self, x) if strided and _in_bfloat16(x) else super().forward(x)


class ConvTranspose2d(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` without groups, dilation or output padding, by the faster ways of `Conv2d`."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if x.device.type != "cpu" or output_size is not None:
            return super().forward(x, output_size)
        if self.out_channels <= FEW:
            rows = x.permute(0, 2, 3, 1).reshape(-1, self.in_channels) @ self.weight.flatten(1)
            patches = rows.view(len(x), -1, rows.shape[1]).transpose(1, 2).to(self.weight.dtype)  # summed in full precision
            height, width = (
                (n - 1) * s - 2 * p + k  # type: ignore[operator]
                for n, p, k, s in zip(x.shape[2:], self.padding, self.kernel_size, self.stride, strict=True)
            )
            images = F.fold(patches, (height, width), self.kernel_size, padding=self.padding, stride=self.stride)  # type: ignore[arg-type]
            return images if self.bias is None else images + self.bias.view(-1, 1, 1)
        return _convolve(self, x) if _in_bfloat16(x) else super().forward(x)


def _in_bfloat16(x: Tensor) -> bool:
    """Whether a convolution of x on the CPU runs in bfloat16, and something will ask for its gradient."""
    chosen = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    return chosen == torch.bfloat16 and torch.is_grad_enabled()


def _convolve(layer: nn.Conv2d | nn.ConvTranspose2d, x: Tensor) -> Tensor:
    bias = None if layer.bias is None else layer.bias.to(torch.bfloat16)
    y: Tensor = _Gemm.apply(  # type: ignore[no-untyped-call]
        x.to(torch.bfloat16), layer.weight.to(torch.bfloat16), bias, layer.stride, layer.padding, layer.transposed
    )
    return y


class _Gemm(torch.autograd.Function):
    """A convolution whose gradients towards weights (and, transposed, towards inputs) are products with the matrix of patches.

    oneDNN's bfloat16 kernels for strided convolutions reach about half of what its matrix product does (those without a stride
    are better than it); gathering the patches of a channels last image costs a twentieth of either. Double backward goes the
    plain way.
    """

    # Many parameters: torch calls it with what `apply` was called with.
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: list[int], padding: list[int], transposed: bool
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how = (None if bias is None else [len(bias)], stride, padding, [1, 1], transposed)
        y: Tensor = torch.ops.aten.convolution(x, weight, bias, stride, padding, [1, 1], transposed, [0, 0], 1)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, weight) = gradients, ctx.saved_tensors
        of_bias, stride, padding, dilation, transposed = ctx.how
        wanted = list(ctx.needs_input_grad[:3])

        def plain(*mask: bool) -> list[Tensor | None]:
            found: list[Tensor | None] = torch.ops.aten.convolution_backward(
                gradient, x, weight, of_bias, stride, padding, dilation, transposed, [0, 0], 1, list(mask)
            )
            return found

        if torch.is_grad_enabled():  # somebody wants to differentiate this once more
            return (*plain(*wanted), None, None, None)
        to_x = to_weight = None
        large, small = (gradient, x) if transposed else (x, gradient)
        patches = _patches(large, weight.shape[2:], stride, padding)
        rows = small.permute(0, 2, 3, 1).reshape(-1, small.shape[1])
        if wanted[1]:
            to_weight = (rows.t() @ patches).view(len(weight), *weight.shape[2:], -1).permute(0, 3, 1, 2)
        if wanted[0] and transposed:
            found = patches @ weight.permute(0, 2, 3, 1).reshape(len(weight), -1).t()
            to_x = found.view(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2)
        elif wanted[0]:
            to_x = plain(True, False, False)[0]
        to_bias = gradient.sum((0, 2, 3)) if wanted[2] else None
        return to_x, to_weight, to_bias, None, None, None


def _patches(x: Tensor, kernel: torch.Size, stride: list[int], padding: list[int]) -> Tensor:
    """[B, C, H, W], channels last -> [B·H'·W', h·w·C]: what the kernel sees at each place."""
    x = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0]))
    batch, row, column, channel = x.stride()
    height, width = ((x.shape[1 + d] - kernel[d]) // stride[d] + 1 for d in range(2))
    seen = x.as_strided(
        (len(x), height, width, *kernel, x.shape[3]), (batch, stride[0] * row, stride[1] * column, row, column, channel)
    )
    return seen.reshape(len(x) * height * width, -1)

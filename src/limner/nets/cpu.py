"""Faster layers for a CPU: convolutions as one matrix product where that is faster, dropout with one random byte per entry.

Each computes the function and the gradients of torch's own layer; tests/unit/test_fast_paths.py compares them. On other
devices they are torch's own layers.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) with a mask of one random byte per entry on the CPU.

    torch's own mask draws one Bernoulli number per entry, serially, which was 29 % of the time of a tuned DCGAN step; one
    64-bit random number gives eight bytes. `rate` is rounded to 1/256, and the scale is exact for the rounded rate, so the
    expectation is unchanged.
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
        # The comparison writes the mask in x's number format, and the mask has x's strides: torch would multiply a mask of
        # booleans, or two tensors of different memory order, one entry at a time.
        mask = torch.empty(x.numel(), dtype=x.dtype)
        torch.ge(words.view(torch.uint8)[: x.numel()], self.threshold, out=mask)
        mask.mul_(256 / (256 - self.threshold))
        return x * (mask.as_strided(x.shape, x.stride()) if is_dense(x) else mask.view(x.shape))


def is_dense(x: Tensor) -> bool:
    """Whether `x` fills its memory without gaps, in row-major or in channels-last order."""
    return x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last))


FAST_DEVICES = ("cpu", "meta")
"""Kinds of devices for which layers take the fast way: memory is predicted on the meta device (`training.memory`)."""

MAX_UNFOLD_CHANNELS = 4
"""A convolution with at most so many channels is faster as `unfold` and a matrix product than by oneDNN, whose kernels work on
sixteen channels at a time."""

MIN_GEMM_CHANNELS = 64
"""A strided bfloat16 convolution with at least so many channels has its backward pass as matrix products (`_Gemm`): it takes
0.8 of oneDNN's time with 128 channels, as long with 64, and 1.15 times as long with 32."""


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` without groups or dilation that is faster on a CPU: the same function and gradients, up to rounding.

    - Up to `MAX_UNFOLD_CHANNELS` input channels, where the images need a gradient (the discriminator, while it trains a
      generator): a product of patches and weights. oneDNN would fill one of sixteen lanes and return a channels-first output,
      which slows down all later layers. Without a gradient of the images (an encoder) oneDNN is faster: 3.5 times with three
      channels, 1.5 times with one.
    - 1x1 kernels: a product with the weights, because a channels-last image is a matrix already.
    - bfloat16 with a stride and at least `MIN_GEMM_CHANNELS` input channels: `_Gemm`.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type not in FAST_DEVICES or self.groups > 1:
            return super().forward(x)
        if self.kernel_size == (1, 1) and self.stride == (1, 1) and self.padding == (0, 0):
            return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
        if self.in_channels <= MAX_UNFOLD_CHANNELS and not x.requires_grad:
            return super().forward(x)
        if self.in_channels <= MAX_UNFOLD_CHANNELS:
            patches = F.unfold(x, self.kernel_size, padding=self.padding, stride=self.stride)  # type: ignore[arg-type]
            height, width = (
                (n + 2 * p - k) // s + 1  # type: ignore[operator]
                for n, p, k, s in zip(x.shape[2:], self.padding, self.kernel_size, self.stride, strict=True)
            )
            rows = F.linear(patches.transpose(1, 2).reshape(-1, patches.shape[1]), self.weight.flatten(1), self.bias)
            return rows.view(x.shape[0], height, width, -1).permute(0, 3, 1, 2)
        strided = self.stride != (1, 1) and self.in_channels >= MIN_GEMM_CHANNELS
        return _convolve(self, x) if strided and _in_bfloat16(x) else super().forward(x)


class ConvTranspose2d(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` without groups, dilation or output padding that is faster on a CPU, where `Conv2d` is."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if x.device.type not in FAST_DEVICES or output_size is not None:
            return super().forward(x, output_size)
        if self.out_channels <= MAX_UNFOLD_CHANNELS:
            rows = x.permute(0, 2, 3, 1).reshape(-1, self.in_channels) @ self.weight.flatten(1)
            patches = rows.view(x.shape[0], -1, rows.shape[1]).transpose(1, 2).to(self.weight.dtype)  # summed in full precision
            height, width = (
                (n - 1) * s - 2 * p + k  # type: ignore[operator]
                for n, p, k, s in zip(x.shape[2:], self.padding, self.kernel_size, self.stride, strict=True)
            )
            images = F.fold(patches, (height, width), self.kernel_size, padding=self.padding, stride=self.stride)  # type: ignore[arg-type]
            return images if self.bias is None else images + self.bias.view(-1, 1, 1)
        return _convolve(self, x) if _in_bfloat16(x) else super().forward(x)


def _in_bfloat16(x: Tensor) -> bool:
    """Whether a convolution of `x` on the CPU runs in bfloat16 and records a gradient."""
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    return dtype == torch.bfloat16 and torch.is_grad_enabled()


def _convolve(layer: nn.Conv2d | nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """The layer's convolution in bfloat16, with the backward pass of `_Gemm`."""
    bias = None if layer.bias is None else layer.bias.to(torch.bfloat16)
    y: Tensor = _Gemm.apply(  # type: ignore[no-untyped-call]
        x.to(torch.bfloat16), layer.weight.to(torch.bfloat16), bias, layer.stride, layer.padding, layer.transposed
    )
    return y


class _Gemm(torch.autograd.Function):
    """A convolution whose gradient by the weights (and, if transposed, by the input) is a product with the matrix of patches.

    oneDNN's bfloat16 kernels for strided convolutions reach about half the speed of its matrix product (those without a stride
    are faster than it); gathering the patches of a channels-last image takes a twentieth of the time of either. Where the
    gradient is itself differentiated (gradient penalties), torch's own backward kernel is used.
    """

    # Many parameters: torch calls it with what `apply` was called with.
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: list[int], padding: list[int], transposed: bool
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.settings = (None if bias is None else [len(bias)], stride, padding, [1, 1], transposed)
        y: Tensor = torch.ops.aten.convolution(x, weight, bias, stride, padding, [1, 1], transposed, [0, 0], 1)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, weight) = gradients, ctx.saved_tensors
        bias_sizes, stride, padding, dilation, transposed = ctx.settings
        need_x, need_weight, need_bias = ctx.needs_input_grad[:3]

        def torch_backward(*mask: bool) -> list[Tensor | None]:
            gradients: list[Tensor | None] = torch.ops.aten.convolution_backward(
                gradient, x, weight, bias_sizes, stride, padding, dilation, transposed, [0, 0], 1, list(mask)
            )
            return gradients

        if torch.is_grad_enabled():  # the gradient will itself be differentiated
            return (*torch_backward(need_x, need_weight, need_bias), None, None, None)
        by_x = by_weight = None
        large, small = (gradient, x) if transposed else (x, gradient)
        patches = _patches(large, weight.shape[2:], stride, padding)
        rows = small.permute(0, 2, 3, 1).reshape(-1, small.shape[1])
        if need_weight:
            by_weight = (rows.t() @ patches).view(len(weight), *weight.shape[2:], -1).permute(0, 3, 1, 2)
        if need_x and transposed:
            product = patches @ weight.permute(0, 2, 3, 1).reshape(len(weight), -1).t()
            by_x = product.view(x.shape[0], *x.shape[2:], -1).permute(0, 3, 1, 2)
        elif need_x:
            by_x = torch_backward(True, False, False)[0]
        by_bias = gradient.sum((0, 2, 3)) if need_bias else None
        return by_x, by_weight, by_bias, None, None, None


def _patches(x: Tensor, kernel: torch.Size, stride: list[int], padding: list[int]) -> Tensor:
    """[B, C, H, W], channels last -> [B·H'·W', h·w·C]: the pixels under the kernel at each of its H'·W' positions."""
    x = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0]))
    batch, row, column, channel = x.stride()
    height, width = ((x.shape[1 + d] - kernel[d]) // stride[d] + 1 for d in range(2))
    patches = x.as_strided(
        (x.shape[0], height, width, *kernel, x.shape[3]), (batch, stride[0] * row, stride[1] * column, row, column, channel)
    )
    return patches.reshape(x.shape[0] * height * width, -1)

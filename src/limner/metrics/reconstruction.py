"""How near a reconstruction is to its picture."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CEILING = 100.0  # dB that an exact copy counts as in a mean; a single step of 1/255 in a 96×64 colour image is 91 dB


def _unit(images: NDArray[np.generic] | Tensor) -> Tensor:
    """[N, …] in [0, 1] and float64, from uint8 or from floats that lie in [0, 1] already."""
    pixels = images if isinstance(images, Tensor) else torch.from_numpy(np.ascontiguousarray(images))
    if pixels.dtype == torch.uint8:
        return pixels.to(torch.float64) / 255
    pixels = pixels.to(torch.float64)
    if pixels.numel() and not (float(pixels.min()) >= 0 and float(pixels.max()) <= 1):
        raise ValueError("psnr takes uint8 images, or floats in [0, 1]")
    return pixels


def psnr(a: NDArray[np.generic] | Tensor, b: NDArray[np.generic] | Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image, in dB: [N, …] and [N, …] -> [N] float64; infinite where two images are equal.

    −10 log₁₀ of the mean squared error over all pixels and channels of the image, with 1 as the peak (255 in uint8).
    """
    x, y = _unit(a), _unit(b)
    if x.shape != y.shape:
        raise ValueError(f"psnr compares images of one shape, not {list(x.shape)} and {list(y.shape)}")
    return -10 * torch.log10((x - y).square().flatten(1).mean(1))


def mean_psnr(a: NDArray[np.generic] | Tensor, b: NDArray[np.generic] | Tensor) -> float:
    """The mean over images of their own `psnr` (not the ratio of the mean error), an exact copy counting as 100 dB."""
    return float(psnr(a, b).clamp_max(CEILING).mean())

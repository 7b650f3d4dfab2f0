"""How near a reconstruction is to its picture: mean squared error, PSNR, SSIM."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from limner.core.images import batches_of

PSNR_CEILING = 100.0
"""dB as which an exact copy counts in a mean; a difference of 1/255 in one value of a 96×64 colour image is 91 dB."""
WINDOW, SIGMA = 11, 1.5  # of the Gaussian window of SSIM, in pixels
K1, K2 = 0.01, 0.03
_AT_ONCE = 2**20  # numbers of images whose SSIM is computed at a time


def _unit(images: NDArray[np.generic] | Tensor) -> Tensor:
    """[N, …] in [0, 1] and float64, from uint8 or from floats that lie in [0, 1] already."""
    pixels = images if isinstance(images, Tensor) else torch.from_numpy(np.ascontiguousarray(images))
    if pixels.dtype == torch.uint8:
        return pixels.to(torch.float64) / 255
    pixels = pixels.to(torch.float64)
    if pixels.numel() and not (float(pixels.min()) >= 0 and float(pixels.max()) <= 1):
        raise ValueError("mse, psnr and ssim take uint8 images, or floats in [0, 1]")
    return pixels


def mse(a: NDArray[np.generic] | Tensor, b: NDArray[np.generic] | Tensor) -> Tensor:
    """Mean squared error of each image, of values in [0, 1]: [N, …] and [N, …] -> [N] float64.

    Errors: `ValueError` for different shapes, or floats outside of [0, 1].

    >>> mse(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 1.0]]))
    tensor([0.1250], dtype=torch.float64)
    """
    x, y = _unit(a), _unit(b)
    if x.shape != y.shape:
        raise ValueError(f"images of one shape are compared, not {list(x.shape)} and {list(y.shape)}")
    return (x - y).square().flatten(1).mean(1)


def psnr(a: NDArray[np.generic] | Tensor, b: NDArray[np.generic] | Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image, in dB: [N, …] and [N, …] -> [N] float64; infinite where two images are equal.

    −10 log₁₀ of the mean squared error over all pixels and channels of the image, with 1 as the peak (255 in uint8).

    >>> psnr(torch.tensor([[0.0]]), torch.tensor([[0.1]])).round(decimals=3)
    tensor([20.], dtype=torch.float64)
    """
    return -10 * torch.log10(mse(a, b))


def ssim(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> Tensor:
    """Structural similarity of each image: [N, H, W, C] uint8 twice -> [N] float64 in -1..1; 1 where two images are equal.

    Wang et al. 2004, "Image Quality Assessment", equation 13: means, variances and covariance under a Gaussian of 11×11 pixels
    and σ = 1.5, K1 = .01, K2 = .03, averaged over channels and over all positions where the whole window lies inside the image
    ("valid": no padding). That is scikit-image's `structural_similarity` with `gaussian_weights=True` and
    `use_sample_covariance=False`. On a side of fewer than 11 pixels the window is as long as the largest odd number that fits.
    """
    if a.shape != b.shape or a.ndim != 4:
        raise ValueError(f"ssim compares images [N, H, W, C] of one shape, not {list(a.shape)} and {list(b.shape)}")
    batch = max(1, _AT_ONCE // max(1, a[:1].size))
    parts = [_ssim(_unit(a[rows]), _unit(b[rows])) for rows in batches_of(len(a), batch)]
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.float64)


def _ssim(x: Tensor, y: Tensor) -> Tensor:
    """[n, H, W, C] float64 in [0, 1] -> [n]"""
    count, height, width, channels = x.shape
    x, y = (images.permute(0, 3, 1, 2).reshape(-1, 1, height, width) for images in (x, y))
    fields = torch.cat([x, y, x * x, y * y, x * y])
    for axis, side in ((2, height), (3, width)):
        window = min(WINDOW, side - (side + 1) % 2)
        place = torch.arange(window, dtype=torch.float64) - window // 2
        weights = torch.exp(-0.5 * (place / SIGMA).square())
        fields = F.conv2d(fields, (weights / weights.sum()).view((1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1)))
    mean_x, mean_y, xx, yy, xy = fields.chunk(5)
    product = mean_x * mean_y
    squares = mean_x.square() + mean_y.square()
    c1, c2 = K1**2, K2**2
    index = (2 * product + c1) * (2 * (xy - product) + c2) / ((squares + c1) * (xx + yy - squares + c2))
    return index.view(count, -1).mean(1)

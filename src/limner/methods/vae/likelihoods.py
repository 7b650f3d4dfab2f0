"""What a decoder says of pixels: likelihoods as pure functions of images and of the decoder's output.

Images are [B, C, H, W] in [-1, 1]. `out` is the decoder's, [B, channels(kind, C), H, W] in float32. Training minimises
`nll`; a model is judged by `log_mass`, the probability of the 256 grey values themselves, which needs no dequantisation: a
density is integrated over each value's bin (width 2/255), and the outermost bins are open (Salimans et al. 2017, section 2.1).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Kind = Literal["gaussian", "laplace", "bernoulli", "logistic"]
"""`gaussian` and `laplace` have one scale for all pixels. `bernoulli` is for black-and-white pictures; on grey ones it is the
usual cross-entropy, which is no likelihood. `logistic` is the discretised mixture of PixelCNN++."""

HALF_BIN = 1 / 255
"""Half the width of a grey value on [-1, 1]."""
SMALLEST_MASS = 1e-12
"""Floor of masses and mean errors, so that their logarithms are finite."""


def channels(kind: Kind, colours: int, mixtures: int) -> int:
    """Of the decoder's output. Each component of a mixture has a share, and means, scales and pulls of earlier channels."""
    return colours if kind != "logistic" else mixtures * (1 + 2 * colours + colours * (colours - 1) // 2)


def nll(kind: Kind, images: Tensor, out: Tensor, log_scale: Tensor) -> Tensor:
    """[B] nats: −log p(images), summed over all entries: a density for `gaussian` and `laplace`, a mass for the others.

    `log_scale` is 0-d: log σ, or log b of exp(−|x−μ|/b)/2b; the other kinds have no scale and ignore it.
    """
    if kind == "gaussian":
        entries = images[0].numel()
        squares = (images - out).square().flatten(1).sum(1)
        return 0.5 * squares * torch.exp(-2 * log_scale) + entries * (log_scale + 0.5 * math.log(2 * math.pi))
    if kind == "laplace":
        entries = images[0].numel()
        return (images - out).abs().flatten(1).sum(1) * torch.exp(-log_scale) + entries * (log_scale + math.log(2))
    return -log_mass(kind, images, out, log_scale)


def log_mass(kind: Kind, images: Tensor, out: Tensor, log_scale: Tensor) -> Tensor:
    """[B] nats: log P of the grey values, summed over all entries. `bernoulli`: of black and white."""
    if kind == "bernoulli":
        return -F.binary_cross_entropy_with_logits(out, (images + 1) / 2, reduction="none").flatten(1).sum(1)
    if kind == "logistic":
        return _mixture_log_mass(images, out).flatten(1).sum(1)
    log_cdf = _log_ndtr if kind == "gaussian" else _log_laplace
    upper, lower = ((images - out + step) * torch.exp(-log_scale) for step in (HALF_BIN, -HALF_BIN))
    # Both are even: a bin above the mean is mirrored below it, where the difference of two tails loses no digits.
    mirrored = lower > 0
    high, low = (log_cdf(torch.where(mirrored, -a, b)) for a, b in ((lower, upper), (upper, lower)))
    inside = high + torch.log(-torch.expm1((low - high).clamp(max=-SMALLEST_MASS)))
    ends = torch.where(images > 1 - HALF_BIN, log_cdf(-lower), torch.where(images < HALF_BIN - 1, log_cdf(upper), inside))
    return ends.flatten(1).sum(1)


def mean(kind: Kind, out: Tensor, colours: int) -> Tensor:
    """[B, C, H, W] in [-1, 1]: the expected picture; of `logistic` in the limit of narrow components."""
    if kind == "bernoulli":
        return 2 * out.sigmoid() - 1
    if kind == "logistic":
        shares, means, _, pulls = _mixture(out, colours)
        return (shares.softmax(1)[:, :, None] * _pulled(means, pulls).clamp(-1, 1)).sum(1).clamp(-1, 1)
    return out.clamp(-1, 1)


def spread(kind: Kind, images: Tensor, out: Tensor) -> Tensor:
    """0-d: mean (x−x̂)², or |x−x̂| for `laplace`, over batch and pixels."""
    return (images - out).square().mean() if kind == "gaussian" else (images - out).abs().mean()


def optimal_log_scale(kind: Kind, spread: Tensor) -> Tensor:
    """0-d: the scale that minimises `nll` where the errors have this `spread`, softly kept above e⁻⁶.

    Gaussian: log σ = ½·log mean((x−x̂)²), the "optimal σ-VAE" of Rybkin et al. 2021, arXiv:2006.13202. Laplace:
    log b = log mean|x−x̂|.
    """
    log_scale = (0.5 if kind == "gaussian" else 1.0) * spread.clamp(min=SMALLEST_MASS).log()
    return -6 + F.softplus(log_scale + 6)


def _log_ndtr(x: Tensor) -> Tensor:
    log: Tensor = torch.special.log_ndtr(x)
    return log


def _log_laplace(x: Tensor) -> Tensor:
    """log of the distribution function of the standard Laplace."""
    below = x.clamp(max=0) - math.log(2)
    return torch.where(x < 0, below, torch.log1p(-0.5 * torch.exp(-x.clamp(min=0))))


def _mixture(out: Tensor, colours: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Shares [B, M, H, W] (logits); means and log scales [B, M, C, H, W]; pulls [B, M, C(C−1)/2, H, W] in (−1, 1)."""
    pairs = colours * (colours - 1) // 2
    batch, _, height, width = out.shape
    split = out.reshape(batch, -1, 1 + 2 * colours + pairs, height, width)
    shares, means, log_scales, pulls = torch.split(split, [1, colours, colours, pairs], 2)
    return shares.squeeze(2), means, log_scales.clamp(min=-7), pulls.tanh()


def _pulled(means: Tensor, pulls: Tensor, images: Tensor | None = None) -> Tensor:
    """Means of every channel given the channels before it in `images` (broadcast over the mixture): eq. 3 of Salimans et al.
    2017. Without `images`, the channels before stand at their own means, clamped to the range of pixels.
    """
    rows: list[Tensor] = []
    place = 0
    for channel in range(means.shape[2]):
        row = means[:, :, channel]
        for before in range(channel):
            earlier = rows[before].clamp(-1, 1) if images is None else images[:, :, before]
            row = row + pulls[:, :, place] * earlier
            place += 1
        rows.append(row)
    return torch.stack(rows, 2)


def _mixture_log_mass(images: Tensor, out: Tensor) -> Tensor:
    """[B, H, W]: log Σ_m π_m Π_c [σ((x+½bin−μ)/s) − σ((x−½bin−μ)/s)] (Salimans et al. 2017, arXiv:1701.05517, eq. 2)."""
    shares, means, log_scales, pulls = _mixture(out, images.shape[1])
    x = images[:, None]
    centred = x - _pulled(means, pulls, x)
    upper, lower = ((centred + step) * torch.exp(-log_scales) for step in (HALF_BIN, -HALF_BIN))
    # σ(u) − σ(l) = σ(u)·σ(−l)·(1 − e^{l−u}), exact in both tails.
    inside = F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log(-torch.expm1((lower - upper).clamp(max=-SMALLEST_MASS)))
    each = torch.where(x > 1 - HALF_BIN, F.logsigmoid(-lower), torch.where(x < HALF_BIN - 1, F.logsigmoid(upper), inside))
    return torch.logsumexp(shares.log_softmax(1) + each.sum(2), 1)

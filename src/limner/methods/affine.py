"""Random scalings, turns, stretches and shifts of pictures (Karras et al. 2020, arXiv:2006.06676, appendix B)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from limner.core.precision import no_autocast

AFFINE_DRAWS = 11
"""How many uniform numbers the change of one picture takes."""
AFFINE_NUMBERS = 8
"""By how many numbers `AffineChanges.numbers` describes the change of one picture."""


@dataclass(frozen=True)
class AffineChanges:
    """What is done to each of B pictures, in this order: scale, turn, stretch, turn, shift. All are [B]."""

    hit: Tensor
    """[B]: whether anything is done."""
    scale: Tensor
    """A factor."""
    before: Tensor
    """The turn before the stretch, in radians; positive ones are clockwise."""
    stretch: Tensor
    """A factor of the width; the height is divided by it."""
    after: Tensor
    """The turn after the stretch."""
    right: Tensor
    """Pixels."""
    down: Tensor
    """Pixels."""

    def numbers(self, size: Sequence[int]) -> Tensor:
        """[B, `AFFINE_NUMBERS`]: the changes of pictures of `size` (H, W), each 0 where there is none (Karras et al. 2022,
        arXiv:2206.00364, appendix F.2)."""
        turns = [number for turn in (self.before, self.after) for number in (turn.cos() - 1, turn.sin())]
        return torch.stack([self.scale.log2(), self.stretch.log2(), *turns, self.right / size[1], self.down / size[0]], dim=1)


def draw_affine_changes(uniforms: Sequence[Tensor], p: Tensor | float, size: Sequence[int]) -> AffineChanges:
    """Changes of pictures of `size` (H, W), each kind with probability `p`, by the first `AFFINE_DRAWS` of `uniforms` [B]."""
    u, p = uniforms, torch.as_tensor(p, device=uniforms[0].device)
    turn = 1 - (1 - p).sqrt()  # each of two turns, so that one of them happens with probability p
    hit = torch.stack([u[0] < p, u[2] < turn, u[4] < p, u[6] < turn, u[8] < p])
    scale, stretch = (torch.exp2(torch.where(hit[i], 0.2 * normal(u[2 * i + 1]), 0)) for i in (0, 2))
    before, after = (torch.where(hit[i], (2 * u[2 * i + 1] - 1) * math.pi, 0) for i in (1, 3))
    right, down = (torch.where(hit[4], 0.125 * n * normal(v), 0) for v, n in ((u[9], size[1]), (u[10], size[0])))
    return AffineChanges(hit.any(0), scale, before, stretch, after, right, down)


def warp(x: Tensor, changes: AffineChanges) -> Tensor:
    """Pictures [B, C, H, W], changed by one affine resampling with reflection at the outermost pixels.

    Bilinear interpolation alone blurs, and would leave few pictures with their fine detail; so, as in the paper, pictures are
    first enlarged twofold by a wavelet's filter. That filter here is the interpolating one (Deslauriers & Dubuc 1989), which
    keeps the pixels that were there, and pictures are not filtered again afterwards: only the rare strong reductions could
    alias, and it would take four times the samples. Bicubic sampling, of like quality, took twice the time.
    """
    height, width = x.shape[2:]
    hit = changes.hit.view(-1, 1, 1, 1)
    if x.device.type == "cpu" and not hit.any():  # as it often is early on; on other devices, looking would cost more
        return x
    # The place (x, y), in pixels from the centre, comes from
    # R(-before)·diag(1/stretch, stretch)·R(-after)·(x - right, y - down)/scale. Positive angles are clockwise: y points down.
    cb, sb, ca, sa = changes.before.cos(), changes.before.sin(), changes.after.cos(), changes.after.sin()
    wide, tall = 1 / (changes.stretch * changes.scale), changes.stretch / changes.scale
    to_x = cb * wide * ca - sb * tall * sa, cb * wide * sa + sb * tall * ca
    to_y = -sb * wide * ca - cb * tall * sa, -sb * wide * sa + cb * tall * ca
    dtype = torch.promote_types(x.dtype, torch.float32)
    columns, rows = (torch.arange(n, device=x.device, dtype=dtype) - (n - 1) / 2 for n in (width, height))
    columns, rows = columns - changes.right[:, None], rows - changes.down[:, None]
    grid = torch.stack(
        [
            ((mx[:, None] * columns)[:, None, :] + (my[:, None] * rows)[:, :, None]) * (2 / max(n - 1, 1))
            for (mx, my), n in ((to_x, width), (to_y, height))
        ],
        dim=-1,
    )
    with no_autocast(x.device):
        dense = _twofold(height, x, dtype) @ x.to(dtype) @ _twofold(width, x, dtype).t()
        y = F.grid_sample(dense, grid.to(dtype), "bilinear", "reflection", align_corners=True)
    return torch.where(hit, y.to(x.dtype), x)


def _twofold(n: int, like: Tensor, dtype: torch.dtype) -> Tensor:
    """[2n - 1, n]: keeps n values and sets one between each two, by Deslauriers & Dubuc's six weights; ends are reflected."""
    weights = torch.tensor([3, -25, 150, 150, -25, 3], dtype=dtype).div_(256).to(like.device, non_blocking=True)
    between = torch.arange(n - 1, device=like.device)[:, None] + torch.arange(-2, 4, device=like.device)
    matrix = torch.zeros(2 * n - 1, n, dtype=dtype, device=like.device)
    matrix[::2].fill_diagonal_(1)
    matrix[1::2].scatter_add_(1, reflect(between, n), weights.expand(n - 1, 6))
    return matrix


def reflect(index: Tensor, n: int) -> Tensor:
    """Any whole number as one of 0 … n - 1, reflected at both ends without repeating them: -1 is 1."""
    period = max(2 * (n - 1), 1)
    index = index.remainder(period)
    return torch.minimum(index, period - index)


def normal(uniform: Tensor) -> Tensor:
    """U[0, 1) as N(0, 1), within ±4.8."""
    number: Tensor = torch.special.ndtri(uniform.clamp(1e-6, 1 - 1e-6))
    return number

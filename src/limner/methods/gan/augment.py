"""What a GAN does to pictures before its discriminator sees them, so that few pictures last longer: real and generated alike.

The generator is trained through the augmentation. It still learns the plain pictures as long as the distribution of augmented
ones leaves only one distribution of plain ones that they could come from (Karras et al. 2020, section 2.2).
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.core.errors import InputError
from limner.methods.affine import AFFINE_DRAWS, draw_affine_changes, normal, reflect, warp
from limner.methods.gan.config import AugmentConfig, Change, Transform

DIFF_DRAWS: dict[Change, int] = {"colour": 3, "translation": 2, "cutout": 2}
"""How many uniform numbers each part of `diff_augment` takes, in the order in which it takes them."""
ADAPTIVE_DRAWS: dict[Transform, int] = {"blit": 7, "geometric": AFFINE_DRAWS, "colour": 10}
"""The same for `adaptive_augment`."""


class Augmenter(nn.Module):
    """The augmentation that `config` asks for, over images [B, C, H, W] of `shape` (C, H, W) in [-1, 1].

    `p` is a buffer, so it is saved and resumed with the weights. Row i of the result depends on row i of the images and of the
    uniforms alone, unless it `couples`. Errors: `InputError` where the colours of such images are not known.
    """

    p: Tensor

    def __init__(self, config: AugmentConfig, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.config = config
        parts: Collection[str] = {"none": (), "diff": config.policy, "adaptive": config.transforms}[config.kind]
        if "colour" in parts and shape[0] not in (1, 3, 4):
            raise InputError(
                f"augmenting colours needs images of 1 (grey), 3 or 4 channels, not {shape[0]}; leave 'colour' out of the"
                f" augmentation's {'policy' if config.kind == 'diff' else 'transforms'}"
            )
        counts: dict[Any, int] = {**DIFF_DRAWS} if config.kind == "diff" else {**ADAPTIVE_DRAWS}
        self._own_draws = sum(counts[part] for part in set(parts))
        self.register_buffer("p", torch.tensor(config.start if config.kind == "adaptive" else 0.0))

    @property
    def draws(self) -> int:
        """How many uniform numbers an image needs."""
        return self._own_draws + (2 if self.config.mix > 0 else 0)

    @property
    def active(self) -> bool:
        """Whether it does anything at all."""
        return self.draws > 0

    @property
    def couples(self) -> bool:
        """Whether the images of a batch influence each other."""
        return self.config.mix > 0

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        """Images and uniforms [B, draws] in [0, 1) -> images, in the same number format and memory order."""
        if uniforms.shape != (len(images), self.draws):
            raise ValueError(f"needs uniforms of shape {(len(images), self.draws)}, not {tuple(uniforms.shape)}")
        own, of_mix = uniforms[:, : self._own_draws], uniforms[:, self._own_draws :]
        if self.config.kind == "diff":
            images = diff_augment(images, own, self.config.policy)
        elif self.config.kind == "adaptive":
            images = adaptive_augment(images, own, self.p, self.config.transforms)
        return mix_neighbours(images, of_mix, self.config.mix) if self.couples else images

    @torch.no_grad()
    def adapt(self, sign_sum: Tensor, count: Tensor) -> None:
        """ADA's heuristic r_t (section 3), after `count` more real images.

        r_t is the mean sign of the discriminator's outputs on (augmented) real images: `sign_sum` / `count`, both 0-d.
        p moves by `count` / `speed` up or down. Nothing moves where the count is 0, or for other kinds.
        """
        if self.config.kind == "adaptive":
            direction = torch.sign(sign_sum - self.config.target * count)
            self.p.add_(direction * (count / self.config.speed)).clamp_(0.0, self.config.most)


def mix_neighbours(images: Tensor, uniforms: Tensor, probability: float) -> Tensor:
    """mixup (Zhang et al. 2018) of each image with the next row, the last with the first: λ·x_i + (1 − λ)·x_(i+1).

    λ ~ U(0, 1), their Beta(α, α) at α = 1; with 1 − `probability` it is 1. Uniforms [B, 2]: whether, and λ.
    """
    away = torch.where(uniforms[:, 0] < probability, 1 - uniforms[:, 1], 0).view(-1, 1, 1, 1)
    return _like(images + away * (images.roll(-1, 0) - images), images)


def diff_augment(images: Tensor, uniforms: Tensor, policy: Collection[Change]) -> Tensor:
    """DiffAugment (Zhao et al. 2020) of images [B, C, H, W] in [-1, 1], with uniforms [B, sum of `DIFF_DRAWS`].

    colour: brightness + U(-.5, .5), then saturation × U(0, 2) about each pixel's mean, then contrast × U(.5, 1.5) about the
    image's mean. translation: by up to an eighth of each side, with zeros behind. cutout: zeros in a rectangle of half of each
    side whose centre is anywhere in the image. Grey images have no saturation; a fourth channel, alpha, moves but keeps its
    values until it is cut out.
    """
    x, u = images.contiguous(), iter(uniforms.unbind(1))
    height, width = x.shape[2:]
    if "colour" in policy:
        brightness, saturation, contrast = next(u) - 0.5, 2 * next(u), next(u) + 0.5
        # All in one: the mean after brightness and saturation is the mean before, plus the brightness.
        mean = x[:, :3].mean((1, 2, 3), dtype=torch.promote_types(x.dtype, torch.float32))
        x = _recolour(x, contrast, contrast * saturation, torch.zeros_like(contrast), (1 - contrast) * mean + brightness)
    if "translation" in policy:
        most = [int(side / 8 + 0.5) for side in (height, width)]
        down, right = (_whole(next(u), 2 * m + 1) - m for m in most)
        x = _Shift.apply(x, down, right, *most)  # type: ignore[no-untyped-call]
    if "cutout" in policy:
        inside = []
        for side in (height, width):
            size = int(side / 2 + 0.5)
            first = _whole(next(u), side + 1 - size % 2) - size // 2
            place = torch.arange(side, device=x.device) - first[:, None]
            inside.append((place >= 0) & (place < size))
        x = x * (~(inside[0][:, None, :, None] & inside[1][:, None, None, :])).to(x.dtype)
    return _like(x, images)


def adaptive_augment(images: Tensor, uniforms: Tensor, p: Tensor, transforms: Collection[Transform]) -> Tensor:
    """ADA's augmentations (Karras et al. 2020, appendix B) of images [B, C, H, W] in [-1, 1], each with probability p, 0-d.

    Uniforms are [B, sum of `ADAPTIVE_DRAWS`]. What no transform hits stays exactly as it is, and p = 0 is the identity.
    Grey images have no hue and no saturation; a fourth channel, alpha, moves but keeps its values.
    """
    x, draws = images.contiguous(), list(uniforms.unbind(1))
    if "blit" in transforms:
        x, draws = _blit(x, draws, p), draws[ADAPTIVE_DRAWS["blit"] :]
    if "geometric" in transforms:
        changes, draws = draw_affine_changes(draws, p, x.shape[2:]), draws[ADAPTIVE_DRAWS["geometric"] :]
        x = warp(x, changes)
    if "colour" in transforms:
        x = _adaptive_colour(x, draws, p)
    return _like(x, images)


def _blit(x: Tensor, u: list[Tensor], p: Tensor) -> Tensor:
    """Flip, rotation by quarter turns, translation by whole pixels up to an eighth of each side: as one gather, so exact.

    A quarter turn would lead an oblong image out of its frame, so oblong images turn by 0 or 180°. What a translation lacks is
    reflected at the outermost pixels, as in `warp`.
    """
    height, width = x.shape[2:]
    flip = (u[0] < p) & (u[1] < 0.5)
    turns = torch.where(u[2] < p, _whole(u[3], 4) if height == width else 2 * _whole(u[3], 2), 0)
    translates = u[4] < p
    down, right = (
        torch.where(translates, torch.round((v / 4 - 0.125) * n), 0).long() for v, n in ((u[5], height), (u[6], width))
    )
    # Pixel (i, j) comes from (a, b) before the translation. Before the turn and the flip, a counts rows or, after an odd number
    # of turns, columns; either may count backwards. So the place in memory is the sum of a part of i and a part of j.
    a, b = (
        reflect(torch.arange(n, device=x.device) - by[:, None], n) for n, by in ((height, down), (width, right))
    )  # [B, H], [B, W]
    odd, rows_back, columns_back = turns % 2 == 1, turns >= 2, ((turns == 1) | (turns == 2)) ^ flip
    a = torch.where(torch.where(odd, columns_back, rows_back)[:, None], height - 1 - a, a)
    b = torch.where(torch.where(odd, rows_back, columns_back)[:, None], width - 1 - b, b)
    a, b = torch.where(odd[:, None], a, a * width), torch.where(odd[:, None], b * width, b)
    place = (a[:, :, None] + b[:, None, :]).flatten(1)[:, None]
    return x.flatten(2).gather(2, place.expand(-1, x.shape[1], -1)).view(x.shape)


def _adaptive_colour(x: Tensor, u: list[Tensor], p: Tensor) -> Tensor:
    """Brightness, contrast, flip of the luma, rotation of the hue, saturation: the paper's product of 4×4 matrices.

    All five act on the luma axis (1, 1, 1)/√3 and on the plane across it, so they commute but for the brightness, and what is
    left of them is a factor for each, an angle and an offset.
    """
    hit = torch.stack(u[0::2]) < p
    brightness = torch.where(hit[0], 0.2 * normal(u[1]), 0)
    contrast = torch.exp2(torch.where(hit[1], 0.5 * normal(u[3]), 0))
    luma = torch.where(hit[2] & (u[5] < 0.5), -contrast, contrast)
    hue = torch.where(hit[3], (2 * u[7] - 1) * math.pi, 0)
    saturation = torch.exp2(torch.where(hit[4], normal(u[9]), 0))
    return _recolour(x, luma, contrast * saturation, hue, luma * brightness)


def _recolour(x: Tensor, luma: Tensor, chroma: Tensor, hue: Tensor, offset: Tensor) -> Tensor:
    """Each pixel's mean over its colours times `luma`, the rest times `chroma` and turned by `hue`, plus `offset`; all are [B].

    A rotation about (1, 1, 1) is a circulant matrix with the entries (1 + 2·cos(hue - 2πk/3))/3, k = 0, 1, 2.
    """
    if x.shape[1] == 1:
        return (x * luma.view(-1, 1, 1, 1) + offset.view(-1, 1, 1, 1)).to(x.dtype)
    colours = x[:, :3]
    # Where there is no turn, the cosines are exact, so that factors of 1 leave everything as it is.
    cosines = [torch.where(hue == 0, exact, (hue - k * 2 * math.pi / 3).cos()) for k, exact in enumerate((1.0, -0.5, -0.5))]
    factors = [(luma + 2 * chroma * cosine) / 3 for cosine in cosines]
    here, before, two_before, offset = (each.view(-1, 1, 1, 1) for each in (*factors, offset))
    y = colours * here + offset
    y = torch.addcmul(y, colours.roll(1, 1), before)
    y = torch.addcmul(y, colours.roll(2, 1), two_before).to(x.dtype)
    return y if x.shape[1] == 3 else torch.cat([y, x[:, 3:]], 1)


class _Shift(torch.autograd.Function):
    """Images [B, C, H, W], each moved `down` and `right` [B] by whole pixels, up to `rows` and `columns`, with zeros behind.

    Copies whole rows of pixels, twice as fast as a gather on a CPU; and what torch would do backwards, adding entry by entry,
    is here the opposite shift.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, down: Tensor, right: Tensor, rows: int, columns: int) -> Tensor:
        ctx.save_for_backward(down, right)
        ctx.most = rows, columns
        height, width = x.shape[2:]
        windows = F.pad(x, (columns, columns, rows, rows)).unfold(2, height, 1).unfold(3, width, 1)
        return windows[torch.arange(len(x), device=x.device), :, rows - down, columns - right]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        down, right = ctx.saved_tensors
        return _Shift.apply(gradients[0], -down, -right, *ctx.most), None, None, None, None  # type: ignore[no-untyped-call]


def _whole(uniform: Tensor, n: int) -> Tensor:
    """U[0, 1) as one of 0 … n - 1, each as likely."""
    return (uniform * n).long().clamp_(max=n - 1)  # a number just below 1 may round up


def _like(y: Tensor, images: Tensor) -> Tensor:
    """y in the number format and the memory order of `images`."""
    channels_last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
    ordered: Tensor = y.to(images.dtype, memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    return ordered

"""Guidance: leading away from the velocity of a weaker model, towards pictures that are more typical and less varied.

The weaker model is the same one without its class (Ho & Salimans 2022, arXiv:2207.12598), or one that was trained less (Karras
et al. 2024, arXiv:2406.02507). A weight of 1 is the model itself.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def extrapolate(strong: Tensor, weak: Tensor, weight: float) -> Tensor:
    """v_w + w·(v_s − v_w), as in autoguidance (Karras et al. 2024, eq. 3)."""
    return weak + weight * (strong - weak)


def extrapolate_scaled(strong: Tensor, weak: Tensor, weight: float) -> Tensor:
    """CFG-Zero* (Fan et al. 2025, arXiv:2503.18886, eq. 6): as `extrapolate`, with the weak velocity times
    s = ⟨v_s, v_w⟩/|v_w|² of each picture, so that its length fits.

    >>> extrapolate_scaled(torch.tensor([[1.0, 2, 3]]), torch.tensor([[2.0, 1, 1]]), 2.0)
    tensor([[-0.3333,  2.8333,  4.8333]])
    """
    product = (strong * weak).flatten(1).sum(1)
    scale = product / (weak.square().flatten(1).sum(1) + 1e-8)
    return extrapolate(strong, scale.view(-1, *[1] * (weak.dim() - 1)) * weak, weight)


def guided(
    strong: Callable[[], Tensor], weak: Callable[[], Tensor], mix: Callable[[Tensor, Tensor], Tensor], applies: Tensor
) -> Tensor:
    """The velocity [B, ...] `mix`(strong, weak) for the pictures where `applies` [B] holds, and the strong one elsewhere; the
    weak one is computed only where a picture needs it."""
    velocity = strong()
    if not bool(applies.any()):
        return velocity
    return torch.where(applies.view(-1, *[1] * (velocity.dim() - 1)), mix(velocity, weak()), velocity)

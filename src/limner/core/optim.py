"""Builds optimisers and clips gradients as a recipe says; an optimiser's state as named tensors, so that nothing is pickled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from limner.core.errors import InputError
from limner.core.optimiser_settings import Clip, Optimiser


def build_optimiser(settings: Optimiser, weights: Sequence[Tensor]) -> torch.optim.Optimizer:
    """The optimiser that `settings` describe, for `weights`. Its learning rate is 0 until `set_progress`."""
    if settings.kind == "sgd":
        momentum, decay = settings.betas[0], settings.weight_decay
        return torch.optim.SGD(weights, lr=0.0, momentum=momentum, weight_decay=decay, fused=True)
    kind = torch.optim.Adam if settings.kind == "adam" else torch.optim.AdamW
    return kind(
        weights,
        lr=0.0,
        betas=(settings.betas[0], settings.betas[1].value),
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def clip_gradients(clip: Clip, gradients: Sequence[Tensor]) -> None:
    """Bounds the gradients of one player's weights, in place, as `clip` says."""
    if clip.by == "value":
        for gradient in gradients:
            gradient.clamp_(-clip.limit, clip.limit)
        return
    scale = clip.limit / norm(gradients).clamp(min=1e-12)
    torch._foreach_mul_(list(gradients), scale if clip.by == "normalised" else scale.clamp(max=1.0))


def norm(gradients: Sequence[Tensor]) -> Tensor:
    """The joint 2-norm of all entries, as a 0-d tensor."""
    joint: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(gradients))))
    return joint


def set_progress(optimiser: torch.optim.Optimizer, settings: Optimiser, progress: float) -> None:
    """Sets the learning rate and the decay rates that `settings` have at `progress`, the fraction of the budget used so far."""
    for group in optimiser.param_groups:
        group["lr"] = settings.lr.at(progress)
        if "betas" in group:
            group["betas"] = (settings.betas[0], settings.betas[1].at(progress))


def state_tensors(optimiser: torch.optim.Optimizer, names: Mapping[Tensor, str]) -> dict[str, Tensor]:
    """``{"generator.0.weight/exp_avg": …}``: everything the optimiser remembers."""
    return {
        f"{names[weight]}/{key}": value
        for weight, slots in optimiser.state.items()
        for key, value in slots.items()
        if isinstance(value, Tensor)
    }


def load_state_tensors(optimiser: torch.optim.Optimizer, names: Mapping[Tensor, str], tensors: Mapping[str, Tensor]) -> None:
    """The inverse. Errors: `InputError` where a tensor belongs to no weight of this optimiser or has another shape."""
    by_name = {name: weight for weight, name in names.items()}
    for key, value in tensors.items():
        name, slot = key.rsplit("/", 1)
        weight = by_name.get(name)
        if weight is None or (slot != "step" and value.shape != weight.shape):
            raise InputError(
                f"optimiser state '{key}' does not fit this recipe's networks; the checkpoint is of another recipe"
            )
        slots: dict[str, Any] = optimiser.state[weight]
        if slot == "step":  # fused optimisers want it where the weight is
            slots[slot] = value.to(weight.device)
        else:  # in the weight's own memory order: the fused kernels run through memory, not through indices
            slots[slot] = torch.empty_like(weight, dtype=value.dtype).copy_(value)

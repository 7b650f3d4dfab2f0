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
    kinds: Mapping[str, type[torch.optim.Adam]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "muon": Muon}
    return kinds[settings.kind](
        weights,
        lr=0.0,
        betas=(settings.betas[0], settings.betas[1].value),
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fused=True,
    )


MUON_MOMENTUM = 0.95
"""Of Muon's average of the gradient (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon)."""
MUON_SIDE = 32
"""Rows and columns that a weight must have for Muon. Smaller ones, such as biases, gains and the layers next to the pictures,
have few directions, whose sizes matter."""
MUON_SCALE = 0.2
"""The root mean square of a step's entries per learning rate, which is about that of Adam's steps, so that rates of the one
serve the other (Liu et al. 2025, arXiv:2502.16982, section 2.2)."""
QUINTIC = (3.4445, -4.7750, 2.0315)
"""Of the polynomial a·s + b·s³ + c·s⁵ which, applied five times, takes any s from .003 to 1 into .68 … 1.13 (Jordan et al.)."""


class Muon(torch.optim.Adam):
    """Adam, but matrices are moved by their averaged gradient with all singular values set to about one (Jordan et al. 2024).

    A convolution [out, in, h, w] counts as the matrix [out, in·h·w]. torch.optim.Muon takes no convolutions.
    """

    def __init__(self, weights: Sequence[Tensor], **options: Any) -> None:
        large = [weight for weight in weights if min(_as_matrix(weight).shape) >= MUON_SIDE]
        numbers = {id(weight) for weight in large}
        super().__init__([{"params": [weight for weight in weights if id(weight) not in numbers]}], **options)
        self.add_param_group({"params": large})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step of every weight that has a gradient; `closure` is not called."""
        *_, group = self.param_groups
        gradients = {weight: weight.grad for weight in group["params"] if weight.grad is not None}
        for weight in gradients:
            weight.grad = None  # so that Adam leaves it alone
        super().step()
        for weight, gradient in gradients.items():
            weight.grad = gradient
            slots = self.state[weight]
            if not slots:
                slots["momentum"] = torch.zeros_like(weight)
            average = slots["momentum"].lerp_(gradient, 1 - MUON_MOMENTUM)
            ahead = _as_matrix(gradient.lerp(average, MUON_MOMENTUM))  # Nesterov's
            scale = MUON_SCALE * max(ahead.shape) ** 0.5
            weight.mul_(1 - group["lr"] * group["weight_decay"])
            weight.add_(orthogonalise(ahead).reshape(weight.shape), alpha=-group["lr"] * scale)


def _as_matrix(weight: Tensor) -> Tensor:
    """[rows, entries of a row]; a vector is one column."""
    return weight.reshape(len(weight), -1) if weight.dim() else weight.reshape(1, 1)


def orthogonalise(matrix: Tensor) -> Tensor:
    """A matrix [m, n] with the same singular vectors, and singular values of .7 to 1.1, whatever they were; 0 stays 0.

    A polynomial of odd degree in a matrix X is a polynomial in X·Xᵀ times X. So the five iterations need one product with the
    long side of X at the start and one at the end, and otherwise products of [m, m].
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.t()
    x = wide / (torch.linalg.vector_norm(wide) + 1e-7)
    gram, product = x @ x.t(), None
    a, b, c = QUINTIC
    for _ in range(5):
        factor = torch.addmm(b * gram, gram, gram, alpha=c)
        factor.diagonal().add_(a)
        product = factor if product is None else factor @ product
        gram = factor @ gram @ factor
    orthogonal: Tensor = product @ x
    return orthogonal if wide is matrix else orthogonal.t()


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

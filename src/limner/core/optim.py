"""Optimisers and gradient clipping as data, and an optimiser's state as named tensors (nothing is pickled)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from limner.core.errors import InputError
from limner.core.schedule import Schedule, Scheduled


class Optimiser(BaseModel):
    """Which optimiser, with which numbers. `lr` may be a schedule of progress."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["adam", "adamw", "sgd"] = "adam"
    lr: Scheduled = Schedule(value=2e-4)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Scheduled] = (0.9, Schedule(value=0.999))
    """For sgd, the first is the momentum. The second may be a schedule of progress."""
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _momentum(self) -> Optimiser:
        second = self.betas[1]
        for value in (second.value, second.value * second.final):
            if not 0 <= value < 1:
                raise ValueError(f"betas lie from 0 to below 1, and {value:g} does not")
        if not 0 <= self.lr.value < float("inf"):
            raise ValueError(f"a learning rate is 0 or more, and {self.lr.value:g} is not")
        return self

    def build(self, weights: Sequence[Tensor]) -> torch.optim.Optimizer:
        if self.kind == "sgd":
            return torch.optim.SGD(weights, lr=0.0, momentum=self.betas[0], weight_decay=self.weight_decay, fused=True)
        kind = torch.optim.Adam if self.kind == "adam" else torch.optim.AdamW
        return kind(
            weights,
            lr=0.0,
            betas=(self.betas[0], self.betas[1].value),
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=True,
        )


class Clip(BaseModel):
    """What is done to a player's gradient before its step. Exactly one way."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Literal["norm", "value", "normalised"] = "norm"
    limit: float = Field(1.0, gt=0)

    def apply(self, gradients: Sequence[Tensor]) -> None:
        """In place. `norm`: the joint 2-norm is at most `limit`; `value`: each entry is; `normalised`: the norm is `limit`."""
        if self.by == "value":
            for gradient in gradients:
                gradient.clamp_(-self.limit, self.limit)
            return
        scale = self.limit / norm(gradients).clamp(min=1e-12)
        torch._foreach_mul_(list(gradients), scale if self.by == "normalised" else scale.clamp(max=1.0))


def norm(gradients: Sequence[Tensor]) -> Tensor:
    """The joint 2-norm of all entries, as a 0-d tensor."""
    joint: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(gradients))))
    return joint


def tune(optimiser: torch.optim.Optimizer, told: Optimiser, progress: float) -> None:
    """Sets what `told` says for `progress` of the budget."""
    for group in optimiser.param_groups:
        group["lr"] = told.lr.at(progress)
        if "betas" in group:
            group["betas"] = (told.betas[0], told.betas[1].at(progress))


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

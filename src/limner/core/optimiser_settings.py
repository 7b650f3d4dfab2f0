"""Optimisers and gradient clipping as data, without torch. `core/optim.py` does what they say."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from limner.core.config import Settings
from limner.core.schedule import Scheduled, constant


class Optimiser(Settings):
    """Which optimiser, with which numbers."""

    kind: Literal["adam", "adamw", "sgd", "muon"] = "adam"
    """Adam (Kingma & Ba 2015), AdamW (Loshchilov & Hutter 2019), stochastic gradient descent, or Muon (Jordan et al. 2024):
    matrices and convolutions of 32 rows and columns or more move by steps of equal singular values, the rest by Adam's."""
    lr: Scheduled = constant(2e-4)
    """Learning rate; may change over the run."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Scheduled] = (0.9, constant(0.999))
    """Decay rates of the averages of the gradient and of its square. For sgd, the first is the momentum; that of muon is 0.95.
    The second may change over the run."""
    eps: float = Field(1e-8, gt=0)
    """What is added to the root of the squared gradient's average (adam and adamw)."""
    weight_decay: float = Field(0.0, ge=0)
    """Decay of the weights: decoupled from the gradient in adamw and in muon's own steps, otherwise added to it."""

    @model_validator(mode="after")
    def _check_ranges(self) -> Optimiser:
        second = self.betas[1]
        for value in (second.value, second.value * second.final):
            if not 0 <= value < 1:
                raise ValueError(f"betas lie from 0 to below 1, and {value:g} does not")
        if not 0 <= self.lr.value < float("inf"):
            raise ValueError(f"a learning rate is 0 or more, and {self.lr.value:g} is not")
        return self


class Clip(Settings):
    """What is done to a player's gradient before its step."""

    by: Literal["norm", "value", "normalised"] = "norm"
    """`norm`: the joint 2-norm of all gradients is at most `limit`; `value`: each entry is; `normalised`: the norm is exactly
    `limit`."""
    limit: float = Field(1.0, gt=0)
    """The bound."""

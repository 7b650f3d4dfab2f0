"""The settings of the method `letters`. Without torch, so that limner can read and check them quickly."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from limner.core.config import MethodConfig, Sampling
from limner.core.optimiser_settings import Optimiser
from limner.core.schedule import Schedule


class LettersConfig(MethodConfig):
    """What a recipe says under `method`."""

    kind: Literal["letters"] = "letters"
    width: int = Field(128, ge=1)
    """Units of the hidden layer."""
    optimiser: Optimiser = Optimiser(lr=Schedule(value=2e-3))
    """The optimiser of the network."""


class LettersSampling(Sampling):
    """What can be chosen when pictures are drawn."""

    spread: float = Field(1.0, ge=0, allow_inf_nan=False)
    """Factor of the noise around the mean picture of a caption; 0 draws the mean."""

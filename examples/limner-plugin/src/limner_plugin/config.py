"""The rows of the method `letters`: its settings, its choices of how to draw, and how it is built. All without torch.

limner reads this file whenever it lists methods, checks a recipe or prints a help, so it has to load in milliseconds. The
method itself stands in `method.py`, which is imported when a run needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from limner.core.config import DataSpec, MethodConfig, Sampling
from limner.core.optimiser_settings import Optimiser
from limner.core.schedule import constant
from limner.recipes.registry import Family, Preset

if TYPE_CHECKING:
    from limner.core.capabilities import Codec
    from limner.core.method import Method


class LettersConfig(MethodConfig):
    """The part `method` of a recipe."""

    kind: Literal["letters"] = "letters"
    """The name of the family."""
    width: int = Field(128, ge=1)
    """Units of the hidden layer."""
    optimiser: Optimiser = Optimiser(lr=constant(2e-3))
    """Of the network."""


class LettersSampling(Sampling):
    """What can be chosen when pictures are drawn."""

    spread: float = Field(1.0, ge=0, allow_inf_nan=False)
    """Factor of the noise around the mean picture of a caption; 0 draws the mean picture itself."""


def build(config: LettersConfig, codec: Codec, spec: DataSpec) -> Method:
    """The untrained method. limner calls this when a run starts, resumes or is loaded."""
    from limner_plugin.method import Letters

    return Letters(config, codec, spec)


LINE = "the mean picture for the letters of a caption, and noise around it"
FAMILY = Family(LettersConfig, LettersSampling, build, LINE, "an example; no paper", frozenset({"text"}))
PRESET = Preset("letters", LINE, "an example; no paper", recipe="method: {kind: letters}")

"""Settings of the codec of codes and of the prior over them, and how they follow from the pictures. Without torch."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from limner.core.config import CodecKind, MethodConfig, RunContext, Sampling, only_if
from limner.core.optimiser_settings import Clip, Optimiser
from limner.core.schedule import constant
from limner.nets.halving import halvings

MAX_CODES, MAX_CODES_ACCELERATED = 100, 256
"""Codes of one image that a prior learns in minutes on a CPU, and on an accelerator; its cost grows with them."""
MIN_CLASS_IMAGES = 20
"""Training pictures that each class must have for the prior's `labels=auto` to learn classes."""

Level = Annotated[int, Field(ge=3)]


class VqVaeSampling(Sampling):
    """A codec draws no pictures by itself, so there is nothing to set."""


class PriorSampling(Sampling):
    """How a prior draws the codes of a picture, one after the other.

    The temperature divides the logits. Of the resulting probabilities only the `top_k` largest stay (Fan et al. 2018,
    arXiv:1805.04833), and of these the fewest that sum to `top_p` (Holtzman et al. 2020, arXiv:1904.09751).
    """

    temperature: float = Field(1.0, gt=0, allow_inf_nan=False, json_schema_extra=only_if("top_k", other_than=(1,)))
    """Priors over codes: below 1, more typical, less varied."""
    top_k: int = Field(0, ge=0)
    """Priors over codes: draw from so many likeliest codes only; 0 is all."""
    top_p: float = Field(1.0, gt=0, le=1, json_schema_extra=only_if("top_k", other_than=(1,)))
    """Priors over codes: from the likeliest of this mass only; 1 is all."""


class VqVaeConfig(MethodConfig):
    """The codec's own choices."""

    makes: ClassVar[CodecKind | None] = "codes"

    kind: Literal["vqvae"] = "vqvae"
    """The family."""
    quantiser: Literal["vq", "fsq"] = "vq"
    """`vq`: the nearest of `codes` learned vectors. `fsq`: every entry rounded to one of `levels`, which needs no learning."""
    codes: int = Field(512, ge=2, json_schema_extra=only_if("quantiser", "vq"))
    """Learned vectors (vq)."""
    dim: int = Field(32, ge=1, json_schema_extra=only_if("quantiser", "vq"))
    """Entries of a code's vector (vq)."""
    normalised: bool = Field(False, json_schema_extra=only_if("quantiser", "vq"))
    """Codes and latents on the unit sphere (vq); goes well with a small `dim` and many codes."""
    levels: tuple[Level, ...] = Field((8, 8, 8), min_length=1, json_schema_extra=only_if("quantiser", "fsq"))
    """Values of each entry (fsq); their product is the number of codes."""
    commitment: float = Field(0.25, ge=0, json_schema_extra=only_if("quantiser", "vq"))
    """Weight of the distance from latents to their codes (vq)."""
    half_life: float = Field(2200.0, gt=0)
    """Of the codes' moving averages, in images."""
    down: int | Literal["auto"] = "auto"
    """Halvings from image to codes. `auto`: two, and as many more as leave few enough codes for a prior."""
    width: int = Field(32, ge=1)
    """Channels at half the image's size, doubled at every halving."""
    widest: int = Field(128, ge=1)
    """Most channels of a layer."""
    blocks: int = Field(1, ge=0)
    """Residual blocks at every size."""
    absolute: float = Field(0.0, ge=0)
    """Weight of the absolute error beside the squared one; it makes edges crisper."""
    adversarial: float = Field(0.0, ge=0)
    """Weight of the patch discriminator's loss; 0 is no discriminator. Against errors as a share of the data's variance."""
    features: float = Field(0.0, ge=0, json_schema_extra=only_if("adversarial", above=0))
    """Weight of the distance in the discriminator's features, where there is one (Larsen et al. 2016, arXiv:1512.09300)."""
    start: float = Field(0.5, ge=0, lt=1, json_schema_extra=only_if("adversarial", above=0))
    """Fraction of the budget at which the discriminator begins."""
    discriminator_width: int = Field(32, ge=1, json_schema_extra=only_if("adversarial", above=0))
    """Channels of the discriminator's first layer."""
    optimiser: Optimiser = Field(default_factory=lambda: Optimiser(lr=constant(1e-3)))
    """The optimiser of encoder and decoder."""
    clip: Clip | None = None
    """Bound of their gradients; none by default."""
    discriminator_optimiser: Optimiser = Field(
        default_factory=lambda: Optimiser(lr=constant(1e-3), betas=(0.0, constant(0.99))),
        json_schema_extra=only_if("adversarial", above=0),
    )
    """The discriminator's optimiser."""

    def resolve(self, context: RunContext) -> VqVaeConfig:
        """down="auto" as a number."""
        if self.down != "auto":
            return self
        codes = MAX_CODES_ACCELERATED if context.accelerated else MAX_CODES
        return self.model_copy(update={"down": automatic_halvings(context.shape[1], context.shape[2], codes)})

    @classmethod
    def resolved_type(cls) -> type[MethodConfig]:
        return ResolvedVqVaeConfig


class ResolvedVqVaeConfig(VqVaeConfig):
    """A codec in which everything is decided."""

    down: int


class PriorConfig(MethodConfig):
    """The prior's own choices."""

    takes: ClassVar[CodecKind] = "codes"

    kind: Literal["prior"] = "prior"
    """The family."""
    width: int = Field(128, ge=1)
    """Entries of the vector that stands for a code inside the transformer."""
    depth: int = Field(4, ge=1)
    """Blocks."""
    heads: int = Field(4, ge=1)
    """Attention heads; they divide `width`."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of the features that is dropped in training."""
    labels: bool | Literal["auto"] = "auto"
    """Learn each class of the data: pictures are then made by class. `auto`: where there are classes, and none is rare."""
    optimiser: Optimiser = Field(
        default_factory=lambda: Optimiser(kind="adamw", lr=constant(1e-3), betas=(0.9, constant(0.95)), weight_decay=0.01)
    )
    """The transformer's optimiser."""
    clip: Clip | None = None
    """Bound of its gradients; none by default."""

    @model_validator(mode="after")
    def _divides(self) -> PriorConfig:
        if self.width % self.heads:
            raise ValueError(f"heads={self.heads} does not divide width={self.width}")
        return self

    def resolve(self, context: RunContext) -> PriorConfig:
        """labels="auto" as yes or no."""
        if self.labels != "auto":
            return self
        learn = context.class_count >= 2 and context.smallest_class >= MIN_CLASS_IMAGES
        return self.model_copy(update={"labels": learn})

    @classmethod
    def resolved_type(cls) -> type[MethodConfig]:
        return ResolvedPriorConfig


class ResolvedPriorConfig(PriorConfig):
    """A prior in which everything is decided."""

    labels: bool


def automatic_halvings(height: int, width: int, max_codes: int) -> int:
    """Halvings of an image: two where its size allows it, and more until no more than `max_codes` places are left.

    >>> automatic_halvings(32, 32, 100), automatic_halvings(64, 64, 100)
    (2, 3)
    """
    sizes = halvings(height, width)
    enough = [number for number, (high, wide) in enumerate(sizes) if number >= 2 and high * wide <= max_codes]
    return enough[0] if enough else len(sizes) - 1

"""A flow's settings, and how they follow from the pictures and the budget. Without torch."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from limner.core.config import MethodConfig, RunContext, Sampling, Settings, only_if
from limner.core.optimiser_settings import Clip, Optimiser
from limner.core.schedule import Schedule

MIN_CLASS_IMAGES = 20
"""Training pictures that each class must have for `labels=auto` to learn classes."""
MIN_IMAGE_SIDE = 8
"""Pixels of a side below which there is nothing to halve."""

Positive = Annotated[int, Field(ge=1)]
Solver = Literal["euler", "heun", "midpoint", "dpm", "ancestral", "adaptive"]


class FlowSampling(Sampling):
    """How a flow draws pictures: by integrating its velocity from noise to a picture."""

    steps: int = Field(10, ge=1, le=1000)
    """Flows: steps from noise to a picture, of one network pass each, of two with heun and midpoint. `adaptive` ignores them."""
    solver: Solver = "heun"
    """Flows: how a step is taken. `dpm` is DPM++ 2M, `ancestral` adds fresh noise, `adaptive` chooses its own steps by
    `tolerance`."""
    tolerance: float = Field(0.02, gt=0, le=1)
    """Flows: the error that an adaptive step may make, in pixels of [-1, 1]."""
    guidance: float = Field(1.0, ge=0, le=100, allow_inf_nan=False)
    """Flows: above 1, pictures that are more typical and less varied, at twice the passes; 1 is the model itself."""
    guide: Literal["auto", "class", "checkpoint"] = "auto"
    """Flows: what guidance leads away from: the model without the class, or the early checkpoint, which needs no classes. `auto`:
    without the class, where there are classes."""
    guidance_from: float = Field(1.0, ge=0, le=1)
    """Flows: guidance begins at this time; 1 is noise, 0 a picture."""
    guidance_to: float = Field(0.0, ge=0, le=1)
    """Flows: and ends at this one."""

    @model_validator(mode="after")
    def _interval(self) -> FlowSampling:
        if self.guidance_from < self.guidance_to:
            raise ValueError(
                f"guidance_from={self.guidance_from:g} lies below guidance_to={self.guidance_to:g}; time falls from 1 to 0"
            )
        return self

    @property
    def passes(self) -> int | None:
        """Network passes of a picture; None where the picture decides (`adaptive`)."""
        if self.solver == "adaptive":
            return None
        each = {"heun": 2 * self.steps - 1, "midpoint": 2 * self.steps}.get(self.solver, self.steps)
        return each


class NetworkConfig(Settings):
    """The network that gives the velocity."""

    kind: Literal["unet", "transformer"] = "unet"
    """The kind of network."""
    depth: int = Field(6, ge=1)
    """Blocks (transformer)."""
    width: int = Field(64, ge=8)
    """Channels at the first size."""
    multipliers: tuple[Positive, ...] = Field((1, 2), min_length=1)
    """Channels of each size as multiples of `width`; each size is half of the one before (unet)."""
    blocks: int = Field(1, ge=1)
    """Residual blocks of each size on the way down (unet)."""
    attention: int = Field(8, ge=0, le=16)
    """Attention stands at sizes of at most so many pixels a side; 0 is none (unet)."""
    heads: int = Field(4, ge=1)
    """Attention heads."""
    patch: int = Field(2, ge=1, le=8)
    """Pixels of a side that the outermost layers take at once."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the features that is dropped in training."""


class FlowConfig(MethodConfig):
    """A flow's own choices."""

    kind: Literal["flow"] = "flow"
    """The family."""
    prediction: Literal["velocity", "image", "noise", "edm"] = "velocity"
    """What the network gives: the velocity, the clean picture, the noise, or EDM's mixture of them (Karras et al. 2022)."""
    times: Literal["uniform", "logit-normal", "edm"] = "logit-normal"
    """How times are drawn in training."""
    time_mean: float = Field(0.0, json_schema_extra=only_if("times", "logit-normal", "edm"))
    """Mean of the logit of the time."""
    time_spread: float = Field(1.0, gt=0, json_schema_extra=only_if("times", "logit-normal", "edm"))
    """Standard deviation of the logit of the time."""
    stratified: bool = True
    """Draw the times of a batch from equal shares of their distribution, so that losses of batches differ less."""
    labels: bool | Literal["auto"] = "auto"
    """Learn each class of the data: pictures are then made by class. `auto`: where there are classes, and none is rare."""
    drop_labels: float = Field(0.1, ge=0, lt=1)
    """The share of pictures whose class is hidden in training, which guidance needs."""
    network: NetworkConfig = Field(default_factory=NetworkConfig)
    """The network."""
    optimiser: Optimiser = Field(
        default_factory=lambda: Optimiser(
            kind="adam", lr=Schedule.model_construct({"value", "warmup", "decay_from"}, value=2e-3, warmup=0.02, decay_from=0.3)
        )
    )
    """Its optimiser."""
    clip: Clip | None = None
    """Bound of its gradients; none by default."""

    def resolve(self, context: RunContext) -> FlowConfig:
        """labels="auto" as yes or no."""
        if self.labels != "auto":
            return self
        learn = context.class_count >= 2 and context.smallest_class >= MIN_CLASS_IMAGES
        return self.model_copy(update={"labels": learn})

    @classmethod
    def resolved_type(cls) -> type[MethodConfig]:
        return ResolvedFlowConfig


class ResolvedFlowConfig(FlowConfig):
    """A flow in which everything is decided."""

    labels: bool

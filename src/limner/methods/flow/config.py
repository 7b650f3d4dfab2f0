"""A flow's settings, and how they follow from the pictures and the budget. Without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from limner.core.config import MethodConfig, RunContext, Sampling, Settings, all_of, only_if
from limner.core.errors import InputError
from limner.core.optimiser_settings import Clip, Optimiser
from limner.core.schedule import Schedule

MIN_CLASS_IMAGES = 20
"""Training pictures that classes must have on average for `labels=auto` to learn them. A rare class does no harm: all classes
share one network, and what is learned of the others serves it."""
MIN_IMAGE_SIDE = 8
"""Pixels of a side below which there is nothing to halve."""

GUIDANCE_BY_CLASS = 2.0
"""The default guidance of a model with classes. Of 1,000 emoji after 191,872 images the Fréchet distance was 7.6 with 1, 4.4
with 1.5, 3.1 with 2, 3.6 with 3 and 5.2 with 4, real pictures 2.9 (docs/lab-notes.md)."""

EDM_TIMES = (-1.2, 1.2)
"""Mean and deviation of ln σ in training (Karras et al. 2022, arXiv:2206.00364, table 1); σ = t/(1 − t)."""

Width = Annotated[int, Field(ge=8)]
Multipliers = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
Patch = Annotated[int, Field(ge=1, le=16)]
Solver = Literal["euler", "heun", "midpoint", "dpm", "ancestral", "adaptive"]


class FlowSampling(Sampling):
    """How a flow draws pictures: by integrating its velocity from noise to a picture."""

    steps: int = Field(10, ge=1, le=1000, json_schema_extra=only_if("solver", other_than=("adaptive",)))
    """Flows: steps from noise to a picture, of one network pass each, of two with heun and midpoint; not for `adaptive`."""
    solver: Solver = "dpm"
    """Flows: how a step is taken. `dpm` is DPM++ 2M, `ancestral` adds fresh noise, `adaptive` chooses its own steps by
    `tolerance`."""
    shift: float = Field(
        2.0, gt=0, le=100, json_schema_extra=all_of(only_if("solver", other_than=("adaptive",)), only_if("steps", above=1))
    )
    """Flows: above 1, smaller steps where there is more noise."""
    tolerance: float = Field(0.02, gt=0, le=1, json_schema_extra=only_if("solver", "adaptive"))
    """Flows: the error that an adaptive step may make, in pixels of [-1, 1]."""
    guidance: float | None = Field(None, ge=0, le=100, allow_inf_nan=False)
    """Flows: above 1, pictures that are more typical and less varied, at twice the passes; 1 is the model itself. By default 2
    where the model has classes, otherwise 1."""
    guide: Literal["auto", "class", "checkpoint"] = Field("auto", json_schema_extra=only_if("guidance", other_than=(1.0,)))
    """Flows: what guidance leads away from: the model without the class, or an early checkpoint of the run, which needs no
    classes. `auto`: without the class, where there are classes."""
    guidance_from: float = Field(1.0, ge=0, le=1, json_schema_extra=only_if("guidance", other_than=(1.0,)))
    """Flows: guidance begins at this time; 1 is noise, 0 a picture."""
    guidance_to: float = Field(0.0, ge=0, le=1, json_schema_extra=only_if("guidance", other_than=(1.0,)))
    """Flows: and ends at this one."""

    @model_validator(mode="after")
    def _interval(self) -> FlowSampling:
        if self.guidance_from < self.guidance_to:
            raise ValueError(
                f"guidance_from={self.guidance_from:g} lies below guidance_to={self.guidance_to:g}; time falls from 1 to 0"
            )
        return self


class NetworkConfig(Settings):
    """The network that gives the velocity."""

    kind: Literal["unet", "transformer"] = "unet"
    """A U-Net, or a transformer of patches."""
    width: Width | Literal["auto"] = "auto"
    """Channels at the first size (unet), or entries of a patch's vector (transformer). `auto`: by the budget."""
    multipliers: Multipliers | Literal["auto"] = Field("auto", json_schema_extra=only_if("kind", "unet"))
    """Channels of each size as multiples of `width`; each size is half of the one before. `auto`: 1, then 2 for each halving
    down to 8 pixels a side."""
    blocks: int = Field(1, ge=1, json_schema_extra=only_if("kind", "unet"))
    """Residual blocks of each size on the way down."""
    attention: int = Field(8, ge=0, le=16, json_schema_extra=only_if("kind", "unet"))
    """Attention stands at sizes of at most so many pixels a side; 0 is none."""
    depth: int = Field(6, ge=1, json_schema_extra=only_if("kind", "transformer"))
    """Blocks."""
    heads: int = Field(4, ge=1)
    """Attention heads; they divide the channels where there is attention."""
    patch: Patch | Literal["auto"] = "auto"
    """Pixels of a side that the outermost layers take at once. `auto`: 1 up to 20 pixels a side, 2 up to 80, 4 up to 160,
    else 8; for a transformer twice that."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the features that is dropped in training."""


class ResolvedNetworkConfig(NetworkConfig):
    """A network whose sizes are decided."""

    width: Width
    multipliers: Multipliers
    patch: Patch


@dataclass(frozen=True)
class WidthChoice:
    """What `width=auto` takes for budgets up to `max_budget`, in images of 32x32."""

    max_budget: float
    unet: int
    transformer: int


WIDTHS = (WidthChoice(1e6, 64, 192), WidthChoice(1e7, 96, 256), WidthChoice(math.inf, 128, 384))
"""The first is measured (docs/lab-notes.md), the others are guesses."""
PATCHES = ((20, 1), (80, 2), (160, 4), (math.inf, 8))
"""(Pixels of the longer side up to which it holds, pixels of a side that `patch=auto` takes at once.)"""
SMALLEST_SIDE = 8
"""Pixels of a side at which `multipliers=auto` stops halving."""


def automatic_multipliers(side: int) -> tuple[int, ...]:
    """The multipliers of a U-Net whose first size has `side` pixels a side.

    >>> automatic_multipliers(14), automatic_multipliers(32)
    ((1, 2), (1, 2, 2))
    """
    multipliers = [1]
    while side > SMALLEST_SIDE:
        side = -(-side // 2)
        multipliers.append(2)
    return tuple(multipliers)


class FlowConfig(MethodConfig):
    """A flow's own choices."""

    kind: Literal["flow"] = "flow"
    """The family."""
    prediction: Literal["velocity", "image", "noise", "edm"] = "edm"
    """What the network gives: the velocity, the clean picture, the noise, or EDM's mixture of them (Karras et al. 2022)."""
    times: Literal["uniform", "logit-normal", "edm"] = "logit-normal"
    """How times are drawn in training. `logit-normal`: the logit of a time is normal (Esser et al. 2024, arXiv:2403.03206).
    `edm`: with the mean −1.2 and the deviation 1.2, as in EDM, since the logit of t is the logarithm of its noise level."""
    time_mean: float = Field(0.0, json_schema_extra=only_if("times", "logit-normal"))
    """Mean of the logit of the time."""
    time_spread: float = Field(1.0, gt=0, json_schema_extra=only_if("times", "logit-normal"))
    """Standard deviation of the logit of the time."""
    stratified: bool = True
    """Draw the times of a batch from equal shares of their distribution, so that losses of batches differ less."""
    pairing: Literal["none", "transport"] = "none"
    """Which noise is joined with which picture in training: any, or by `transport` near ones, so that paths are shorter and
    straighter and fewer steps are needed; each picture stays as frequent (arXiv:2509.25519)."""
    labels: bool | Literal["auto"] = "auto"
    """Learn each class of the data: pictures are then made by class. `auto`: where there are two or more, of twenty training
    pictures on average."""
    drop_labels: float = Field(0.1, ge=0, lt=1)
    """The share of pictures whose class is hidden in training, which guidance needs."""
    augment: float = Field(0.0, ge=0, le=0.8)
    """The chance of each of five changes of a picture in training: mirrored, scaled, turned, stretched, shifted. The network is
    told how a picture was changed, and draws unchanged ones (Karras et al. 2022); that helps where pictures are few."""
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
        """labels="auto" as yes or no, and the sizes of the network."""
        updates: dict[str, object] = {}
        if self.labels == "auto":
            enough = context.class_count >= 2 and context.training_images >= MIN_CLASS_IMAGES * context.class_count
            updates["labels"] = enough
        net, sizes = self.network, dict[str, object]()
        transforms = net.kind == "transformer"
        shape = context.latent_shape or context.shape
        side = max(shape[1:]) if len(shape) == 3 else 1
        patch = net.patch
        if patch == "auto":
            patch = sizes["patch"] = next(patch for limit, patch in PATCHES if side <= limit) * (2 if transforms else 1)
        if net.multipliers == "auto":
            sizes["multipliers"] = automatic_multipliers(-(-side // patch))
        if net.width == "auto":
            choice = next(one for one in WIDTHS if context.image_budget * context.relative_area <= one.max_budget)
            sizes["width"] = choice.transformer if transforms else choice.unet
        if sizes:
            updates["network"] = net.model_copy(update=sizes)
        return self.model_copy(update=updates)

    def without_auto(self) -> MethodConfig:
        """Also the network, without "auto"."""
        net = self.network
        if not isinstance(net, ResolvedNetworkConfig):
            unresolved = [name for name in ("width", "multipliers", "patch") if getattr(net, name) == "auto"]
            if unresolved:
                key = f"method.network.{unresolved[0]}"
                raise InputError(f"{key}=auto is decided when a run starts; set {key} to a value")
            values = {name: getattr(net, name) for name in NetworkConfig.model_fields}
            resolved = ResolvedNetworkConfig.model_construct(net.model_fields_set, **values)
            return self.model_copy(update={"network": resolved}).without_auto()
        return super().without_auto()

    @classmethod
    def resolved_type(cls) -> type[MethodConfig]:
        return ResolvedFlowConfig


class ResolvedFlowConfig(FlowConfig):
    """A flow in which everything is decided."""

    labels: bool
    network: ResolvedNetworkConfig

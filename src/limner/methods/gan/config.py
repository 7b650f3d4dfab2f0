"""A GAN's settings, and how they follow from the pictures and the budget. Without torch; `networks.py` builds the networks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from pydantic import Field, model_validator

from limner.core.config import MethodConfig, RunContext, Sampling, Settings, only_if
from limner.core.optimiser_settings import Clip, Optimiser
from limner.core.schedule import Scheduled, constant

Networks = Literal["mlp", "dcgan", "resnet", "densenet", "r3"]
Norm = Literal["batch", "none"]
GeneratorLabels = Literal["concat", "norm"]
DiscriminatorLabels = Literal["concat", "projection", "auxiliary"]
Change = Literal["colour", "translation", "cutout"]
Transform = Literal["blit", "geometric", "colour"]
Gamma = Scheduled | Literal["auto"]
"""γ of a gradient penalty; "auto" is `automatic_gamma`."""
Positive = Annotated[int, Field(ge=1)]

NO_PENALTY = constant(0.0)
"""The γ of a penalty that is never taken."""
MIN_IMAGE_SIDE = 8
"""Pixels of a side below which convolutions have nothing to halve."""
MIN_CLASS_IMAGES = 500
"""Training pictures that each class must have for `labels=auto` to learn classes. With fewer, a class becomes a few pictures:
with 80 flowers each, it became one."""


@dataclass(frozen=True)
class NetworkChoice:
    """What `networks=auto` takes for budgets up to `max_budget`, in images of 32x32."""

    max_budget: float
    networks: Networks
    generator_width: int
    discriminator_width: int
    widest: int


GREY_NETWORKS = (NetworkChoice(2e7, "dcgan", 64, 32, 512), NetworkChoice(math.inf, "dcgan", 96, 64, 512))
COLOUR_NETWORKS = (NetworkChoice(2e7, "resnet", 32, 32, 128), NetworkChoice(math.inf, "resnet", 64, 64, 256))
"""Grey pictures are learned fastest by plain strided networks. On colour these let the discriminator win (Fréchet distance on
CIFAR-10 after 30,000 images: 82, residual networks 26). The choices for large budgets are guesses, not measured."""

DRIFT_BY_NETWORKS: Mapping[str, float] = {"resnet": 0.01}
"""`drift=auto` where it is not `DEFAULT_DRIFT`: a higher one drives a resnet's rectified features to zero, from where the
critic does not recover (on CIFAR-10 after 40,000 images)."""
DEFAULT_DRIFT = 0.1


def automatic_gamma(height: int, width: int, batch_size: int) -> float:
    """γ of R1 where nobody chose one: 0.0002 · resolution² / batch size (Karras et al. 2020, arXiv:2006.06676, `auto`).

    >>> automatic_gamma(32, 32, 64)
    0.0032
    """
    return 0.0002 * height * width / batch_size


class GanSampling(Sampling):
    """How a GAN draws pictures.

    Truncation multiplies the noise z; Brock et al. 2018, arXiv:1809.11096, draw its outliers again instead.
    """

    truncation: float = Field(1.0, gt=0, allow_inf_nan=False)
    """Below 1: more typical, less varied pictures."""


class NetworkConfig(Settings):
    """What the networks of both players share."""

    width: int = Field(64, ge=1, json_schema_extra=only_if("networks", "auto", "dcgan", "resnet", "densenet", "r3"))
    """Channels: dcgan, at half the image's size; resnet and r3, at its full size; densenet, of one layer at full size."""
    widest: int = Field(512, ge=1, json_schema_extra=only_if("networks", "auto", "dcgan", "resnet", "densenet", "r3"))
    """Most channels of a layer: widths double at every halving of the size, up to this."""
    widths: tuple[Positive, ...] = Field((256, 512, 1024), min_length=1, json_schema_extra=only_if("networks", "mlp"))
    """Units of the hidden layers (mlp)."""
    blocks: int = Field(2, ge=0, json_schema_extra=only_if("networks", "resnet", "densenet", "r3"))
    """Depth: blocks (r3) or layers (densenet) at every size; the discriminator's blocks after the halvings (resnet)."""
    extra: int = Field(0, ge=0, json_schema_extra=only_if("networks", "dcgan"))
    """Further 3x3 layers (dcgan): the generator's at full size, the discriminator's after its halvings, down to 4 pixels."""
    expansion: float = Field(2.0, gt=0, json_schema_extra=only_if("networks", "r3"))
    """Width inside a bottleneck over the width outside (r3)."""
    group: int = Field(16, ge=1, json_schema_extra=only_if("networks", "r3"))
    """Channels in one group of a bottleneck's convolution (r3)."""
    patch: Literal[1, 2] = Field(1, json_schema_extra=only_if("networks", "r3"))
    """Pixels of a side that the outermost layer takes at once (r3)."""
    optimiser: Optimiser = Field(default_factory=Optimiser)
    """The player's optimiser."""
    clip: Clip | None = None
    """Bound of the player's gradients; none by default."""


Network = TypeVar("Network", bound=NetworkConfig)


class GeneratorConfig(NetworkConfig):
    """The generator's network."""

    blocks: int = Field(2, ge=0, json_schema_extra=only_if("networks", "densenet", "r3"))
    """Depth: blocks (r3) or layers (densenet) at every size."""
    norm: Norm = "batch"
    """Normalisation; r3 has none whatever stands here."""
    labels: GeneratorLabels | Literal["auto"] = "concat"
    """How the class comes in, where `method.labels` is set: beside the noise (`concat`), or as gains and biases of its norms
    (`norm`); `auto` is the latter wherever there are norms."""

    def has_norms(self, networks: str) -> bool:
        """Whether a generator of this kind of `networks` normalises at all."""
        return self.norm == "batch" and networks not in ("mlp", "r3")


class ResolvedGeneratorConfig(GeneratorConfig):
    """A generator whose way of taking labels is decided."""

    labels: GeneratorLabels


class DiscriminatorConfig(NetworkConfig):
    """The discriminator's network."""

    widths: tuple[Positive, ...] = Field((512, 256), min_length=1, json_schema_extra=only_if("networks", "mlp"))
    """Units of the hidden layers (mlp)."""
    norm: Norm = "none"
    """Normalisation (dcgan)."""
    dropout: float = Field(0.0, ge=0, le=0.95)
    """Share of the features that is dropped in training (dcgan and mlp)."""
    spectral: bool = False
    """Spectral normalisation (Miyato et al. 2018) of every layer."""
    normalise: Literal["none", "gradient"] = "none"
    """`gradient`: the critic over the norm of its own gradient (Wu et al. 2021)."""
    labels: DiscriminatorLabels = "projection"
    """How the class comes in: as a further channel, by projection, or as a second task."""


class AugmentConfig(Settings):
    """How a GAN's pictures are augmented, and how strongly."""

    kind: Literal["none", "diff", "adaptive"] = "none"
    """`diff`: DiffAugment (Zhao et al. 2020), every picture, always. `adaptive`: ADA (Karras et al. 2020), each transform with
    a probability p that follows how much the discriminator overfits."""
    policy: tuple[Change, ...] = Field(
        ("colour", "translation", "cutout"), min_length=1, json_schema_extra=only_if("kind", "diff")
    )
    """The parts of `diff`; they are applied in this order however they are listed."""
    transforms: tuple[Transform, ...] = Field(
        ("blit", "geometric", "colour"), min_length=1, json_schema_extra=only_if("kind", "adaptive")
    )
    """The groups of `adaptive`; they too are applied in this order."""
    target: float = Field(0.6, ge=-1, le=1, json_schema_extra=only_if("kind", "adaptive"))
    """p grows while the mean sign of the discriminator's outputs on real pictures is above this, else it shrinks."""
    speed: float = Field(500_000.0, gt=0, json_schema_extra=only_if("kind", "adaptive"))
    """Images in which p could go from 0 to 1."""
    most: float = Field(0.8, ge=0, le=1, json_schema_extra=only_if("kind", "adaptive"))
    """p stays at or below this: beyond .8 the augmentations begin to show in generated pictures (ADA, section 2.2)."""
    start: float = Field(0.0, ge=0, le=1, json_schema_extra=only_if("kind", "adaptive"))
    """p at the start of training."""
    mix: float = Field(0.0, ge=0, le=1)
    """The probability that a picture is mixed with the next one of its chunk, after all else (mixup, Zhang et al. 2018)."""

    @model_validator(mode="after")
    def _start_is_allowed(self) -> AugmentConfig:
        if self.start > self.most:
            raise ValueError(f"augmentation cannot start at p = {self.start} when it may be {self.most} at most")
        return self


class GanConfig(MethodConfig):
    """A GAN's own choices."""

    kind: Literal["gan"] = "gan"
    """The family."""
    networks: Literal["auto", "mlp", "dcgan", "resnet", "densenet", "r3"] = "dcgan"
    """The kind of both players' networks. `auto`: by the budget, with their widths."""
    loss: Literal["minimax", "non-saturating", "least-squares", "wasserstein", "hinge", "relativistic"] = "non-saturating"
    """What the players minimise."""
    latent: int = Field(100, ge=1)
    """Entries of the standard normal noise z."""
    labels: bool | Literal["auto"] = False
    """Learn each class of the data: pictures are then made by class. `auto`: where there are classes, and none is rare."""
    updates: Literal["auto", "shared", "alternating"] = "auto"
    """`shared`: both players move on one forward pass, at once. `alternating`: the discriminator moves first, then the
    generator on a fresh pass, as in the papers; batch norm in the discriminator needs it. `auto`: shared where it can be."""
    critic_steps: int = Field(1, ge=1)
    """Steps of the discriminator for one of the generator."""
    smooth: float = Field(0.0, ge=0, lt=0.5)
    """One-sided label smoothing (Salimans et al. 2016): the target of real images is 1 - smooth."""
    instance_noise: Scheduled = constant(0.0)
    """Standard deviation of noise on all that the discriminator sees (Sønderby et al. 2017); may decay."""
    r1_gamma: Annotated[Gamma, Field(union_mode="left_to_right")] = NO_PENALTY
    """γ of γ/2·|∇D(x)|² on real images (Mescheder et al. 2018); 0 is none, "auto" goes by size and batch."""
    r2_gamma: Annotated[Gamma, Field(union_mode="left_to_right")] = NO_PENALTY
    """The same on generated images."""
    gradient_penalty: float = Field(0.0, ge=0)
    """Weight of (|∇D|−1)² between real and generated images (Gulrajani et al. 2017)."""
    penalty_every: int = Field(8, ge=1)
    """Iterations between two penalties, which are scaled up accordingly (Karras et al. 2020)."""
    drift: Annotated[float, Field(ge=0)] | Literal["auto"] = 0.0
    """Weight of D(x)² on real images (Karras et al. 2018, arXiv:1710.10196, appendix A.1): it pins down the level of the
    logits, which losses of differences (Wasserstein, relativistic) leave to wander, for each class by itself. `auto`: by the
    networks."""
    weight_clip: float | None = Field(None, gt=0)
    """Bound of the discriminator's weights (Arjovsky et al. 2017)."""
    augment: AugmentConfig = Field(default_factory=AugmentConfig)
    """Of real and generated images alike, for small sets."""
    generator: GeneratorConfig = Field(default_factory=GeneratorConfig)
    """The network that makes pictures of noise."""
    discriminator: DiscriminatorConfig = Field(default_factory=DiscriminatorConfig)
    """The network that tells real pictures from generated ones."""

    @model_validator(mode="after")
    def _not_negative(self) -> GanConfig:
        for key in ("r1_gamma", "r2_gamma", "instance_noise"):
            value = getattr(self, key)
            if value != "auto" and value.value < 0:
                raise ValueError(f"{key} cannot be negative, as {value.value:g} is")
        return self

    @property
    def penalised(self) -> bool:
        """Whether there is any gradient penalty."""
        return self.r1_gamma != NO_PENALTY or self.r2_gamma != NO_PENALTY or self.gradient_penalty > 0

    def resolve(self, context: RunContext) -> GanConfig:
        """γ="auto" as a number, networks="auto" as those that the budget is enough for, labels="auto" as yes or no.

        Latents that are vectors, or maps too small to be halved, are generated by an mlp whatever `networks` says: presets
        choose theirs for pictures.
        """
        gamma = constant(automatic_gamma(*context.shape[1:], context.batch_size))
        values: dict[str, object] = {name: gamma for name in ("r1_gamma", "r2_gamma") if getattr(self, name) == "auto"}
        if self.labels == "auto":
            values["labels"] = context.class_count >= 2 and context.smallest_class >= MIN_CLASS_IMAGES
        generated = context.latent_shape or context.shape
        flat = len(generated) != 3 or min(generated[1:]) < MIN_IMAGE_SIDE
        if context.latent_shape is not None and flat and self.networks not in ("auto", "mlp"):
            values["networks"] = "mlp"
        if self.networks == "auto":
            choices = GREY_NETWORKS if context.shape[0] == 1 else COLOUR_NETWORKS
            choice = next(one for one in choices if context.image_budget * context.relative_area < one.max_budget)
            values["networks"] = "mlp" if flat else choice.networks
            values["generator"] = _with_width(self.generator, choice.generator_width, choice.widest)
            values["discriminator"] = _with_width(self.discriminator, choice.discriminator_width, choice.widest)
        if self.drift == "auto":
            values["drift"] = DRIFT_BY_NETWORKS.get(str(values.get("networks", self.networks)), DEFAULT_DRIFT)
        return self.model_copy(update=values)

    @classmethod
    def resolved_type(cls) -> type[MethodConfig]:
        return ResolvedGanConfig

    def without_auto(self) -> MethodConfig:
        """Also decides what follows from the other settings alone: how updates go, and how labels enter the generator."""
        generator = self.generator
        labels: str = generator.labels
        if labels == "auto":
            labels = "norm" if generator.has_norms(self.networks) else "concat"
        values = {name: getattr(generator, name) for name in type(generator).model_fields} | {"labels": labels}
        updates: dict[str, object] = {
            "generator": ResolvedGeneratorConfig.model_construct(generator.model_fields_set, **values)
        }
        if self.updates == "auto":
            alone = self.critic_steps == 1 and self.discriminator.norm == "none"
            updates["updates"] = "shared" if alone else "alternating"
        return super(GanConfig, self.model_copy(update=updates)).without_auto()


class ResolvedGanConfig(GanConfig):
    """A GAN in which everything is decided."""

    networks: Networks
    labels: bool
    updates: Literal["shared", "alternating"]
    r1_gamma: Scheduled
    r2_gamma: Scheduled
    drift: float
    generator: ResolvedGeneratorConfig


def _with_width(network: Network, width: int, widest: int) -> Network:
    """With these widths, but for those that a person chose."""
    sizes = {"width": width, "widest": widest}
    return network.model_copy(update={name: size for name, size in sizes.items() if name not in network.model_fields_set})

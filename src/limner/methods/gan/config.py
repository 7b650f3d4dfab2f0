"""A GAN's choices, and the networks that they name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from limner.core.errors import InputError
from limner.core.method import MethodConfig, RunContext
from limner.core.optim import Clip, Optimiser
from limner.core.schedule import Schedule, Scheduled
from limner.methods.gan.augment import AugmentConfig
from limner.methods.gan.conditioning import Discriminator, DiscriminatorLabels, Generator, GeneratorLabels
from limner.methods.gan.penalties import automatic_gamma
from limner.nets.dcgan import DcganGenerator, DcganSize, DcganTrunk
from limner.nets.densenet import DenseGenerator, DenseSize, DenseTrunk
from limner.nets.layers import Norm
from limner.nets.mlp import MlpGenerator, MlpTrunk
from limner.nets.r3 import R3Generator, R3Size, R3Trunk
from limner.nets.resnet import ResnetGenerator, ResnetTrunk

Gamma = Scheduled | Literal["auto"]
"""γ of a gradient penalty; "auto" is 0.0002 · resolution² / batch."""

NOTHING = Schedule(value=0.0)
"""No penalty at all, ever."""

Shape = tuple[int, ...]

MIN_IMAGE_SIDE = 8
"""Pixels of a side below which convolutions have nothing to halve."""


Size = tuple[float, str, int, int, int]
GREY: tuple[Size, ...] = ((2e7, "dcgan", 64, 32, 512), (math.inf, "dcgan", 96, 64, 512))
COLOUR: tuple[Size, ...] = ((2e7, "resnet", 32, 32, 128), (math.inf, "resnet", 64, 64, 256))
"""Images of 32x32 that the budget allows, up to which these networks serve, and their widths: the generator's, the
discriminator's, the widest. Grey pictures are learned fastest by plain strided networks, which on colour let the discriminator
win (Fréchet distance on CIFAR-10 after 30,000 images: 82, residual ones 26). The last rows are a guess, not a run."""

DRIFT: Mapping[str, float] = {"resnet": 0.01}
"""`drift=auto`, where it is not 0.1: more drives a resnet's rectified features to nothing, and the critic is dead for good (on
CIFAR-10 after 40,000 images)."""

RARE = 500
"""Training pictures below which a class is too rare to be learned by itself: of 80 flowers, each became one picture."""

HEEDED: Mapping[str, tuple[str, ...]] = {
    "auto": ("width", "widest"),
    "mlp": ("widths",),
    "dcgan": ("width", "widest", "extra"),
    "resnet": ("width", "widest", "blocks"),
    "densenet": ("width", "widest", "blocks"),
    "r3": ("width", "widest", "blocks", "expansion", "group", "patch"),
}
"""What each kind of network is sized by."""
SIZES = frozenset(name for names in HEEDED.values() for name in names)

Positive = Annotated[int, Field(ge=1)]


class NetworkConfig(BaseModel):
    """What both players' networks share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(64, ge=1)
    """Channels: dcgan, at half the image's size; resnet and r3, at its full size; densenet, of one layer at full size."""
    widest: int = Field(512, ge=1)
    """Widths double at every halving of the size, up to this."""
    widths: tuple[Positive, ...] = Field((256, 512, 1024), min_length=1)
    """Hidden layers (mlp)."""
    blocks: int = Field(2, ge=0)
    """Depth: blocks (r3) or layers (densenet) at every size; the discriminator's blocks after the halvings (resnet)."""
    extra: int = Field(0, ge=0)
    """Further 3x3 layers (dcgan): the generator's at full size, the discriminator's after its halvings, down to 4 pixels."""
    expansion: float = Field(2.0, gt=0)
    """Width inside a bottleneck over the width outside (r3)."""
    group: int = Field(16, ge=1)
    """Channels in one group of a bottleneck's convolution (r3)."""
    patch: Literal[1, 2] = 1
    """Pixels of a side that the outermost layer takes at once (r3)."""
    optimiser: Optimiser = Optimiser()
    clip: Clip | None = None


class GeneratorConfig(NetworkConfig):
    norm: Norm = "batch"
    """All but r3, which has none."""
    labels: GeneratorLabels | Literal["auto"] = "concat"
    """How the class comes in, where `method.labels` is set: beside the noise (`concat`), or as gains and biases of its norms
    (`norm`); `auto` is the latter wherever there are norms."""


class DiscriminatorConfig(NetworkConfig):
    widths: tuple[Positive, ...] = Field((512, 256), min_length=1)
    norm: Norm = "none"
    """dcgan."""
    dropout: float = Field(0.0, ge=0, le=0.95)
    """dcgan and mlp."""
    spectral: bool = False
    """Spectral normalisation (Miyato et al. 2018) of every layer."""
    normalise: Literal["none", "gradient"] = "none"
    """`gradient`: the critic over the norm of its own gradient (Wu et al. 2021)."""
    labels: DiscriminatorLabels = "projection"
    """How the class comes in: as a further channel, by projection, or as a second task."""


class GanConfig(MethodConfig):
    """A GAN's own choices."""

    kind: Literal["gan"] = "gan"
    networks: Literal["auto", "mlp", "dcgan", "resnet", "densenet", "r3"] = "dcgan"
    """`auto`: by the budget, with their widths."""
    loss: Literal["minimax", "non-saturating", "least-squares", "wasserstein", "hinge", "relativistic"] = "non-saturating"
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
    instance_noise: Scheduled = Schedule(value=0.0)
    """Standard deviation of noise on all that the discriminator sees (Sønderby et al. 2017); may decay."""
    r1_gamma: Annotated[Gamma, Field(union_mode="left_to_right")] = Schedule(value=0.0)
    """γ of γ/2·|∇D(x)|² on real images (Mescheder et al. 2018); 0 is none, "auto" goes by size and batch."""
    r2_gamma: Annotated[Gamma, Field(union_mode="left_to_right")] = Schedule(value=0.0)
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
    augment: AugmentConfig = AugmentConfig()
    """Of real and generated images alike, for small sets."""
    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()

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
        return self.r1_gamma != NOTHING or self.r2_gamma != NOTHING or self.gradient_penalty > 0

    def overlooked(self, key: str) -> str | None:
        player, _, name = key.rpartition(".")
        if player in ("generator", "discriminator") and name in SIZES:
            heeded = HEEDED[self.networks]
            if name not in heeded or (name == "blocks" and player == "generator" and self.networks == "resnet"):
                there = ", ".join(f"method.{player}.{other}" for other in heeded if other != "blocks" or player != "generator")
                return f"method.networks={self.networks} goes by {there}"
        for kind, names in (("diff", ("policy",)), ("adaptive", ("transforms", "target", "speed", "most", "start"))):
            if player == "augment" and name in names and self.augment.kind != kind:
                return f"it is for method.augment.kind={kind}, not {self.augment.kind}"
        return None

    def settled(self, facts: RunContext) -> GanConfig:
        """γ="auto" as a number, networks="auto" as those that the budget is enough for, labels="auto" as yes or no.

        Latents that are vectors, or maps too small to be halved, are drawn by an mlp whatever `networks` says: presets choose
        theirs for pictures.
        """
        gamma = Schedule(value=automatic_gamma(*facts.shape[1:], facts.batch))
        chosen: dict[str, object] = {name: gamma for name in ("r1_gamma", "r2_gamma") if getattr(self, name) == "auto"}
        if self.labels == "auto":
            chosen["labels"] = facts.classes >= 2 and facts.rarest >= RARE
        drawn = facts.latents or facts.shape
        flat = len(drawn) != 3 or min(drawn[1:]) < MIN_IMAGE_SIDE
        if facts.latents is not None and flat and self.networks not in ("auto", "mlp"):
            chosen["networks"] = "mlp"
        if self.networks == "auto":
            table = GREY if facts.shape[0] == 1 else COLOUR
            _, kind, *widths, widest = next(size for size in table if facts.seen * facts.area < size[0])
            chosen["networks"] = "mlp" if flat else kind
            for name, network, width in zip(
                ("generator", "discriminator"), (self.generator, self.discriminator), widths, strict=True
            ):
                size = {"width": width, "widest": widest}  # what somebody chose stands
                size = {key: value for key, value in size.items() if key not in network.model_fields_set}
                chosen[name] = network.model_copy(update=size)
        if self.drift == "auto":
            chosen["drift"] = DRIFT.get(str(chosen.get("networks", self.networks)), 0.1)
        return self.model_copy(update=chosen)


def networks(config: GanConfig, shape: tuple[int, ...], classes: int) -> tuple[Generator, Discriminator]:
    """Both players' networks for images of `shape` (C, H, W); `classes` is 0 where labels do not matter.

    Errors: `InputError` where the images are too small for them, or they cannot take a label in the way that is asked for.
    """
    g, d = config.generator, config.discriminator
    norms = g.norm == "batch" and config.networks not in ("mlp", "r3")
    how: GeneratorLabels = ("norm" if norms else "concat") if g.labels == "auto" else g.labels
    latent = Generator.inputs(config.latent, classes, how)
    normed = classes if how == "norm" else 0
    if normed and not norms:
        raise InputError(
            f"method.generator.labels=norm needs a generator with batch norm (dcgan, resnet, densenet), not {config.networks} "
            f"with norm={g.norm}; set method.generator.labels=concat"
        )
    if d.norm == "batch" and config.networks not in ("auto", "dcgan"):
        raise InputError(f"method.discriminator.norm=batch is for method.networks=dcgan, not {config.networks}; leave it out")
    if d.dropout and config.networks not in ("auto", "dcgan", "mlp"):
        raise InputError(f"method.discriminator.dropout is for dcgan and mlp, not {config.networks}; leave it out")
    if d.spectral and config.networks == "r3":
        raise InputError("method.networks=r3 starts with layers at zero, which have no spectral norm; leave spectral out")
    size = (shape[1], shape[2]) if len(shape) == 3 else (1, 1)
    if config.networks != "mlp" and min(size) < MIN_IMAGE_SIDE:
        raise InputError(
            f"method.networks={config.networks} needs images of at least {MIN_IMAGE_SIDE}x{MIN_IMAGE_SIDE}, not "
            f"{'x'.join(map(str, shape[1:]))}; use method.networks=mlp, or a larger data.size"
        )
    if classes and d.labels == "concat" and len(shape) != 3:
        raise InputError("method.discriminator.labels=concat needs images; set method.discriminator.labels=projection")
    seen = (Discriminator.channels(shape[0], classes, d.labels), *shape[1:])
    maker, trunk = _pair(config, latent, shape, seen, normed)
    return (
        Generator(maker, classes, how),
        Discriminator(trunk, trunk.features, size, classes, d.labels, d.spectral),
    )


Trunk = MlpTrunk | DcganTrunk | ResnetTrunk | DenseTrunk | R3Trunk


def _pair(config: GanConfig, latent: int, made: Shape, seen: Shape, normed: int) -> tuple[nn.Module, Trunk]:
    """The generator's network for images of shape `made`, and the discriminator's for what it sees of them."""
    g, d = config.generator, config.discriminator
    if config.networks == "mlp":
        return MlpGenerator(latent, made, g.widths, g.norm == "batch"), MlpTrunk(seen, d.widths, d.dropout)
    (c, h, w), (k, *_) = made, seen
    match config.networks:
        case "dcgan" | "auto":  # a run has settled it; a Method built by itself gets the smallest
            maker: nn.Module = DcganGenerator(latent, (c, h, w), DcganSize(g.width, g.widest, g.extra), g.norm, normed)
            trunk: Trunk = DcganTrunk((k, h, w), DcganSize(d.width, d.widest, d.extra), d.norm, d.dropout)
        case "resnet":
            maker = ResnetGenerator(latent, (c, h, w), g.width, g.widest, g.norm, normed)
            trunk = ResnetTrunk((k, h, w), d.width, d.widest, d.blocks)
        case "densenet":
            maker = DenseGenerator(latent, (c, h, w), DenseSize(g.width, g.widest, g.blocks), g.norm, normed)
            trunk = DenseTrunk((k, h, w), DenseSize(d.width, d.widest, d.blocks))
        case "r3":
            sizes = [R3Size(p.width, p.widest, p.blocks, p.expansion, p.group, p.patch) for p in (g, d)]
            maker, trunk = R3Generator(latent, (c, h, w), sizes[0]), R3Trunk((k, h, w), sizes[1])
    return maker, trunk

"""Generative adversarial networks (Goodfellow et al. 2014, arXiv:1406.2661; Radford et al. 2015, arXiv:1511.06434).

Two players: the discriminator learns to tell real images from generated ones, the generator to be told wrong. Losses are binary
cross-entropy on logits; the generator's is the non-saturating one of the paper's section 3.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from limner.core import seeds as randomness
from limner.core.cond import Batch, Cond
from limner.core.errors import InputError
from limner.core.method import At, Codec, Losses, Method, Phase, Pixels, Player
from limner.core.optim import Clip, Optimiser
from limner.nets.dcgan import DcganDiscriminator, DcganGenerator, Norm
from limner.nets.layers import BatchNorm, moments_of, move_moments
from limner.nets.mlp import MlpDiscriminator, MlpGenerator


class GeneratorConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(64, ge=1)
    """Channels at half the image's size (dcgan), doubled at every halving towards the seed."""
    widest: int = Field(512, ge=1)
    widths: tuple[int, ...] = (256, 512, 1024)
    """Hidden layers (mlp)."""
    norm: Norm = "batch"
    optimiser: Optimiser = Optimiser()
    clip: Clip | None = None


class DiscriminatorConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(64, ge=1)
    """Channels after the first convolution (dcgan), doubled at every halving of the size."""
    widest: int = Field(512, ge=1)
    widths: tuple[int, ...] = (512, 256)
    """Hidden layers (mlp)."""
    norm: Norm = "none"
    dropout: float = Field(0.3, ge=0, lt=1)
    optimiser: Optimiser = Optimiser()
    clip: Clip | None = None


class GanConfig(BaseModel):
    """A GAN's own choices."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["gan"] = "gan"
    networks: Literal["mlp", "dcgan"] = "dcgan"
    latent: int = Field(100, ge=1)
    """Entries of the standard normal noise z."""
    updates: Literal["auto", "shared", "alternating"] = "auto"
    """`shared`: both players move on one forward pass, at once. `alternating`: the discriminator moves first, then the
    generator on a fresh pass, as in the papers; batch norm in the discriminator needs it. `auto`: shared where it can be."""
    smooth: float = Field(0.0, ge=0, lt=0.5)
    """One-sided label smoothing (Salimans et al. 2016): the target of real images is 1 - smooth."""
    r1_gamma: float = Field(0.0, ge=0)
    """γ of the R1 penalty γ/2·|∇D(x)|² on real images (Mescheder et al. 2018); 0 is none. It is a penalty per image, so it
    is left out where batch norm in the discriminator couples them."""
    r1_every: int = Field(8, ge=1)
    """Iterations between two of them; the penalty is scaled up accordingly (Karras et al. 2020)."""
    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()

    def build(self, codec: Codec, classes: tuple[str, ...]) -> Gan:
        return Gan(self, codec)


def discriminator_loss(real: Tensor, fake: Tensor, smooth: float = 0.0) -> Tensor:
    """[B]: −(1−s)·log σ(real) − s·log(1−σ(real)) − log(1−σ(fake)) on logits [B] (Goodfellow 2014, eq. 1; s = `smooth`)."""
    return F.softplus(-real) + smooth * real + F.softplus(fake)


def generator_loss(fake: Tensor) -> Tensor:
    """[B]: −log σ(fake), the non-saturating loss (Goodfellow 2014, section 3)."""
    return F.softplus(-fake)


class Turned(torch.autograd.Function):
    """The identity, whose backward turns the discriminator's gradient into the generator's, image by image.

    With l the logit of a fake image, the discriminator descends softplus(l), whose derivative is σ(l); the generator descends
    softplus(−l), with −σ(−l) = −e^(−l)·σ(l). Where no statistic couples the images of a batch, the gradient at image i is then
    the other's times −e^(−l_i), and one backward pass serves both players. Clamped: e^100·0 is not a number.
    """

    @staticmethod
    def forward(ctx: Any, fake: Tensor, logits: list[Tensor]) -> Tensor:
        ctx.logits = logits
        return fake.view_as(fake)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        factor = -torch.exp(-ctx.logits[0].clamp(min=-60.0))
        return gradient * factor.to(gradient.dtype).view(-1, *[1] * (gradient.dim() - 1)), None


def r1_penalty(discriminator: nn.Module, images: Tensor) -> Tensor:
    """[B]: |∇D(x)|² per image (Mescheder et al. 2018, eq. 9, without its γ/2), in float32."""
    with torch.autocast(images.device.type, enabled=False):
        images = images.float().requires_grad_()
        (gradient,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
        return gradient.square().flatten(1).sum(1)


class Gan(Method):
    """Generator and discriminator on whatever the codec gives (pixels, or an autoencoder's latents)."""

    centre: Tensor
    spread: Tensor

    def __init__(self, config: GanConfig, codec: Codec) -> None:
        super().__init__(codec)
        self.config = config
        self.generator, self.discriminator = _networks(config, codec.shape)
        # What the generator's tanh spans: pixels as they are, an autoencoder's latents within three standard deviations.
        self.register_buffer("centre", torch.zeros(codec.shape))
        self.register_buffer("spread", torch.ones(codec.shape))
        coupled = any(isinstance(layer, BatchNorm) for layer in self.discriminator.modules())
        self.shared = config.updates == "shared" or (config.updates == "auto" and not coupled)
        self.penalised = config.r1_gamma > 0 and not coupled
        if self.shared and coupled:
            raise InputError(
                "method.updates=shared needs a discriminator without batch norm; set method.updates=auto "
                "or method.discriminator.norm=none"
            )

    def players(self) -> Mapping[str, Player]:
        g, d = self.config.generator, self.config.discriminator
        return {
            "generator": Player("generator", g.optimiser, g.clip),
            "discriminator": Player("discriminator", d.optimiser, d.clip, averaged=False),
        }

    def phases(self) -> tuple[Phase, ...]:
        if self.shared:
            game: tuple[Phase, ...] = (Phase("both", ("generator", "discriminator")),)
        else:
            game = (Phase("discriminator", ("discriminator",)), Phase("generator", ("generator",)))
        if self.penalised:
            game += (Phase("r1", ("discriminator",), every=self.config.r1_every, joins=game[0].name),)
        return game

    def losses(self, phase: str, batches: tuple[Batch, ...], at: At) -> Losses:
        (batch,) = batches
        real = (self.codec.encode(batch.images) - self.centre) / self.spread
        if phase == "r1":
            scale = 0.5 * self.config.r1_gamma * self.config.r1_every
            return Losses({"discriminator": scale * r1_penalty(self.discriminator, real)})
        z = batch.noise(self.config.latent)
        if phase == "both":
            return self._shared(real, z)
        if phase == "generator":
            fake = self.discriminator(self.generator(z)).float()
            return Losses({"generator": generator_loss(fake)}, sums=self._moments("generator"))
        with torch.no_grad():
            images = self.generator(z)
        real_logits, fake_logits = self.discriminator(real).float(), self.discriminator(images).float()
        loss = discriminator_loss(real_logits, fake_logits, self.config.smooth)
        return Losses({"discriminator": loss}, logs=_shares(real_logits, fake_logits), sums=self._moments("discriminator"))

    def _shared(self, real: Tensor, z: Tensor) -> Losses:
        cell: list[Tensor] = []
        fake = Turned.apply(self.generator(z), cell)  # type: ignore[no-untyped-call]
        logits = self.discriminator(torch.cat([real.to(fake.dtype), fake])).float()
        real_logits, fake_logits = logits.chunk(2)
        cell.append(fake_logits.detach())
        loss = discriminator_loss(real_logits, fake_logits, self.config.smooth)
        return Losses(
            {"generator": generator_loss(fake_logits.detach()), "discriminator": loss.detach()},
            logs=_shares(real_logits, fake_logits),
            sums=self._moments("generator", "discriminator"),
            joint=loss,
        )

    def _moments(self, *movers: str) -> dict[str, Tensor]:
        """What batch norm noted, of the networks that move on this phase; what the others noted is dropped."""
        noted = {name: moments_of(self.get_submodule(name), name) for name in ("generator", "discriminator")}
        return {key: value for name in movers for key, value in noted[name].items()}

    def after_step(self, phase: str, sums: Mapping[str, Tensor], at: At) -> None:
        move_moments(self.generator, "generator", sums)
        move_moments(self.discriminator, "discriminator", sums)

    @torch.no_grad()
    def sample(self, seeds: Sequence[int], cond: Cond, **knobs: Any) -> Tensor:
        z = randomness.noise(seeds, self.config.latent).to(self.device)
        return self.codec.decode(self.generator(z) * self.spread + self.centre)

    @torch.no_grad()
    def fit(self, batches: Iterable[Batch], when: Literal["start", "checkpoint"]) -> None:
        """At the start, on latents: their place and three times their spread, from 2,000 images."""
        if when == "start" and not isinstance(self.codec, Pixels):
            latents = torch.cat([self.codec.encode(batch.images) for batch in itertools.islice(batches, 2_000 // 64)])
            self.centre.copy_(latents.mean(0))
            self.spread.copy_(3 * latents.std(0).clamp(min=1e-6))


def _shares(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """How often the discriminator is right; both near 1 means that the generator has lost touch."""
    return {"right_on_real": (real > 0).float().detach(), "right_on_fake": (fake < 0).float().detach()}


def _networks(config: GanConfig, shape: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
    g, d = config.generator, config.discriminator
    if config.networks == "mlp":
        return (
            MlpGenerator(config.latent, shape, g.widths, g.norm == "batch"),
            MlpDiscriminator(shape, d.widths, d.dropout),
        )
    if len(shape) != 3 or min(shape[1:]) < 8:
        raise InputError(
            f"method.networks=dcgan needs images of at least 8x8, not {'x'.join(map(str, shape[1:]))}; use method.networks=mlp"
        )
    return (
        DcganGenerator(config.latent, (shape[0], shape[1], shape[2]), g.width, g.widest, g.norm),
        DcganDiscriminator((shape[0], shape[1], shape[2]), d.width, d.widest, d.norm, d.dropout),
    )

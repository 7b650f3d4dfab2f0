"""Generative adversarial networks (Goodfellow et al. 2014, arXiv:1406.2661), as a recipe of independent choices.

Two players: the discriminator learns to tell real images from generated ones, the generator to make images that it takes for
real. Their losses are in `losses.py`, the penalties in `penalties.py`, the networks in `networks.py` and `nets/`. This file
says what each player is shown, and when it moves.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from limner.core.capabilities import Codec, LatentDecoder, ScaledCodec
from limner.core.cond import Batch, Cond
from limner.core.config import ConditionKind, DataSpec, Sampling
from limner.core.diagnosis import Rule
from limner.core.errors import InputError
from limner.core.method import Losses, Method, Phase, Player, StepContext
from limner.core.seeds import noise
from limner.methods.gan.augment import Augmenter
from limner.methods.gan.conditioning import cross_entropy
from limner.methods.gan.config import NO_PENALTY, GanSampling, ResolvedGanConfig
from limner.methods.gan.diagnosis import RULES
from limner.methods.gan.losses import GAMES, SwapGradient
from limner.methods.gan.networks import build_networks
from limner.methods.gan.penalties import gradient_normalised, gradient_penalty, r1_penalty
from limner.methods.labels import count_labels, draw_labels, even_shares, require_classes

SCALE_IMAGES = 2_000
"""Training images from whose latents the scale of the codec is measured."""


class Gan(Method, LatentDecoder):
    """Generator and discriminator on whatever the codec gives (pixels, or an autoencoder's latents)."""

    sampling_type = GanSampling

    centre: Tensor
    spread: Tensor
    shares: Tensor

    def __init__(self, config: ResolvedGanConfig, codec: Codec, spec: DataSpec) -> None:
        """Untrained. Errors: `InputError` for settings that contradict each other, or do not fit the data."""
        super().__init__(codec)
        self.config = config
        if config.labels:
            require_classes(spec)
        self.accepts: frozenset[ConditionKind] = frozenset({"label"} if config.labels else ())
        self.generator, self.discriminator = build_networks(config, codec.shape, len(spec.classes) if config.labels else 0)
        self.augment = Augmenter(config.augment, _image_shape(codec.shape))
        self.game = GAMES[config.loss]
        # The generator's tanh spans [-1, 1]: pixels as they are, an autoencoder's latents within three standard deviations.
        self.register_buffer("centre", torch.zeros(codec.shape))
        self.register_buffer("spread", torch.ones(codec.shape))
        # Without labels a single one, so that the weights do not depend on classes that are not learned.
        self.register_buffer("shares", even_shares(len(spec.classes) if config.labels else 0))
        self._choose_passes()

    def _choose_passes(self) -> None:
        """Decides which forward passes serve both players. Errors: `InputError` for settings that contradict each other."""
        config, auxiliary = self.config, self.config.labels and self.config.discriminator.labels == "auxiliary"
        coupled = self.coupled = config.discriminator.norm == "batch"
        normalised = config.discriminator.normalise == "gradient"
        if coupled and (config.penalised or normalised):
            instead = "method.discriminator.normalise=none" if normalised else "method.r1_gamma=0 method.r2_gamma=0 "
            raise InputError(
                "gradient penalties and the gradient-normalised critic are per image, and batch norm in the discriminator "
                f"couples images; set method.discriminator.norm=none, or {instead}"
                + ("" if normalised else "method.gradient_penalty=0")
            )
        if config.updates == "shared" and (coupled or config.critic_steps > 1):
            raise InputError(
                "method.updates=shared needs a discriminator without batch norm and method.critic_steps=1; "
                "set method.updates=auto or method.discriminator.norm=none"
            )
        if normalised and (config.penalised or auxiliary):
            raise InputError(
                "the gradient-normalised critic is smooth by itself and has one output; set method.r1_gamma=0 "
                "method.r2_gamma=0 method.gradient_penalty=0, and method.discriminator.labels=projection"
            )
        if self.augment.active and len(self.codec.shape) != 3:
            raise InputError("method.augment is for images, and this GAN works in an autoencoder's latents; leave it out")
        if config.smooth and not self.game.has_target:
            raise InputError(
                f"method.smooth changes the target of real images, and the loss '{config.loss}' has none; set method.smooth=0, "
                "or method.loss=non-saturating"
            )
        if config.labels and config.augment.mix:
            raise InputError(
                "method.augment.mix blends neighbours, which are of different classes; set method.augment.mix=0, or "
                "method.labels=false"
            )
        self.shared = config.updates == "shared"
        self.swaps_gradients = (
            self.shared and self.game.gradient_ratio is not None and not auxiliary and not self.augment.couples
        )
        self.lazy = config.penalised and config.penalty_every > 1
        self._on_fake = config.r2_gamma != NO_PENALTY or config.gradient_penalty > 0

    @property
    def scaled_codec(self) -> ScaledCodec:
        """What the game is played in: the codec, scaled to what the generator's tanh spans."""
        return ScaledCodec(self.codec, self.centre, self.spread)

    def players(self) -> Mapping[str, Player]:
        g, d = self.config.generator, self.config.discriminator
        return {
            "generator": Player("generator", g.optimiser, g.clip),
            "discriminator": Player("discriminator", d.optimiser, d.clip, averaged=False, teaches=True),
        }

    def phases(self) -> tuple[Phase, ...]:
        if self.shared:
            game: tuple[Phase, ...] = (Phase("both", ("generator", "discriminator")),)
        else:
            turn = Phase("generator", ("generator",), every=self.config.critic_steps)
            game = (Phase("discriminator", ("discriminator",)), turn)
        if self.lazy:  # an extra pass, on pictures of its own; its gradient joins the game's step, no layer state moves
            game += (Phase("penalty", ("discriminator",), every=self.config.penalty_every, joins=game[0].name, moves=()),)
        return game

    def losses(self, phase: str, batches: tuple[Batch, ...], at: StepContext) -> Losses:
        (batch,) = batches
        real = self.scaled_codec.encode(batch.images)
        label = batch.cond.label if self.config.labels else None
        z = batch.noise(self.config.latent)
        if phase == "both":
            return self._both(batch, real, z, label, at)
        if phase == "generator":
            return self._generator(batch, real, z, label, at)
        if phase == "penalty" and not self._on_fake:
            images = self._discriminator_input(batch, real, real[:0], at)
            return Losses({"discriminator": self._penalties(batch, images, label, at)})
        with torch.no_grad():
            fake = self.generator(z, label)
        images, labels = self._discriminator_input(batch, real, fake, at), _twice(label)
        if phase == "penalty":
            return Losses({"discriminator": self._penalties(batch, images, labels, at)})
        logits, classes = self._logits(batch, images, labels)
        return self._losses(batch, images, labels, logits, classes, at, ("discriminator",))

    def _both(self, batch: Batch, real: Tensor, z: Tensor, label: Tensor | None, at: StepContext) -> Losses:
        """One pass of both networks serves both players."""
        cell: list[Tensor] = []
        fake = self.generator(z, label)
        if self.swaps_gradients:
            fake = SwapGradient.apply(fake, cell)  # type: ignore[no-untyped-call]
        images, labels = self._discriminator_input(batch, real, fake, at), _twice(label)
        logits, classes = self._logits(batch, images, labels)
        if self.swaps_gradients and self.game.gradient_ratio is not None:
            cell.append(self.game.gradient_ratio(*logits.detach().chunk(2)))
        return self._losses(batch, images, labels, logits, classes, at, ("generator", "discriminator"))

    def _generator(self, batch: Batch, real: Tensor, z: Tensor, label: Tensor | None, at: StepContext) -> Losses:
        """The generator's own pass; it looks at real images only where its loss, or what it shares with them, does."""
        fake = self.generator(z, label)
        if self.config.loss != "relativistic" and not self.augment.couples:
            logits, classes = self._logits(batch, self._discriminator_input(batch, real[:0], fake, at), label)
            loss = self.game.generator(logits, logits)
        else:
            both, classes = self._logits(batch, self._discriminator_input(batch, real, fake, at), _twice(label))
            loss = self.game.generator(*both.chunk(2))
        if classes is not None and label is not None:
            loss = loss + cross_entropy(classes[-len(label) :], label)
        return Losses({"generator": loss})

    # Many parameters: all is already there in both phases that call it, and a class to hold it would only be taken apart again.
    def _losses(
        self,
        batch: Batch,
        images: Tensor,
        labels: Tensor | None,
        logits: Tensor,
        classes: Tensor | None,
        at: StepContext,
        movers: tuple[str, ...],
    ) -> Losses:
        """The losses of the players `movers`, from the logits of real images and as many generated ones."""
        real, fake = logits.chunk(2)
        critic = self.game.discriminator(real, fake, self.config.smooth) + self.config.drift * real.square()
        of: dict[str, Tensor] = {"generator": self.game.generator(real, fake)} if "generator" in movers else {}
        if classes is not None and labels is not None:
            on_real, on_fake = cross_entropy(classes, labels).chunk(2)
            critic = critic + on_real  # what it learns from generated images would be their faults
            of = {name: loss + on_fake for name, loss in of.items()}
        if self.config.penalised and not self.lazy and torch.is_grad_enabled():
            critic = critic + self._penalties(batch, images, labels, at)
        logs, right = self._accuracy(real, fake)
        if self.config.augment.kind == "adaptive":
            logs["augmentation"] = self.augment.p
        sums = {"signs": right.sum().view(1), "images": torch.full_like(right[:1], len(right))}
        joint = None
        if self.swaps_gradients and "generator" in movers:
            of, joint = {name: loss.detach() for name, loss in of.items()}, critic
        return Losses(of | {"discriminator": critic.detach() if joint is not None else critic}, logs, sums, joint)

    def _discriminator_input(self, batch: Batch, real: Tensor, fake: Tensor, at: StepContext) -> Tensor:
        """What the discriminator is shown: real and generated images, augmented alike (Zhao et al. 2020), with noise."""
        parts = [part for part in (real.to(fake.dtype), fake) if len(part)]
        if self.augment.active:  # each by itself: where neighbours are mixed, real ones are mixed with real ones
            parts = [self.augment(part, batch.uniform(self.augment.draws)) for part in parts]
        images = torch.cat(parts)
        sigma = self.config.instance_noise.at(at.progress)
        if sigma > 0:  # Sønderby et al. 2017, arXiv:1610.04490
            noise_images = torch.cat([batch.noise(*images.shape[1:]) for _ in parts])
            images = images + sigma * noise_images.to(images.dtype)
        return images

    def _logits(self, batch: Batch, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Logits [N] in float32, and those of the classes where there is an auxiliary classifier."""
        if self.coupled and len(images) > len(batch):  # batch norm must not tell real from generated by what is beside it
            halves = [images[: len(batch)], images[len(batch) :]]
            names = [None, None] if labels is None else list(labels.chunk(2))
            (real, a), (fake, b) = (self._logits(batch, x, y) for x, y in zip(halves, names, strict=True))
            return torch.cat([real, fake]), None if a is None or b is None else torch.cat([a, b])
        if self.config.discriminator.normalise == "gradient":
            return gradient_normalised(lambda x: self.discriminator(x, labels), images), None
        logits, classes = self.discriminator.logits_and_classes(images, labels)
        return logits.float(), classes

    def _penalties(self, batch: Batch, images: Tensor, labels: Tensor | None, at: StepContext) -> Tensor:
        """[B]: the sum of the gradient penalties per image: R1 on the real half of `images` (on all of them, where no penalty
        looks at generated ones), R2 on the generated half, and the gradient penalty between the two, each times its weight.

        All is multiplied by `penalty_every`, since it is taken only every so many iterations (Karras et al. 2020,
        arXiv:1912.04958, appendix B). Gradients are with respect to the images as the discriminator sees them, after
        augmentation."""
        config, images = self.config, images.detach()
        real, fake = images[: len(batch)], images[len(batch) :]
        label = None if labels is None else labels[: len(real)]
        # Zero, but of the weights: a γ that is warmed up from nothing still has a gradient.
        total = 0.0 * self.discriminator.head.bias.float().expand(len(real))
        r1, r2 = (gamma.at(at.progress) for gamma in (config.r1_gamma, config.r2_gamma))
        if r1 > 0 and r2 > 0:  # on one pass
            on_real, on_fake = r1_penalty(lambda x: self.discriminator(x, labels), images).chunk(2)
            total = total + r1 * on_real + r2 * on_fake
        elif r1 > 0 or r2 > 0:
            one_half = real if r1 > 0 else fake
            total = total + max(r1, r2) * r1_penalty(lambda x: self.discriminator(x, label), one_half)
        if config.gradient_penalty > 0:
            alpha = batch.uniform()
            total = total + config.gradient_penalty * gradient_penalty(
                lambda x: self.discriminator(x, label), real, fake, alpha
            )
        return config.penalty_every * total

    def _accuracy(self, real: Tensor, fake: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """How often the discriminator is right, and the signs [B] of its logits of real images, as ADA needs them. Where the
        loss has no fixed threshold, the middle between the means of both logits is taken for it."""
        real, fake = real.detach(), fake.detach()
        target = 1 - self.config.smooth
        middle = {"least-squares": target / 2, "wasserstein": None, "relativistic": None}.get(self.config.loss, 0.0)
        edge = (real.mean() + fake.mean()) / 2 if middle is None else torch.full_like(real[0], middle)
        return {"right_on_real": (real > edge).float(), "right_on_fake": (fake < edge).float()}, (real - edge).sign()

    def after_step(self, phase: str, sums: Mapping[str, Tensor], at: StepContext) -> None:
        """Clips the critic's weights, and adapts the strength of the augmentation."""
        if phase not in ("both", "discriminator"):
            return
        if self.config.weight_clip is not None:  # Arjovsky et al. 2017, algorithm 1
            with torch.no_grad():
                for weight in self.discriminator.parameters():
                    weight.clamp_(-self.config.weight_clip, self.config.weight_clip)
        self.augment.adapt(sums["signs"][0], sums["images"][0])

    def diagnosis(self) -> tuple[Rule, ...]:
        return RULES

    def latents(self, seeds: Sequence[int]) -> Tensor:
        """[len(seeds), latent], standard normal."""
        return noise(seeds, self.config.latent).to(self.device)

    def picture(self, latents: Tensor, cond: Cond) -> Tensor:
        images = self.generator(latents, cond.label if self.config.labels else None)
        return self.scaled_codec.decode(images.float())

    @torch.no_grad()
    def sample(self, seeds: Sequence[int], cond: Cond, sampling: Sampling) -> Tensor:
        """[len(seeds), C, H, W] in [-1, 1]; `sampling` is a `GanSampling`."""
        assert isinstance(sampling, GanSampling)
        return self.picture(self.latents(seeds) * sampling.truncation, self.conditions(seeds, cond))

    def conditions(self, seeds: Sequence[int], requested: Cond) -> Cond:
        """With a class drawn by the seed where none is requested, as often as it was in training."""
        return replace(requested, label=draw_labels(self.shares, seeds, requested.label) if self.config.labels else None)

    @torch.no_grad()
    def fit_at_start(self, batches: Iterable[Batch]) -> None:
        """How often each class is there; on latents, their mean and three times their standard deviation."""
        if self.config.labels:
            count_labels(batches, self.shares)
        self.scaled_codec.fit((batch.images for batch in itertools.islice(batches, SCALE_IMAGES // 64)), deviations=3)


def _twice(label: Tensor | None) -> Tensor | None:
    return None if label is None else torch.cat([label, label])


def _image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Of what may be augmented; latent vectors are not."""
    return (shape[0], shape[1], shape[2]) if len(shape) == 3 else (1, 1, shape[0])

"""The vector-quantised autoencoder (van den Oord et al. 2017, arXiv:1711.00937), with a learned book of codes or with finite
scalars (Mentzer et al. 2023, arXiv:2309.15505), and with a patch discriminator as a late second player (VQGAN: Esser, Rombach
& Ommer 2021, "Taming Transformers for High-Resolution Image Synthesis", arXiv:2012.09841).

It is a Codec of codes: what draws new pictures is a prior over them (`prior.py`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.core.capabilities import Autoencoder, Codec
from limner.core.cond import Batch, Cond
from limner.core.config import CodecKind, DataSpec, Sampling
from limner.core.diagnosis import Rule
from limner.core.errors import InputError
from limner.core.method import Losses, Method, Phase, Player, StepContext
from limner.core.precision import no_autocast
from limner.methods.vq.config import ResolvedVqVaeConfig, VqVaeSampling
from limner.methods.vq.diagnosis import CODEC_RULES
from limner.nets.convae import ConvDecoder, ConvEncoder, ConvSize
from limner.nets.halving import halvings
from limner.nets.patch import PatchDiscriminator
from limner.nets.quantise import FiniteScalars, Quantised, VectorQuantiser, perplexity, usage

MIN_IMAGE_SIDE = 8
"""Pixels of a side below which there is nothing to halve."""
VECTORS_PER_CODE = 40
"""Latents that k-means starts from, over the number of codes."""


class QuantisedEncoderDecoder(nn.Module):
    """Encoder, quantiser and decoder: the weights of the first player, and the codes, which follow them."""

    def __init__(self, config: ResolvedVqVaeConfig, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.quantiser: VectorQuantiser | FiniteScalars
        if config.quantiser == "vq":
            self.quantiser = VectorQuantiser(config.codes, config.dim, config.half_life, config.normalised)
        else:
            self.quantiser = FiniteScalars(config.levels, config.half_life)
        size = ConvSize(config.width, config.widest, config.blocks, down=config.down, spatial=True)
        self.encoder = ConvEncoder(shape, self.quantiser.dim, size)
        self.decoder = ConvDecoder(self.quantiser.dim, shape, size)


class VqVae(Method, Autoencoder):
    """Also a Codec: `encode` gives the codes' indices, `decode` the images."""

    kind: CodecKind = "codes"
    generates = False
    sampling_type = VqVaeSampling

    variance: Tensor

    def __init__(self, config: ResolvedVqVaeConfig, codec: Codec, spec: DataSpec) -> None:
        super().__init__(codec)
        if len(codec.shape) != 3 or min(codec.shape[1:]) < MIN_IMAGE_SIDE:
            raise InputError(
                f"codes need images of at least {MIN_IMAGE_SIDE}x{MIN_IMAGE_SIDE}, not {'x'.join(map(str, codec.shape[1:]))}"
            )
        channels, height, width = codec.shape
        self.config = config
        max_down = len(halvings(height, width)) - 1
        if not 1 <= config.down <= max_down:
            raise InputError(
                f"method.down={config.down}: images of {height}x{width} can be halved 1 to {max_down} times; choose from these"
            )
        self.coder = QuantisedEncoderDecoder(config, (channels, height, width))
        self.shape: tuple[int, ...] = self.coder.encoder.map_size
        self.vocabulary: int | None = self.coder.quantiser.vocabulary
        self.discriminator: nn.Module = nn.Identity()
        if config.adversarial:
            self.discriminator = PatchDiscriminator(channels, config.discriminator_width)
        self.register_buffer("variance", torch.ones(()))

    def players(self) -> Mapping[str, Player]:
        codec = {"codec": Player("coder", self.config.optimiser, self.config.clip)}
        if not self.config.adversarial:
            return codec
        teacher = Player("discriminator", self.config.discriminator_optimiser, averaged=False, teaches=True)
        return codec | {"discriminator": teacher}

    def phases(self) -> tuple[Phase, ...]:
        if not self.config.adversarial:
            return (Phase("codes", ("codec",)),)
        note = "the patch discriminator begins; reconstructions get worse in squared error, and crisper"
        game = Phase("adversarial", ("codec", "discriminator"), start=self.config.start, note=note)
        return (Phase("codes", ("codec",), stop=self.config.start), game) if self.config.start else (game,)

    def diagnosis(self) -> tuple[Rule, ...]:
        return CODEC_RULES

    def losses(self, phase: str, batches: tuple[Batch, ...], at: StepContext) -> Losses:
        (batch,) = batches
        target = self.codec.encode(batch.images)
        latents = self.coder.encoder(target)
        quantised: Quantised = self.coder.quantiser(latents)
        decoded = self.coder.decoder(quantised.values).float()
        squares = (target - decoded).square().mean((1, 2, 3))
        loss = squares / self.variance + self.config.commitment * quantised.commitment  # eq. 3, over the data's variance
        if self.config.absolute:
            loss = loss + self.config.absolute * (target - decoded).abs().mean((1, 2, 3)) / self.variance.sqrt()
        counts = self.coder.quantiser.counts
        logs = {"squared_error": squares, "commitment": quantised.commitment}
        logs |= {"perplexity": perplexity(counts), "usage": usage(counts)}
        self.coder.quantiser.notes.append(self._statistics(latents.detach(), quantised.indices, batch))
        if phase == "codes":
            return Losses({"codec": loss}, logs)
        return self._adversarial_losses(target, decoded, loss, logs)

    def _statistics(self, latents: Tensor, indices: Tensor, batch: Batch) -> dict[str, Tensor]:
        """What the quantiser's `move_state` needs to know of a batch; only a book has dead codes to draw latents for."""
        quantiser = self.coder.quantiser
        if isinstance(quantiser, FiniteScalars):
            return quantiser.statistics(latents, indices)
        draws = batch.uniform(2, math.ceil(quantiser.vocabulary / len(batch)))
        return quantiser.statistics(latents, indices, draws.transpose(0, 1).flatten(1)[:, : quantiser.vocabulary])

    def _adversarial_losses(self, target: Tensor, decoded: Tensor, loss: Tensor, logs: dict[str, Tensor]) -> Losses:
        """Hinge losses (Lim & Ye 2017, arXiv:1705.02894) on patches; one pass of the discriminator serves both players.

        Esser's weight follows the gradients at the decoder's last layer (eq. 7); here it is a number of the recipe, so that the
        loss of an image is its own.
        """
        assert isinstance(self.discriminator, PatchDiscriminator)
        logits, features = self.discriminator.logits_and_features(torch.cat([target, decoded]))
        real, fake = logits.flatten(1).chunk(2)
        loss = loss - self.config.adversarial * fake.mean(1)
        if self.config.features:
            apart = torch.zeros_like(loss)
            for layer in features:
                of_real, of_fake = layer.float().chunk(2)
                apart = apart + (of_real.detach() - of_fake).abs().mean((1, 2, 3)) / len(features)
            loss = loss + self.config.features * apart
        critic = (F.relu(1 - real) + F.relu(1 + fake)).mean(1)
        logs["right_on_real"], logs["right_on_fake"] = (real > 0).float().mean(1), (fake < 0).float().mean(1)
        return Losses({"codec": loss, "discriminator": critic}, logs)

    @torch.no_grad()
    def fit_at_start(self, batches: Iterable[Batch]) -> None:
        """The variance of the data, and k-means on the latents of the untrained encoder."""
        places = math.prod(self.shape)
        count = math.ceil(VECTORS_PER_CODE * self.coder.quantiser.vocabulary / places / 64)
        images = torch.cat([self.codec.encode(batch.images) for batch in itertools.islice(batches, count)])
        self.variance.copy_(images.var().clamp(min=1e-6))
        self.coder.quantiser.initialise(torch.cat([self.coder.encoder(part) for part in torch.split(images, 64)]), seed=0)

    def sample(self, seeds: Sequence[int], cond: Cond, sampling: Sampling) -> Tensor:
        """A codec draws no pictures. Errors: `InputError`, always."""
        raise InputError(
            "codes alone draw no pictures, a prior over them does; train one with `limner train SRC --preset prior codec=RUN`"
        )

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """[B, C, H, W] in [-1, 1] -> [B, h, w] int64; float32 even under autocast, so that rounding does not change a code."""
        with no_autocast(images.device):
            quantised: Quantised = self.coder.quantiser(self.coder.encoder(self.codec.encode(images)))
        return quantised.indices

    def decode(self, latents: Tensor) -> Tensor:
        """[B, h, w] int64 -> [B, C, H, W] in [-1, 1]."""
        return self.codec.decode(self.coder.decoder(self.coder.quantiser.lookup(latents)).float().clamp(-1, 1))

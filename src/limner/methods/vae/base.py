"""What every autoencoder with continuous latents has: an encoder, a decoder, and a prior to draw latents from.

Also a Codec: other methods work in its latents. How the latents are learned is for the families to say (`autoencoder.py`,
`vae.py`).
"""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from limner.core.capabilities import Autoencoder, Codec, LatentDecoder, Pixels
from limner.core.cond import Batch, Cond
from limner.core.config import CodecKind, Sampling
from limner.core.diagnosis import Rule
from limner.core.errors import InputError
from limner.core.method import Method
from limner.core.seeds import noise
from limner.methods.vae import likelihoods
from limner.methods.vae.config import AutoencoderBaseConfig, AutoencoderSampling
from limner.methods.vae.diagnosis import RULES
from limner.nets.convae import ConvDecoder, ConvEncoder, ConvSize
from limner.nets.mixture import GaussianMixture
from limner.nets.mlp import mlp

MIN_IMAGE_SIDE = 8
"""Pixels of a side below which convolutions have nothing to halve."""
PRIOR_IMAGES = 5_000
"""Training images to whose latents the prior is fitted."""
MAX_MIXTURE_LATENTS = 1024
"""Latents up to which a mixture with full covariances is fitted; its memory grows with their square."""


class EncoderDecoder(nn.Module):
    """Encoder and decoder: [B, C, H, W] -> [B, each · latent, …] and [B, latent, …] -> [B, out, H, W]."""

    def __init__(self, config: AutoencoderBaseConfig, shape: tuple[int, int, int], each: int, out: int) -> None:
        super().__init__()
        self.latent_shape: tuple[int, ...] = (config.latent,)
        if config.networks == "mlp":
            pixels, out_shape = math.prod(shape), (out, *shape[1:])
            self.encoder: nn.Module = nn.Sequential(nn.Flatten(), mlp([pixels, *config.widths, each * config.latent]))
            decoder = mlp([config.latent, *config.widths[::-1], math.prod(out_shape)])
            self.decoder: nn.Module = nn.Sequential(decoder, nn.Unflatten(1, out_shape))
            return
        hidden = config.hidden if config.broadcast else 0
        size = ConvSize(config.width, config.widest, config.blocks, config.block, config.down, config.map, hidden)
        encoder = ConvEncoder(shape, each * config.latent, size)
        self.encoder, self.decoder = encoder, ConvDecoder(config.latent, (out, *shape[1:]), size)
        if config.map:
            self.latent_shape = (config.latent, *encoder.map_size)


class AutoencoderBase(Method, Autoencoder, LatentDecoder):
    """Abstract: the families add what is minimised, `losses`, and how an image becomes a latent, `posterior`."""

    sampling_type = AutoencoderSampling
    calibrated = False
    """Whether the scale of the decoder's distribution is fitted as well."""

    kind: CodecKind = "continuous"
    vocabulary: int | None = None

    def __init__(
        self, config: AutoencoderBaseConfig, codec: Codec, each: int, decoder: likelihoods.Kind, mixtures: int = 1
    ) -> None:
        """`each`: numbers that the encoder gives per latent."""
        super().__init__(codec)
        size = "x".join(map(str, codec.shape[1:]))
        if len(codec.shape) != 3:
            raise InputError(f"an autoencoder needs images or latent maps, not latent vectors of {codec.shape[0]} entries")
        what = "images" if isinstance(codec, Pixels) else "latent maps"
        if config.networks == "conv" and min(codec.shape[1:]) < MIN_IMAGE_SIDE:
            raise InputError(
                f"method.networks=conv needs {what} of at least {MIN_IMAGE_SIDE}x{MIN_IMAGE_SIDE}, and these are {size}; set "
                f"method.networks=mlp{', or a larger data.size' if isinstance(codec, Pixels) else ''}"
            )
        if config.map and config.networks == "mlp":
            raise InputError("method.map=true needs method.networks=conv; an mlp gives a vector")
        if config.broadcast and config.map:
            raise InputError(
                "method.broadcast=true (one latent vector) and method.map=true (a latent at every place) do not go together; "
                "set one of them to false"
            )
        colours, height, width = codec.shape
        self.coder = EncoderDecoder(config, (colours, height, width), each, likelihoods.channels(decoder, colours, mixtures))
        self.shape: tuple[int, ...] = self.coder.latent_shape
        self.entries = math.prod(self.shape)
        self.gaussian = config.prior == "normal"
        if not self.gaussian and self.entries > MAX_MIXTURE_LATENTS:
            raise InputError(
                f"a mixture over {self.entries:,} latents ({'x'.join(map(str, self.shape))}) is out of reach; set "
                "method.prior=normal, or fewer of them by method.latent or method.down"
            )
        self.prior = None if self.gaussian else GaussianMixture(config.components, self.entries)
        self.fit_images = 0 if self.gaussian and not self.calibrated else PRIOR_IMAGES

    @abstractmethod
    def posterior(self, encoded: Tensor) -> tuple[Tensor, Tensor | None]:
        """[B, C, H, W] of what the codec gives -> mean and log variance, [B, *shape] each, in float32; None: no variance."""

    @abstractmethod
    def expected_image(self, latents: Tensor) -> Tensor:
        """[B, *shape] -> [B, C, H, W] of what the codec takes: the mean of the decoder's distribution, differentiable in
        `latents`."""

    def diagnosis(self) -> tuple[Rule, ...]:
        return RULES

    def error_spread(self, encoded: Tensor, latents: Tensor) -> Tensor:
        """0-d: how far decoded `latents` [N, *shape] are from `encoded` [N, C, H, W], where a decoder is `calibrated`."""
        raise NotImplementedError

    def fit_scale(self, spread: Tensor) -> None:
        """Sets the scale of a `calibrated` decoder by the mean `error_spread` of training images, 0-d."""
        raise NotImplementedError

    @torch.no_grad()
    def sample(self, seeds: Sequence[int], cond: Cond, sampling: Sampling) -> Tensor:
        """[len(seeds), C, H, W] in [-1, 1]; `sampling` is an `AutoencoderSampling`."""
        assert isinstance(sampling, AutoencoderSampling)
        latents = self.latents(seeds)
        if sampling.truncation != 1.0:
            mean = torch.zeros_like(latents[0]) if self.prior is None else self.prior.shares @ self.prior.means
            latents = torch.lerp(mean, latents, sampling.truncation)
        return self.picture(latents, cond)

    @torch.no_grad()
    def latents(self, seeds: Sequence[int]) -> Tensor:
        """[len(seeds), entries], drawn from the prior."""
        normal = noise(seeds, self.entries).to(self.device)
        if self.prior is None:
            return normal
        uniform = 0.5 + 0.5 * torch.erf(noise(seeds, stream="component") / math.sqrt(2))
        return self.prior.sample(uniform.to(self.device), normal)

    def picture(self, latents: Tensor, cond: Cond) -> Tensor:
        """[B, entries] -> [B, C, H, W] in [-1, 1], differentiable in `latents`."""
        return self.decode(latents.reshape(-1, *self.shape))

    def encode(self, images: Tensor) -> Tensor:
        """[B, C, H, W] in [-1, 1] -> [B, *shape], the posterior's mean; differentiable in `images`."""
        return self.posterior(self.codec.encode(images))[0]

    def decode(self, latents: Tensor) -> Tensor:
        """[B, *shape] -> [B, C, H, W] in [-1, 1], differentiable in `latents`."""
        return self.codec.decode(self.expected_image(latents))

    def log_prior(self, latents: Tensor) -> Tensor:
        """[B, *shape] -> [B] nats: log p(z) of what `latents` draws from."""
        flat = latents.flatten(1)
        if self.prior is None:
            return -0.5 * (flat.square() + math.log(2 * math.pi)).sum(1)
        return torch.logsumexp(self.prior.log_densities(flat), 1)

    @torch.no_grad()
    def fit_at_checkpoint(self, batches: Iterable[Batch]) -> None:
        """Fits the mixture to draws of the aggregate posterior q(z), and the scale of a calibrated decoder."""
        if not self.fit_images:
            return
        total, count, latents = torch.zeros(()), 0, list[Tensor]()
        for encoded, draws in self._latent_draws(batches):
            latents.append(draws)
            count += len(draws)
            if self.calibrated:
                total = total + len(draws) * self.error_spread(encoded, draws).cpu()
        if self.calibrated:
            self.fit_scale(total / count)
        if self.prior is not None:
            self.prior.fit(torch.cat(latents).flatten(1), seed=0)

    def _latent_draws(self, batches: Iterable[Batch]) -> Iterator[tuple[Tensor, Tensor]]:
        """What the codec gives for `fit_images` images and a draw of the latents of each, 128 at a time.

        So only latents need to be kept: 5,000 pictures of 480x640 in float32 are 18 GB.
        """
        images, latents = list[Tensor](), list[Tensor]()
        for batch in itertools.islice(batches, self.fit_images // 64):
            encoded = self.codec.encode(batch.images)
            mean, log_variance = self.posterior(encoded)
            draw = batch.noise(*self.shape)
            images.append(encoded)
            latents.append(mean if log_variance is None else mean + (0.5 * log_variance).exp() * draw)
            if sum(map(len, latents)) >= 128:
                yield torch.cat(images), torch.cat(latents)
                images, latents = [], []
        if latents:
            yield torch.cat(images), torch.cat(latents)

"""The variational autoencoder (Kingma & Welling 2013, arXiv:1312.6114), with β (Higgins et al. 2017) and a calibrated decoder
(Rybkin, Daniilidis & Levine 2021, "Simple and Effective VAE Training with Calibrated Decoders", arXiv:2006.13202).

One player. The loss is the negative ELBO in nats per image: summed over pixels, summed over latents.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from limner.core import seeds as randomness
from limner.core.cond import Batch, Cond
from limner.core.errors import InputError
from limner.core.method import At, Codec, Losses, Method, MethodConfig, Phase, Player
from limner.core.optim import Clip, Optimiser
from limner.core.schedule import Schedule, Scheduled
from limner.nets.convae import ConvDecoder, ConvEncoder
from limner.nets.mixture import GaussianMixture


class VaeConfig(MethodConfig):
    """A VAE's own choices."""

    kind: Literal["vae"] = "vae"
    latent: int = Field(32, ge=1)
    width: int = Field(32, ge=1)
    """Channels at half the image's size, doubled at every halving."""
    widest: int = Field(256, ge=1)
    blocks: int = Field(1, ge=0)
    """Residual blocks at every size."""
    beta: Scheduled = Schedule(value=1.0)
    """Weight of the KL divergence; may be warmed up."""
    decoder: Literal["calibrated", "fixed"] = "calibrated"
    """`calibrated`: one σ for all pixels, set to what minimises the loss on each batch. `fixed`: `sigma`."""
    sigma: float = Field(1.0, gt=0)
    """On pixels in [-1, 1], for `decoder=fixed`; 1 makes the first term half the squared error."""
    prior: Literal["mixture", "normal"] = "mixture"
    """What samples are decoded from: `mixture` is fitted to the latents of training images at every checkpoint, since the
    latents of a trained VAE never quite fill the standard normal; `normal` is the paper's N(0, 1)."""
    components: int = Field(24, ge=1)
    """Gaussians in the mixture."""
    optimiser: Optimiser = Optimiser(lr=Schedule(value=1e-3))
    clip: Clip | None = Clip(by="norm", limit=1000.0)


def gaussian_nll(images: Tensor, means: Tensor, log_sigma: Tensor) -> Tensor:
    """[B] nats: −log N(images; means, σ²·1), summed over all entries of an image. `log_sigma` is 0-d."""
    entries = images[0].numel()
    squares = (images - means).square().flatten(1).sum(1)
    return 0.5 * squares * torch.exp(-2 * log_sigma) + entries * (log_sigma + 0.5 * math.log(2 * math.pi))


def optimal_log_sigma(images: Tensor, means: Tensor) -> Tensor:
    """0-d: log σ = ½·log mean((x−x̂)²) over batch and pixels (Rybkin 2021, eq. 6), softly kept above −6."""
    log_sigma = 0.5 * (images - means).square().mean().clamp(min=1e-12).log()
    return -6 + torch.nn.functional.softplus(log_sigma + 6)


def kl_to_standard(mean: Tensor, log_variance: Tensor) -> Tensor:
    """[B] nats: KL(N(μ, σ²) ‖ N(0, 1)) summed over latents (Kingma & Welling 2013, appendix B)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


class Coder(nn.Module):
    """Encoder and decoder: the weights of the one player."""

    def __init__(self, config: VaeConfig, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.encoder = ConvEncoder(shape, 2 * config.latent, config.width, config.widest, config.blocks)
        self.decoder = ConvDecoder(config.latent, shape, config.width, config.widest, config.blocks)


class Vae(Method):
    """Also a Codec: `encode` gives the posterior's mean."""

    kind: Literal["continuous", "codes"] = "continuous"
    vocabulary: int | None = None

    def __init__(self, config: VaeConfig, codec: Codec, classes: tuple[str, ...] = ()) -> None:
        super().__init__(codec)
        if len(codec.shape) != 3 or min(codec.shape[1:]) < 8:
            raise InputError(f"the vae needs images of at least 8x8, not {'x'.join(map(str, codec.shape[1:]))}")
        self.config = config
        self.shape = (config.latent,)
        self.coder = Coder(config, (codec.shape[0], codec.shape[1], codec.shape[2]))
        self.prior = GaussianMixture(config.components if config.prior == "mixture" else 1, config.latent)
        self.gaussian = config.prior == "normal"

    def players(self) -> Mapping[str, Player]:
        return {"vae": Player("coder", self.config.optimiser, self.config.clip)}

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("elbo", ("vae",)),)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, [B, latent] each, in float32; the log variance is kept within ±10, softly."""
        return self._posterior(self.codec.encode(images))

    def _posterior(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.coder.encoder(encoded).float().chunk(2, dim=1)
        return mean, 10 * torch.tanh(log_variance / 10)

    def losses(self, phase: str, batches: tuple[Batch, ...], at: At) -> Losses:
        (batch,) = batches
        target = self.codec.encode(batch.images)
        mean, log_variance = self._posterior(target)
        z = mean + (0.5 * log_variance).exp() * batch.noise(self.config.latent)
        decoded = self.coder.decoder(z).float()
        if self.config.decoder == "calibrated":
            log_sigma = optimal_log_sigma(target, decoded)
        else:
            log_sigma = torch.tensor(math.log(self.config.sigma), device=decoded.device)
        nll, kl = gaussian_nll(target, decoded, log_sigma), kl_to_standard(mean, log_variance)
        loss = nll + self.config.beta.at(at.progress) * kl
        return Losses({"vae": loss}, logs={"nll": nll, "kl": kl, "sigma": log_sigma.exp()})

    @torch.no_grad()
    def sample(self, seeds: Sequence[int], cond: Cond, truncation: float = 1.0, **knobs: Any) -> Tensor:
        """`truncation` shrinks the latents towards the prior's mean."""
        latents = self.latents(seeds)
        if truncation != 1.0:
            latents = torch.lerp(self.prior.shares @ self.prior.means, latents, truncation)
        return self.picture(latents, cond)

    @torch.no_grad()
    def latents(self, seeds: Sequence[int]) -> Tensor:
        """[len(seeds), latent], drawn from the prior."""
        uniform = 0.5 + 0.5 * torch.erf(randomness.noise(seeds, stream="component") / math.sqrt(2))
        normal = randomness.noise(seeds, self.config.latent)
        return self.prior.sample(uniform.to(self.device), normal.to(self.device))

    def picture(self, latents: Tensor, cond: Cond) -> Tensor:
        """[B, latent] -> [B, C, H, W] in [-1, 1], differentiable in `latents`."""
        return self.decode(latents)

    @torch.no_grad()
    def fit(self, batches: Iterable[Batch], when: Literal["start", "checkpoint"]) -> None:
        """At a checkpoint: the mixture, on up to 5,000 draws of the aggregate posterior q(z|x)."""
        if when == "start" or self.config.prior == "normal":
            return
        latents: list[Tensor] = []
        for batch in itertools.islice(batches, 5_000 // 64):
            mean, log_variance = self.posterior(batch.images)
            latents.append(mean + (0.5 * log_variance).exp() * batch.noise(self.config.latent))
        self.prior.fit(torch.cat(latents), seed=0)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """[B, C, H, W] in [-1, 1] -> [B, latent], the posterior's mean."""
        return self.posterior(images)[0]

    def decode(self, latents: Tensor) -> Tensor:
        """[B, latent] -> [B, C, H, W] in [-1, 1]: the decoder's mean, differentiable in `latents`."""
        return self.codec.decode(self.coder.decoder(latents).float().clamp(-1, 1))

"""The variational autoencoder (Kingma & Welling 2013, arXiv:1312.6114) and what became of it.

- β-VAE: a weight on the KL divergence, that may be warmed up (Higgins et al. 2017), a capacity that it is held at (Burgess et
  al. 2018, arXiv:1804.03599), or nats per latent that are free (Kingma et al. 2016, arXiv:1606.04934);
- β-TCVAE: a weight on the total correlation alone, estimated within a minibatch (Chen et al. 2018, arXiv:1802.04942);
- FactorVAE: the same, estimated by a critic that is a second player (Kim & Mnih 2018, arXiv:1802.05983).

The loss is the negative ELBO in nats per image: summed over pixels, summed over latents. Decoders are those of
`likelihoods.py`; the calibrated ones are Rybkin et al. 2021 ("Simple and Effective VAE Training with Calibrated Decoders",
arXiv:2006.13202).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.distributions import LowRankMultivariateNormal

from limner.core.capabilities import Codec, LikelihoodBound
from limner.core.cond import Batch
from limner.core.errors import InputError
from limner.core.method import Losses, Phase, Player, RunContext, StepContext
from limner.core.optim import Optimiser
from limner.core.precision import in_float64
from limner.core.schedule import Schedule, Scheduled
from limner.methods.vae import elbo, likelihoods
from limner.methods.vae.base import AutoencoderBase, AutoencoderBaseConfig
from limner.nets.mlp import mlp

DECODERS: Mapping[str, tuple[likelihoods.Kind, bool]] = {
    "calibrated": ("gaussian", True),
    "auto": ("gaussian", True),  # a run has settled it
    "fixed": ("gaussian", False),
    "laplace": ("laplace", True),
    "bernoulli": ("bernoulli", False),
    "logistic": ("logistic", False),
}
"""What a decoder says of pixels, and whether its scale follows the data."""


class CriticConfig(BaseModel):
    """FactorVAE's second player."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: tuple[Annotated[int, Field(ge=1)], ...] = Field((256, 256, 256), min_length=1)
    optimiser: Optimiser = Optimiser(lr=Schedule(value=1e-4), betas=(0.5, 0.9))


class VaeConfig(AutoencoderBaseConfig):
    """A VAE's own choices."""

    kind: Literal["vae"] = "vae"
    beta: Scheduled = Schedule(value=1.0)
    """Weight of the KL divergence; may be warmed up."""
    capacity: Scheduled | None = None
    """Nats that the KL divergence is held at, in the place of `beta`; usually warmed up."""
    capacity_weight: float = Field(100.0, gt=0)
    """Of the distance from it (the papers' γ)."""
    free_bits: float = Field(0.0, ge=0)
    """Nats that each latent may carry for nothing."""
    total_correlation: Literal["none", "weighted", "stratified", "critic"] = "none"
    """How the total correlation of the latents is estimated, where it has a weight: within a minibatch, or by a critic."""
    tc_weight: Scheduled = Schedule(value=5.0)
    """Its further weight: β − 1 of β-TCVAE, γ of FactorVAE."""
    population: int | Literal["auto"] = "auto"
    """Training images, for the minibatch estimates."""
    critic: CriticConfig = CriticConfig()
    decoder: Literal["auto", "calibrated", "fixed", "laplace", "bernoulli", "logistic"] = "auto"
    """`calibrated`: Gaussian, with one σ for all pixels that is set to what minimises the loss on each batch; `laplace`
    likewise. `fixed`: Gaussian with `sigma`. `bernoulli`: for black-and-white pictures. `logistic`: a mixture per pixel.
    `auto`: `bernoulli` where `data.binary` drew black and white, `calibrated` elsewhere."""
    sigma: float = Field(1.0, gt=0)
    """On pixels in [-1, 1], for `decoder=fixed`; 1 makes the first term half the squared error."""
    mixtures: int = Field(5, ge=1)
    """Components per pixel of `decoder=logistic`."""

    def overlooked(self, key: str) -> str | None:
        name, total = key.partition(".")[0], self.total_correlation
        needs = {
            "sigma": ("method.decoder=fixed", self.decoder == "fixed"),
            "mixtures": ("method.decoder=logistic", self.decoder == "logistic"),
            "capacity_weight": ("method.capacity", self.capacity is not None),
            "population": ("method.total_correlation=weighted or stratified", total in ("weighted", "stratified")),
            "tc_weight": ("method.total_correlation", total != "none"),
            "critic": ("method.total_correlation=critic", total == "critic"),
        }
        if name in needs and not needs[name][1]:
            return f"it belongs to {needs[name][0]}"
        if name == "beta" and self.capacity is not None:
            return "method.capacity is in its place"
        return super().overlooked(key)

    def settled(self, facts: RunContext) -> VaeConfig:
        """decoder="auto" by the pictures, population="auto" as their number. Errors: `InputError` where that is less than a
        batch, which then holds a picture twice, and the total correlation is to be estimated by stratified minibatches."""
        chosen: dict[str, object] = {}
        if self.decoder == "auto":
            chosen["decoder"] = "bernoulli" if facts.binary else "calibrated"
        population = facts.count if self.population == "auto" else self.population
        if self.population == "auto":
            chosen["population"] = population
        if self.total_correlation == "stratified" and population < facts.batch:
            raise InputError(
                f"method.total_correlation=stratified needs batches that hold no picture twice, and {facts.batch} are more "
                f"than the {population} training pictures; set batch.size={max(population, 1)} or less, or "
                "method.total_correlation=weighted"
            )
        return self.model_copy(update=chosen)


class Vae(AutoencoderBase, LikelihoodBound):
    """Also a Codec: `encode` gives the posterior's mean."""

    log_scale: Tensor

    def __init__(self, config: VaeConfig, codec: Codec, classes: tuple[str, ...] = ()) -> None:
        self.decoder_kind, self.calibrated = DECODERS[config.decoder]
        super().__init__(config, codec, 2, self.decoder_kind, config.mixtures)
        if config.capacity is not None and config.free_bits:
            raise InputError("method.capacity and method.free_bits both say what the KL may be; choose one of them")
        self.config = config
        self.register_buffer("log_scale", torch.tensor(math.log(config.sigma)))
        """Of the decoder's Gaussian or Laplace; a calibrated one's is that of the last checkpoint, for judging."""
        if config.total_correlation == "critic":
            self.critic = mlp([self.entries, *config.critic.widths, 1])

    def players(self) -> Mapping[str, Player]:
        found = {"vae": Player("coder", self.config.optimiser, self.config.clip)}
        if self.config.total_correlation == "critic":
            found["critic"] = Player("critic", self.config.critic.optimiser, averaged=False, teaches=True)
        return found

    def phases(self) -> tuple[Phase, ...]:
        movers = tuple(self.players())
        return (Phase("elbo", movers, batches=len(movers)),)

    def posterior(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, [B, *shape] each, in float32; the log variance is kept within ±10, softly."""
        mean, log_variance = self.coder.encoder(encoded).float().chunk(2, dim=1)
        return mean, 10 * torch.tanh(log_variance / 10)

    def drawn(self, latents: Tensor) -> Tensor:
        return likelihoods.mean(self.decoder_kind, self.coder.decoder(latents).float(), self.codec.shape[0])

    def losses(self, phase: str, batches: tuple[Batch, ...], at: StepContext) -> Losses:
        batch, config = batches[0], self.config
        target = self.codec.encode(batch.images)
        mean, log_variance = self.posterior(target)
        z = mean + (0.5 * log_variance).exp() * batch.noise(*self.shape)
        out = self.coder.decoder(z).float()
        log_scale = self.log_scale
        if self.calibrated:
            log_scale = likelihoods.optimal_log_scale(self.decoder_kind, likelihoods.spread(self.decoder_kind, target, out))
        nll = likelihoods.nll(self.decoder_kind, target, out, log_scale)
        mean, log_variance, z = mean.flatten(1), log_variance.flatten(1), z.flatten(1)
        kl = elbo.kl_to_standard(mean, log_variance)
        if config.capacity is not None:
            loss = nll + config.capacity_weight * elbo.capacity(kl, config.capacity.at(at.progress))
        else:
            loss = nll + config.beta.at(at.progress) * (elbo.free_bits(kl, config.free_bits) if config.free_bits else kl.sum(1))
        rate = kl.sum(1)
        dims = target[0].numel() * math.log(2)
        rate_bits, distortion_bits = rate / dims, (nll - self._bins(target)) / dims
        logs = {"distortion": nll, "rate": rate, "bits_per_dim": rate_bits + distortion_bits}
        logs |= {"distortion_bits_per_dim": distortion_bits, "rate_bits_per_dim": rate_bits}
        if self.calibrated:
            logs["sigma"] = log_scale.exp()
        weight = config.tc_weight.at(at.progress)
        if config.total_correlation == "critic":
            logit, other = self._told(z), self._shuffled(batches[1])
            logs |= {
                "total_correlation": logit,
                "right_on_joint": (logit > 0).float(),
                "right_on_shuffled": (other < 0).float(),
            }
            # Kim & Mnih 2018, algorithm 2. A shuffled latent is no image's own, so that each bears the mean of them.
            critic = 0.5 * (F.softplus(-logit) + F.softplus(other).mean())
            return Losses({"vae": loss + weight * logit, "critic": critic}, logs)
        if config.total_correlation != "none":
            assert config.population != "auto"  # a run has settled it
            _, tc, _ = elbo.decomposition(z, mean, log_variance, config.population, config.total_correlation)
            logs["total_correlation"], loss = tc, loss + weight * tc
        return Losses({"vae": loss}, logs)

    def _shuffled(self, batch: Batch) -> Tensor:
        """[B]: the critic's logits of latents of other images, each entry shuffled over the batch by itself."""
        with torch.no_grad():
            mean, log_variance = self.posterior(self.codec.encode(batch.images))
            z = (mean + (0.5 * log_variance).exp() * batch.noise(*self.shape)).flatten(1)
            z = elbo.permuted(z, batch.noise(self.entries))
        return self._told(z)

    def _told(self, z: Tensor) -> Tensor:
        """[B, entries] -> [B]: the critic's logit, the last layer in float32: it is the estimate of the total correlation."""
        features = self.critic[:-1](z).float()
        with torch.autocast(z.device.type, enabled=False):
            logits: Tensor = self.critic[-1](features)
        return logits.squeeze(1)

    def _bins(self, images: Tensor) -> float:
        """Nats: log of the volume of a picture's bin, by which a density counts as a mass; 0 where the decoder gives masses."""
        return images[0].numel() * math.log(2 * likelihoods.HALF_BIN) if self.decoder_kind in ("gaussian", "laplace") else 0.0

    @property
    def needs_binary_images(self) -> bool:
        return self.decoder_kind == "bernoulli"

    def log_weight(self, images: Tensor, noise: Tensor, density: bool = False) -> Tensor:
        """[B] nats: log p(x|z) + log p(z) − log q(z|x) (see `LikelihoodBound`), in float64 from the float32 of the networks."""
        target = self.codec.encode(images)
        mean, log_variance = (in_float64(part) for part in self.posterior(target))
        z = mean + (0.5 * log_variance).exp() * noise.view_as(mean).to(mean.device)
        out, log_scale = self.coder.decoder(z.float().to(target.device)).float(), self.log_scale
        if not self.needs_binary_images:  # a narrow bin's mass is a small difference: in float32 it is off by 1e-5 nats a pixel
            target, out, log_scale = in_float64(target), in_float64(out), in_float64(log_scale)
        if density:
            seen = self._bins(target) - likelihoods.nll(self.decoder_kind, target, out, log_scale)
        else:
            seen = likelihoods.log_mass(self.decoder_kind, target, out, log_scale)
        return in_float64(seen) + self.log_prior(z) - elbo.log_normal(z, mean, log_variance).flatten(1).sum(1)

    @property
    def exact(self) -> bool:
        """Whether x = Wz + b + σε, z being normal or a mixture of such."""
        config = self.config
        return config.networks == "mlp" and not config.widths and self.decoder_kind == "gaussian"

    def log_density(self, images: Tensor) -> Tensor:
        """[B] nats in float64: of N(Wm + b, WSWᵀ + σ²I) for each Gaussian N(m, S) of the prior (probabilistic principal
        component analysis: Tipping & Bishop 1999), times the bins' widths. Only where the model is `exact`."""
        (layer,) = (one for one in self.coder.decoder.modules() if isinstance(one, nn.Linear))
        weight, target = in_float64(layer.weight), self.codec.encode(images)
        means, shares = weight.new_zeros(1, self.entries), weight.new_ones(1)
        factors = torch.eye(self.entries).to(weight)[None]
        if self.prior is not None:
            means, factors, shares = map(in_float64, (self.prior.means, self.prior.factors, self.prior.shares))
        noise = torch.exp(2 * in_float64(self.log_scale)).expand(len(means), len(weight))
        law = LowRankMultivariateNormal(means @ weight.T + in_float64(layer.bias), weight @ factors, noise)
        each: Tensor = law.log_prob(in_float64(target).flatten(1)[:, None])  # type: ignore[no-untyped-call]
        return torch.logsumexp(each + shares.log(), 1) + self._bins(target)

    @torch.no_grad()
    def settle_scale(self, encoded: Tensor, latents: Tensor) -> None:
        if not self.calibrated:
            return
        total = torch.zeros(())
        for start in range(0, len(latents), 128):
            out = self.coder.decoder(latents[start : start + 128]).float()
            total = total + len(out) * likelihoods.spread(self.decoder_kind, encoded[start : start + 128], out).cpu()
        self.log_scale.copy_(likelihoods.optimal_log_scale(self.decoder_kind, total / len(latents)))

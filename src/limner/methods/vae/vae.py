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

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import LowRankMultivariateNormal

from limner.core.capabilities import Codec, LikelihoodBound
from limner.core.cond import Batch
from limner.core.config import DataSpec
from limner.core.errors import InputError
from limner.core.method import Losses, Phase, Player, StepContext
from limner.core.precision import in_float64, no_autocast
from limner.methods.vae import elbo, likelihoods
from limner.methods.vae.base import AutoencoderBase
from limner.methods.vae.config import ResolvedVaeConfig
from limner.nets.mlp import mlp

DECODERS: Mapping[str, tuple[likelihoods.Kind, bool]] = {
    "calibrated": ("gaussian", True),
    "fixed": ("gaussian", False),
    "laplace": ("laplace", True),
    "bernoulli": ("bernoulli", False),
    "logistic": ("logistic", False),
}
"""The distribution of pixels that each `decoder` setting names, and whether its scale is calibrated: set to the value that
minimises the loss."""


class Vae(AutoencoderBase, LikelihoodBound):
    """Also a Codec: `encode` gives the posterior's mean."""

    log_scale: Tensor

    def __init__(self, config: ResolvedVaeConfig, codec: Codec, spec: DataSpec) -> None:
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
        players = {"vae": Player("coder", self.config.optimiser, self.config.clip)}
        if self.config.total_correlation == "critic":
            players["critic"] = Player("critic", self.config.critic.optimiser, averaged=False, teaches=True)
        return players

    def phases(self) -> tuple[Phase, ...]:
        movers = tuple(self.players())
        return (Phase("elbo", movers, batches=len(movers)),)

    def posterior(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, [B, *shape] each, in float32; the log variance is kept within ±10, softly."""
        mean, log_variance = self.coder.encoder(encoded).float().chunk(2, dim=1)
        return mean, 10 * torch.tanh(log_variance / 10)

    def expected_image(self, latents: Tensor) -> Tensor:
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
        rate_bits, distortion_bits = rate / dims, (nll - self._log_bin_volume(target)) / dims
        logs = {"distortion": nll, "rate": rate, "bits_per_dim": rate_bits + distortion_bits}
        logs |= {"distortion_bits_per_dim": distortion_bits, "rate_bits_per_dim": rate_bits}
        if self.calibrated:
            logs["sigma"] = log_scale.exp()
        weight = config.tc_weight.at(at.progress)
        if config.total_correlation == "critic":
            logit, other = self._critic_logit(z), self._shuffled_logit(batches[1])
            logs |= {
                "total_correlation": logit,
                "right_on_joint": (logit > 0).float(),
                "right_on_shuffled": (other < 0).float(),
            }
            # Kim & Mnih 2018, algorithm 2. A shuffled latent is no image's own, so that each bears the mean of them.
            critic = 0.5 * (F.softplus(-logit) + F.softplus(other).mean())
            return Losses({"vae": loss + weight * logit, "critic": critic}, logs)
        if config.total_correlation != "none":
            _, tc, _ = elbo.decomposition(z, mean, log_variance, config.population, config.total_correlation)
            logs["total_correlation"], loss = tc, loss + weight * tc
        return Losses({"vae": loss}, logs)

    def _shuffled_logit(self, batch: Batch) -> Tensor:
        """[B]: the critic's logits of latents of other images, each entry shuffled over the batch by itself."""
        with torch.no_grad():
            mean, log_variance = self.posterior(self.codec.encode(batch.images))
            z = (mean + (0.5 * log_variance).exp() * batch.noise(*self.shape)).flatten(1)
            z = elbo.permuted(z, batch.noise(self.entries))
        return self._critic_logit(z)

    def _critic_logit(self, z: Tensor) -> Tensor:
        """[B, entries] -> [B]: the critic's logit, which estimates the log density ratio of q(z) and Π q(z_j), the total
        correlation in the mean. The last layer computes in float32, since bfloat16 is too coarse for an estimate."""
        features = self.critic[:-1](z).float()
        with no_autocast(z.device):
            logits: Tensor = self.critic[-1](features)
        return logits.squeeze(1)

    def _log_bin_volume(self, images: Tensor) -> float:
        """Nats: log of the volume of the bin that all grey values of a picture span, which turns a log density into a log mass;
        0 where the decoder gives masses."""
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
            log_likelihood = self._log_bin_volume(target) - likelihoods.nll(self.decoder_kind, target, out, log_scale)
        else:
            log_likelihood = likelihoods.log_mass(self.decoder_kind, target, out, log_scale)
        return in_float64(log_likelihood) + self.log_prior(z) - elbo.log_normal(z, mean, log_variance).flatten(1).sum(1)

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
        return torch.logsumexp(each + shares.log(), 1) + self._log_bin_volume(target)

    def error_spread(self, encoded: Tensor, latents: Tensor) -> Tensor:
        return likelihoods.spread(self.decoder_kind, encoded, self.coder.decoder(latents).float())

    def fit_scale(self, spread: Tensor) -> None:
        self.log_scale.copy_(likelihoods.optimal_log_scale(self.decoder_kind, spread))

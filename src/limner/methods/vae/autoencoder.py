"""The autoencoder, plain or denoising (Vincent et al. 2010, "Stacked Denoising Autoencoders"), with a prior fitted afterwards.

Without noise in the latents nothing keeps them near any known distribution: what it generates from is a mixture of Gaussians on
its latents (Ghosh et al. 2020, "From Variational to Deterministic Autoencoders", arXiv:1903.12436).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from limner.core.capabilities import Codec
from limner.core.cond import Batch
from limner.core.config import DataSpec
from limner.core.method import Losses, Phase, Player, StepContext
from limner.methods.vae import likelihoods
from limner.methods.vae.base import AutoencoderBase
from limner.methods.vae.config import AutoencoderConfig


class PlainAutoencoder(AutoencoderBase):
    """Also a Codec."""

    def __init__(self, config: AutoencoderConfig, codec: Codec, spec: DataSpec) -> None:
        super().__init__(config, codec, 1, "gaussian")
        self.config = config

    def players(self) -> Mapping[str, Player]:
        return {"autoencoder": Player("coder", self.config.optimiser, self.config.clip)}

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("reconstruction", ("autoencoder",)),)

    def posterior(self, encoded: Tensor) -> tuple[Tensor, None]:
        return self.coder.encoder(encoded).float(), None

    def expected_image(self, latents: Tensor) -> Tensor:
        return likelihoods.mean("gaussian", self.coder.decoder(latents).float(), self.codec.shape[0])

    def losses(self, phase: str, batches: tuple[Batch, ...], at: StepContext) -> Losses:
        (batch,) = batches
        target = self.codec.encode(batch.images)
        corrupted = target
        if self.config.noise:
            corrupted = corrupted + self.config.noise * batch.noise(*target.shape[1:])
        if self.config.hide:
            corrupted = corrupted * (batch.uniform(1, *target.shape[2:]) >= self.config.hide)
        z, _ = self.posterior(corrupted)
        squares = (target - self.coder.decoder(z).float()).square().flatten(1).sum(1)
        size = 0.5 * z.square().flatten(1).sum(1)
        logs = {"squared_error": squares / target[0].numel(), "latent_size": size}
        return Losses({"autoencoder": 0.5 * squares + self.config.latent_penalty * size}, logs)

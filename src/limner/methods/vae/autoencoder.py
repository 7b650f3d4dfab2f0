"""The autoencoder, plain or denoising (Vincent et al. 2010, "Stacked Denoising Autoencoders"), with a prior fitted afterwards.

Without noise in the latents nothing keeps them near any known distribution: what it generates from is a mixture of Gaussians on
its latents (Ghosh et al. 2020, "From Variational to Deterministic Autoencoders", arXiv:1903.12436).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field
from torch import Tensor

from limner.core.capabilities import Codec
from limner.core.cond import Batch
from limner.core.method import Losses, Phase, Player, StepContext
from limner.methods.vae import likelihoods
from limner.methods.vae.base import AutoencoderBase, AutoencoderBaseConfig


class AutoencoderConfig(AutoencoderBaseConfig):
    """An autoencoder's own choices."""

    kind: Literal["autoencoder"] = "autoencoder"
    noise: float = Field(0.0, ge=0)
    """Standard deviation of Gaussian noise on what the encoder sees, pixels being in [-1, 1]; 0 is the plain autoencoder."""
    hide: float = Field(0.0, ge=0, lt=1)
    """Share of the pixels that the encoder sees as the middle grey."""
    latent_penalty: float = Field(1e-2, ge=0)
    """Weight of ½|z|², which keeps the latents together for the prior: the plain RAE of Ghosh et al. 2020 (section 3), whose
    other variants, RAE-L2 among them, penalise the decoder beside it."""


class PlainAutoencoder(AutoencoderBase):
    """Also a Codec."""

    def __init__(self, config: AutoencoderConfig, codec: Codec, classes: tuple[str, ...] = ()) -> None:
        super().__init__(config, codec, 1, "gaussian")
        self.config = config

    def players(self) -> Mapping[str, Player]:
        return {"autoencoder": Player("coder", self.config.optimiser, self.config.clip)}

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("reconstruction", ("autoencoder",)),)

    def posterior(self, encoded: Tensor) -> tuple[Tensor, None]:
        return self.coder.encoder(encoded).float(), None

    def drawn(self, latents: Tensor) -> Tensor:
        return likelihoods.mean("gaussian", self.coder.decoder(latents).float(), self.codec.shape[0])

    def losses(self, phase: str, batches: tuple[Batch, ...], at: StepContext) -> Losses:
        (batch,) = batches
        target = self.codec.encode(batch.images)
        seen = target
        if self.config.noise:
            seen = seen + self.config.noise * batch.noise(*target.shape[1:])
        if self.config.hide:
            seen = seen * (batch.uniform(1, *target.shape[2:]) >= self.config.hide)
        z, _ = self.posterior(seen)
        squares = (target - self.coder.decoder(z).float()).square().flatten(1).sum(1)
        size = 0.5 * z.square().flatten(1).sum(1)
        logs = {"squared_error": squares / target[0].numel(), "latent_size": size}
        return Losses({"autoencoder": 0.5 * squares + self.config.latent_penalty * size}, logs)

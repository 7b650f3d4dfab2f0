"""Settings of autoencoders, plain and variational, and how they follow from the pictures. Without torch."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from limner.core.config import CodecKind, MethodConfig, RunContext, Sampling, Settings, all_of, only_if
from limner.core.errors import InputError
from limner.core.optimiser_settings import Clip, Optimiser
from limner.core.schedule import Scheduled, constant

Positive = Annotated[int, Field(ge=1)]


class AutoencoderSampling(Sampling):
    """How an autoencoder draws pictures: it decodes latents that are drawn from its prior.

    Truncation multiplies their distance from the prior's mean.
    """

    truncation: float = Field(1.0, gt=0, allow_inf_nan=False)
    """Below 1: more typical, less varied pictures."""


class AutoencoderBaseConfig(MethodConfig):
    """The networks, the latents and the prior."""

    makes: ClassVar[CodecKind | None] = "continuous"

    networks: Literal["conv", "mlp"] = "conv"
    """The kind of encoder and decoder: convolutions, or layers that see all pixels at once."""
    latent: int = Field(32, ge=1)
    """Entries of the latent vector; with `map`, channels of the latent map."""
    map: bool = False
    """A latent at every place of the smallest map, instead of one vector: sharper, and for other methods to work in."""
    down: int | None = Field(None, ge=1, json_schema_extra=only_if("networks", "conv"))
    """Halvings of the size (conv); as many as leave 4 pixels where none is given."""
    width: int = Field(32, ge=1, json_schema_extra=only_if("networks", "conv"))
    """Channels at half the image's size, doubled at every halving (conv)."""
    widest: int = Field(256, ge=1, json_schema_extra=only_if("networks", "conv"))
    """Most channels of a layer (conv)."""
    blocks: int = Field(1, ge=0, json_schema_extra=only_if("networks", "conv"))
    """Blocks at every size (conv); none is a plain convolutional network."""
    block: Literal["residual", "dense"] = Field(
        "residual", json_schema_extra=all_of(only_if("networks", "conv"), only_if("blocks", above=0))
    )
    """The kind of block: residual (He et al. 2016) or densely connected (Huang et al. 2017)."""
    broadcast: bool = Field(False, json_schema_extra=only_if("networks", "conv"))
    """The decoder makes its smallest map place by place, from the latent vector and the place (conv): position becomes a
    latent of its own (Watters et al. 2019, arXiv:1901.07017). `down` says how fine that map is."""
    hidden: int = Field(128, ge=1, json_schema_extra=only_if("broadcast", True))
    """Units of the layers between map and vector (`broadcast`)."""
    widths: tuple[Positive, ...] = Field((400, 400), json_schema_extra=only_if("networks", "mlp"))
    """Hidden layers of the encoder, and backwards of the decoder (mlp); none makes each of them one linear map."""
    prior: Literal["mixture", "normal"] = "mixture"
    """What samples are decoded from: `mixture` is fitted to the latents of training images at every checkpoint, since they
    never quite fill the standard normal; `normal` is N(0, 1)."""
    components: int = Field(24, ge=1, json_schema_extra=only_if("prior", "mixture"))
    """Gaussians in the mixture."""
    optimiser: Optimiser = Field(default_factory=lambda: Optimiser(lr=constant(1e-3)))
    """The optimiser of encoder and decoder."""
    clip: Clip | None = Field(default_factory=lambda: Clip(by="norm", limit=1000.0))
    """Bound of their gradients."""


class AutoencoderConfig(AutoencoderBaseConfig):
    """An autoencoder's own choices."""

    kind: Literal["autoencoder"] = "autoencoder"
    """The family."""
    noise: float = Field(0.0, ge=0)
    """Standard deviation of Gaussian noise on what the encoder sees, pixels being in [-1, 1]; 0 is the plain autoencoder."""
    hide: float = Field(0.0, ge=0, lt=1)
    """Share of the pixels that the encoder sees as the middle grey."""
    latent_penalty: float = Field(1e-2, ge=0)
    """Weight of ½|z|², which keeps the latents together for the prior: the plain RAE of Ghosh et al. 2020 (section 3), whose
    other variants, RAE-L2 among them, penalise the decoder beside it."""


class CriticConfig(Settings):
    """FactorVAE's second player."""

    widths: tuple[Positive, ...] = Field((256, 256, 256), min_length=1)
    """Units of its hidden layers."""
    optimiser: Optimiser = Field(default_factory=lambda: Optimiser(lr=constant(1e-4), betas=(0.5, constant(0.9))))
    """Its optimiser."""


class VaeConfig(AutoencoderBaseConfig):
    """A VAE's own choices."""

    kind: Literal["vae"] = "vae"
    """The family."""
    beta: Scheduled = Field(constant(1.0), json_schema_extra=only_if("capacity", None))
    """Weight of the KL divergence; may be warmed up."""
    capacity: Scheduled | None = None
    """Nats that the KL divergence is held at, in the place of `beta`; usually warmed up."""
    capacity_weight: float = Field(100.0, gt=0, json_schema_extra=only_if("capacity"))
    """Of the distance from it (the papers' γ)."""
    free_bits: float = Field(0.0, ge=0)
    """Nats that each latent may carry for nothing."""
    total_correlation: Literal["none", "weighted", "stratified", "critic"] = "none"
    """How the total correlation of the latents is estimated, where it has a weight: within a minibatch, or by a critic."""
    tc_weight: Scheduled = Field(constant(5.0), json_schema_extra=only_if("total_correlation", other_than=["none"]))
    """Weight of the total correlation beyond what the KL divergence holds: β − 1 of β-TCVAE, γ of FactorVAE."""
    population: int | Literal["auto"] = Field("auto", json_schema_extra=only_if("total_correlation", "weighted", "stratified"))
    """Training images, for the minibatch estimates. `auto`: as many as there are."""
    critic: CriticConfig = Field(default_factory=CriticConfig, json_schema_extra=only_if("total_correlation", "critic"))
    """The network that estimates the total correlation."""
    decoder: Literal["auto", "calibrated", "fixed", "laplace", "bernoulli", "logistic"] = "auto"
    """`calibrated`: Gaussian, with one σ for all pixels that is set to what minimises the loss on each batch; `laplace`
    likewise. `fixed`: Gaussian with `sigma`. `bernoulli`: for black-and-white pictures. `logistic`: a mixture per pixel.
    `auto`: `bernoulli` where `data.binary` drew black and white, `calibrated` elsewhere."""
    sigma: float = Field(1.0, gt=0, json_schema_extra=only_if("decoder", "fixed"))
    """On pixels in [-1, 1], for `decoder=fixed`; 1 makes the first term half the squared error."""
    mixtures: int = Field(5, ge=1, json_schema_extra=only_if("decoder", "logistic"))
    """Components per pixel of `decoder=logistic`."""

    def resolve(self, context: RunContext) -> VaeConfig:
        """decoder="auto" by the pictures, population="auto" as their number.

        Errors: `InputError` where the population is smaller than a batch and the total correlation is estimated by stratified
        minibatches, which must hold no picture twice.
        """
        values: dict[str, object] = {}
        if self.decoder == "auto":
            values["decoder"] = "bernoulli" if context.binary else "calibrated"
        population = context.training_images if self.population == "auto" else self.population
        if self.population == "auto":
            values["population"] = population
        if self.total_correlation == "stratified" and population < context.batch_size:
            raise InputError(
                f"method.total_correlation=stratified needs batches that hold no picture twice, and {context.batch_size} are "
                f"more than the {population} training pictures; set batch.size={max(population, 1)} or less, or "
                "method.total_correlation=weighted"
            )
        return self.model_copy(update=values)

    @classmethod
    def resolved_type(cls) -> type[MethodConfig]:
        return ResolvedVaeConfig


class ResolvedVaeConfig(VaeConfig):
    """A VAE in which everything is decided."""

    population: int
    decoder: Literal["calibrated", "fixed", "laplace", "bernoulli", "logistic"]

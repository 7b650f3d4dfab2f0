"""Which methods and presets there are: one literal table, so that a reader and a type checker can follow every arrow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

from limner.core.capabilities import Codec
from limner.core.method import Method
from limner.methods.gan.config import GanConfig
from limner.methods.gan.gan import Gan
from limner.methods.vae.autoencoder import AutoencoderConfig, PlainAutoencoder
from limner.methods.vae.vae import Vae, VaeConfig
from limner.methods.vq.prior import Prior, PriorConfig
from limner.methods.vq.vqvae import VqVae, VqVaeConfig

FamilyConfig = AutoencoderConfig | GanConfig | VaeConfig | VqVaeConfig | PriorConfig
MethodConfig = Annotated[FamilyConfig, Field(discriminator="kind")]


@dataclass(frozen=True)
class Family:
    """A row of the methods table."""

    config: type[FamilyConfig]
    method: Callable[[Any, Codec, tuple[str, ...]], Method]
    """(its config, what it works in, names of classes) -> the untrained Method. Errors: `InputError` for choices that do not go
    together, or do not fit the images."""
    line: str
    paper: str


METHODS: Mapping[str, Family] = {
    "autoencoder": Family(
        AutoencoderConfig,
        PlainAutoencoder,
        "an encoder and a decoder, and what fits their latents",
        "Ghosh et al. 2020, arXiv:1903.12436",
    ),
    "gan": Family(GanConfig, Gan, "two networks that play against each other", "Goodfellow et al. 2014, arXiv:1406.2661"),
    "vae": Family(
        VaeConfig, Vae, "an encoder and a decoder with a known latent space", "Kingma & Welling 2013, arXiv:1312.6114"
    ),
    "vqvae": Family(VqVaeConfig, VqVae, "an autoencoder whose latents are codes", "van den Oord et al. 2017, arXiv:1711.00937"),
    "prior": Family(
        PriorConfig, Prior, "a transformer that draws a finished codec's codes", "van den Oord et al. 2017, arXiv:1711.00937"
    ),
}


@dataclass(frozen=True)
class Preset:
    family: str
    line: str
    paper: str


PRESETS: Mapping[str, Preset] = {  # by family; within one, what an error names first stands first
    "dcgan": Preset("gan", "convolutional GAN: sharp pictures in minutes", "Radford et al. 2015, arXiv:1511.06434"),
    "gan": Preset("gan", "the first, fully connected GAN", "Goodfellow et al. 2014, arXiv:1406.2661"),
    "cgan": Preset("gan", "conditional GAN: pictures of the class that is asked for", "Mirza & Osindero 2014, arXiv:1411.1784"),
    "lsgan": Preset("gan", "least squares in the place of cross-entropy", "Mao et al. 2016, arXiv:1611.04076"),
    "wgan": Preset("gan", "Wasserstein distance, by a critic with clipped weights", "Arjovsky et al. 2017, arXiv:1701.07875"),
    "wgan-gp": Preset(
        "gan", "Wasserstein distance, by a critic with a gradient penalty", "Gulrajani et al. 2017, arXiv:1704.00028"
    ),
    "sngan": Preset("gan", "residual networks, spectral normalisation, hinge loss", "Miyato et al. 2018, arXiv:1802.05957"),
    "densegan": Preset("gan", "GAN of densely connected networks", "Huang et al. 2017, arXiv:1608.06993"),
    "r3gan": Preset("gan", "relativistic pairs, two penalties: the best here", "Huang et al. 2024, arXiv:2501.05441"),
    "vae": Preset(
        "vae",
        "variational autoencoder: soft pictures, steady training, reconstructs",
        "Kingma & Welling 2013, arXiv:1312.6114; calibrated decoder: Rybkin et al. 2021, arXiv:2006.13202",
    ),
    "beta-vae": Preset(
        "vae",
        "VAE with few, separate latents: what can be turned",
        "Higgins et al. 2017; Burgess et al. 2018, arXiv:1804.03599",
    ),
    "factor-vae": Preset("vae", "VAE whose latents a critic keeps independent", "Kim & Mnih 2018, arXiv:1802.05983"),
    "tc-vae": Preset("vae", "VAE whose latents are kept independent within the batch", "Chen et al. 2018, arXiv:1802.04942"),
    "autoencoder": Preset(
        "autoencoder",
        "compresses and reconstructs; draws from what fits its latents",
        "Ghosh et al. 2020, arXiv:1903.12436; denoising: Vincent et al. 2010",
    ),
    "vq-vae": Preset(
        "prior", "a learned book of codes, and a transformer that draws them", "van den Oord et al. 2017, arXiv:1711.00937"
    ),
    "fsq": Preset(
        "prior", "codes by finite scalars, and a transformer that draws them", "Mentzer et al. 2023, arXiv:2309.15505"
    ),
    "vqgan": Preset(
        "prior",
        "codes whose decoder a patch discriminator sharpens, and a transformer that draws them",
        "Esser et al. 2021, arXiv:2012.09841",
    ),
    "prior": Preset(
        "prior",
        "another transformer for the codes of a finished run (codec=RUN)",
        "van den Oord et al. 2017, arXiv:1711.00937",
    ),
}

DEFAULT_PRESET = "dcgan"


def default_method() -> FamilyConfig:
    """What a recipe trains that names no method: the family of the default preset, as it is without a preset's settings."""
    return METHODS[PRESETS[DEFAULT_PRESET].family].config()


def methods_table() -> list[dict[str, str]]:
    """Every preset with its family, one line and its paper."""
    return [{"name": name, "family": p.family, "line": p.line, "paper": p.paper} for name, p in sorted(PRESETS.items())]


class Knobs(BaseModel):  # until each family brings its own
    truncation: float = Field(1.0, description="Below 1: more typical, less varied pictures.")
    temperature: float = Field(1.0, description="Priors over codes: below 1, more typical, less varied.")
    top_k: int = Field(0, description="Priors over codes: draw from so many likeliest codes only; 0 is all.")
    top_p: float = Field(1.0, description="Priors over codes: from the likeliest of this mass only; 1 is all.")

    def changed(self) -> dict[str, float]:
        return {k: v for k, v in self.model_dump().items() if v != type(self).model_fields[k].default}


def sampling_fields() -> Mapping[str, FieldInfo]:
    return Knobs.model_fields

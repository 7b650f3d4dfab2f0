"""The tables of methods and of presets, to which other packages may add rows (`limner.core.table`).

This module does not import torch: the code of a family is imported when one of its methods is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from limner.core.config import ConditionKind, DataSpec, MethodConfig, Sampling
from limner.core.documents import MissingFileError, parse_yaml, read_yaml
from limner.core.errors import InputError, short_repr
from limner.core.table import Table
from limner.methods.flow.config import FlowConfig, FlowSampling
from limner.methods.gan.config import GanConfig, GanSampling
from limner.methods.vae.config import AutoencoderConfig, AutoencoderSampling, VaeConfig
from limner.methods.vq.config import PriorConfig, PriorSampling, VqVaeConfig, VqVaeSampling

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from limner.core.capabilities import Codec
    from limner.core.method import Method


RESERVED_NAMES = frozenset(
    (
        *("run", "seeds", "count", "label", "text", "given", "sampling", "checkpoint", "grid", "npz", "out", "metadata"),
        *("files", "labels", "texts", "images_per_second", "network_passes", "checkpoint_notes", "on_progress", "as_json"),
    )
)
"""Names that no sampling setting may have: the options of `limner sample` and the keys of its result."""


@dataclass(frozen=True)
class Family:
    """A row of the table of methods. Its name is the `kind` of its config."""

    config: type[MethodConfig]
    """The settings of the family: the part `method` of a recipe."""
    sampling: type[Sampling]
    """The settings for drawing pictures; the same as the method's `sampling_type`."""
    build: Callable[[Any, Codec, DataSpec], Method]
    """Imports and builds the untrained Method for a config without "auto", a codec to work in, and a description of the data.
    Errors: `InputError` for settings that do not go together, or do not fit the data."""
    line: str
    """A description in one line."""
    paper: str
    """The publication."""
    accepts: frozenset[ConditionKind] = frozenset()
    """The conditions that some method of the family takes. Where data hold one that a run does not use, its notes name the
    presets whose family does."""

    def __post_init__(self) -> None:
        """Errors: `InputError` for a field of another type, and where a sampling setting has a name that `limner sample` needs
        for itself."""
        for name, value, base in (("config", self.config, MethodConfig), ("sampling", self.sampling, Sampling)):
            if not (isinstance(value, type) and issubclass(value, base)):
                raise InputError(f"{name}={short_repr(value)} of a family is no subclass of {base.__name__}")
        if not callable(self.build):
            raise InputError(f"build={short_repr(self.build)} of a family is no function that builds the method")
        for name in self.sampling.model_fields:
            if name in RESERVED_NAMES:
                raise InputError(
                    f"the sampling setting '{name}' has the name of an option or result of `limner sample`; rename it"
                )


def _check_family(name: str, family: Family) -> None:
    """Errors: `InputError` where the config of a family has another `kind` than the `name` of its row, by which it is found."""
    field = family.config.model_fields["kind"]
    kinds = [field.default] if isinstance(field.default, str) else list(get_args(field.annotation))
    if name not in kinds:
        kind = kinds[0] if kinds else "none"
        raise InputError(
            f"the kind of {family.config.__name__} is '{kind}'; write kind: Literal['{name}'] = '{name}', or name it '{kind}'"
        )


def _build_autoencoder(config: Any, codec: Codec, spec: DataSpec) -> Method:
    from limner.methods.vae.autoencoder import PlainAutoencoder

    return PlainAutoencoder(config, codec, spec)


def _build_flow(config: Any, codec: Codec, spec: DataSpec) -> Method:
    from limner.methods.flow.flow import Flow

    return Flow(config, codec, spec)


def _build_gan(config: Any, codec: Codec, spec: DataSpec) -> Method:
    from limner.methods.gan.gan import Gan

    return Gan(config, codec, spec)


def _build_vae(config: Any, codec: Codec, spec: DataSpec) -> Method:
    from limner.methods.vae.vae import Vae

    return Vae(config, codec, spec)


def _build_vqvae(config: Any, codec: Codec, spec: DataSpec) -> Method:
    from limner.methods.vq.vqvae import VqVae

    return VqVae(config, codec, spec)


def _build_prior(config: Any, codec: Codec, spec: DataSpec) -> Method:
    from limner.methods.vq.prior import Prior

    return Prior(config, codec, spec)


LABELS: frozenset[ConditionKind] = frozenset({"label"})
METHODS = Table(
    "limner.methods",
    Family,
    {
        "autoencoder": Family(
            AutoencoderConfig,
            AutoencoderSampling,
            _build_autoencoder,
            "an encoder and a decoder, and a distribution fitted to their latents",
            "Ghosh et al. 2020, arXiv:1903.12436",
        ),
        "flow": Family(
            FlowConfig,
            FlowSampling,
            _build_flow,
            "a velocity that carries noise to pictures in a few steps",
            "Lipman et al. 2023, arXiv:2210.02747; Liu et al. 2023, arXiv:2209.03003",
            LABELS,
        ),
        "gan": Family(
            GanConfig,
            GanSampling,
            _build_gan,
            "a generator and a discriminator, trained against each other",
            "Goodfellow et al. 2014, arXiv:1406.2661",
            LABELS,
        ),
        "vae": Family(
            VaeConfig,
            AutoencoderSampling,
            _build_vae,
            "an encoder and a decoder with a known latent space",
            "Kingma & Welling 2013, arXiv:1312.6114",
        ),
        "vqvae": Family(
            VqVaeConfig,
            VqVaeSampling,
            _build_vqvae,
            "an autoencoder whose latents are codes",
            "van den Oord et al. 2017, arXiv:1711.00937",
        ),
        "prior": Family(
            PriorConfig,
            PriorSampling,
            _build_prior,
            "a transformer that draws a finished codec's codes",
            "van den Oord et al. 2017, arXiv:1711.00937",
            LABELS,
        ),
    },
    _check_family,
)
"""Families of methods, by the `kind` of their config."""


@dataclass(frozen=True)
class Preset:
    """A row of the table of presets: settings of a family for one published method."""

    family: str
    """The name of the family in the table of methods."""
    line: str
    """A description in one line."""
    paper: str
    """The publication."""
    recipe: Path | str | None = None
    """The settings in YAML, as the path of a file or as text; None: they are in ``presets/NAME.yaml`` beside this module."""

    def __post_init__(self) -> None:
        """Errors: `InputError` for a recipe that is neither a text nor a path."""
        if not isinstance(self.recipe, str | Path | None):
            raise InputError(
                f"recipe={short_repr(self.recipe)} of a preset is a {type(self.recipe).__name__}; give YAML, such as "
                f"recipe='method: {{kind: {self.family}}}', or the Path of a YAML file"
            )


def settings_of_file(path: Path) -> dict[str, Any]:
    """The settings in a recipe file. Errors: `InputError` where there is no such file, or no mapping in it."""
    try:
        tree = read_yaml(path)
    except MissingFileError as error:
        raise InputError(f"no recipe at {path}") from error
    return _mapping(tree, f"{path} is not a recipe: it holds no keys")


def settings_of_preset(name: str, preset: Preset) -> dict[str, Any]:
    """The settings of the preset `name`, in its row or in the file that the row names. Errors: `InputError` for bad YAML."""
    source = preset.recipe
    if isinstance(source, Path):
        return settings_of_file(source)
    if source is None:
        if name not in PRESETS.own:
            raise InputError(f"it has no recipe; give recipe='method: {{kind: {preset.family}}}', or the Path of a YAML file")
        source = (resources.files("limner.recipes") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
    hint = f"; write Path({source!r}) for a file" if source.endswith((".yaml", ".yml")) else ""
    return _mapping(parse_yaml(source, f"preset '{name}'"), f"preset '{name}' holds no keys{hint}")


def _mapping(tree: Any, message: str) -> dict[str, Any]:
    """`tree`, where it is a mapping whose keys are texts. Errors: `InputError` with `message` for anything else."""
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise InputError(message)
    return tree


def _check_preset(name: str, preset: Preset) -> None:
    """Errors: `InputError` where the recipe of a preset cannot be read, calls itself by another name, or is of another family
    than its row says. Its settings are checked when they are used, since the family may be registered after its presets."""
    tree = settings_of_preset(name, preset)
    if tree.get("preset", name) != name:
        raise InputError(f"its recipe says preset: {tree['preset']}; leave that out, or register it under that name")
    method = tree.get("method")
    kind = method.get("kind") if isinstance(method, dict) else None
    if kind is None:
        raise InputError(f"its recipe names no method; begin it with method: {{kind: {preset.family}}}")
    if kind != preset.family:
        raise InputError(f"its recipe has method.kind={kind} and its row the family '{preset.family}'; give the same in both")


PRESETS = Table(
    "limner.presets",
    Preset,
    {  # by family; the first preset of a family is the one that messages recommend
        "dcgan": Preset("gan", "convolutional GAN: sharp pictures in minutes", "Radford et al. 2015, arXiv:1511.06434"),
        "gan": Preset("gan", "the first, fully connected GAN", "Goodfellow et al. 2014, arXiv:1406.2661"),
        "cgan": Preset("gan", "conditional GAN: draws pictures of a requested class", "Mirza & Osindero 2014, arXiv:1411.1784"),
        "lsgan": Preset("gan", "GAN with least squares instead of cross-entropy", "Mao et al. 2016, arXiv:1611.04076"),
        "wgan": Preset(
            "gan", "GAN of the Wasserstein distance, by a critic with clipped weights", "Arjovsky et al. 2017, arXiv:1701.07875"
        ),
        "wgan-gp": Preset(
            "gan",
            "GAN of the Wasserstein distance, by a critic with a gradient penalty",
            "Gulrajani et al. 2017, arXiv:1704.00028",
        ),
        "sngan": Preset(
            "gan",
            "GAN of residual networks, with spectral normalisation and hinge loss",
            "Miyato et al. 2018, arXiv:1802.05957",
        ),
        "densegan": Preset("gan", "GAN of densely connected networks", "Huang et al. 2017, arXiv:1608.06993"),
        "r3gan": Preset(
            "gan", "relativistic GAN with two gradient penalties: the best GAN here", "Huang et al. 2024, arXiv:2501.05441"
        ),
        "flow": Preset(
            "flow",
            "flow matching: noise becomes a picture in a few steps; the best for few pictures",
            "Lipman et al. 2023, arXiv:2210.02747; Liu et al. 2023, arXiv:2209.03003",
        ),
        "vae": Preset(
            "vae",
            "variational autoencoder: soft pictures, steady training, reconstructs",
            "Kingma & Welling 2013, arXiv:1312.6114; calibrated decoder: Rybkin et al. 2021, arXiv:2006.13202",
        ),
        "beta-vae": Preset(
            "vae",
            "VAE with few latents that vary independently, for traversals",
            "Higgins et al. 2017; Burgess et al. 2018, arXiv:1804.03599",
        ),
        "factor-vae": Preset("vae", "VAE whose latents a critic keeps independent", "Kim & Mnih 2018, arXiv:1802.05983"),
        "tc-vae": Preset(
            "vae", "VAE whose latents are kept independent within the batch", "Chen et al. 2018, arXiv:1802.04942"
        ),
        "autoencoder": Preset(
            "autoencoder",
            "compresses and reconstructs; draws from a distribution fitted to its latents",
            "Ghosh et al. 2020, arXiv:1903.12436; denoising: Vincent et al. 2010",
        ),
        "vq-vae": Preset(
            "prior", "a learned codebook, and a transformer that draws codes", "van den Oord et al. 2017, arXiv:1711.00937"
        ),
        "fsq": Preset(
            "prior",
            "codes by finite scalar quantisation, and a transformer that draws them",
            "Mentzer et al. 2023, arXiv:2309.15505",
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
    },
    _check_preset,
)
"""Presets by name."""

DEFAULT_PRESET = "dcgan"


def default_method() -> MethodConfig:
    """The method of a recipe that names none: the family of the default preset, with the defaults of its config."""
    return METHODS[PRESETS[DEFAULT_PRESET].family].config.model_validate({})


def methods_table() -> list[dict[str, str]]:
    """A row for every preset, in alphabetical order: `name`, `family`, `line` and `paper`."""
    return [{"name": name, "family": p.family, "line": p.line, "paper": p.paper} for name, p in sorted(PRESETS.items())]


def sampling_fields() -> Mapping[str, FieldInfo]:
    """The sampling settings of all families, for help and forms. One of several families has the descriptions of all."""
    fields: dict[str, FieldInfo] = {}
    for kind, family in METHODS.items():
        for name, info in family.sampling.model_fields.items():
            earlier = fields.setdefault(name, info)
            if info.description and info.description not in (earlier.description or ""):
                fields[name] = copy(earlier)
                fields[name].description = f"{earlier.description or ''} Of {kind}: {info.description}".strip()
    return fields

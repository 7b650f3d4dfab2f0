"""Both players' networks, from a GAN's settings."""

from __future__ import annotations

from torch import nn

from limner.core.errors import InputError
from limner.methods.gan.conditioning import Discriminator, Generator
from limner.methods.gan.config import MIN_IMAGE_SIDE, ResolvedGanConfig
from limner.nets.dcgan import DcganGenerator, DcganSize, DcganTrunk
from limner.nets.densenet import DenseGenerator, DenseSize, DenseTrunk
from limner.nets.mlp import MlpGenerator, MlpTrunk
from limner.nets.r3 import R3Generator, R3Size, R3Trunk
from limner.nets.resnet import ResnetGenerator, ResnetTrunk

Shape = tuple[int, ...]
Trunk = MlpTrunk | DcganTrunk | ResnetTrunk | DenseTrunk | R3Trunk


def build_networks(config: ResolvedGanConfig, shape: Shape, classes: int) -> tuple[Generator, Discriminator]:
    """The untrained generator and discriminator for images (or latents) of `shape` (C, H, W); `classes` is 0 where labels do
    not matter.

    Errors: `InputError` where the images are too small for them, or they cannot take a label in the way that is asked for.
    """
    g, d = config.generator, config.discriminator
    size = (shape[1], shape[2]) if len(shape) == 3 else (1, 1)
    _check(config, shape, classes)
    latent = Generator.inputs(config.latent, classes, g.labels)
    norm_classes = classes if g.labels == "norm" else 0
    discriminator_shape = (Discriminator.channels(shape[0], classes, d.labels), *shape[1:])
    network, trunk = _build_pair(config, latent, shape, discriminator_shape, norm_classes)
    return (
        Generator(network, classes, g.labels),
        Discriminator(trunk, trunk.features, size, classes, d.labels, d.spectral),
    )


def _check(config: ResolvedGanConfig, shape: Shape, classes: int) -> None:
    """Errors: `InputError` for settings that do not go together, or do not fit the images."""
    g, d, networks = config.generator, config.discriminator, config.networks
    if classes and g.labels == "norm" and not g.has_norms(networks):
        raise InputError(
            f"method.generator.labels=norm needs a generator with batch norm (dcgan, resnet, densenet), not {networks} "
            f"with norm={g.norm}; set method.generator.labels=concat"
        )
    if d.norm == "batch" and networks != "dcgan":
        raise InputError(f"method.discriminator.norm=batch is for method.networks=dcgan, not {networks}; leave it out")
    if d.dropout and networks not in ("dcgan", "mlp"):
        raise InputError(f"method.discriminator.dropout is for dcgan and mlp, not {networks}; leave it out")
    if d.spectral and networks == "r3":
        raise InputError("method.networks=r3 starts with layers at zero, which have no spectral norm; leave spectral out")
    if networks != "mlp" and (len(shape) != 3 or min(shape[1:]) < MIN_IMAGE_SIDE):
        raise InputError(
            f"method.networks={networks} needs images of at least {MIN_IMAGE_SIDE}x{MIN_IMAGE_SIDE}, not "
            f"{'x'.join(map(str, shape[1:]))}; use method.networks=mlp, or a larger data.size"
        )
    if classes and d.labels == "concat" and len(shape) != 3:
        raise InputError("method.discriminator.labels=concat needs images; set method.discriminator.labels=projection")


def _build_pair(
    config: ResolvedGanConfig, latent: int, shape: Shape, discriminator_shape: Shape, norm_classes: int
) -> tuple[nn.Module, Trunk]:
    """The generator's network, from `latent` numbers to images of `shape`, and the discriminator's for what it is shown.

    `norm_classes`: classes that have gains and biases of their own in the generator's norms.
    """
    g, d = config.generator, config.discriminator
    if config.networks == "mlp":
        return MlpGenerator(latent, shape, g.widths, g.norm == "batch"), MlpTrunk(discriminator_shape, d.widths, d.dropout)
    (c, h, w), (k, *_) = shape, discriminator_shape
    match config.networks:
        case "dcgan":
            network: nn.Module = DcganGenerator(latent, (c, h, w), DcganSize(g.width, g.widest, g.extra), g.norm, norm_classes)
            trunk: Trunk = DcganTrunk((k, h, w), DcganSize(d.width, d.widest, d.extra), d.norm, d.dropout)
        case "resnet":
            network = ResnetGenerator(latent, (c, h, w), g.width, g.widest, g.norm, norm_classes)
            trunk = ResnetTrunk((k, h, w), d.width, d.widest, d.blocks)
        case "densenet":
            network = DenseGenerator(latent, (c, h, w), DenseSize(g.width, g.widest, g.blocks), g.norm, norm_classes)
            trunk = DenseTrunk((k, h, w), DenseSize(d.width, d.widest, d.blocks))
        case "r3":
            sizes = [R3Size(p.width, p.widest, p.blocks, p.expansion, p.group, p.patch) for p in (g, d)]
            network, trunk = R3Generator(latent, (c, h, w), sizes[0]), R3Trunk((k, h, w), sizes[1])
    return network, trunk

"""What a Method can do beside training and sampling, and what a Method works in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from limner.core.cond import Cond
from limner.core.config import CodecKind

Capability = Literal["autoencoder", "latent decoder", "velocity field", "likelihood bound"]


class Codec(Protocol):
    """What a Method works *in*: pixels, or the latents of a trained autoencoder."""

    @property
    def kind(self) -> CodecKind:
        """Real numbers, or codes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one encoded image, without the batch axis."""

    @property
    def vocabulary(self) -> int | None:
        """How many codes there are; None for real numbers."""

    def encode(self, images: Tensor) -> Tensor:
        """[B, C, H, W] in [-1, 1] -> [B, *shape]. Deterministic: the mean, or the indices."""

    def decode(self, latents: Tensor) -> Tensor:
        """[B, *shape] -> [B, C, H, W] in [-1, 1]."""


class Autoencoder(ABC):
    """A Method that turns pictures into latents and back: it can be the codec of another one."""

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """[B, C, H, W] in [-1, 1] -> [B, *shape], differentiable in `images` where the latents are continuous."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """[B, *shape] -> [B, C, H, W] in [-1, 1], differentiable in `latents` where these are continuous."""


class LatentDecoder(ABC):
    """A Method whose pictures are a smooth function of a vector: they can be inverted, interpolated and truncated."""

    gaussian: bool = True
    """Whether the vectors are standard normal; paths between them then run along the sphere."""

    @abstractmethod
    def latents(self, seeds: Sequence[int]) -> Tensor:
        """[len(seeds), dim]: what `sample` decodes; row i depends on seeds[i] alone."""

    @abstractmethod
    def picture(self, latents: Tensor, cond: Cond) -> Tensor:
        """[B, dim] -> [B, C, H, W] in [-1, 1], differentiable in `latents`."""


class VelocityField(ABC):
    """A Method that carries noise to pictures along a velocity: it can be solved, guided, inpainted and edited.

    Time runs from 0, standard normal noise, to 1, a picture (Lipman et al. 2023, arXiv:2210.02747).
    """

    @abstractmethod
    def velocity(self, x: Tensor, time: Tensor, cond: Cond) -> Tensor:
        """[B, *codec.shape] at `time` [B] in 0..1 -> dx/dt [B, *codec.shape], differentiable in `x`."""


class LikelihoodBound(ABC):
    """A Method that bounds the likelihood of pictures from below."""

    entries: int
    """Numbers in a latent."""

    @property
    def needs_binary_images(self) -> bool:
        """Whether only pictures of black and white have a likelihood."""
        return False

    @abstractmethod
    def log_weight(self, images: Tensor, noise: Tensor, density: bool = False) -> Tensor:
        """[B] nats: log p(x|z) + log p(z) − log q(z|x) at one z ~ q(z|x), made of `noise` [B, dim], standard normal.

        p(x|z) is the probability of the pictures' grey values, so that no dequantisation is needed; or, with `density`, what
        `log_density` says of them. The mean over draws is the ELBO; log-mean-exp of K draws is the importance-weighted bound
        (Burda et al. 2015, arXiv:1509.00519, eq. 8).
        """

    @property
    def exact(self) -> bool:
        """Whether the likelihood itself is known, and not only bounded."""
        return False

    def log_density(self, images: Tensor) -> Tensor:
        """[B] nats: log p(x) of an `exact` model, exactly: the density of the grey values times the width of their bins."""
        raise NotImplementedError("only a model whose likelihood is known exactly has a density")


CAPABILITIES: Mapping[Capability, type[ABC]] = {
    "autoencoder": Autoencoder,
    "latent decoder": LatentDecoder,
    "velocity field": VelocityField,
    "likelihood bound": LikelihoodBound,
}


def capabilities(method: object) -> frozenset[Capability]:
    """What `method` can do beside training and sampling: what command line, studio and verbs ask before they offer something.

    >>> from limner.methods.gan.gan import Gan
    >>> sorted(name for name, kind in CAPABILITIES.items() if issubclass(Gan, kind))
    ['latent decoder']
    """
    return frozenset(name for name, kind in CAPABILITIES.items() if isinstance(method, kind))


@dataclass(frozen=True)
class Pixels:
    """The identity: images themselves. Pixel and latent models share one path."""

    shape: tuple[int, ...]
    kind: CodecKind = "continuous"
    vocabulary: int | None = None

    def encode(self, images: Tensor) -> Tensor:
        """[B, C, H, W], as it is."""
        return images

    def decode(self, latents: Tensor) -> Tensor:
        """[B, C, H, W], as it is."""
        return latents


@dataclass(frozen=True)
class ScaledCodec:
    """Another codec, its continuous latents moved and scaled to the range that a method works in.

    `centre` and `spread` [*shape] are buffers of that method, so that they travel in its checkpoints under its own names: zeros
    and ones at first, which leave latents as they are. Since a module replaces its buffers when it moves to another device,
    the method makes a `ScaledCodec` of them whenever it needs one.
    """

    codec: Codec
    centre: Tensor
    spread: Tensor

    @property
    def kind(self) -> CodecKind:
        """That of the codec inside."""
        return self.codec.kind

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the codec inside."""
        return self.codec.shape

    @property
    def vocabulary(self) -> int | None:
        """That of the codec inside."""
        return self.codec.vocabulary

    def encode(self, images: Tensor) -> Tensor:
        """[B, C, H, W] in [-1, 1] -> [B, *shape]."""
        return (self.codec.encode(images) - self.centre) / self.spread

    def decode(self, latents: Tensor) -> Tensor:
        """[B, *shape] -> [B, C, H, W] in [-1, 1]; differentiable where the codec's is."""
        return self.codec.decode(latents * self.spread + self.centre)

    @torch.no_grad()
    def fit(self, images: Iterable[Tensor], deviations: float) -> None:
        """Sets `centre` and `spread`, in place, so that the latents of `images` (batches [B, C, H, W]) have mean zero and so
        many standard `deviations` at each place are one. Pixels are between -1 and 1 as they are, and stay so."""
        if isinstance(self.codec, Pixels):
            return
        latents = torch.cat([self.codec.encode(batch) for batch in images])
        self.centre.copy_(latents.mean(0))
        self.spread.copy_(deviations * latents.std(0).clamp(min=1e-6))

"""Codecs, in whose latents a Method works, and the abstract classes of what a Method can do beside training and sampling."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from limner.core.cond import Cond
from limner.core.config import CodecKind

Capability = Literal["autoencoder", "latent decoder", "velocity field", "likelihood bound"]


class Codec(Protocol):
    """The space in which a Method works: pixels, or the latents of a trained autoencoder."""

    @property
    def kind(self) -> CodecKind:
        """Whether latents are real numbers or indices of codes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the latents of one image."""

    @property
    def vocabulary(self) -> int | None:
        """Number of codes; None for continuous latents."""

    def encode(self, images: Tensor) -> Tensor:
        """[B, C, H, W] in [-1, 1] -> [B, *shape]: the mean of the latents, or int64 indices of codes. Nothing is drawn."""

    def decode(self, latents: Tensor) -> Tensor:
        """[B, *shape] -> [B, C, H, W] in [-1, 1]."""


class Autoencoder(ABC):
    """A Method that encodes pictures as latents and decodes them, so that it can be the codec of another Method."""

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """[B, C, H, W] in [-1, 1] -> [B, *shape], differentiable in `images` where the latents are continuous."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """[B, *shape] -> [B, C, H, W] in [-1, 1], differentiable in `latents` where these are continuous."""


class LatentDecoder(ABC):
    """A Method whose pictures are a smooth function of a vector, so that they can be inverted, interpolated and truncated."""

    gaussian: bool = True
    """Whether the vectors are standard normal. Interpolation between them is spherical then, otherwise linear."""

    @abstractmethod
    def latents(self, seeds: Sequence[int]) -> Tensor:
        """[len(seeds), dim]: the vectors that `sample` decodes; row i depends on seeds[i] alone."""

    @abstractmethod
    def picture(self, latents: Tensor, cond: Cond) -> Tensor:
        """[B, dim] -> [B, C, H, W] in [-1, 1], differentiable in `latents`."""


class VelocityField(ABC):
    """A Method that turns noise into pictures by integrating a velocity, as samplers, inpainting and editing need it.

    Time runs from 1, standard normal noise, to 0, a picture: x_t = (1 − t)·x₀ + t·ε (Liu et al. 2023, arXiv:2209.03003, with
    the time reversed).
    """

    read_guide: Callable[[], Mapping[str, Tensor] | None] | None = None
    """Reads the weights of an early checkpoint of the same run, by the names of the state dict, which can guide sampling
    (autoguidance: Karras et al. 2024, arXiv:2406.02507); None for a run without one. Whoever loads a run sets it."""

    network_calls: int = 0
    """How often the network was called, each time for all pictures of a pass, since the method was built. What a picture
    costs is the difference over a draw."""

    @abstractmethod
    def velocity(self, x: Tensor, time: Tensor, cond: Cond) -> Tensor:
        """x [B, *codec.shape] at `time` [B] in 0..1 -> dx/dt [B, *codec.shape], differentiable in `x`."""


class LikelihoodBound(ABC):
    """A Method that has a lower bound of the likelihood of pictures."""

    entries: int
    """Number of values in the latents of one picture."""

    @property
    def needs_binary_images(self) -> bool:
        """Whether the likelihood is one of pictures in black and white alone."""
        return False

    @abstractmethod
    def log_weight(self, images: Tensor, noise: Tensor, density: bool = False) -> Tensor:
        """[B] in nats: log p(x|z) + log p(z) − log q(z|x) at one z drawn from q(z|x) by standard normal `noise` [B, dim].

        p(x|z) is the probability of the grey values of `images` [B, C, H, W], so that no dequantisation is needed; with
        `density` it is the density that `log_density` uses. The mean over draws is the ELBO; the log-mean-exp of K draws is the
        importance-weighted bound (Burda et al. 2015, arXiv:1509.00519, eq. 8).
        """

    @property
    def exact(self) -> bool:
        """Whether `log_density` gives the likelihood itself."""
        return False

    def log_density(self, images: Tensor) -> Tensor:
        """[B] in nats: log p(x) of an `exact` model, the density of the grey values times the width of their bins."""
        raise NotImplementedError("only a model whose likelihood is known exactly has a density")


CAPABILITIES: Mapping[Capability, type[ABC]] = {
    "autoencoder": Autoencoder,
    "latent decoder": LatentDecoder,
    "velocity field": VelocityField,
    "likelihood bound": LikelihoodBound,
}
"""Capabilities by name, and the abstract classes that stand for them."""


def capabilities(method: object) -> frozenset[Capability]:
    """The capabilities of `method`, by which verbs and user interfaces decide what they offer.

    >>> from limner.methods.gan.gan import Gan
    >>> sorted(name for name, kind in CAPABILITIES.items() if issubclass(Gan, kind))
    ['latent decoder']
    """
    return frozenset(name for name, kind in CAPABILITIES.items() if isinstance(method, kind))


@dataclass(frozen=True)
class Pixels:
    """The codec that leaves images as they are, so that methods treat pixels and latents alike."""

    shape: tuple[int, ...]
    kind: CodecKind = "continuous"
    vocabulary: int | None = None

    def encode(self, images: Tensor) -> Tensor:
        """`images` themselves."""
        return images

    def decode(self, latents: Tensor) -> Tensor:
        """`latents` themselves."""
        return latents


@dataclass(frozen=True)
class ScaledCodec:
    """A codec whose latents are those of another one, (z − `centre`) / `spread`.

    `centre` and `spread` [*shape] are buffers of the method that works in the latents, so that its checkpoints hold them; zeros
    and ones, their initial values, leave latents as they are. A module replaces its buffers when it moves to another device, so
    the method makes a new `ScaledCodec` whenever it needs one.
    """

    codec: Codec
    centre: Tensor
    spread: Tensor

    @property
    def kind(self) -> CodecKind:
        """As of the other codec."""
        return self.codec.kind

    @property
    def shape(self) -> tuple[int, ...]:
        """As of the other codec."""
        return self.codec.shape

    @property
    def vocabulary(self) -> int | None:
        """As of the other codec."""
        return self.codec.vocabulary

    def encode(self, images: Tensor) -> Tensor:
        """[B, C, H, W] in [-1, 1] -> [B, *shape]."""
        return (self.codec.encode(images) - self.centre) / self.spread

    def decode(self, latents: Tensor) -> Tensor:
        """[B, *shape] -> [B, C, H, W] in [-1, 1]; differentiable where the codec's is."""
        return self.codec.decode(latents * self.spread + self.centre)

    @torch.no_grad()
    def fit(self, images: Iterable[Tensor], deviations: float) -> None:
        """Sets `centre` and `spread`, in place, by the latents of `images`, batches [B, C, H, W].

        At each place the mean becomes 0, and `deviations` standard deviations become 1. Pixels, which are in [-1, 1] already,
        stay as they are.
        """
        if isinstance(self.codec, Pixels):
            return
        latents = torch.cat([self.codec.encode(batch) for batch in images])
        self.centre.copy_(latents.mean(0))
        self.spread.copy_(deviations * latents.std(0).clamp(min=1e-6))

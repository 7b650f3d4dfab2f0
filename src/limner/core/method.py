"""The contract of a Method.

Training a generator is a game between players: each is some of the weights with an optimiser, and minimises its own loss
on its own weights alone. One player is ordinary training, two are a GAN. A phase is one forward pass, and says which players
move on it and how often. A Method says *what to minimise, for which weights, how often*; the loop says *how*.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from limner.core.cond import Batch, Cond
from limner.core.optim import Clip, Optimiser
from limner.core.precision import exact


@dataclass(frozen=True)
class At:
    """Where the run is."""

    images: int
    progress: float
    """Of the budget, 0..1: warm-ups, capacities, late starts and decays depend on this."""


@dataclass(frozen=True)
class Player:
    """Some weights, their optimiser, their clipping."""

    module: str
    """Name of the Method's sub-module whose parameters these are."""
    optimiser: Optimiser
    clip: Clip | None = None
    averaged: bool = True
    """Whether the moving average follows these weights; nobody samples from a discriminator's."""


@dataclass(frozen=True)
class Phase:
    """One forward pass."""

    name: str
    players: tuple[str, ...]
    every: int = 1
    """Iterations between two of them: lazy regularisation, n_critic and the like are data, not code."""
    start: float = 0.0
    stop: float = 1.0
    """Fractions of the budget between which the phase takes part."""
    batches: int = 1
    """Fresh batches that it draws."""
    joins: str | None = None
    """Adds its gradient to that phase's step instead of stepping by itself."""
    note: str = ""
    """What a person should know when it begins in the midst of a run; goes to the log."""

    def due(self, iteration: int, progress: float) -> bool:
        inside = self.start <= progress < self.stop or (self.stop == 1.0 and progress >= 1.0)
        return inside and iteration % self.every == 0


@dataclass(frozen=True)
class Losses:
    """What a phase has to say about one chunk."""

    of: Mapping[str, Tensor]
    """player -> [B] loss per image."""
    logs: Mapping[str, Tensor] = field(default_factory=dict)
    """name -> 0-d tensor, averaged over chunks for the log."""
    sums: Mapping[str, Tensor] = field(default_factory=dict)
    """Statistics that are added over chunks and processes and handed to `after_step`."""
    joint: Tensor | None = None
    """[B]: where one backward serves several players at once, what it starts from."""


@dataclass(frozen=True)
class Facts:
    """What a recipe may depend on that nobody writes into it: known when a run starts."""

    shape: tuple[int, int, int]
    """(C, H, W)."""
    batch: int
    images: int | None
    """The budget, or else `minutes`."""
    minutes: float | None
    accelerated: bool
    classes: int = 0
    rarest: int = 0
    """Training pictures of the class that has the fewest."""
    count: int = 0
    """Training pictures."""
    binary: bool = False
    """Whether they are black and white, drawn so (`data.binary`)."""

    @property
    def seen(self) -> int:
        """Images that the budget allows, roughly: enough to tell minutes from days."""
        if self.images is not None:
            return self.images
        speed = 30_000.0 if self.accelerated else 1_500.0  # images of 32x32 per second: a card, or two cores
        return round(60 * (self.minutes or 0.0) * speed / self.area)

    @property
    def area(self) -> float:
        """Of one image, in images of 32x32."""
        return self.shape[1] * self.shape[2] / 32**2


class MethodConfig(BaseModel):
    """A family's own choices: a part of the recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def settled(self, facts: Facts) -> Self:
        """With numbers in the place of "auto"; the run writes them down and starts."""
        return self

    def overlooked(self, key: str) -> str | None:
        """Why setting `key` (dotted, below ``method.``) would do nothing, beside the other choices; None where it does."""
        return None


class Codec(Protocol):
    """What a Method works *in*: pixels, or the latents of a trained autoencoder."""

    @property
    def kind(self) -> Literal["continuous", "codes"]: ...
    @property
    def shape(self) -> tuple[int, ...]:
        """Of one encoded image, without the batch axis."""

    @property
    def vocabulary(self) -> int | None: ...
    def encode(self, images: Tensor) -> Tensor:
        """[B, C, H, W] in [-1, 1] -> [B, *shape]. Deterministic: the mean, or the indices."""

    def decode(self, latents: Tensor) -> Tensor: ...


@runtime_checkable
class Reconstructs(Protocol):
    """A Method that is a Codec as well."""

    def encode(self, images: Tensor) -> Tensor: ...
    def decode(self, latents: Tensor) -> Tensor: ...


@runtime_checkable
class Latents(Protocol):
    """A Method whose pictures are a smooth function of a vector: what can be inverted, interpolated and truncated."""

    def latents(self, seeds: Sequence[int]) -> Tensor:
        """[len(seeds), dim]: what `sample` decodes; row i depends on seeds[i] alone."""

    def picture(self, latents: Tensor, cond: Cond) -> Tensor:
        """[B, dim] -> [B, C, H, W] in [-1, 1], differentiable in `latents`."""


@runtime_checkable
class Bounded(Protocol):
    """A Method that bounds the likelihood of pictures from below."""

    entries: int
    """Numbers in a latent."""

    @property
    def black_and_white(self) -> bool:
        """Whether only pictures of black and white have a likelihood."""

    def log_weight(self, images: Tensor, noise: Tensor, density: bool = False) -> Tensor:
        """[B] nats: log p(x|z) + log p(z) − log q(z|x) at one z ~ q(z|x), made of `noise` [B, dim], standard normal.

        p(x|z) is the probability of the pictures' grey values, so that no dequantisation is needed; or, with `density`, what
        `log_density` says of them. The mean over draws is the ELBO; log-mean-exp of K draws is the importance-weighted bound
        (Burda et al. 2015, arXiv:1509.00519, eq. 8).
        """

    @property
    def exact(self) -> bool:
        """Whether the likelihood itself is known, and not only bounded."""

    def log_density(self, images: Tensor) -> Tensor:
        """[B] nats: log p(x) of an `exact` model, exactly: the density of the grey values times the width of their bins."""


@dataclass(frozen=True)
class Pixels:
    """The identity: images themselves. Pixel and latent models share one path."""

    shape: tuple[int, ...]
    kind: Literal["continuous", "codes"] = "continuous"
    vocabulary: int | None = None

    def encode(self, images: Tensor) -> Tensor:
        return images

    def decode(self, latents: Tensor) -> Tensor:
        return latents


class Method(nn.Module, ABC):
    """A family of generators: its networks, what is minimised for which weights and how often, and how to sample."""

    chunk: ClassVar[int] = 32
    """Images per sampling pass. Short passes are padded to it, so that an image's bits do not depend on its neighbours."""

    conditional: bool = False
    """Whether `sample` heeds `cond.label`; where none is asked for, the method draws one by the seed."""
    gaussian: bool = True
    """Whether its latents, where it has any, are standard normal; paths between them then run along the sphere."""
    generates: bool = True
    """Whether `sample` draws; a codec of codes compresses only, until there is a prior over them."""
    knobs: ClassVar[frozenset[str]] = frozenset()
    """What `sample` takes beside seeds, condition and truncation."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec  # where this is a module, it is frozen and travels in the snapshot

    @abstractmethod
    def players(self) -> Mapping[str, Player]: ...

    @abstractmethod
    def phases(self) -> tuple[Phase, ...]: ...

    @abstractmethod
    def losses(self, phase: str, batches: tuple[Batch, ...], at: At) -> Losses: ...

    @abstractmethod
    def sample(self, seeds: Sequence[int], cond: Cond, **knobs: Any) -> Tensor:
        """[len(seeds), C, H, W] in [-1, 1]; image i is a function of seeds[i] (and its condition) alone."""

    def after_step(self, phase: str, sums: Mapping[str, Tensor], at: At) -> None:
        """Optional. State that moves with training moves here, once per phase, from the sums over all chunks and processes."""

    def fit(self, batches: Iterable[Batch], when: Literal["start", "checkpoint"]) -> None:
        """Optional. Bounded, seeded, kept in buffers: what is estimated rather than descended to."""

    def labels(self, seeds: Sequence[int], asked: Tensor | None = None) -> Tensor | None:
        """[len(seeds)]: the classes that `sample` draws: `asked`, or by the seed where that is nothing (-1, or None)."""
        return asked

    def encoded(self, batch: Batch) -> Tensor:
        """[B, *codec.shape]: the batch's images in the codec's latents; remembered, where the loop has met them before."""
        return self.codec.encode(batch.images) if batch.latents is None else batch.latents()

    def frozen(self) -> Self:
        """Itself, as another method's codec: in evaluation mode, without gradients, and without the players that only teach."""
        for player in self.players().values():
            if not player.averaged:
                self.set_submodule(player.module, nn.Identity())
        return self.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device


def generate(method: Method, seeds: Sequence[int], cond: Cond | None = None, **knobs: Any) -> Tensor:
    """[len(seeds), C, H, W] in [-1, 1], in passes of exactly `method.chunk` images; the last one is padded and cut.

    A convolution may round differently in a batch of another size: with one size for all, an image's bits are its own.
    """
    rows: list[Tensor] = []
    with exact(method.device.type):
        for start in range(0, len(seeds), method.chunk):
            padded = _seeds(seeds, start, method.chunk)
            rows.append(method.sample(padded, _rows(cond, start, method.chunk), **knobs)[: len(seeds) - start])
    return torch.cat(rows)


def latents_of(method: Method, seeds: Sequence[int]) -> Tensor:
    """[len(seeds), dim]: what `generate` decodes, to the bit. The method must have `Latents`."""
    assert isinstance(method, Latents)
    starts = range(0, len(seeds), method.chunk)
    with exact(method.device.type):
        return torch.cat([method.latents(_seeds(seeds, s, method.chunk))[: len(seeds) - s] for s in starts])


def render(method: Method, latents: Tensor, cond: Cond | None = None) -> Tensor:
    """[N, dim] -> [N, C, H, W] in [-1, 1], in the same passes as `generate`: the latents of a seed give its very bits."""
    assert isinstance(method, Latents)
    rows: list[Tensor] = []
    with exact(method.device.type):
        for start in range(0, len(latents), method.chunk):
            padded = _cut(latents, start, method.chunk)
            rows.append(method.picture(padded, _rows(cond, start, method.chunk))[: len(latents) - start])
    return torch.cat(rows)


def _seeds(seeds: Sequence[int], start: int, size: int) -> list[int]:
    part = list(seeds[start : start + size])
    return part + part[-1:] * (size - len(part))


def _cut(rows: Tensor, start: int, size: int) -> Tensor:
    part = rows[start : start + size]
    return torch.cat([part, part[-1:].expand(size - len(part), *part.shape[1:])])


def _rows(cond: Cond | None, start: int, size: int) -> Cond:
    """Rows start … start+size-1 of every door that is open, the last row repeated where there are too few."""
    if cond is None:
        return Cond()
    return Cond(*(None if rows is None else _cut(rows, start, size) for rows in (cond.label, cond.text, cond.image)))

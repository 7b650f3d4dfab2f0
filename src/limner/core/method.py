"""The contract of a Method.

Training a generator is a game between players: each is some of the weights with an optimiser, and minimises its own loss
on its own weights alone. One player is ordinary training, two are a GAN. A phase is one forward pass, and says which players
move on it and how often. A Method says *what to minimise, for which weights, how often*; the loop says *how*.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from limner.core.capabilities import Codec, CodecKind
from limner.core.cond import Batch, Cond
from limner.core.config import ConditionKind
from limner.core.diagnosis import GENERAL_RULES, Rule
from limner.core.optim import Clip, Optimiser


@dataclass(frozen=True)
class StepContext:
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
    teaches: bool = False
    """Whether it is there for other players' losses alone, as a discriminator or a critic is: a frozen copy goes without it.
    A checkpoint's averaged weights are all that a codec is taken from, so who is not averaged in a codec must be a teacher."""


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
    moves: tuple[str, ...] | None = None
    """Sub-modules of the Method whose layer state (`limner.core.layer_state`) moves after this phase. None: the modules of its
    players. What other layers noted in its pass is dropped."""

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
class RunContext:
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
    latents: tuple[int, ...] | None = None
    """Shape of what the method works in where that is a frozen codec's latents; None where it is the pictures themselves."""

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

    makes: ClassVar[CodecKind | None] = None
    """What its trained method gives others to work in, as their codec; None where it is no codec."""
    takes: ClassVar[CodecKind] = "continuous"
    """What it works in itself: continuous numbers (pixels, or the latents of a codec), or codes."""

    def settled(self, facts: RunContext) -> Self:
        """With numbers in the place of "auto"; the run writes them down and starts."""
        return self

    def overlooked(self, key: str) -> str | None:
        """Why setting `key` (dotted, below ``method.``) would do nothing, beside the other choices; None where it does."""
        return None


class Method(nn.Module, ABC):
    """A family of generators: its networks, what is minimised for which weights and how often, and how to sample."""

    chunk: ClassVar[int] = 32
    """Images per sampling pass. Short passes are padded to it, so that an image's bits do not depend on its neighbours."""

    accepts: frozenset[ConditionKind] = frozenset()
    """The conditions that `losses` and `sample` heed. Of a label that nobody requests, the method draws one by the seed."""
    conditional: bool = False
    """Whether `sample` heeds `cond.label`; where none is asked for, the method draws one by the seed."""
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
    def losses(self, phase: str, batches: tuple[Batch, ...], at: StepContext) -> Losses: ...

    @abstractmethod
    def sample(self, seeds: Sequence[int], cond: Cond, **knobs: Any) -> Tensor:
        """[len(seeds), C, H, W] in [-1, 1]; image i is a function of seeds[i] (and its condition) alone."""

    def after_step(self, phase: str, sums: Mapping[str, Tensor], at: StepContext) -> None:
        """Optional: what is neither gradient nor layer state, such as clipped weights, once per phase. `sums` are over all
        chunks and processes."""

    def fit(self, batches: Iterable[Batch], when: Literal["start", "checkpoint"]) -> None:
        """Optional. Bounded, seeded, kept in buffers: what is estimated rather than descended to."""

    def labels(self, seeds: Sequence[int], asked: Tensor | None = None) -> Tensor | None:
        """[len(seeds)]: the classes that `sample` draws: `asked`, or by the seed where that is nothing (-1, or None)."""
        return asked

    def encoded(self, batch: Batch) -> Tensor:
        """[B, *codec.shape]: the batch's images in the codec's latents; remembered, where the loop has met them before."""
        return self.codec.encode(batch.images) if batch.latents is None else batch.latents()

    def frozen_copy(self) -> Self:
        """A copy to be another method's codec: in evaluation mode, without gradients, without the players that only teach.

        What is left of those has no weights: state-dict keys are the others'. Nothing is shared with the original.
        """
        frozen = copy.deepcopy(self)
        for player in self.players().values():
            if player.teaches:
                frozen.set_submodule(player.module, nn.Identity())
        return frozen.eval().requires_grad_(False)

    def diagnosis(self) -> tuple[Rule, ...]:
        """What may go wrong while it trains, each with the settings to change: what a run warns of."""
        return GENERAL_RULES

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device


def averaged(method: Method) -> list[str]:
    """Names in the method's state that its average holds: all but the weights of players that are not averaged."""
    left_out = tuple(f"{player.module}." for player in method.players().values() if not player.averaged)
    return [name for name in method.state_dict() if not name.startswith(left_out)]

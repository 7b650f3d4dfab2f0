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
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from limner.core.capabilities import Codec
from limner.core.cond import Batch, Cond
from limner.core.config import ConditionKind, Sampling
from limner.core.diagnosis import GENERAL_RULES, Rule
from limner.core.optimiser_settings import Clip, Optimiser


@dataclass(frozen=True)
class StepContext:
    """Where a run stands when it takes a step."""

    images: int
    """Training images seen so far."""
    progress: float
    """Fraction of the budget used so far, 0..1: warm-ups, capacities, late starts and decays depend on this."""


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
    """Whether these weights serve other players' losses alone, as a discriminator or a critic does: a frozen copy goes without
    them. A codec is loaded from a checkpoint's averaged weights, so a player that is not averaged in a codec must teach."""


@dataclass(frozen=True)
class Phase:
    """One forward pass, and the players that move after it."""

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
    """Name of a phase to whose step this one adds its gradient, instead of taking a step of its own."""
    note: str = ""
    """What the log says when the phase begins in the middle of a run."""
    moves: tuple[str, ...] | None = None
    """Sub-modules of the Method whose layer state (`limner.core.layer_state`) moves after this phase. None: the modules of its
    players. Statistics that other layers collected during its pass are dropped."""

    def due(self, iteration: int, progress: float) -> bool:
        """Whether the phase takes part in this iteration, at this fraction of the budget."""
        inside = self.start <= progress < self.stop or (self.stop == 1.0 and progress >= 1.0)
        return inside and iteration % self.every == 0


@dataclass(frozen=True)
class Losses:
    """What a phase computes of one chunk of a batch."""

    of: Mapping[str, Tensor]
    """player -> [B] loss per image."""
    logs: Mapping[str, Tensor] = field(default_factory=dict)
    """name -> [B] or 0-d tensor, averaged over images and chunks for the log."""
    sums: Mapping[str, Tensor] = field(default_factory=dict)
    """Statistics that are added over chunks and processes and handed to `after_step`."""
    joint: Tensor | None = None
    """[B]: the loss to differentiate where one backward pass gives every player's gradient; None: each player's own loss."""


class Method(nn.Module, ABC):
    """A family of generators: its networks, what is minimised for which weights and how often, and how to sample."""

    chunk: ClassVar[int] = 32
    """Images per sampling pass. Every pass has exactly so many, since the kernels that a device chooses, and with them the last
    bits of an image, depend on the size of a pass."""

    accepts: frozenset[ConditionKind] = frozenset()
    """Conditions that training and `sample` use; others are ignored. An instance may accept fewer than its class could, because
    its settings or its data say so."""
    generates: bool = True
    """Whether `sample` draws pictures. A codec of codes only compresses, until there is a prior over its codes."""
    sampling_type: ClassVar[type[Sampling]] = Sampling
    """The settings that `sample` takes: the family's own model, as in the table of methods."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec  # where this is a module, it is frozen and travels in the snapshot

    @abstractmethod
    def players(self) -> Mapping[str, Player]:
        """name -> the weights that move, with their optimisers."""

    @abstractmethod
    def phases(self) -> tuple[Phase, ...]:
        """The forward passes of one iteration, in order. Their names and places seed the draws of training, so that a run of
        before goes on to the bit only where these stay."""

    @abstractmethod
    def losses(self, phase: str, batches: tuple[Batch, ...], at: StepContext) -> Losses:
        """The losses of the players of `phase`; `batches` holds as many batches as the phase draws."""

    @abstractmethod
    def sample(self, seeds: Sequence[int], cond: Cond, sampling: Sampling) -> Tensor:
        """[len(seeds), C, H, W] in [-1, 1]; image i is a function of seeds[i] (and its condition) alone.

        `sampling` is an instance of `sampling_type`. Conditions that `cond` leaves open are chosen as by `conditions`. Errors:
        `InputError` where the method does not generate.
        """

    def conditions(self, seeds: Sequence[int], requested: Cond) -> Cond:
        """The conditions that `sample` uses: those `requested`, and a class drawn by the seed where a method that learns
        classes is asked for none (None, or -1). Texts and images pass through."""
        return requested

    def after_step(self, phase: str, sums: Mapping[str, Tensor], at: StepContext) -> None:
        """Optional: called once after the step of each phase, for what is neither gradient nor layer state, such as clipped
        weights. `sums` are those of `Losses`, over all chunks and processes."""

    def fit_at_start(self, batches: Iterable[Batch]) -> None:
        """Optional: estimates what is not learned by gradients, such as the scale of the data, before the first step.

        `batches` is an endless reading of training images, 64 at a time. Results belong into buffers, so that checkpoints hold
        them; they depend on the run's seed alone.
        """

    def fit_at_checkpoint(self, batches: Iterable[Batch]) -> None:
        """Optional: the same before every checkpoint, on the averaged weights, such as a prior fitted to latents."""

    def encoded(self, batch: Batch) -> Tensor:
        """[B, *codec.shape]: the batch's images in the codec's latents, from the cache where the batch has one."""
        return self.codec.encode(batch.images) if batch.latents is None else batch.latents()

    def frozen_copy(self) -> Self:
        """A copy to be another method's codec: in evaluation mode, without gradients, without the players that only teach.

        Those are replaced by modules without weights, so that the other state-dict keys stay as they are. Nothing is shared
        with the original.
        """
        frozen = copy.deepcopy(self)
        for player in self.players().values():
            if player.teaches:
                frozen.set_submodule(player.module, nn.Identity())
        return frozen.eval().requires_grad_(False)

    def diagnosis(self) -> tuple[Rule, ...]:
        """What may go wrong while it trains, each with the settings to change; a run warns of it."""
        return GENERAL_RULES

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device


def averaged(method: Method) -> list[str]:
    """The state-dict keys that the moving average holds: all but the weights of players that are not averaged."""
    left_out = tuple(f"{player.module}." for player in method.players().values() if not player.averaged)
    return [name for name in method.state_dict() if not name.startswith(left_out)]

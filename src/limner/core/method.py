"""The contract of a Method.

Training a generator is a game between players. A player is a part of the weights with an optimiser, and minimises its own loss
over its own weights alone. With one player this is ordinary training, with two it is a GAN. A phase is one forward pass; it
names the players that take a step after it, and how often. A Method says what is minimised, over which weights and how often;
the training loop does it.
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
from limner.core.cond import Batch, Cond, PictureSet
from limner.core.config import ConditionKind, Sampling
from limner.core.diagnosis import GENERAL_RULES, Rule
from limner.core.optimiser_settings import Clip, Optimiser


@dataclass(frozen=True)
class StepContext:
    """Where a run stands when it takes a step."""

    images: int
    """Training images seen so far."""
    progress: float
    """Fraction of the budget that is used, 0..1, on which all schedules depend."""


@dataclass(frozen=True)
class Player:
    """A part of the weights, with its optimiser."""

    module: str
    """Name of the sub-module of the Method whose parameters these are."""
    optimiser: Optimiser
    clip: Clip | None = None
    """How gradients are clipped; None: not at all."""
    averaged: bool = True
    """Whether there is a moving average of these weights. A discriminator needs none, since sampling does not use it."""
    teaches: bool = False
    """Whether only the losses of other players use these weights, as with a discriminator or a critic; frozen copies leave them
    out. In a codec, a player that is not averaged must teach, since codecs are loaded from averaged weights."""


@dataclass(frozen=True)
class Phase:
    """One forward pass, and the players that take a step after it."""

    name: str
    players: tuple[str, ...]
    every: int = 1
    """It takes part in one of so many iterations, as lazy regularisation and n_critic need it."""
    start: float = 0.0
    stop: float = 1.0
    """Fractions of the budget between which the phase takes part."""
    batches: int = 1
    """Number of batches that it draws."""
    joins: str | None = None
    """Name of a phase to whose gradient this one adds its own, instead of taking a step of its own."""
    note: str = ""
    """A sentence for the log, where the phase starts in the middle of a run."""
    moves: tuple[str, ...] | None = None
    """Sub-modules of the Method whose layer state (`limner.core.layer_state`) is updated after this phase; None: those of its
    players. Statistics that other layers collected in the pass are dropped."""

    def due(self, iteration: int, progress: float) -> bool:
        """Whether the phase takes part in this iteration, at this fraction of the budget."""
        inside = self.start <= progress < self.stop or (self.stop == 1.0 and progress >= 1.0)
        return inside and iteration % self.every == 0


@dataclass(frozen=True)
class Losses:
    """The losses of a phase on one chunk of a batch."""

    of: Mapping[str, Tensor]
    """Player -> [B] the loss of each image."""
    logs: Mapping[str, Tensor] = field(default_factory=dict)
    """Name -> [B] or 0-d tensor, whose mean over images and chunks is logged."""
    sums: Mapping[str, Tensor] = field(default_factory=dict)
    """Statistics for `after_step`, which gets their sum over chunks and processes."""
    joint: Tensor | None = None
    """[B]: the loss to differentiate, where one backward pass gives the gradients of all players; None: each player's own
    loss."""


class Method(nn.Module, ABC):
    """A generator: its networks, what is minimised over which weights and how often, and how to sample."""

    chunk: ClassVar[int] = 32
    """Images in a sampling pass. Every pass has exactly so many, since the kernels that a device chooses, and with them the
    rounding of an image, depend on the size of a pass."""

    accepts: frozenset[ConditionKind] = frozenset()
    """The conditions that training and `sample` use; others are ignored. An instance accepts fewer than its class can where its
    settings or its data have no use for them."""
    generates: bool = True
    """Whether `sample` draws pictures. A codec of codes does not, since it has no distribution over its codes."""
    fit_images: int = 0
    """Training images that `fit_at_checkpoint` reads. A dry run foretells by it how long that takes."""
    sampling_type: ClassVar[type[Sampling]] = Sampling
    """The class of the settings of `sample`: the `Sampling` of the family, as in the table of methods."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec  # a codec that is a module is frozen, and its weights are in the checkpoints of this method

    @abstractmethod
    def players(self) -> Mapping[str, Player]:
        """The players by name."""

    @abstractmethod
    def phases(self) -> tuple[Phase, ...]:
        """The phases of one iteration, in order.

        Their names and positions seed the draws of training: where one changes, older runs no longer resume to the bit.
        """

    @abstractmethod
    def losses(self, phase: str, batches: tuple[Batch, ...], at: StepContext) -> Losses:
        """The losses of the players of `phase`, on as many `batches` as the phase draws."""

    @abstractmethod
    def sample(self, seeds: Sequence[int], cond: Cond, sampling: Sampling) -> Tensor:
        """[len(seeds), C, H, W] in [-1, 1]; image i is a function of seeds[i], its condition and `sampling` alone.

        `sampling` is an instance of `sampling_type`. Conditions that `cond` does not hold are drawn as by `conditions`. Errors:
        `InputError` where the method does not generate.
        """

    def resolve_sampling(self, sampling: Sampling) -> Sampling:
        """`sampling` with a value for each setting whose default depends on the model; `sample` draws the same by both."""
        return sampling

    def conditions(self, seeds: Sequence[int], requested: Cond) -> Cond:
        """The conditions that `sample` uses for these seeds.

        Where a method has classes and none is requested (None, or −1), each seed draws one. Other conditions are those
        `requested`.
        """
        return requested

    def after_step(self, phase: str, sums: Mapping[str, Tensor], at: StepContext) -> None:
        """Optional: changes after the step of each phase that are neither gradient nor layer state, such as clipping weights.

        `sums` are those of `Losses`, over all chunks and processes.
        """

    def fit_at_start(self, batches: Iterable[Batch]) -> None:
        """Optional: estimates what is not learned by gradients, such as the scale of the data, before the first step.

        `batches` are training images without end, 64 at a time. Results belong in buffers, so that checkpoints hold them; they
        depend on the seed of the run alone.
        """

    def fit_at_checkpoint(self, batches: Iterable[Batch]) -> None:
        """Optional: as `fit_at_start`, but before every checkpoint and every score, on the averaged weights, such as a fitted
        prior. A run has fewer checkpoints where this takes a large share of its time."""

    def read_pictures(self, pictures: PictureSet) -> tuple[str, ...]:
        """Optional: what `losses` has to know of all pictures of a set, and no checkpoint holds.

        It is called whenever training begins, also after a resume, for the training pictures and for those held out, with the
        same random numbers each time. The batches of a set name it (`Batch.pictures`). Returns sentences for the run's log.
        """
        return ()

    def encoded(self, batch: Batch) -> Tensor:
        """[B, *codec.shape]: the codec's latents of the images in `batch`, cached ones where the batch has them."""
        return self.codec.encode(batch.images) if batch.latents is None else batch.latents()

    def frozen_copy(self) -> Self:
        """A copy as the codec of another method: in evaluation mode, without gradients, without the players that teach.

        Those are replaced by modules without weights, so that all other keys of the state dict stay. The copy shares no tensor
        with the original.
        """
        frozen = copy.deepcopy(self)
        for player in self.players().values():
            if player.teaches:
                frozen.set_submodule(player.module, nn.Identity())
        return frozen.eval().requires_grad_(False)

    def diagnosis(self) -> tuple[Rule, ...]:
        """Rules that recognise failures of training and name the settings to change; a run warns by them."""
        return GENERAL_RULES

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device


def averaged(method: Method) -> list[str]:
    """The keys of the state dict that the moving average has: all but the weights of players that are not averaged."""
    excluded = tuple(f"{player.module}." for player in method.players().values() if not player.averaged)
    return [name for name in method.state_dict() if not name.startswith(excluded)]

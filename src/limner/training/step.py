"""One training step of a Method: forward passes in chunks, each player's gradient on its own weights, clipping, the optimisers.

This is all of *how* a Method is trained; it does not depend on data sets, runs or budgets. `training.loop` calls `Stepper.step`
once per batch. A batch is cut into chunks, whose number is part of the recipe: what mixes the images of a batch, such as batch
norm, mixes those of a chunk. Process r of W computes the chunks r, r + W, r + 2W, …, so that the number of processes does not
change the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import torch
from torch import Tensor

from limner.core import optim, parallel, precision, seeds
from limner.core.cond import Batch
from limner.core.config import Precision
from limner.core.errors import InputError
from limner.core.extensions import attribute_errors, result_error
from limner.core.layer_state import StatefulLayer, stateful_layers
from limner.core.method import Losses, Method, Phase, StepContext

DrawBatch = Callable[[int, int, int], Batch]
"""(stream, start, size) -> the images at positions start … start+size-1 of that stream's endless sequence (`seeds.order`)."""
STREAMS_PER_PHASE = 8
"""Phase number p draws its batches from the streams 8p, 8p + 1, …, so that no two of them see the same images."""
NORMS_EVERY = 17
"""Log gradient norms every 17th time a phase runs. Prime, so that it does not alias with lazy-regularisation intervals."""


@dataclass
class PhaseSums:
    """What one phase of a step sums over chunks and processes, beside gradients and logs."""

    index: int
    """The phase's place in `Method.phases()`."""
    phase: Phase
    for_method: dict[str, Tensor] = field(default_factory=dict)
    """`Losses.sums`, handed to `Method.after_step`."""
    for_layers: dict[str, Tensor] = field(default_factory=dict)
    """``layer/statistic`` of the layers whose state the phase moves."""


class Stepper:
    """Holds the optimisers of a Method's players, and moves the players step by step."""

    def __init__(self, method: Method, batch: int, chunks: int, number_format: Precision, seed: int) -> None:
        """`batch` images per step, in `chunks` equal chunks. `seed` determines every random number drawn in training."""
        self.method = method
        self.batch, self.chunks, self.seed = batch, chunks, seed
        self.number_format = number_format
        self.players = dict(method.players())
        self.phases = method.phases()
        self.weights = {
            name: [weight for weight in method.get_submodule(player.module).parameters() if weight.requires_grad]
            for name, player in self.players.items()
        }
        self.optimisers = {
            name: optim.build_optimiser(player.optimiser, self.weights[name]) for name, player in self.players.items()
        }
        self.layers = dict(stateful_layers(method))
        self.layers_of = {phase.name: self._layers_of(phase) for phase in self.phases}
        self.names: dict[Tensor, str] = {weight: name for name, weight in method.named_parameters()}

    def step(self, draw: DrawBatch, at: StepContext, iteration: int) -> dict[str, Tensor]:
        """One step: every phase that is due at `iteration`, in order; a phase that joins another one shares its update.

        Returns the losses and logs, each averaged over the batch, as 0-d tensors on the device. Now and then they include
        ``gradient_norm/<player>``, before clipping, which may be infinite without harm.

        torch's generators belong to the process. They are the step's own until it ends, so that trainings in several threads
        take turns, each with the draws that it has alone, and are then what they were before.
        """
        logs: dict[str, Tensor] = {}
        due = [(index, phase) for index, phase in enumerate(self.phases) if phase.due(iteration, at.progress)]
        with seeds.preserve_generators(self.method.device):
            for index, phase in due:
                if phase.joins is None:
                    joining = [(other, part) for other, part in due if part.joins == phase.name]
                    logs_norms = iteration // phase.every % NORMS_EVERY == 0
                    logs |= self._update([(index, phase), *joining], draw, at, logs_norms)
        return logs

    def _update(
        self, phases: Sequence[tuple[int, Phase]], draw: DrawBatch, at: StepContext, logs_norms: bool = False
    ) -> dict[str, Tensor]:
        """Forward and backward passes of a phase and of those that join it, then one update of every player in them.

        `phases`: (place in `Method.phases()`, phase).
        """
        parts = [PhaseSums(index, phase) for index, phase in phases]
        gradients: dict[str, list[Tensor]] = {}
        logs: dict[str, Tensor] = {}
        for part in parts:
            for chunk in range(parallel.rank(), self.chunks, parallel.process_count()):
                # Random numbers depend on this position alone, so a resumed run draws the same ones.
                seeds.seed_all(self.seed, at.images, part.phase.name, chunk)
                batches = self._draw_batches(part.index, part.phase, chunk, draw, at)
                with precision.autocast(self.method.device, self.number_format):
                    losses = self._losses(part.phase, batches, at)
                self._differentiate(part.phase, losses, gradients)
                _add(part.for_method, losses.sums)
                _add(part.for_layers, self._take_statistics(part.phase))
                _add(logs, {k: v.detach().mean() / self.chunks for k, v in [*losses.of.items(), *losses.logs.items()]})
        players = tuple(dict.fromkeys(player for part in parts for player in part.phase.players))
        parallel.sum_all(
            [gradient for player in players for gradient in gradients[player]]
            + [total for part in parts for total in part.for_method.values()]
            + [total for part in parts for total in part.for_layers.values()]
            + list(logs.values())
        )
        for player in players:
            if logs_norms:
                logs[f"gradient_norm/{player}"] = optim.norm(gradients[player])
            self._apply_gradients(player, gradients[player], at)
        for part in parts:
            self._move_layers(part.phase, part.for_layers)
            self.method.after_step(part.phase.name, part.for_method, at)
        return logs

    def _layers_of(self, phase: Phase) -> dict[str, StatefulLayer]:
        """The layers whose state moves after `phase`, by their names."""
        modules = [self.players[player].module for player in phase.players] if phase.moves is None else phase.moves
        prefixes = tuple(f"{module}." for module in modules)
        return {name: layer for name, layer in self.layers.items() if name in modules or name.startswith(prefixes)}

    def _take_statistics(self, phase: Phase) -> dict[str, Tensor]:
        """``layer/statistic`` of the layers that `phase` moves; statistics of all other layers are discarded."""
        statistics = {name: layer.take_statistics() for name, layer in self.layers.items()}
        return {f"{name}/{key}": value for name in self.layers_of[phase.name] for key, value in statistics[name].items()}

    def _move_layers(self, phase: Phase, sums: Mapping[str, Tensor]) -> None:
        """Updates the state of the layers that `phase` moves; `sums` as from `_take_statistics`, over the whole batch."""
        by_layer: dict[str, dict[str, Tensor]] = {name: {} for name in self.layers_of[phase.name]}
        for key, value in sums.items():
            name, _, statistic = key.partition("/")
            by_layer[name][statistic] = value
        for name, layer in self.layers_of[phase.name].items():
            layer.move_state(by_layer[name])

    @torch.no_grad()
    def evaluate_losses(self, draw: DrawBatch, at: StepContext, count: int) -> dict[str, float]:
        """Losses and logs averaged over the first `count` images of `draw`, without training: no weight and no state moves.

        Everything else is as in a step (training mode, number format, chunk size), but images and random numbers are the same
        in every call. Phases that join others are left out. Each process computes it by itself.
        """
        logs: dict[str, Tensor] = {}
        passes = math.ceil(count * self.chunks / self.batch)
        due = [(index, phase) for index, phase in enumerate(self.phases) if phase.joins is None and phase.due(0, at.progress)]
        for (index, phase), chunk in product(due, range(passes)):
            with seeds.preserve_generators(self.method.device):
                seeds.seed_all(self.seed, "look", phase.name, chunk)
                batches = self._draw_batches(index, phase, chunk, draw, StepContext(0, at.progress))
                with precision.autocast(self.method.device, self.number_format):
                    losses = self._losses(phase, batches, at)
            self._take_statistics(phase)  # discarded
            _add(logs, {name: value.mean() for name, value in [*losses.of.items(), *losses.logs.items()]})
        return {name: float(value) / passes for name, value in logs.items()}

    def _losses(self, phase: Phase, batches: tuple[Batch, ...], at: StepContext) -> Losses:
        """The losses of one chunk. Errors: `PackageError` where they are not [B] for each player of `phase`: a loss that is a
        mean already would be divided by the size of the batch once more."""
        kind, what = type(self.method), f"the method {type(self.method).__name__}"
        with attribute_errors(what, kind):
            losses: object = self.method.losses(phase.name, batches, at)
        if not isinstance(losses, Losses):
            raise result_error(what, kind, losses, "Losses (limner.core.method)")
        size, missing = len(batches[0]), [player for player in phase.players if player not in losses.of]
        if missing and losses.joint is None:
            raise result_error(what, kind, sorted(losses.of), f"a loss of the player '{missing[0]}' in phase '{phase.name}'")
        for player, loss in losses.of.items():
            if not isinstance(loss, Tensor) or loss.shape != (size,):
                shape = list(loss.shape) if isinstance(loss, Tensor) else loss
                raise result_error(what, kind, shape, f"[{size}], one loss of '{player}' for each picture")
        return losses

    def _draw_batches(self, index: int, phase: Phase, chunk: int, draw: DrawBatch, at: StepContext) -> tuple[Batch, ...]:
        """Chunk number `chunk` of each batch that `phase`, at place `index` of the phases, draws in this step."""
        size = self.batch // self.chunks
        streams = range(index * STREAMS_PER_PHASE, index * STREAMS_PER_PHASE + phase.batches)
        return tuple(draw(stream, at.images + chunk * size, size) for stream in streams)

    def _differentiate(self, phase: Phase, losses: Losses, gradients: dict[str, list[Tensor]]) -> None:
        """Adds this chunk's share of the mean gradient over the batch, for each player on its own weights only."""
        if losses.joint is not None:
            weights = [weight for player in phase.players for weight in self.weights[player]]
            joint = list(torch.autograd.grad(losses.joint.sum() / self.batch, weights, materialize_grads=True))
            for player in phase.players:
                own, joint = joint[: len(self.weights[player])], joint[len(self.weights[player]) :]
                _accumulate(gradients, player, own)
            return
        for number, player in enumerate(phase.players, start=1):
            mean = losses.of[player].sum() / self.batch
            is_last = number == len(phase.players)  # after it, the graph of the forward pass is freed
            own = list(torch.autograd.grad(mean, self.weights[player], retain_graph=not is_last, materialize_grads=True))
            _accumulate(gradients, player, own)

    def _apply_gradients(self, player: str, gradients: Sequence[Tensor], at: StepContext) -> None:
        """Clips the gradients of `player`, and lets its optimiser step with the settings of this progress."""
        spec = self.players[player]
        if spec.clip is not None:
            optim.clip_gradients(spec.clip, gradients)
        for weight, gradient in zip(self.weights[player], gradients, strict=True):
            # The fused optimisers read memory in order and ignore strides, which `autograd.grad` may choose differently.
            weight.grad = gradient if gradient.stride() == weight.stride() else torch.empty_like(weight).copy_(gradient)
        optim.set_progress(self.optimisers[player], spec.optimiser, at.progress)
        self.optimisers[player].step()
        for weight in self.weights[player]:
            weight.grad = None

    def state(self) -> dict[str, Tensor]:
        """The state of all optimisers, under names such as ``generator.0.weight/exp_avg``."""
        return {k: v for optimiser in self.optimisers.values() for k, v in optim.state_tensors(optimiser, self.names).items()}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `state`. Errors: `InputError` where it is the state of another network."""
        trained = {self.names[weight] for weights in self.weights.values() for weight in weights}
        for key in tensors:
            if key.rsplit("/", 1)[0] not in trained:
                raise InputError(
                    f"optimiser state '{key}' belongs to no weight of this recipe; the checkpoint is of another recipe"
                )
        for player, optimiser in self.optimisers.items():
            names: dict[Tensor, str] = {weight: self.names[weight] for weight in self.weights[player]}
            own = set(names.values())
            optim.load_state_tensors(optimiser, names, {k: v for k, v in tensors.items() if k.rsplit("/", 1)[0] in own})


def _add(sums: dict[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Adds `values` to `sums`, name by name."""
    for name, value in values.items():
        sums[name] = sums[name] + value if name in sums else value.detach()


def _accumulate(gradients: dict[str, list[Tensor]], player: str, own: list[Tensor]) -> None:
    """Adds `own`, one gradient for each of the player's weights, to the player's gradients of earlier chunks."""
    if player in gradients:
        torch._foreach_add_(gradients[player], own)
    else:
        gradients[player] = own

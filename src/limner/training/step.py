"""One iteration of a Method: forward passes in chunks, each player's gradient on its own weights, clipping, the step.

This is the whole of *how* a Method is trained; it knows nothing of data, runs or budgets. A chunk is part of the recipe: what
looks across a batch looks across a chunk, and chunk j is worked on by process j mod W, so that the number of processes is no
hyper-parameter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from limner.core import optim, parallel, precision, seeds
from limner.core.cond import Batch
from limner.core.errors import InputError
from limner.core.layer_state import StatefulLayer, stateful_layers
from limner.core.method import Losses, Method, Phase, StepContext

Drawer = Callable[[int, int, int], Batch]
"""(stream, first place, size) -> those rows of that stream's endless shuffled reading."""
NORMS_EVERY = 17
"""Log gradient norms every 17th time a phase runs. Prime, so that it does not alias with lazy-regularisation intervals."""


class Stepper:
    """Holds the optimisers of a Method's players and moves them."""

    def __init__(self, method: Method, batch: int, chunks: int, number_format: precision.Precision, seed: int) -> None:
        """`batch` images per iteration in `chunks` equal chunks. `seed` drives every draw made in training."""
        self.method = method
        self.batch, self.chunks, self.seed = batch, chunks, seed
        self.number_format = number_format
        self.players = dict(method.players())
        self.phases = method.phases()
        self.weights = {
            name: [weight for weight in method.get_submodule(p.module).parameters() if weight.requires_grad]
            for name, p in self.players.items()
        }
        self.optimisers = {name: p.optimiser.build(self.weights[name]) for name, p in self.players.items()}
        self.layers = dict(stateful_layers(method))
        self.moving = {phase.name: self._moving(phase) for phase in self.phases}
        self.names: dict[Tensor, str] = {weight: name for name, weight in method.named_parameters()}

    def step(self, draw: Drawer, at: StepContext, iteration: int) -> dict[str, Tensor]:
        """One iteration. Returns the losses and logs, each averaged over the batch, as 0-d tensors on the device.

        Now and then with ``gradient_norm/<player>``, before clipping; these may be infinite, and nothing is the worse for it.
        """
        logs: dict[str, Tensor] = {}
        for place, phase in enumerate(self.phases):
            if phase.joins is None and phase.due(iteration, at.progress):
                joined = [
                    (other, p) for other, p in enumerate(self.phases) if p.joins == phase.name and p.due(iteration, at.progress)
                ]
                logs |= self._move([(place, phase), *joined], draw, at, iteration // phase.every % NORMS_EVERY == 0)
        return logs

    def _move(
        self, parts: Sequence[tuple[int, Phase]], draw: Drawer, at: StepContext, norms: bool = False
    ) -> dict[str, Tensor]:
        """Forward and backward of one phase and of those that join it, then one step of every player that moves."""
        gradients: dict[str, list[Tensor]] = {}
        logs: dict[str, Tensor] = {}
        sums: list[dict[str, Tensor]] = []
        states: list[dict[str, Tensor]] = []
        for place, phase in parts:
            sums.append({})
            states.append({})
            for chunk in range(parallel.rank(), self.chunks, parallel.process_count()):
                seeds.seed_all(self.seed, at.images, phase.name, chunk)
                batches = self._batches(place, phase, chunk, draw, at)
                with precision.autocast(self.method.device, self.number_format):
                    losses = self.method.losses(phase.name, batches, at)
                self._differentiate(phase, losses, gradients)
                _add(sums[-1], losses.sums)
                _add(states[-1], self._take_statistics(phase))
                _add(logs, {k: v.detach().mean() / self.chunks for k, v in [*losses.of.items(), *losses.logs.items()]})
        movers = tuple(dict.fromkeys(player for _, phase in parts for player in phase.players))
        parallel.sum_all(
            [gradient for player in movers for gradient in gradients[player]]
            + [total for part in (*sums, *states) for total in part.values()]
            + list(logs.values())
        )
        for player in movers:
            if norms:
                logs[f"gradient_norm/{player}"] = optim.norm(gradients[player])
            self._apply(player, gradients[player], at)
        for (_, phase), total, state in zip(parts, sums, states, strict=True):
            self._move_layers(phase, state)
            self.method.after_step(phase.name, total, at)
        return logs

    def _moving(self, phase: Phase) -> dict[str, StatefulLayer]:
        """The layers whose state moves after `phase`, by their names."""
        modules = [self.players[player].module for player in phase.players] if phase.moves is None else phase.moves
        inside = tuple(f"{module}." for module in modules)
        return {name: layer for name, layer in self.layers.items() if name in modules or name.startswith(inside)}

    def _take_statistics(self, phase: Phase) -> dict[str, Tensor]:
        """``layer/statistic`` of the layers that `phase` moves; what others noted in its pass is dropped."""
        noted = {name: layer.take_statistics() for name, layer in self.layers.items()}
        return {f"{name}/{key}": value for name in self.moving[phase.name] for key, value in noted[name].items()}

    def _move_layers(self, phase: Phase, sums: Mapping[str, Tensor]) -> None:
        parts: dict[str, dict[str, Tensor]] = {name: {} for name in self.moving[phase.name]}
        for key, value in sums.items():
            name, _, statistic = key.partition("/")
            parts[name][statistic] = value
        for name, layer in self.moving[phase.name].items():
            layer.move_state(parts[name])

    @torch.no_grad()
    def look(self, draw: Drawer, at: StepContext, pictures: int) -> dict[str, float]:
        """Losses and logs of the phases that step by themselves, averaged over `pictures` that `draw` reads. Nothing moves.

        As in training (its mode, its chunks), but always of the same places with the same draws, and on this process alone;
        there are no gradients, and sums are dropped.
        """
        logs: dict[str, Tensor] = {}
        passes = math.ceil(pictures * self.chunks / self.batch)
        for place, phase in enumerate(self.phases):
            if phase.joins is not None or not phase.due(0, at.progress):
                continue
            for chunk in range(passes):
                seeds.seed_all(self.seed, "look", phase.name, chunk)
                batches = self._batches(place, phase, chunk, draw, StepContext(0, at.progress))
                with precision.autocast(self.method.device, self.number_format):
                    losses = self.method.losses(phase.name, batches, at)
                self._take_statistics(phase)
                _add(logs, {name: value.mean() for name, value in [*losses.of.items(), *losses.logs.items()]})
        return {name: float(value) / passes for name, value in logs.items()}

    def _batches(self, place: int, phase: Phase, chunk: int, draw: Drawer, at: StepContext) -> tuple[Batch, ...]:
        size = self.batch // self.chunks
        return tuple(draw(place * 8 + extra, at.images + chunk * size, size) for extra in range(phase.batches))

    def _differentiate(self, phase: Phase, losses: Losses, gradients: dict[str, list[Tensor]]) -> None:
        """Adds this chunk's share of the mean gradient over the batch, for each player on its own weights only."""
        if losses.joint is not None:
            weights = [weight for player in phase.players for weight in self.weights[player]]
            found = list(torch.autograd.grad(losses.joint.sum() / self.batch, weights, materialize_grads=True))
            for player in phase.players:
                own, found = found[: len(self.weights[player])], found[len(self.weights[player]) :]
                _accumulate(gradients, player, own)
            return
        for left, player in enumerate(phase.players, start=1 - len(phase.players)):
            mean = losses.of[player].sum() / self.batch
            own = list(torch.autograd.grad(mean, self.weights[player], retain_graph=left < 0, materialize_grads=True))
            _accumulate(gradients, player, own)

    def _apply(self, player: str, gradients: Sequence[Tensor], at: StepContext) -> None:
        spec = self.players[player]
        if spec.clip is not None:
            spec.clip.apply(gradients)
        for weight, gradient in zip(self.weights[player], gradients, strict=True):
            # `autograd.grad` promises no memory order, and the fused kernels run through memory without looking at strides.
            weight.grad = gradient if gradient.stride() == weight.stride() else torch.empty_like(weight).copy_(gradient)
        optim.tune(self.optimisers[player], spec.optimiser, at.progress)
        self.optimisers[player].step()
        for weight in self.weights[player]:
            weight.grad = None

    def state(self) -> dict[str, Tensor]:
        """Everything the optimisers remember, by the weight's name."""
        return {k: v for optimiser in self.optimisers.values() for k, v in optim.state_tensors(optimiser, self.names).items()}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `state`. Errors: `InputError` where it is another network's."""
        known = {self.names[weight] for weights in self.weights.values() for weight in weights}
        for key in tensors:
            if key.rsplit("/", 1)[0] not in known:
                raise InputError(
                    f"optimiser state '{key}' belongs to no weight of this recipe; the checkpoint is of another recipe"
                )
        for player, optimiser in self.optimisers.items():
            own: dict[Tensor, str] = {weight: self.names[weight] for weight in self.weights[player]}
            mine = set(own.values())
            optim.load_state_tensors(optimiser, own, {k: v for k, v in tensors.items() if k.rsplit("/", 1)[0] in mine})


def _add(into: dict[str, Tensor], more: Mapping[str, Tensor]) -> None:
    for name, value in more.items():
        into[name] = into[name] + value if name in into else value.detach()


def _accumulate(gradients: dict[str, list[Tensor]], player: str, own: list[Tensor]) -> None:
    if player in gradients:
        torch._foreach_add_(gradients[player], own)
    else:
        gradients[player] = own

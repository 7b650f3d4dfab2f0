"""The length of the average with which a run ends: several are made of its snapshots, and the one that does best is chosen.

They are compared on the validation split, once, at the end: by the loss, or, for a game, whose losses say little, by the score.
All lengths get the same pictures and random numbers, so that far fewer are enough than a loss by itself would need.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from limner.core.errors import InputError
from limner.core.files import write_json
from limner.core.method import Method
from limner.data.feed import Feed
from limner.runs.averages import AVERAGES
from limner.runs.run import DISTANCE
from limner.training.averages import SIGMAS, Average, PowerAverages, mix_averages
from limner.training.monitor import MAX_HELD_OUT_IMAGES
from limner.training.stages import Training

LENGTHS = (0.025, 0.035, 0.05, 0.07, 0.10, 0.14, 0.20)
"""The lengths that are compared, a factor of √2 apart. On random walks, sixteen snapshots give each of them to within 3e-3 of
the weights' spread (0.03: 1.5e-3, 0.075: 1e-4, 0.20: 1.2e-3), others less well (0.02: 6e-3, 0.25: 9e-3)."""
RECORD = "lengths.json"
"""The file beside the snapshots that says what each length achieved."""

Scorer = Callable[[Method], dict[str, float]]
"""Averaged method -> its scores, with at least ``frechet`` and ``null`` (`training.scorer`)."""
Judge = Callable[[Mapping[str, Tensor]], float]
"""Averaged weights -> what is best where it is lowest."""


def choose_length(training: Training, held_out: Feed | None, scorer: Scorer | None) -> float | None:
    """Gives the method that is sampled from the average of the best of the `LENGTHS`, and returns that length.

    None, and the average stays the shorter one that is tracked, where the recipe tracks no two averages, or where there is
    nothing to judge by. `held_out` are pictures of the validation split. The run's log and ``averages/lengths.json`` say what
    each length achieved.
    """
    ema = training.stage.ema
    if not isinstance(ema, PowerAverages):
        return None
    choice = _judge(training, ema, held_out, scorer)
    if choice is None:
        training.run.log(f"average: its length stays {SIGMAS[0]:g}, since there is nothing to compare lengths by")
        return None
    began = time.monotonic()
    measure, pictures, judge = choice
    values: dict[float, float] = {}
    averages, at = available_averages(training, ema), training.state.images - training.state.stage_start
    for sigma in LENGTHS:
        value = judge(_weights_of(ema, averages, sigma, at))
        if math.isfinite(value):
            values[sigma] = value
    best = min(values, key=lambda sigma: values[sigma], default=SIGMAS[0])
    ema.show(_weights_of(ema, averages, best, at))
    record = {"images": training.state.images, "by": measure, "pictures": pictures, "length": best}
    write_json(training.run.path / AVERAGES / RECORD, record | {"values": {f"{sigma:g}": x for sigma, x in values.items()}})
    description = _describe(values, best, f"{measure} ({pictures} pictures)")
    training.run.log(f"{description}, in {time.monotonic() - began:.1f} s")
    return best


def _describe(values: Mapping[float, float], best: float, measure: str) -> str:
    """A line for the log: the `best` length, what it achieved, and by how much it is better than the one tracked all along."""
    if best not in values:
        return f"average: its length stays {best:g}, since no length has a {measure} that is finite"
    usual = SIGMAS[0]
    gain = f", {values[usual] - values[best]:.2g} below that of {usual:g}" if usual in values and best != usual else ""
    others = ", ".join(f"{sigma:g} {value:.5g}" for sigma, value in values.items())
    return f"average: the length {best:g} has the lowest {measure}{gain} ({others})"


def choice_seconds(training: Training, loss_seconds: float, score_seconds: float) -> float:
    """About how long `choose_length` will take, where a score took `score_seconds`, and `Monitor.held_out`, which computes the
    losses of twice as many pictures as one length needs, took `loss_seconds`."""
    if not isinstance(training.stage.ema, PowerAverages):
        return 0.0
    return len(LENGTHS) * (score_seconds if _is_game(training.stage.method) else loss_seconds / 2)


def available_averages(training: Training, ema: PowerAverages) -> list[Average]:
    """The averages that there are of the stage in training: those of its snapshots, and the two that are tracked.

    A damaged snapshot is left out, since the others serve as well; the run's log names it.
    """
    state, averages = training.state, list[Average]()
    for snapshot in training.run.snapshots():
        if not state.stage_start < snapshot.images < state.images:
            continue
        try:
            snapshot.check()
        except InputError as error:
            training.run.log(f"average: {error}; it is left out")
            continue
        place = snapshot.images - state.stage_start
        averages += [Average(sigma, place, partial(snapshot.weights, sigma)) for sigma in snapshot.sigmas()]
    now = state.images - state.stage_start
    return averages + [Average(sigma, now, partial(ema.averages().__getitem__, sigma)) for sigma in SIGMAS]


def _weights_of(ema: PowerAverages, averages: list[Average], sigma: float, at: int) -> Mapping[str, Tensor]:
    """The average of the length `sigma` at `at` images: to the bit, where it is tracked."""
    return ema.averages()[sigma] if sigma in ema.averages() else mix_averages(averages, sigma, at)


def _judge(
    training: Training, ema: PowerAverages, held_out: Feed | None, scorer: Scorer | None
) -> tuple[str, int, Judge] | None:
    """What averages are compared by, on how many pictures, and a function that computes it; None where there is nothing."""
    method = training.stage.method
    if not _is_game(method) and held_out is not None:
        count = min(MAX_HELD_OUT_IMAGES, len(held_out))
        held_out.accept(training.feed.accepts)
        return "loss", count, lambda weights: _held_out_loss(training, held_out, weights, count)
    if scorer is not None and method.generates:
        return DISTANCE, training.recipe.score.count, lambda weights: _score(training, ema, scorer, weights)
    return None


def _is_game(method: Method) -> bool:
    """Whether players play against each other, so that a loss says how two of them compare and not how good pictures are."""
    return any(player.teaches for player in method.players().values())


def _held_out_loss(training: Training, held_out: Feed, weights: Mapping[str, Tensor], count: int) -> float:
    """The sum of the players' losses on `count` held-out pictures, with `weights` in the place of the live ones for a while."""
    stepper = training.stage.stepper
    with _replaced_weights(training.stage.method, weights):
        losses = stepper.evaluate_losses(held_out.draw, training.position(), count)
    return math.fsum(losses[name] for name in stepper.players if name in losses)


@contextmanager
def _replaced_weights(method: Method, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """A context in which `method` has these `weights`; its own return afterwards, to the bit."""
    own = method.state_dict()
    before = {name: own[name].clone() for name in weights}
    with torch.no_grad():
        try:
            for name, tensor in weights.items():
                own[name].copy_(tensor)
            yield
        finally:
            for name, tensor in before.items():
                own[name].copy_(tensor)


def _score(training: Training, ema: PowerAverages, scorer: Scorer, weights: Mapping[str, Tensor]) -> float:
    ema.show(weights)
    training.fit_at_checkpoint(ema.method)
    return scorer(ema.method)[DISTANCE]

"""`train --dry-run`: estimates time and memory of a training from a few timed steps, and writes no run folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from limner.core import precision
from limner.core.environment import peak_memory
from limner.core.method import StepContext
from limner.core.process import configure_for_computation
from limner.core.progress import silent
from limner.runs.run import Run
from limner.training.notes import data_notes
from limner.training.resolve import DEFAULT_MINUTES, resolve_request
from limner.training.stages import Training
from limner.training.train import DryRunResult, TrainRequest


@dataclass(frozen=True)
class Pace:
    """How fast a stage trains.

    The first `count` images cost more: a frozen codec encodes each of them once, and the latents are reused from then on.
    """

    each: float
    """Seconds of training for an image."""
    once: float
    """Additional seconds for an image that must be encoded."""
    count: int
    """Images that must be encoded."""

    def seconds(self, images: float) -> float:
        """Of training on `images` images.

        >>> Pace(each=0.1, once=0.4, count=10).seconds(20)
        6.0
        """
        return images * self.each + min(images, self.count) * self.once

    def images(self, seconds: float) -> float:
        """How many images can be seen in `seconds`: the inverse of `seconds()`."""
        beginning = self.seconds(self.count)
        if seconds <= beginning:
            return seconds / (self.each + self.once)
        return self.count + (seconds - beginning) / self.each


@dataclass(frozen=True)
class StageEstimate:
    """Parameters, time and memory of one stage."""

    name: str
    parameters: dict[str, int]
    images: int
    images_per_second: float
    seconds_estimate: float
    memory: int
    """Peak memory of the process in bytes, up to the end of the stage."""


TIMED_STEPS = 8
"""Steps in each interval of a stage in which the same phases run; the first two only warm up and are not counted."""


def estimate_training(request: TrainRequest, steps: int = TIMED_STEPS) -> DryRunResult:
    """Resolves the recipe, and estimates memory and time of training from `steps` timed steps. No run folder is written.

    Errors: `InputError` as `limner.training.train.train` has them before training starts.
    """
    recipe, dataset, why = resolve_request(request, silent)
    configure_for_computation()
    training = Training(Run(Path("dry-run")), recipe, dataset)
    first = training.state.stage
    stages = []
    for stage in range(first, len(training.stages)):
        if stage > first:
            training.enter_stage(stage)
        stages.append(_estimate_stage(training, steps))
    seconds = sum(stage.seconds_estimate for stage in stages)
    total = recipe.budget.images or sum(stage.images for stage in stages)
    return DryRunResult(
        recipe=recipe.model_dump(mode="json"),
        why=why,
        notes=data_notes(recipe, dataset),
        stages=[asdict(stage) | {"seconds_estimate": round(stage.seconds_estimate, 1)} for stage in stages],
        parameters=_sum_parameters([stage.parameters for stage in stages]),
        weights_bytes=4 * sum(p.numel() for p in training.stage.method.parameters()),
        memory=max(stage.memory for stage in stages),
        images_per_second=round(total / seconds, 1),
        images=total,
        seconds_estimate=round(seconds, 1),
        data={
            "path": str(dataset.path),
            "shape": list(dataset.shape),
            "splits": {k: len(v) for k, v in dataset.splits.items()},
        },
    )


def _estimate_stage(training: Training, steps: int) -> StageEstimate:
    """The estimate for the stage that `training` is in."""
    name, share, _ = training.stages[training.state.stage]
    budget, pace = training.recipe.budget, _measure_pace(training, steps)
    # The share of a stage is one of the images, or of the time where the budget is in minutes.
    if budget.images is not None:
        images = share * budget.images
    else:
        images = pace.images(share * 60 * (budget.minutes or DEFAULT_MINUTES))
    seconds = pace.seconds(images)
    return StageEstimate(
        name=name,
        parameters=training.parameter_counts(),
        images=round(images),
        images_per_second=round(images / seconds, 1),
        seconds_estimate=seconds,
        memory=peak_memory(training.device),
    )


def _sum_parameters(parts: Sequence[dict[str, int]]) -> dict[str, int]:
    """Parameters of the players of all stages, and their total."""
    players = {name: count for part in parts for name, count in part.items() if name != "total"}
    return players | {"total": sum(part["total"] for part in parts)}


@precision.repeatable()
def _measure_pace(training: Training, steps: int) -> Pace:
    """The pace of the current stage, by `steps` timed steps in each interval in which no phase starts or stops."""
    training.remember_latents()
    feed, stage = training.feed, training.stage
    size = training.recipe.batch.size
    count, first = 0, 0.0
    if feed.memory is not None:
        count = int((~feed.memory.is_encoded).sum())
        if count:  # without the cache, so that latents that are in it do not make encoding look cheap
            feed.remember(stage.method.codec.encode)
            first = _step_seconds(training, steps, 0.0)
    marks = sorted({0.0, 1.0} | {mark for phase in stage.stepper.phases for mark in (phase.start, phase.stop)})
    spans = [(end - start, _step_seconds(training, steps, start)) for start, end in pairwise(marks)]
    return Pace(sum(share * seconds for share, seconds in spans) / size, max(first - spans[0][1], 0.0) / size, count)


def _step_seconds(training: Training, steps: int, progress: float) -> float:
    """Median seconds of a step at the fraction `progress` of the stage. Every step sees the same images."""
    size, durations = training.recipe.batch.size, list[float]()
    for step in range(steps):
        began = time.perf_counter()
        logs = training.stage.stepper.step(training.feed.draw, StepContext(step * size, progress), step)
        training.stage.ema.update(size, 0.0)
        sum(float(value) for value in logs.values())  # waits for the device
        durations.append(time.perf_counter() - began)
    return sorted(durations[2:])[len(durations[2:]) // 2]

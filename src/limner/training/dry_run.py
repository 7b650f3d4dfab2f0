"""`train --dry-run`: estimates time and memory of a training from a few timed steps, and writes no run folder."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from limner.core import parallel, precision
from limner.core.environment import peak_memory
from limner.core.errors import InputError
from limner.core.method import StepContext
from limner.core.process import fix_thread_count
from limner.core.progress import OnProgress, Progress, silent
from limner.data.conditions import Conditions, generate_images
from limner.data.dataset import Dataset
from limner.judges.judge import estimate_training_seconds, has_judge, judge_for, shuffled_rows
from limner.metrics.features.pixels import ImageSubset
from limner.recipes.recipe import Recipe
from limner.runs.plan import whole_batches
from limner.runs.run import Run
from limner.training.memory import check_memory, predict_memory
from limner.training.milestones import FREE_FIT_SECONDS
from limner.training.notes import data_notes
from limner.training.resolve import DEFAULT_MINUTES, resolve_request
from limner.training.scorer import unscorable_error
from limner.training.slowdown import warnings_of_times
from limner.training.stages import Training, check_method
from limner.training.step import Stepper
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


MilestoneKind = Literal["previews", "scores", "fits"]


@dataclass(frozen=True)
class MilestoneCosts:
    """Seconds of what a stage does between training steps, each time."""

    fit: float
    """Of `Method.fit_at_checkpoint`."""
    score: float
    """Of drawing and judging the samples of a score; 0 without scores."""
    preview: float

    def seconds(self, recipe: Recipe, total: float, share: float = 1.0) -> float:
        """Of all of them in a stage with this `share` of a run that takes `total` seconds.

        >>> MilestoneCosts(fit=2.0, score=1.0, preview=0.0).seconds(Recipe(), 60.0)  # two scores, three fits
        8.0
        """
        return sum(self.parts(recipe, total, share).values())

    def parts(self, recipe: Recipe, total: float, share: float = 1.0) -> dict[MilestoneKind, float]:
        """`seconds` of each kind.

        As in `training.milestones`: the first score and the last one are always computed, others as far as their shares of the
        time allow, and a score comes with a fit.
        """
        checkpoints, points = share / recipe.checkpoints.every, share * recipe.score.points if self.score else 0.0
        each = self.fit + self.score
        scores = min(points, max(2.0, recipe.score.share * total / each)) if points else 0.0
        allowed = max(FREE_FIT_SECONDS, recipe.checkpoints.share * total) / self.fit if self.fit else 0.0
        fits = max(scores, min(max(checkpoints, 1.0), max(2.0, allowed)))
        previews = 1 + share / recipe.previews.every
        return {"previews": previews * self.preview, "scores": scores * self.score, "fits": fits * self.fit}


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
    milestone_seconds: float
    """How many of `seconds_estimate` previews, scores and fits at checkpoints take."""


MAX_MILESTONE_SHARE = 0.5
"""Share of the time beyond which previews, scores and fits are worth a warning: little is left to train in."""
CHEAPER: Mapping[MilestoneKind, str] = {
    "previews": "previews most of it: previews.count=16 draws fewer pictures, previews.every=0.5 draws them at two points",
    "scores": "scores most of it: a smaller score.count makes them cheaper, score.points=0 leaves them out",
    "fits": "the fits of checkpoints most of it: checkpoints.every=1 fits once, at the end",
}
"""The part of milestones that takes most of their time -> what makes it cheaper."""
TIMED_STEPS, MIN_TIMED_STEPS = 8, 3
"""Steps in each interval of a stage in which the same phases run, and the least; the first two only warm up."""
MAX_STEP_SECONDS = 1.0
"""A step that takes longer is timed on fewer pictures, whose time grows with their number."""
MAX_CYCLE = 1000
"""Steps in which the pattern of phases is looked for."""
PROBE = 2
"""Pictures of the first step on each process, by which the others are planned. Batch norm needs two."""
MAX_FIT_IMAGES, MAX_SLOW_FIT_IMAGES, MAX_JUDGED_IMAGES = 1_024, 16, 256
"""Images of the fit that is timed, of it where steps are slow, and of the pictures that the judge is timed on."""
MAX_TIMED_SECONDS = 4.0
"""Work that takes longer is timed once, other work twice."""


def estimate_training(request: TrainRequest, steps: int = TIMED_STEPS, on_progress: OnProgress = silent) -> DryRunResult:
    """Resolves the recipe, and estimates memory and time of training from `steps` timed steps. No run folder is written.

    Errors: `InputError` as `limner.training.train.train` has them before training starts.
    """
    with parallel.processes():
        return _estimate(request, steps, on_progress)


def _estimate(request: TrainRequest, steps: int, on_progress: OnProgress) -> DryRunResult:
    warnings = warnings_of_times()
    recipe, dataset, why = resolve_request(request, on_progress, measure_speed)
    check_method(recipe)
    check_memory(recipe)
    fix_thread_count()
    on_progress(Progress("timing some steps"))
    training = Training(Run(Path("dry-run")), recipe, dataset)
    first = training.state.stage
    stages, parts = [], Counter[MilestoneKind]()
    for stage in range(first, len(training.stages)):
        if stage > first:
            training.enter_stage(stage)
        estimate, milestones = _estimate_stage(training, steps)
        stages.append(estimate)
        parts.update(milestones)
    seconds = sum(stage.seconds_estimate for stage in stages)
    judge_seconds = _judge_seconds(recipe, dataset, on_progress)
    if sum(parts.values()) > MAX_MILESTONE_SHARE * seconds:
        longest = max(parts, key=lambda kind: parts[kind])
        warnings.append(f"more than half of the time would go to previews, scores and checkpoints, {CHEAPER[longest]}")
    budget = recipe.budget.images
    total = sum(stage.images for stage in stages) if budget is None else whole_batches(budget, recipe.batch.size)
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
        milestone_seconds=round(sum(stage.milestone_seconds for stage in stages), 1),
        judge_seconds=judge_seconds,
        time_warnings=tuple(warnings),
        data={
            "path": str(dataset.path),
            "shape": list(dataset.shape),
            "splits": {k: len(v) for k, v in dataset.splits.items()},
        },
        all_settings=request.all_settings,
    )


def _judge_seconds(recipe: Recipe, dataset: Dataset, on_progress: OnProgress) -> float | None:
    """Seconds that the training of a judge takes before the first step; 0 where there is one or none is needed, None: unknown.

    Errors: `InputError` where the pictures are too few for one.
    """
    if not recipe.score.points:
        return 0.0
    on_progress(Progress("timing the training of a judge"))
    try:
        seconds = estimate_training_seconds(dataset) if parallel.is_main_process() else None
    except InputError as error:
        raise unscorable_error(error) from error
    seconds = parallel.broadcast_object(seconds)
    return None if seconds is None else round(seconds, 1)


def measure_speed(recipe: Recipe, dataset: Dataset) -> float:
    """Images per second that training by `recipe` reaches on this machine, previews, scores and fits included."""
    training = Training(Run(Path("dry-run")), recipe, dataset)
    pace, is_whole_batch = _measure_pace(training, MIN_TIMED_STEPS)
    images, seconds, _ = _budget(recipe, pace, _measure_costs(training, is_whole_batch), 1.0)
    return images / seconds


def _estimate_stage(training: Training, steps: int) -> tuple[StageEstimate, dict[MilestoneKind, float]]:
    """The estimate for the stage that `training` is in, and the seconds of each kind of its milestones."""
    name, share, _ = training.stages[training.state.stage]
    pace, is_whole_batch = _measure_pace(training, steps)
    costs = _measure_costs(training, is_whole_batch)
    images, seconds, milestone_seconds = _budget(training.recipe, pace, costs, share)
    memory = peak_memory(training.device)
    if not is_whole_batch and (need := predict_memory(training.recipe)) is not None:
        memory = max(memory, need.bytes(training.recipe.batch.size // training.recipe.batch.chunks))
    estimate = StageEstimate(
        name=name,
        parameters=training.parameter_counts(),
        images=round(images),
        images_per_second=round(images / seconds, 1),
        seconds_estimate=seconds,
        memory=memory,
        milestone_seconds=round(milestone_seconds, 1),
    )
    return estimate, costs.parts(training.recipe, seconds / share, share)


def _budget(recipe: Recipe, pace: Pace, costs: MilestoneCosts, share: float) -> tuple[float, float, float]:
    """Images and seconds of a stage with this `share` of the budget, and how many of the seconds its milestones take.

    The share of a stage is one of the images, or of the time where the budget is in minutes.
    """
    if recipe.budget.images is not None:
        images = share * recipe.budget.images
        steps = seconds = pace.seconds(images)
        for _ in range(20):  # milestones may take a share of the whole, which they are a part of
            seconds = steps + costs.seconds(recipe, seconds / share, share)
        return images, seconds, seconds - steps
    seconds = share * 60 * (recipe.budget.minutes or DEFAULT_MINUTES)
    milestone_seconds = costs.seconds(recipe, seconds / share, share)
    # However short the budget is, a step is taken, and the milestones at the end come after it.
    images = max(pace.images(seconds - milestone_seconds), recipe.batch.size)
    return images, pace.seconds(images) + milestone_seconds, milestone_seconds


@precision.repeatable()
def _measure_costs(training: Training, is_whole_batch: bool) -> MilestoneCosts:
    """What previews, scores and fits of the current stage cost, from one of each on fewer pictures.

    The judge takes part where there is one already. All processes do the same, and decide by the main one's times.
    """
    recipe, method = training.recipe, training.stage.ema.method
    fit = draw = judge = 0.0
    if method.fit_images:
        count = min(method.fit_images, MAX_FIT_IMAGES if is_whole_batch else MAX_SLOW_FIT_IMAGES)
        fit = _timed(lambda: training.fit_at_checkpoint(method, count)) * method.fit_images / count
    if method.generates:
        conditions = Conditions(training.dataset, None, None)
        draw = _timed(lambda: generate_images(method, range(method.chunk), conditions)) / method.chunk
        if recipe.score.points and has_judge(training.dataset):
            rows = shuffled_rows(training.dataset, "train")[:MAX_JUDGED_IMAGES]
            pictures, detector = ImageSubset(training.dataset.images, rows), judge_for(training.dataset)
            judge = _timed(lambda: detector.outputs(pictures)) / len(rows)
    score = recipe.score.count * (draw + judge) if recipe.score.points else 0.0
    return MilestoneCosts(fit, score, recipe.previews.count * draw)


def _timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes; the shorter of two times, since the first also warms up, and a machine has slow moments."""
    durations = list[float]()
    while len(durations) < 2 and sum(durations) < MAX_TIMED_SECONDS:
        began = time.perf_counter()
        work()
        durations.append(time.perf_counter() - began)
    return parallel.broadcast_object(min(durations))


def _sum_parameters(parts: Sequence[dict[str, int]]) -> dict[str, int]:
    """Parameters of the players of all stages, and their total."""
    players = {name: count for part in parts for name, count in part.items() if name != "total"}
    return players | {"total": sum(part["total"] for part in parts)}


@precision.repeatable()
def _measure_pace(training: Training, steps: int) -> tuple[Pace, bool]:
    """The pace of the current stage, by `steps` timed steps in each interval in which no phase starts or stops.

    Also whether they were on whole batches.
    """
    training.read_pictures()
    stepper, steps = _timed_stepper(training, steps)
    training.remember_latents()
    feed, size = training.feed, stepper.batch
    count, first = 0, 0.0
    if feed.memory is not None:
        count = int((~feed.memory.is_encoded).sum())
        if count:  # without the cache, so that latents that are in it do not make encoding look cheap
            feed.remember(training.stage.method.codec.encode)
            first = _step_seconds(training, stepper, steps, 0.0)
    marks = sorted({0.0, 1.0} | {mark for phase in stepper.phases for mark in (phase.start, phase.stop)})
    spans = [(end - start, _step_seconds(training, stepper, steps, start)) for start, end in pairwise(marks)]
    pace = Pace(sum(share * seconds for share, seconds in spans) / size, max(first - spans[0][1], 0.0) / size, count)
    return pace, size == training.recipe.batch.size


def _timed_stepper(training: Training, steps: int) -> tuple[Stepper, int]:
    """The stage's stepper where its steps are short; otherwise one with a smaller batch, and perhaps fewer than `steps`."""
    whole, processes = training.stage.stepper, parallel.process_count()
    small = Stepper(training.stage.method, min(PROBE * processes, whole.batch), processes, whole.number_format, whole.seed)
    each = _step_seconds(training, small, MIN_TIMED_STEPS, 0.0) / small.batch
    if each * whole.batch <= MAX_STEP_SECONDS:
        return whole, steps
    batch = max(small.batch, int(MAX_STEP_SECONDS / each) // processes * processes)
    steps = max(MIN_TIMED_STEPS, min(steps, int(steps * MAX_STEP_SECONDS / (each * batch))))
    return Stepper(training.stage.method, batch, processes, whole.number_format, whole.seed), steps


def _step_seconds(training: Training, stepper: Stepper, steps: int, progress: float) -> float:
    """Mean seconds of a step at the fraction `progress` of the stage.

    Phases that run in every eighth step, such as penalties, cost as much as several of the others. So each set of phases that
    run together is timed by itself, and counts as often as it comes.
    """
    cycle = min(math.lcm(*(phase.every for phase in stepper.phases)), MAX_CYCLE)
    sets: dict[tuple[bool, ...], list[int]] = {}
    for iteration in range(cycle):
        due = tuple(phase.due(iteration, progress) for phase in stepper.phases)
        sets.setdefault(due, []).append(iteration)
    total = 0.0
    for places in sets.values():
        count = steps if len(places) > cycle // 2 else MIN_TIMED_STEPS  # what comes less often is timed by fewer steps
        total += len(places) / cycle * _seconds_at(training, stepper, places[0], count, progress)
    return total


def _seconds_at(training: Training, stepper: Stepper, iteration: int, steps: int, progress: float) -> float:
    """Median seconds of the step at `iteration`, repeated on other images."""
    size, durations = stepper.batch, list[float]()
    for step in range(steps):
        began = time.perf_counter()
        logs = stepper.step(training.feed.draw, StepContext(step * size, progress), iteration)
        training.update_average()
        sum(float(value) for value in logs.values())  # waits for the device
        durations.append(time.perf_counter() - began)
    return parallel.broadcast_object(sorted(durations[2:])[len(durations[2:]) // 2])  # all processes decide alike

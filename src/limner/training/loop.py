"""The one loop: steps, and what happens between them (pictures, scores, checkpoints, orders from outside).

Every method, device and number of processes goes through `Loop.train`. The leading process speaks and writes; the others only
step, so what decides about the next step is told to all of them.
"""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from limner.core import parallel, precision, seeds
from limner.core.capabilities import Pixels
from limner.core.cond import Batch
from limner.core.digest import digest
from limner.core.errors import InputError
from limner.core.method import At, Method, averaged
from limner.core.precision import prepare_module
from limner.core.progress import Progress, Tell
from limner.data.dataset import Dataset
from limner.data.feed import Feed
from limner.recipes.build import build_method, stage_configs
from limner.recipes.recipe import Recipe
from limner.runs.checkpoint import Checkpoint, load_weights
from limner.runs.codec import open_codec
from limner.runs.plan import Plan
from limner.runs.run import Run
from limner.training.clock import Clock
from limner.training.ema import Ema
from limner.training.interrupt import Wish, wishes
from limner.training.monitor import Lookout
from limner.training.step import Stepper

FIT_STREAM = 1000
"""The reading of the training split that `Method.fit` is given; no phase draws from it."""

Scorer = Callable[[Method], dict[str, float]]


@dataclass
class Place:
    """Where the run is: all that a checkpoint holds beside tensors. Randomness is a function of it."""

    images: int = 0
    iteration: int = 0
    seconds: float = 0.0
    stage: int = 0
    stage_start: int = 0
    rollbacks: int = 0
    scoring_seconds: float = 0.0


class Loop:
    """Trains `run` towards the end of its plan."""

    def __init__(self, run: Run, recipe: Recipe, dataset: Dataset, scorer: Scorer | None, tell: Tell) -> None:
        self.run, self.recipe, self.dataset, self.scorer, self.tell = run, recipe, dataset, scorer, tell
        self.device = precision.device()
        self.feed = Feed(dataset, "train", self.device, recipe.seed, recipe.data.mirror)
        self.lookout = Lookout(run, recipe, dataset, self.feed)
        self.stages = stage_configs(recipe)
        self.place = Place()
        self.plan = Plan(run.plan())
        self.losses: dict[str, float] = {}
        self._sums: dict[str, tuple[Tensor, int]] = {}
        self.started = self.row_time = self.told = self.beat = self.polled = self.saved = 0.0
        self.row_images = 0
        self.spent_scoring = 0.0
        self.event_cost = 0.0

    # Building, and coming back.

    def build(self, checkpoint: Checkpoint | None) -> None:
        """The stage's networks, its moving average and its optimisers: fresh, or as the checkpoint left them."""
        given = sum(share == 0 for _, share, _ in self.stages)
        self.place = Place(**checkpoint.state()) if checkpoint else Place(stage=given)
        self.build_stage(open_codec(str(self.recipe.codec)).codec()[1] if given and not checkpoint else None)
        if checkpoint:
            load_weights(self.method, checkpoint.tensors("model"), checkpoint.path)
            load_weights(self.ema.method, checkpoint.tensors("ema"), checkpoint.path, averaged(self.method))
            self.stepper.load_state(checkpoint.tensors("optim"))

    def roll_back(self) -> None:
        """Takes other draws from here on: the same ones would lead to the same end."""
        self.place.rollbacks += 1
        self.stepper.seed = seeds.fold(self.recipe.seed, "rollback", self.place.rollbacks)
        self._sums.clear()
        self.losses = {}
        if parallel.leads():
            self.run.forget_after(self.place.images)

    def build_stage(self, codec: Mapping[str, Tensor] | None = None) -> None:
        """Its methods are built anew; `codec` is what the frozen one among them has learned."""
        recipe, place = self.recipe, self.place
        seeds.seed_all(recipe.seed, "init", place.stage)
        self.method = build_method(recipe, self.dataset.shape, self.dataset.classes, place.stage)
        if codec is not None:
            load_weights(self.method.codec, codec, self.run.path)  # type: ignore[arg-type]
        prepare_module(self.method, self.device)
        self.method.train()
        if place.stage:
            self.method.codec.eval()  # type: ignore[attr-defined]
        if recipe.init_from is not None and place.images == place.stage_start and place.stage == len(self.stages) - 1:
            source = Run.open(recipe.init_from).checkpoint()  # averaged where there is an average: a discriminator has none
            try:
                load_weights(self.method, source.tensors("model") | source.tensors("ema"), source.path)
            except InputError as error:
                raise InputError(f"{error}; give this run that one's method settings, or leave init_from out") from error
        if place.images == place.stage_start:
            self.method.fit(self._fit_batches(), "start")
        self.ema = Ema(self.method)
        seed = seeds.fold(recipe.seed, "rollback", place.rollbacks) if place.rollbacks else recipe.seed
        self.stepper = Stepper(self.method, recipe.batch.size, recipe.batch.chunks, recipe.number_format(), seed)

    def _fit_batches(self) -> Iterator[Batch]:
        seeds.seed_all(self.recipe.seed, "fit", self.place.images)
        start = 0
        while True:
            yield self.feed.draw(FIT_STREAM, start, 64)
            start += 64

    # The loop.

    def train(self) -> str:
        """Runs to the end of the plan: ``done``, or ``stopped`` where somebody asked for it. State is saved either way."""
        with wishes() as wish:
            batch = self.recipe.batch.size
            clock = self._clock()
            self._stopwatch()
            self.remember()
            reached = self._stage_progress()
            while not self.plan.finished(self.place.images):
                if self._next_stage():  # before the step, so that a run resumed on the border crosses it as well
                    self.remember()
                    if clock is not None:
                        clock.restart(time.monotonic() - self.started, self.place.images)
                before = self.place.images
                at = At(before, self._stage_progress())
                self._announce(reached, at.progress)
                reached = at.progress
                logs = self.stepper.step(self.feed.draw, at, self.place.iteration)
                self.place.images += batch
                self.place.iteration += 1
                self._note(logs)
                if clock is not None:
                    self._correct(clock)
                self._average(batch)  # after the correction, which a replay knows beforehand
                orders = self._orders(wish)
                self._between(before, orders)
                if "stop" in orders:
                    return "stopped"
            if not self.run.checkpoints() or self.run.checkpoints()[-1].images < self.place.images:
                self._between(self.place.images, {"save-now"})
        return "done"

    def _clock(self) -> Clock | None:
        """What corrects a plan in minutes. It was resumed with a plan in images where the newest segment says so."""
        minutes = self.recipe.budget.minutes if self.recipe.budget.images is None else None
        for segment in self.recipe.segments:
            if segment.images is not None or segment.minutes is not None:
                minutes = segment.minutes
        place = self.place
        return None if minutes is None else Clock(60 * minutes, (place.seconds, place.images), began=place.stage_start)

    def _stopwatch(self) -> None:
        self.started = time.monotonic() - self.place.seconds
        self.row_time = self.beat = self.saved = self.place.seconds
        self.row_images = self.place.images
        if parallel.leads():
            self.lookout.recall(self.place.stage_start)
            self._status()

    def _stage_progress(self) -> float:
        """Of the current stage's share of the budget, 0..1; from where the stage began: a longer budget stretches it."""
        total = self.plan.total(self.place.images)
        if total is None:
            return 0.0
        end = total * sum(share for _, share, _ in self.stages[: self.place.stage + 1])
        start = self.place.stage_start
        return min((self.place.images - start) / (end - start), 1.0) if end > start else 1.0

    def _stage_over(self) -> bool:
        return self.place.stage < len(self.stages) - 1 and self._stage_progress() >= 1.0

    def _next_stage(self) -> bool:
        """Where a stage's share is used up, its averaged method becomes the next one's frozen codec. Whether it was so."""
        if not self._stage_over():
            return False
        self.ema.method.fit(self._fit_batches(), "checkpoint")
        state, kept = self.ema.method.state_dict(), averaged(self.ema.method)
        self.place.stage += 1
        self.place.stage_start = self.place.images
        self.build_stage({name: state[name] for name in kept})
        return True

    def remember(self) -> None:
        """A frozen codec encodes every training image once; what it made of them is kept in the cache, by what it is."""
        codec = self.method.codec
        if isinstance(codec, Pixels):
            self.feed.remember(None)
            return
        settings = [config.model_dump(mode="json") for _, _, config in self.stages[: self.place.stage]]
        self.feed.remember(codec.encode, digest(codec.state_dict(), settings))  # type: ignore[attr-defined]

    def _announce(self, before: float, now: float) -> None:
        """The notes of phases that begin between two progresses of the stage."""
        for phase in self.stepper.phases:
            if phase.note and before < phase.start <= now and parallel.leads():
                self.run.log(f"at {self.place.images} images: {phase.note}")

    def _average(self, batch: int) -> None:
        """Half-life as a share of the budget, bounded by a share of what was seen, so that the average outlives its youth."""
        ema = self.recipe.ema
        seen = self.place.images - self.place.stage_start
        total = self.plan.total(self.place.images)
        half_life = ema.ramp * seen if total is None else min(ema.half_life * total, ema.ramp * seen)
        self.ema.update(batch, half_life)

    def _note(self, logs: Mapping[str, Tensor]) -> None:
        for name, value in logs.items():
            total, count = self._sums.get(name, (None, 0))
            self._sums[name] = (value if total is None else total + value, count + 1)
        if self.device.type == "cpu":  # elsewhere, reading a value makes the host wait: there it is checked with every row
            self._check({name: value for name, value in logs.items() if "/" not in name})

    def _check(self, values: Mapping[str, Tensor | float]) -> None:
        for name, value in values.items():
            if not math.isfinite(float(value)):
                raise NotFinite(name)

    def _correct(self, clock: Clock) -> None:
        self.place.seconds = time.monotonic() - self.started
        clock.reserve = self.event_cost
        row = clock.correct(self.plan, self.place.images, self.place.seconds, self.recipe.batch.size)
        row = parallel.from_lead(row)
        if row is not None:
            if parallel.leads():
                self.run.add_plan(*row)
            self.plan.rows.append(row)

    def _orders(self, wish: Wish) -> set[str]:
        """What is asked for from outside: by a signal, or by a file in ``control/``."""
        orders = {"stop"} if wish.stop else set()
        now = time.monotonic() - self.started
        if parallel.leads() and now - self.polled > 0.5:
            self.polled = now
            orders |= self.run.asked()
            if "pause" in orders:
                orders |= self._pause(wish, now)
        return parallel.from_lead(orders - {"pause"})

    def _pause(self, wish: Wish, now: float) -> set[str]:
        """Waits at second `now` until ``control/pause`` is gone or somebody asks to stop; gives what else was asked."""
        orders: set[str] = set()
        beat = -math.inf
        while True:
            if time.monotonic() - beat > 5:
                beat = time.monotonic()
                self.run.write_status("paused", images=self.place.images, seconds=now)
            time.sleep(0.2)
            asked = self.run.asked()
            orders |= asked | ({"stop"} if wish.stop else set())
            if "pause" not in asked or "stop" in orders:
                break
        self.started = time.monotonic() - now  # the pause is not training time
        self.place.seconds = now
        self._status()
        return orders

    # Between two steps.

    def _between(self, before: int, orders: set[str]) -> None:
        recipe, images = self.recipe, self.place.images
        self.place.seconds = time.monotonic() - self.started
        finished = self.plan.finished(images)
        now, then = self.plan.progress(images), self.plan.progress(before)

        def passed(every: float) -> bool:
            return finished or math.floor(now / every + 1e-9) > math.floor(then / every + 1e-9)

        by_clock = self.place.seconds - self.saved > 60 * recipe.checkpoints.minutes
        saving = bool(orders & {"stop", "save-now"}) or passed(recipe.checkpoints.every) or by_clock
        scoring = self.scorer is not None and recipe.score.points > 0 and passed(1 / recipe.score.points)
        scoring = scoring and self.method.generates
        first = before < recipe.previews.first <= images
        showing = "sample-now" in orders or first or passed(recipe.previews.every)
        broken = None
        if parallel.leads():
            try:
                row = self._row(saving or scoring or showing or self._stage_over())  # no row is of two stages
                self._speak()
                if saving or scoring or showing:
                    self._event(row, saving, scoring, showing, finished)
                elif row is not None:
                    self.run.append_metrics(row)
            except NotFinite as error:
                broken = str(error)
        broken = parallel.from_lead(broken)  # all go back together, or none
        if broken is not None:
            raise NotFinite(broken)

    def _affordable(self, finished: bool) -> bool:
        """Scoring may take its share of the time, room for the last point left; that one and the first are always taken."""
        spent = self.place.scoring_seconds
        return finished or spent == 0 or spent + 2 * self.spent_scoring <= self.recipe.score.share * self.place.seconds

    def _event(self, row: dict[str, Any] | None, saving: bool, scoring: bool, showing: bool, finished: bool) -> None:
        """`row` of metrics is written on the way, with what there is to see; there is none where nothing was trained since."""
        began = time.monotonic()
        for name, weight in self.method.named_parameters():  # a finite loss can still have had a gradient that was not
            if not bool(weight.isfinite().all()):
                raise NotFinite(name)
        affordable = scoring and self._affordable(finished)
        if saving or affordable:
            self.ema.method.fit(self._fit_batches(), "checkpoint")
        seen = self.lookout.preview(self.ema.method, self.place.images) if showing else {}
        if scoring or showing:
            at = At(self.place.images, self._stage_progress())
            seen |= self.lookout.held_out(self.stepper, at, self.place.seconds, finished)
        if row is not None:
            row["watch"] |= seen
            self.run.append_metrics(row)
            self._warn()
        best = affordable and self._score(began)
        if saving or best:
            self.save()
        if saving and affordable:
            self.event_cost = max(self.event_cost, time.monotonic() - began)

    def _warn(self) -> None:
        for warning in self.lookout.warn(self.place.stage_start):
            self.tell(replace(self.progress(), note=warning.text))
        self._status()

    def _score(self, began: float) -> bool:
        """Writes a row of scores; whether it is the best so far. What was prepared for it since `began` counts as its cost."""
        assert self.scorer is not None
        row = {"images": self.place.images, "seconds": round(self.place.seconds, 3), **self.scorer(self.ema.method)}
        self.spent_scoring = time.monotonic() - began
        self.place.scoring_seconds += self.spent_scoring
        best = all(row["frechet"] < other["frechet"] for other in self.run.scores())
        self.run.append_score(row)
        self.run.log(
            f"score at {self.place.images} images: Fréchet distance {row['frechet']:.4g} (real images: {row['null']:.4g})"
        )
        return best

    def save(self) -> Checkpoint:
        """A whole checkpoint; older ones go, but for the best and as many as the recipe keeps."""
        self.place.seconds = time.monotonic() - self.started
        live, mean = self.method.state_dict(), self.ema.method.state_dict()
        mean = {name: mean[name] for name in averaged(self.method)}
        parts = {"model": live, "ema": mean, "optim": self.stepper.state()}
        checkpoint = self.run.save(self.place.images, parts, asdict(self.place), self.recipe)
        self.run.prune(self.recipe.checkpoints.keep)
        try:
            self.feed.keep()
        except InputError as error:  # a run can do without; the next one will encode again
            self.run.log(f"latents are not kept: {error}")
        self.saved = self.place.seconds
        return checkpoint

    def _row(self, due: bool) -> dict[str, Any] | None:
        """A row of metrics, where one is `due` or it is time: often at first, then about two hundred over the run."""
        seconds, images = self.place.seconds, self.place.images
        if not self._sums or (not due and seconds - self.row_time < max(0.5, seconds / 200)):
            return None
        means = {name: float(total) / count for name, (total, count) in self._sums.items()}
        self._sums.clear()
        self.losses = {name: value for name, value in means.items() if "/" not in name}
        norms = {name: value for name, value in means.items() if "/" in name and math.isfinite(value)}
        self._check(dict(self.losses))
        speed = (images - self.row_images) / max(seconds - self.row_time, 1e-9)
        lr = {name: p.optimiser.lr.at(self._stage_progress()) for name, p in self.stepper.players.items()}
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if self.device.type == "cuda":
            memory = torch.cuda.max_memory_allocated(self.device)
        row = {
            "images": images, "seconds": round(seconds, 3), "images_per_second": round(speed, 2), "memory": memory,
            "losses": self.losses, "lr": lr, "watch": norms,
        }  # fmt: skip
        self.row_time, self.row_images = seconds, images
        return row

    def _speak(self) -> None:
        seconds = self.place.seconds
        if seconds - self.beat > 5:
            self._status()
        if seconds - self.told > 0.2:
            self.told = seconds
            self.tell(self.progress())

    def _status(self) -> None:
        self.beat, images = self.place.seconds, self.place.images
        self.run.write_status(
            "training", images=images, seconds=self.beat, total=self.plan.total(images), warnings=self.lookout.status()
        )

    def progress(self) -> Progress:
        images, seconds = self.place.images, self.place.seconds
        total = self.plan.total(images) or 0
        speed = images / seconds if seconds else 0.0
        left = (total - images) / speed if speed and total else None
        note = f"stage {self.stages[self.place.stage][0]}" if len(self.stages) > 1 else ""
        return Progress("training", images, total, seconds, speed, self.losses, left, note)


class NotFinite(Exception):
    """A loss or a weight is infinite or not a number."""


def out_of_memory(error: BaseException) -> bool:
    """Whether torch (on a card or on the CPU) or Python ran out of memory."""
    texts = ("can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in texts)
    )


def mend_memory(run: Run, recipe: Recipe) -> InputError:
    """One line that names the `batch.chunks` to try."""
    size, chunks = recipe.batch.size, recipe.batch.chunks
    more = next((n for n in range(chunks + 1, size + 1) if size % n == 0), None)
    if more is None:
        return InputError(f"out of memory with one image at a time; use a smaller data.size or narrower networks ({run.path})")
    return InputError(f"out of memory with batch.chunks={chunks}; try `limner resume {run.path} batch.chunks={more}`")

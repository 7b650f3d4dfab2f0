"""What happens at chosen points of a run, on the main process alone: previews, held-out losses, scores, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any

from limner.core.method import Method
from limner.training.control import Control
from limner.training.logger import Logger, check_weights
from limner.training.stages import Training

Scorer = Callable[[Method], dict[str, float]]


@dataclass(frozen=True)
class Due:
    """What is to be done after a step."""

    save: bool
    score: bool
    preview: bool
    last: bool
    """Whether the budget is used up."""

    def __bool__(self) -> bool:
        return self.save or self.score or self.preview


class Milestones:
    """Decides after each step what is due, and does it."""

    def __init__(self, training: Training, logger: Logger, control: Control, scorer: Scorer | None) -> None:
        self.training, self.logger, self.control, self.scorer = training, logger, control, scorer
        self.state, self.stopwatch = training.state, control.stopwatch
        self._save_seconds = self.state.seconds
        self._score_seconds = 0.0

    def visit(self, before: int, orders: Set[str]) -> None:
        """After the step that began at `before` images. Errors: `NotFiniteError`."""
        self.state.seconds = self.stopwatch.seconds()
        due = self._due(before, orders)
        row = self.logger.take_row(bool(due) or self.training.stage_finished())  # no row is of two stages
        self.logger.report()
        if due:
            self._act(due, row)
        elif row is not None:
            self.logger.write_row(row)

    def save(self) -> None:
        """A checkpoint at the second it is written."""
        self.state.seconds = self.stopwatch.seconds()
        self.training.save()
        self._save_seconds = self.state.seconds

    def _due(self, before: int, orders: Set[str]) -> Due:
        recipe, plan, images = self.training.recipe, self.training.plan, self.state.images
        finished = self.training.finished()
        now, then = plan.progress(images), plan.progress(before)

        def passed(every: float) -> bool:
            return finished or math.floor(now / every + 1e-9) > math.floor(then / every + 1e-9)

        by_clock = self.state.seconds - self._save_seconds > 60 * recipe.checkpoints.minutes
        first = before < recipe.previews.first <= images
        scores = self.scorer is not None and recipe.score.points > 0 and self.training.stage.method.generates
        return Due(
            save=bool(orders & {"stop", "save-now"}) or passed(recipe.checkpoints.every) or by_clock,
            score=scores and passed(1 / recipe.score.points),
            preview="sample-now" in orders or first or passed(recipe.previews.every),
            last=finished,
        )

    def _act(self, due: Due, row: dict[str, Any] | None) -> None:
        """`row` is written on the way, with what there is to see; there is none where nothing was trained since the last."""
        training, began = self.training, time.monotonic()
        check_weights(training)
        averaged = training.stage.ema.method
        score = due.score and self._affordable(due.last)
        if due.save or score:
            averaged.fit(training.fit_batches(), "checkpoint")
        monitor = self.logger.monitor
        observations = monitor.preview(averaged, self.state.images) if due.preview else {}
        if due.score or due.preview:
            position = training.position()
            observations |= monitor.held_out(training.stage.stepper, position, self.state.seconds, due.last)
        if row is not None:
            row["watch"] |= observations
            self.logger.write_row(row)
            self.logger.write_warnings()
        best = score and self._score(averaged, began)
        if due.save or best:
            self.save()
        if due.save and score:
            self.control.reserve = max(self.control.reserve, time.monotonic() - began)

    def _affordable(self, last: bool) -> bool:
        """Scores may take their share of the time, room for the last one left; that one and the first are always made."""
        spent = self.state.scoring_seconds
        share = self.training.recipe.score.share
        return last or spent == 0 or spent + 2 * self._score_seconds <= share * self.state.seconds

    def _score(self, averaged: Method, began: float) -> bool:
        """Writes a row of scores; whether it is the best so far. What was prepared for it since `began` counts as its cost."""
        assert self.scorer is not None
        run, images = self.training.run, self.state.images
        row = {"images": images, "seconds": round(self.state.seconds, 3), **self.scorer(averaged)}
        self._score_seconds = time.monotonic() - began
        self.state.scoring_seconds += self._score_seconds
        best = all(row["frechet"] < other["frechet"] for other in run.scores())
        run.append_score(row)
        run.log(f"score at {images} images: Fréchet distance {row['frechet']:.4g} (real images: {row['null']:.4g})")
        return best

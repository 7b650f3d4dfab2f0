"""Previews, losses on held-out pictures, scores and checkpoints: at chosen points of a run, on the main process alone."""

from __future__ import annotations

import math
import time
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from limner.core.method import Method
from limner.training.choice import Scorer, choice_seconds, choose_length
from limner.training.control import Control
from limner.training.logger import Logger, check_weights
from limner.training.stages import Training

FREE_FIT_SECONDS = 2.0
"""Seconds of fits at checkpoints that any run may spend, however short it is, so that one of a few seconds has the checkpoints
that its schedule names."""


MAX_SHARE, MIN_SECONDS, MIN_PROGRESS = 0.5, 10.0, 0.25
"""Share of the time beyond which previews, scores and checkpoints are worth a warning, since little is left to train in; and
the seconds of them and the progress from which on it is given: at the beginning they always take most of the time."""


@dataclass(frozen=True)
class Actions:
    """What to do after a step."""

    save: bool
    """Whether to write a checkpoint in any case: at the end, by order, or because the last one is long ago."""
    scheduled_save: bool
    """Whether the schedule names a checkpoint here; it is left out where its fit would cost too much."""
    score: bool
    preview: bool
    is_last: bool
    """Whether the budget is used up with this step."""

    def __bool__(self) -> bool:
        return self.save or self.scheduled_save or self.score or self.preview


class Milestones:
    """Decides after each step which actions are due, and carries them out."""

    def __init__(self, training: Training, logger: Logger, control: Control, scorer: Scorer | None) -> None:
        self.training, self.logger, self.control, self.scorer = training, logger, control, scorer
        self.state, self.stopwatch = training.state, control.stopwatch
        self._save_seconds = self.state.seconds
        self._score_seconds = self._fit_seconds = 0.0
        self._leaves_out_saves = False
        self._began, self._seconds, self._warned = self.state.seconds, 0.0, False

    def after_step(self, images_before: int, orders: Set[str]) -> None:
        """Logs the step that began at `images_before` images, and does what is due after it, by schedule or by `orders`.

        Errors: `NotFiniteError`.
        """
        self.state.seconds = self.stopwatch.seconds()
        actions = self._choose_actions(images_before, orders)
        row = self.logger.take_row(bool(actions) or self.training.stage_finished())  # no row spans two stages
        self.logger.report()
        if self.training.is_snapshot_due(images_before):
            check_weights(self.training)
            self.training.save_snapshot()
        if actions:
            began = self.stopwatch.seconds()
            self._carry_out(actions, row)
            self._seconds += self.stopwatch.seconds() - began
            self.logger.end_pause()
            self._warn_of_share(actions.is_last)
        elif row is not None:
            self.logger.write_row(row)

    def _warn_of_share(self, is_last: bool) -> None:
        """Says once that most of the time goes to previews, scores and checkpoints, and how to make them cheaper."""
        seconds = self.stopwatch.seconds() - self._began
        is_much = self._seconds > max(MAX_SHARE * seconds, MIN_SECONDS)
        if self._warned or is_last or not is_much or self.training.progress() < MIN_PROGRESS:
            return
        self._warned = True
        text = f"previews, scores and checkpoints took {self._seconds:.0f} s of {seconds:.0f} s so far: larger previews.every "
        text += "and checkpoints.every, smaller previews.count and score.count leave more time to train"
        self.logger.announce(text)

    def save(self) -> None:
        """Writes a checkpoint; its seconds are those at which it is written, previews and scores included."""
        self.state.seconds = self.stopwatch.seconds()
        self.training.save()
        self._save_seconds = self.state.seconds

    def _choose_actions(self, images_before: int, orders: Set[str]) -> Actions:
        recipe, plan, images = self.training.recipe, self.training.plan, self.state.images
        finished = self.training.finished()
        progress, progress_before = plan.progress(images), plan.progress(images_before)

        def has_passed(every: float) -> bool:
            """Whether this step reached a multiple of `every`, a share of the budget, or its end."""
            return finished or math.floor(progress / every + 1e-9) > math.floor(progress_before / every + 1e-9)

        by_clock = self.state.seconds - self._save_seconds > 60 * recipe.checkpoints.minutes
        is_first_preview = images_before < recipe.previews.first <= images
        scores = self.scorer is not None and recipe.score.points > 0 and self.training.stage.method.generates
        return Actions(
            save=bool(orders & {"stop", "save-now"}) or finished or by_clock,
            scheduled_save=has_passed(recipe.checkpoints.every),
            score=scores and has_passed(1 / recipe.score.points),
            preview="sample-now" in orders or is_first_preview or has_passed(recipe.previews.every),
            is_last=finished,
        )

    def _carry_out(self, actions: Actions, row: dict[str, Any] | None) -> None:
        """Does what is due, and writes `row` with what previews and held-out pictures show.

        `row` is None where nothing was trained since the last one.
        """
        training, began = self.training, time.monotonic()
        check_weights(training)
        if actions.is_last:
            choose_length(training, self.logger.monitor.feed, self.scorer)
        averaged = training.stage.ema.method
        score = actions.score and self._can_afford_score(actions.is_last)
        save = actions.save or (actions.scheduled_save and (score or self._can_afford_fit()))
        if save or score:
            self._fit(averaged)
        monitor = self.logger.monitor
        observations = monitor.preview(averaged, self.state.images) if actions.preview else {}
        if actions.score or actions.preview:
            position = training.position()
            observations |= monitor.held_out(training.stage.stepper, position, self.state.seconds, actions.is_last)
        if row is not None:
            row["watch"] |= observations
            self.logger.write_row(row)
            self.logger.write_warnings()
        best = score and self._score(averaged, began)
        if save or best:
            self.save()
            if score or self.scorer is None:  # the end of the run will do as much
                choice = choice_seconds(training, monitor.last_seconds, self._score_seconds)
                self.control.reserve = max(self.control.reserve, time.monotonic() - began + choice)
        if save or score:
            self.control.exclude(time.monotonic() - began)

    def _fit(self, averaged: Method) -> None:
        """Fits what `averaged` does not learn by gradients, and adds up how long that takes."""
        began = time.monotonic()
        self.training.fit_at_checkpoint(averaged)
        self._fit_seconds = time.monotonic() - began
        self.state.fit_seconds += self._fit_seconds

    def _can_afford_fit(self) -> bool:
        """Whether the fit of a scheduled checkpoint stays within the share of all fits, with one more reserved for the end.

        The first one is always computed. The run's log says once where a checkpoint is left out for this.
        """
        share = self.training.recipe.checkpoints.share
        allowed = max(FREE_FIT_SECONDS, share * self.state.seconds)
        can = self.state.fit_seconds + 2 * self._fit_seconds <= allowed
        if not can and not self._leaves_out_saves:
            self._leaves_out_saves = True
            self.training.run.log(
                f"checkpoints come less often than checkpoints.every says: their fits took {self.state.fit_seconds:.1f} s of "
                f"{self.state.seconds:.1f} s so far, and may take checkpoints.share={share:g} of the time"
            )
        return can

    def _can_afford_score(self, is_last: bool) -> bool:
        """Whether scores stay within their share of the time, with one more reserved for the end.

        The first score and the last one are always computed.
        """
        scoring_seconds = self.state.scoring_seconds
        share = self.training.recipe.score.share
        return is_last or scoring_seconds == 0 or scoring_seconds + 2 * self._score_seconds <= share * self.state.seconds

    def _score(self, averaged: Method, began: float) -> bool:
        """Writes a row of scores. Returns whether it is the best so far.

        Its cost is counted from `began`, a time of `time.monotonic`, before the method was prepared for it.
        """
        assert self.scorer is not None
        run, images = self.training.run, self.state.images
        row = {"images": images, "seconds": round(self.state.seconds, 3), **self.scorer(averaged)}
        self._score_seconds = time.monotonic() - began
        self.state.scoring_seconds += self._score_seconds
        best = all(row["frechet"] < other["frechet"] for other in run.scores())
        run.append_score(row)
        run.log(f"score at {images} images: Fréchet distance {row['frechet']:.4g} (real images: {row['null']:.4g})")
        return best

"""What a run reports while it trains: rows of metrics, its status, its log, and progress events."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from limner.core import parallel
from limner.core.environment import peak_memory
from limner.core.progress import OnProgress, Progress
from limner.training.clock import Clock, RecentSpeed
from limner.training.monitor import Monitor
from limner.training.slowdown import Slowdown, computes_on_cores
from limner.training.stages import Training

STATUS_SECONDS = 5.0
"""Time between two writes of status.json."""
PROGRESS_SECONDS = 0.2
"""Time between two progress events."""
SPEED_HALF_LIFE = 60.0
"""Seconds after which a speed counts half in progress events; longer than most previews and scores, which are part of it."""


class NotFiniteError(Exception):
    """A loss or a weight is infinite or not a number. The message is its name."""

    def __init__(self, name: str, images: int | None = None) -> None:
        """`images`: images seen when it happened, where they are not those of the run's current state."""
        super().__init__(name)
        self.images = images


class Stopwatch:
    """Seconds of training since the run began, over all its sessions; pauses are not counted."""

    def __init__(self, seconds: float) -> None:
        self._started = time.monotonic() - seconds

    def seconds(self) -> float:
        """Seconds of training until now."""
        return time.monotonic() - self._started

    def set(self, seconds: float) -> None:
        """Continues from `seconds`, as if no time had passed since they were read."""
        self._started = time.monotonic() - seconds


class Logger:
    """Averages the losses between two rows of metrics, and writes what the run reports. Only the main process writes."""

    def __init__(self, training: Training, stopwatch: Stopwatch, on_progress: OnProgress, clock: Clock | None = None) -> None:
        """`clock`: of a budget in minutes, which says how much time is left."""
        self.clock = clock
        self.training, self.stopwatch, self.on_progress = training, stopwatch, on_progress
        self.run, self.state = training.run, training.state
        self.monitor = Monitor(training.run, training.recipe, training.dataset, training.feed)
        self.losses: dict[str, float] = {}
        self._sums: dict[str, tuple[Tensor, int]] = {}
        self._row_seconds = self._status_seconds = self.state.seconds
        self._row_images = self.state.images
        self._progress_seconds = 0.0
        self._progress = training.progress()
        # Of this process alone: another one may have trained the images before at another speed.
        self._speed, self._measured = RecentSpeed(SPEED_HALF_LIFE), (self.state.seconds, self.state.images)
        self._slowdown: Slowdown | None = None
        if computes_on_cores():
            self._slowdown = Slowdown(torch.get_num_threads(), self.state.seconds, self.state.images)
        if parallel.is_main_process():
            self.monitor.update_warnings(self.training.stage.method, self.state.stage, self.state.stage_start)
            self.write_status()

    def add(self, logs: Mapping[str, Tensor]) -> None:
        """Adds the losses and logs of one step to the next row's means. Errors: `NotFiniteError`, on a CPU.

        On a GPU, reading a value would make the host wait in every step, so losses are checked only with each row.
        """
        for name, value in logs.items():
            total, count = self._sums.get(name, (None, 0))
            self._sums[name] = (value if total is None else total + value, count + 1)
        if self.training.device.type == "cpu":
            _check_finite({name: value for name, value in logs.items() if "/" not in name})

    def log_phase_changes(self) -> bool:
        """Logs the note of every phase that starts in the next step. Returns whether a phase starts or ends there."""
        before, self._progress = self._progress, self.training.progress()
        phases = self.training.stage.stepper.phases
        for phase in phases:
            if phase.note and before < phase.start <= self._progress and parallel.is_main_process():
                self.run.log(f"at {self.state.images} images: {phase.note}")
        return any(before < limit <= self._progress for phase in phases for limit in (phase.start, phase.stop))

    def report_note(self, line: str) -> None:
        """Writes a sentence to the log, and reports it."""
        if parallel.is_main_process():
            self.run.log(line)
            self.on_progress(replace(self.progress(), note=line))

    def take_row(self, due: bool) -> dict[str, Any] | None:
        """A row of metrics, with means since the last one; None where it is not time for a row and it need not be `due`.

        By time there is a row every half second at first, then about two hundred over the run. Errors: `NotFiniteError`.
        """
        seconds, images = self.state.seconds, self.state.images
        if not self._sums or (not due and seconds - self._row_seconds < max(0.5, seconds / 200)):
            return None
        means = {name: float(total) / count for name, (total, count) in self._sums.items()}
        self._sums.clear()
        self.losses = {name: value for name, value in means.items() if "/" not in name}
        norms = {name: value for name, value in means.items() if "/" in name and math.isfinite(value)}
        _check_finite(self.losses)
        progress, players = self.training.progress(), self.training.stage.stepper.players
        row = {
            "images": images,
            "seconds": round(seconds, 3),
            "images_per_second": round((images - self._row_images) / max(seconds - self._row_seconds, 1e-9), 2),
            "memory": peak_memory(self.training.device),
            "losses": self.losses,
            "lr": {name: player.optimiser.lr.at(progress) for name, player in players.items()},
            "watch": norms,
        }
        self._row_seconds, self._row_images = seconds, images
        return row

    def write_row(self, row: Mapping[str, Any]) -> None:
        """Appends `row` to the run's metrics.jsonl."""
        self.run.append_metrics(row)

    def write_warnings(self) -> None:
        """Reports warnings that the newest row of metrics gives rise to, and writes the status with all active ones."""
        for warning in self.monitor.warn(self.training.stage.method, self.state.stage, self.state.stage_start):
            self.on_progress(replace(self.progress(), note=warning.text))
        self.write_status()

    def report(self) -> None:
        """Writes the status and sends a progress event, where it is time for them."""
        seconds = self.state.seconds
        if seconds - self._status_seconds > STATUS_SECONDS:
            self.write_status()
        if seconds - self._progress_seconds > PROGRESS_SECONDS:
            self._progress_seconds = seconds
            self.on_progress(self.progress())
            self._speed.add(seconds - self._measured[0], self.state.images - self._measured[1])
            self._measured = seconds, self.state.images
        if self._slowdown is not None and (text := self._slowdown.note(seconds, self.state.images)):
            self.announce(text)

    def announce(self, text: str) -> None:
        """Writes `text` to the run's log, and sends it as the note of a progress event."""
        self.run.log(text)
        self.on_progress(replace(self.progress(), note=text))

    def end_pause(self) -> None:
        """After a preview, score or checkpoint: it is no sign of a slow machine that no image was trained meanwhile."""
        if self._slowdown is not None:
            self._slowdown.restart(self.stopwatch.seconds(), self.state.images)

    def write_status(self) -> None:
        """Writes status.json, by which other processes see that the run is alive."""
        self._status_seconds, images = self.state.seconds, self.state.images
        total = self.training.total_images()
        self.run.write_status(
            "training", images=images, seconds=self.state.seconds, total=total, warnings=self.monitor.status()
        )

    def progress(self) -> Progress:
        """The progress event of this moment, with the speed of late and the time left."""
        images, seconds = self.state.images, self.state.seconds
        total = self.training.total_images() or 0
        speed = self._speed.mean(seconds - self._measured[0], images - self._measured[1])
        left = (total - images) / speed if speed and total else None
        if self.clock is not None and total:
            left = self.clock.seconds_left(seconds)
        stages = self.training.stages
        note = f"stage {stages[self.state.stage][0]}" if len(stages) > 1 else ""
        return Progress("training", images, total, left, note, per_second=speed, losses=self.losses)


def _check_finite(values: Mapping[str, Tensor | float]) -> None:
    """Errors: `NotFiniteError` for the first value that is infinite or not a number."""
    for name, value in values.items():
        if not math.isfinite(float(value)):
            raise NotFiniteError(name)


def check_weights(training: Training) -> None:
    """Checks every weight, since a finite loss may have a gradient that is not finite. Errors: `NotFiniteError`."""
    for name, weight in training.stage.method.named_parameters():
        if not bool(torch.isfinite(weight).all()):
            raise NotFiniteError(name)

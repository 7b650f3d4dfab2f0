"""What a run writes down while it trains: rows of metrics, its status, and progress for whoever waits."""

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
from limner.training.monitor import Monitor
from limner.training.stages import Training

STATUS_SECONDS = 5.0
"""Between two writes of status.json."""
PROGRESS_SECONDS = 0.2
"""Between two reports to whoever waits."""


class NotFiniteError(Exception):
    """A loss or a weight, whose name is the message, is infinite or not a number."""

    def __init__(self, name: str, images: int | None = None) -> None:
        """`images`: how far the run was, where that is known only to whoever met the value."""
        super().__init__(name)
        self.images = images


class Stopwatch:
    """Seconds of training since the run began, over all its sessions; pauses are not counted."""

    def __init__(self, seconds: float) -> None:
        self._started = time.monotonic() - seconds

    def seconds(self) -> float:
        return time.monotonic() - self._started

    def set(self, seconds: float) -> None:
        """Goes on from `seconds`."""
        self._started = time.monotonic() - seconds


class Logger:
    """Averages the losses between two rows of metrics. Only the main process writes."""

    def __init__(self, training: Training, stopwatch: Stopwatch, on_progress: OnProgress) -> None:
        self.training, self.stopwatch, self.on_progress = training, stopwatch, on_progress
        self.run, self.state = training.run, training.state
        self.monitor = Monitor(training.run, training.recipe, training.dataset, training.feed)
        self.losses: dict[str, float] = {}
        self._sums: dict[str, tuple[Tensor, int]] = {}
        self._row_seconds = self._status_seconds = self.state.seconds
        self._row_images = self.state.images
        self._progress_seconds = 0.0
        self._progress = training.progress()
        if parallel.is_main_process():
            self.monitor.recall(self.training.stage.method, self.state.stage, self.state.stage_start)
            self.write_status()

    def add(self, logs: Mapping[str, Tensor]) -> None:
        """The losses and logs of one step. Errors: `NotFiniteError`, on a CPU.

        Elsewhere reading a value makes the host wait, so there they are checked with every row.
        """
        for name, value in logs.items():
            total, count = self._sums.get(name, (None, 0))
            self._sums[name] = (value if total is None else total + value, count + 1)
        if self.training.device.type == "cpu":
            _check_finite({name: value for name, value in logs.items() if "/" not in name})

    def announce_phases(self) -> bool:
        """Logs the note of every phase that starts in the next step. Whether one starts or ends there."""
        before, self._progress = self._progress, self.training.progress()
        phases = self.training.stage.stepper.phases
        for phase in phases:
            if phase.note and before < phase.start <= self._progress and parallel.is_main_process():
                self.run.log(f"at {self.state.images} images: {phase.note}")
        return any(before < border <= self._progress for phase in phases for border in (phase.start, phase.stop))

    def take_row(self, due: bool) -> dict[str, Any] | None:
        """A row of metrics where one is `due` or it is time: often at first, then about two hundred over the run.

        Errors: `NotFiniteError`.
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
        self.run.append_metrics(row)

    def write_warnings(self) -> None:
        """Tells of what the newest row of metrics shows to go wrong."""
        for warning in self.monitor.warn(self.training.stage.method, self.state.stage, self.state.stage_start):
            self.on_progress(replace(self.progress(), note=warning.text))
        self.write_status()

    def report(self) -> None:
        """Status and progress, where it is time for them."""
        seconds = self.state.seconds
        if seconds - self._status_seconds > STATUS_SECONDS:
            self.write_status()
        if seconds - self._progress_seconds > PROGRESS_SECONDS:
            self._progress_seconds = seconds
            self.on_progress(self.progress())

    def write_status(self) -> None:
        """status.json, by which other processes see that the run is alive."""
        self._status_seconds, images = self.state.seconds, self.state.images
        total = self.training.plan.total(images)
        self.run.write_status(
            "training", images=images, seconds=self.state.seconds, total=total, warnings=self.monitor.status()
        )

    def progress(self) -> Progress:
        images, seconds = self.state.images, self.state.seconds
        total = self.training.plan.total(images) or 0
        speed = images / seconds if seconds else 0.0
        left = (total - images) / speed if speed and total else None
        stages = self.training.stages
        note = f"stage {stages[self.state.stage][0]}" if len(stages) > 1 else ""
        return Progress("training", images, total, left, note, per_second=speed, losses=self.losses)


def _check_finite(values: Mapping[str, Tensor | float]) -> None:
    for name, value in values.items():
        if not math.isfinite(float(value)):
            raise NotFiniteError(name)


def check_weights(training: Training) -> None:
    """A finite loss can have had a gradient that was not. Errors: `NotFiniteError`."""
    for name, weight in training.stage.method.named_parameters():
        if not bool(torch.isfinite(weight).all()):
            raise NotFiniteError(name)

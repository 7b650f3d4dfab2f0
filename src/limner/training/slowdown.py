"""Notices while a run trains that it has become much slower because other programs use the cores."""

from __future__ import annotations

import time

import torch

from limner.core import parallel, precision
from limner.core.load import competing_load, competition_note, describe_load, own_load

WINDOW_SECONDS = 10.0
"""Of training over which a speed is measured."""
SLOWDOWN = 3.0
"""How many times slower than the fastest such speed training must be."""


def computes_on_cores() -> bool:
    """Whether training is by the threads of this process alone: not on a GPU, and not by several processes, of which each
    would take the others for other programs."""
    return precision.device().type == "cpu" and parallel.process_count() == 1


def note_at_start() -> str:
    """That other programs compete for the cores, and what helps; to be called before this process has computed anything."""
    return competition_note(torch.get_num_threads(), own_load()) if computes_on_cores() else ""


def warnings_of_times() -> list[str]:
    """That other programs compete for the cores, so that times measured now are too long; to be called before this process has
    computed anything. Empty where they do not."""
    others = competing_load(torch.get_num_threads(), own_load()) if computes_on_cores() else None
    if others is None:
        return []
    return [f"{describe_load(others)}: these times may be several times too long; ask again when they are done"]


class Slowdown:
    """Compares the speed of late with the best of this process, and says once that other programs slow training down."""

    def __init__(self, threads: int, seconds: float, images: int) -> None:
        """`threads`: of this process; `seconds` and `images`: of training so far."""
        self.threads, self.best, self.is_reported = threads, 0.0, False
        self.restart(seconds, images)

    def restart(self, seconds: float, images: int) -> None:
        """Measures from here on, so that no preview, score or checkpoint before this counts as slow training."""
        self._seconds, self._images, self._processor_seconds = seconds, images, time.process_time()

    def note(self, seconds: float, images: int) -> str:
        """The sentence, once, where training is slow and a measured load explains it; otherwise ""."""
        elapsed = seconds - self._seconds
        if self.is_reported or elapsed < WINDOW_SECONDS:
            return ""
        speed, own = (images - self._images) / elapsed, (time.process_time() - self._processor_seconds) / elapsed
        self.restart(seconds, images)
        self.best = max(self.best, speed)
        text = competition_note(self.threads, own) if SLOWDOWN * speed < self.best else ""
        self.is_reported = bool(text)
        return text and f"{self.best / max(speed, 1e-9):.2g} times slower than before: {text}"

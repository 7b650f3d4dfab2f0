"""How far a run is: images seen over images planned.

A plan in images is one row. A plan in minutes becomes images after a measured warm-up and is corrected at fixed points; every
correction is a row, written down before it is used, so that a resumed run replays it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

MARKS = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98)
"""Fractions of the budget at which a plan in minutes is corrected."""


@dataclass
class Plan:
    """Rows (from this many images on, the budget is so many images)."""

    rows: list[tuple[int, int]] = field(default_factory=list)

    def total(self, images: int) -> int | None:
        """Planned images, as seen from `images`; None while a plan in minutes is still warming up."""
        current = None
        for at, total in self.rows:
            if at <= images:
                current = total
        return current

    def progress(self, images: int) -> float:
        total = self.total(images)
        return 0.0 if total is None else min(images / total, 1.0)

    def decided(self, images: int) -> bool:
        """Whether the rows still hold decisions for later than `images`, which are replayed before new ones are made."""
        return bool(self.rows) and self.rows[-1][0] > images

    def settled(self, since: int) -> float:
        """Progress from `since` images on up to which marks have led to a row. A row that moves progress back must not bring
        its mark up again."""
        rows = ((total, at) for (_, total), (at, _) in pairwise(self.rows) if since < at and since < total)
        return max(((at - since) / (total - since) for total, at in rows), default=0.0)

    def finished(self, images: int) -> bool:
        total = self.total(images)
        return total is not None and images >= total and not self.decided(images)


@dataclass
class Clock:
    """Turns a budget in seconds into rows of a plan."""

    budget: float
    since: tuple[float, int] = (0.0, 0)
    """Seconds and images since when the speed is measured: the start, then the end of the warm-up, which is slower."""
    reserve: float = 0.0
    """Seconds that the end of the run will take: the last preview, score and checkpoint."""
    began: int = 0
    """Images at which the stage began: each has all its marks before it, or a short last one would never be corrected."""
    restarted: bool = False
    """Whether the speed became another one, and no row has said so yet."""

    def restart(self, seconds: float, images: int) -> None:
        """From here on something else is trained, at a speed of its own: it is measured anew, and soon written down."""
        self.since, self.restarted, self.began = (seconds, images), True, images

    def correct(self, plan: Plan, images: int, seconds: float, batch: int) -> tuple[int, int] | None:
        """The row to write down at `images` or None where nothing is due."""
        if plan.decided(images - 1):  # at `images` itself included: what was decided here is replayed, not decided twice
            return None
        measured = images >= self.since[1] + 3 * batch and seconds - self.since[0] >= min(10.0, max(1.0, 0.02 * self.budget))
        total = plan.total(images)
        known = total is not None
        way = (images - self.began) / (total - self.began) if total is not None and total > self.began else 1.0
        marked = any(plan.settled(self.began) < mark <= way for mark in MARKS)
        if not measured or (known and not marked and not self.restarted):
            return None
        speed = (images - self.since[1]) / max(seconds - self.since[0], 1e-6)
        left = max(self.budget - seconds - self.reserve, 0.0)
        row = images, images + max(round(speed * left / batch), 1 if plan.total(images) is None else 0) * batch
        if plan.total(images) is None or self.restarted:
            self.since, self.restarted = (seconds, images), False  # what was measured so far was the slower beginning
        return row

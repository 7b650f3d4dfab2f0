"""Turns a budget in minutes into images, and corrects that at fixed fractions of it by the speed measured so far."""

from __future__ import annotations

from dataclasses import dataclass

from limner.runs.plan import Plan

MARKS = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98)
"""Fractions of the budget at which a plan in minutes is corrected."""


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

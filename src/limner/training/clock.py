"""A budget in minutes as a number of images, corrected on the way by the measured speed.

The unit of time in a run is the image. After a few steps the budget becomes a rough total of images, after a warm-up, when the
speed is measured, a better one, which is corrected at fixed fractions of it, the `CORRECTION_POINTS`. Each correction is a row
of the plan (`runs.plan.Plan`).
"""

from __future__ import annotations

from dataclasses import dataclass

from limner.runs.plan import Plan

CORRECTION_POINTS = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98)
"""Fractions of a stage at which the total of images is corrected."""


ROUGH_STEPS = 3
"""Steps after which there is a first, rough plan. Without one the progress would stay 0 for up to ten seconds: a learning rate
that warms up would be 0 so long, and then begin in the middle of its warm-up."""


@dataclass
class Clock:
    """Turns a budget in seconds into rows of a plan."""

    budget: float
    """Seconds of training, from the beginning of the run to its end."""
    measured_from: tuple[float, int] = (0.0, 0)
    """(seconds, images) from which on the speed is measured: at first the start, then the end of the warm-up, which is slow."""
    reserve: float = 0.0
    """Seconds that the end of the run will take: the last preview, score and checkpoint."""
    excluded: float = 0.0
    """Seconds since `measured_from` that scores, fits and checkpoints took. They come seldom and not regularly, so a speed that
    counted the first of them would foretell far too few images for a short run."""
    stage_start: int = 0
    """Images at which the stage began. Each stage has its own correction points, so that a short last stage has some too."""
    needs_row: bool = False
    """Whether a new stage began, of unknown speed, and no row has accounted for it yet."""

    def restart(self, seconds: float, images: int) -> None:
        """A new stage begins here. Its speed is measured from here on, and corrects the plan as soon as it is known."""
        self.measured_from, self.excluded, self.needs_row, self.stage_start = (seconds, images), 0.0, True, images

    def correct(self, plan: Plan, images: int, seconds: float, batch: int) -> tuple[int, int] | None:
        """The row (images, new total of images) to add to `plan` at `images` and `seconds`; None where no correction is due.

        `batch`: images per step; the new total lies a whole number of steps ahead.
        """
        if plan.has_row_after(images - 1):  # a resumed run replays the rows that it has, also one at `images` itself
            return None
        start_seconds, start_images = self.measured_from
        min_seconds = min(10.0, max(1.0, 0.02 * self.budget))
        is_measured = images >= start_images + 3 * batch and seconds - start_seconds >= min_seconds
        total = plan.total(images)
        if total is None and not is_measured and images >= start_images + ROUGH_STEPS * batch:
            self.needs_row = True  # once the speed is measured
            return images, images + max(self._steps_left(images, seconds, batch), 1) * batch
        if not is_measured or not (total is None or self.needs_row or self._is_correction_point(plan, images, total)):
            return None
        steps_left = max(self._steps_left(images, seconds, batch), 1 if total is None else 0)
        if total is None or self.needs_row:
            self.measured_from, self.excluded = (seconds, images), 0.0  # the warm-up, measured so far, was slower
            self.needs_row = False
        return images, images + steps_left * batch

    def _steps_left(self, images: int, seconds: float, batch: int) -> int:
        """Steps of `batch` images that the rest of the budget allows, by the speed since `measured_from`."""
        start_seconds, start_images = self.measured_from
        speed = (images - start_images) / max(seconds - start_seconds - self.excluded, 1e-6)
        return max(0, round(speed * max(self.budget - seconds - self.reserve, 0.0) / batch))

    def _is_correction_point(self, plan: Plan, images: int, total: int) -> bool:
        """Whether the stage has passed a correction point that has led to no row yet."""
        start = self.stage_start
        progress = (images - start) / (total - start) if total > start else 1.0
        return any(plan.corrected_progress(start) < point <= progress for point in CORRECTION_POINTS)

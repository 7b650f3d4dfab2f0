"""A budget in minutes as a number of images, corrected on the way by the measured speed.

The unit of time in a run is the image. After a few steps the budget becomes a rough total of images, after a warm-up, when the
speed is measured, a better one. This is corrected at fixed fractions of it, the `CORRECTION_POINTS`, and every few seconds
where the speed of late would end the run at another time, as when another program begins to use the machine. Each correction is
a row of the plan (`runs.plan.Plan`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from limner.runs.plan import Plan

CORRECTION_POINTS = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98)
"""Fractions of a stage at which the total of images is corrected. Behind the last one it stays as it is, so that a run that is
resumed from the end of its plan ends at the same image."""
CHECK_SECONDS, CHECK_SHARE = 10.0, 1 / 12
"""Time between two checks of the total by the speed of late: so many seconds, or this share of a budget that is shorter than
two minutes."""
MAX_DEVIATION, MIN_DEVIATION = 0.15, 0.01
"""A check corrects the total where the foreseen end is off by more than this share of the time left, and of the budget."""
HALF_LIFE_SHARE = 0.05
"""Share of the budget after which a measured speed counts half: a moment's hiccup must not move the schedules."""

ROUGH_STEPS = 3
"""Steps after which there is a first, rough plan. Without one the progress would stay 0 for up to ten seconds: a learning rate
that warms up would be 0 so long, and then begin in the middle of its warm-up."""


@dataclass
class RecentSpeed:
    """Images per second of late: what was measured `half_life` seconds ago counts half.

    >>> speed = RecentSpeed(half_life=10.0)
    >>> speed.add(seconds=10.0, images=100)
    >>> speed.add(seconds=10.0, images=10)
    >>> speed.mean()  # (100 / 2 + 10) images in (10 / 2 + 10) seconds
    4.0
    """

    half_life: float
    _seconds: float = 0.0
    _images: float = 0.0

    def add(self, seconds: float, images: float) -> None:
        """`images` were seen in the next `seconds`."""
        weight = 2 ** (-seconds / self.half_life)
        self._seconds, self._images = self._seconds * weight + seconds, self._images * weight + images

    def mean(self, seconds: float = 0.0, images: float = 0.0) -> float:
        """The speed, where `images` more have been seen in `seconds` since the last `add`; 0 where there is none yet."""
        total = self._seconds + seconds
        return (self._images + images) / max(total, 1e-6) if total > 0 else 0.0

    @property
    def is_measured(self) -> bool:
        """Whether anything was added."""
        return self._seconds > 0


@dataclass
class Clock:
    """Turns a budget in seconds into rows of a plan."""

    budget: float
    """Seconds of training, from the beginning of the run to its end."""
    measured_from: tuple[float, int] = (0.0, 0)
    """(seconds, images) from which on the speed is measured: at first the start, then the end of the warm-up, which is slow,
    and then the last check; `speed` has what was measured before."""
    reserve: float = 0.0
    """Seconds that the end of the run will take: the last preview, score and checkpoint."""
    excluded: float = 0.0
    """Seconds since `measured_from` that scores, fits and checkpoints took. They come seldom and not regularly, so a speed that
    counted the first of them would foretell far too few images for a short run."""
    stage_start: int = 0
    """Images at which the stage began. Each stage has its own correction points, so that a short last stage has some too."""
    needs_row: bool = False
    """Whether a new stage began, of unknown speed, and no row has accounted for it yet."""
    speed: RecentSpeed = field(init=False)
    """Of the stage up to `measured_from`, without its warm-up."""

    def __post_init__(self) -> None:
        self._measure_anew(*self.measured_from)

    def _measure_anew(self, seconds: float, images: int) -> None:
        """Forgets the speed that was measured up to here."""
        self.measured_from, self.excluded = (seconds, images), 0.0
        self.speed = RecentSpeed(max(self._check_seconds, HALF_LIFE_SHARE * self.budget))

    @property
    def _check_seconds(self) -> float:
        return min(CHECK_SECONDS, CHECK_SHARE * self.budget)

    def restart(self, seconds: float, images: int) -> None:
        """A new stage begins here. Its speed is measured from here on, and corrects the plan as soon as it is known."""
        self._measure_anew(seconds, images)
        self.needs_row, self.stage_start = True, images

    def seconds_left(self, seconds: float) -> float:
        """Of the budget, after `seconds` of training."""
        return max(self.budget - seconds, 0.0)

    def correct(self, plan: Plan, images: int, seconds: float, batch: int) -> tuple[int, int] | None:
        """The row (images, new total of images) to add to `plan` at `images` and `seconds`; None where no correction is due.

        `batch`: images per step; the new total lies a whole number of steps ahead.
        """
        if plan.has_row_after(images - 1):  # a resumed run replays the rows that it has, also one at `images` itself
            return None
        start_seconds, start_images = self.measured_from
        min_seconds = min(10.0, max(1.0, 0.02 * self.budget))
        is_measured = self.speed.is_measured or (images >= start_images + 3 * batch and seconds - start_seconds >= min_seconds)
        total = plan.total(images)
        if total is None and not is_measured and images >= start_images + ROUGH_STEPS * batch:
            self.needs_row = True  # once the speed is measured
            return images, images + max(self._steps_left(images, seconds, batch), 1) * batch
        if not is_measured:
            return None
        if total is None or self.needs_row:
            steps_left = max(self._steps_left(images, seconds, batch), 1 if total is None else 0)
            self._measure_anew(seconds, images)  # the warm-up, measured so far, was slower
            self.needs_row = False
            return images, images + steps_left * batch
        if self._is_correction_point(plan, images, total) or self._is_off(plan, images, total, seconds):
            return images, images + self._steps_left(images, seconds, batch) * batch
        return None

    def _mean_speed(self, images: int, seconds: float) -> float:
        """Images per second of late."""
        start_seconds, start_images = self.measured_from
        return self.speed.mean(max(seconds - start_seconds - self.excluded, 1e-6), images - start_images)

    def _steps_left(self, images: int, seconds: float, batch: int) -> int:
        """Steps of `batch` images that the rest of the budget allows, by the speed of late."""
        return max(0, round(self._mean_speed(images, seconds) * max(self._time_left(seconds), 0.0) / batch))

    def _time_left(self, seconds: float) -> float:
        """Seconds for training steps, after `seconds`; below 0 where there are none."""
        return self.budget - seconds - self.reserve

    def _is_correction_point(self, plan: Plan, images: int, total: int) -> bool:
        """Whether the stage has passed a correction point that has led to no row yet."""
        start = self.stage_start
        progress = (images - start) / (total - start) if total > start else 1.0
        return any(plan.corrected_progress(start) < point <= progress for point in CORRECTION_POINTS)

    def _is_off(self, plan: Plan, images: int, total: int, seconds: float) -> bool:
        """Whether the plan would end at another time than the budget, as far as can be said every `CHECK_SECONDS`."""
        start_seconds, start_images = self.measured_from
        elapsed = seconds - start_seconds - self.excluded
        if elapsed < self._check_seconds or plan.corrected_progress(self.stage_start) >= CORRECTION_POINTS[-1]:
            return False
        self.speed.add(elapsed, images - start_images)
        self.measured_from, self.excluded = (seconds, images), 0.0
        left = self._time_left(seconds)
        foreseen = (total - images) / max(self._mean_speed(images, seconds), 1e-6)
        return abs(foreseen - left) > max(MAX_DEVIATION * left, MIN_DEVIATION * self.budget)

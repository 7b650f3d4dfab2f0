"""The budget of a run in images, and how far the run is.

A budget in images is one row. A budget in minutes becomes images after a measured warm-up, and is corrected at fixed fractions
of itself; every correction is a row that is written down before it is used, so that a resumed run repeats it exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise


@dataclass
class Plan:
    """The budget as a function of the images seen.

    >>> plan = Plan([(0, 1000), (500, 2000)])
    >>> plan.progress(400), plan.progress(500)
    (0.4, 0.25)
    """

    rows: list[tuple[int, int]] = field(default_factory=list)
    """(images, budget), in order: from so many images seen on, the budget is so many images."""

    def total(self, images: int) -> int | None:
        """The budget that holds at `images` seen; None while a budget in minutes is not yet measured."""
        current = None
        for at, total in self.rows:
            if at <= images:
                current = total
        return current

    def progress(self, images: int) -> float:
        """Images seen over the budget, at most 1; 0 while there is none."""
        total = self.total(images)
        return 0.0 if total is None else min(images / total, 1.0)

    def has_row_after(self, images: int) -> bool:
        """Whether the plan holds a correction that takes effect after `images`. A resumed run first repeats these before it
        makes new ones."""
        return bool(self.rows) and self.rows[-1][0] > images

    def corrected_progress(self, since: int) -> float:
        """The highest progress at which a correction was made, of a stage that began at `since` images.

        A correction can lower progress; marks up to this one must not lead to another correction.
        """
        rows = ((total, at) for (_, total), (at, _) in pairwise(self.rows) if since < at and since < total)
        return max(((at - since) / (total - since) for total, at in rows), default=0.0)

    def finished(self, images: int) -> bool:
        """Whether the budget is used up at `images` seen."""
        total = self.total(images)
        return total is not None and images >= total and not self.has_row_after(images)


def whole_batches(images: int, batch_size: int) -> int:
    """The images that training with a budget of `images` sees: it ends after a whole batch.

    >>> whole_batches(2000, 64), whole_batches(2048, 64)
    (2048, 2048)
    """
    return -(-images // batch_size) * batch_size

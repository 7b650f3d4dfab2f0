"""How far a run is: images seen over images planned.

A plan in images is one row. A plan in minutes becomes images after a measured warm-up and is corrected at fixed points; every
correction is a row, written down before it is used, so that a resumed run replays it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise


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
        """Progress from `since` images on up to which marks have led to a row.

        A correction that lowers progress must not trigger the same mark twice.
        """
        rows = ((total, at) for (_, total), (at, _) in pairwise(self.rows) if since < at and since < total)
        return max(((at - since) / (total - since) for total, at in rows), default=0.0)

    def finished(self, images: int) -> bool:
        total = self.total(images)
        return total is not None and images >= total and not self.decided(images)

"""How a long computation tells whoever waits what it is at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """What a person who waits wants to know."""

    what: str
    images: int = 0
    total: int = 0
    seconds: float = 0.0
    images_per_second: float = 0.0
    losses: Mapping[str, float] = field(default_factory=dict)
    left: float | None = None
    """Seconds."""
    note: str = ""


Tell = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """For those who do not wait for us."""

"""Progress of long computations: one type of event for every verb."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path


@dataclass(frozen=True)
class Progress:
    """One event: how far the current stage of a computation is."""

    what: str
    """The stage, such as "training"; another text is another stage."""
    done: int = 0
    """Images, or other units of the stage, that are done; 0 where the stage has no count."""
    total: int = 0
    """Units in all; 0: not known."""
    seconds_left: float | None = None
    """Estimated time to the end of the stage; None: not known."""
    note: str = ""
    """A sentence that is shown once."""
    preview: Path | None = None
    """A picture that was just written."""
    per_second: float = 0.0
    """Units per second; 0: not measured."""
    losses: Mapping[str, float] = field(default_factory=dict)
    """Player -> its newest loss."""


OnProgress = Callable[[Progress], None]
"""A function that is called with each event."""


def silent(progress: Progress) -> None:
    """Ignores the event."""


def named_progress(name: str, on_progress: OnProgress) -> OnProgress:
    """A function that passes events to `on_progress` with `name` before the name of their stage.

    >>> named_progress("run 2", lambda event: print(event.what))(Progress("comparing"))
    run 2: comparing
    """
    return lambda event: on_progress(replace(event, what=f"{name}: {event.what}"))

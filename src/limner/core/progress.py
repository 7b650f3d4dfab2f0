"""How a long computation says what it is doing to whoever waits for it: one type of event for every verb."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path


@dataclass(frozen=True)
class Progress:
    """One event."""

    what: str
    """What is being done, such as "training"; another word is another stage."""
    done: int = 0
    """Images, or whatever `what` counts."""
    total: int = 0
    """0: nobody knows."""
    seconds_left: float | None = None
    note: str = ""
    """A sentence that a person should read once."""
    preview: Path | None = None
    """A picture that was just written."""
    per_second: float = 0.0
    """How many are done in a second; 0: not measured."""
    losses: Mapping[str, float] = field(default_factory=dict)
    """The newest losses, by player."""


OnProgress = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Ignores the event: for callers that show no progress."""


def named_progress(name: str, on_progress: OnProgress) -> OnProgress:
    """A listener that passes events on with `name` before what they say: whose part of the work it is.

    >>> named_progress("run 2", lambda event: print(event.what))(Progress("comparing"))
    run 2: comparing
    """
    return lambda event: on_progress(replace(event, what=f"{name}: {event.what}"))

"""Shows progress on stderr: bars on a terminal, otherwise a line every ten seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, cast

from limner.cli.show.tables import format_duration
from limner.core.progress import OnProgress, Progress

if TYPE_CHECKING:
    from rich import progress

LINE_SECONDS = 10.0
"""Time between two lines about the same stage."""
MIN_STAGE_SECONDS = 1.0
"""A stage that ends sooner gets no line and no bar, unless it has a note."""


def details(event: Progress) -> str:
    """The numbers and the note of an event in one line.

    >>> details(Progress("training", per_second=1302, losses={"generator": 0.81}, seconds_left=80))
    '1,302 images/s · generator 0.81 · 1 min 20 s left'
    """
    parts = []
    if event.per_second:
        parts.append(f"{event.per_second:,.0f} images/s")
    if event.losses:
        parts.append(" ".join(f"{name} {value:.3g}" for name, value in event.losses.items()))
    if event.seconds_left is not None:
        parts.append(f"{format_duration(event.seconds_left)} left")
    if event.note:
        parts.append(event.note)
    return " · ".join(parts)


class _Stderr:
    """stderr, but nothing happens where it can no longer be written.

    After a terminal is closed, or the reader of a pipe has left, the work and the saving of its state go on.
    """

    def __init__(self) -> None:
        self._stream = sys.stderr

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


class _Lines:
    """For logs and pipes: prints a line for each stage, then one every `LINE_SECONDS`, and each note once."""

    def __init__(self) -> None:
        self.what = ""
        self.note = ""
        self.last_time = time.monotonic()

    def __call__(self, event: Progress) -> None:
        now = time.monotonic()
        is_new_stage = event.what != self.what
        is_measured = bool(event.per_second or event.losses)
        is_due = now - self.last_time >= (MIN_STAGE_SECONDS if is_new_stage else LINE_SECONDS)
        is_new_note = bool(event.note) and event.note != self.note
        if not (is_due or is_new_note or (is_new_stage and is_measured)):
            return
        self.what, self.note, self.last_time = event.what, event.note, now
        done = f" {event.done:,} of {event.total:,}" if event.total else (f" {event.done:,}" if event.done else "")
        text = details(event)
        print(f"{event.what}{done}" + (f" · {text}" if text else ""), file=_Stderr(), flush=True)


class _Bars:
    """For a terminal: shows a bar for each stage with a count, and a moving bar for one without."""

    def __init__(self, bars: progress.Progress) -> None:
        self.bars = bars
        self.note = ""
        self.start_time = time.monotonic()
        self.tasks: dict[str, Any] = {}
        self.uncounted: Any = None

    def __call__(self, event: Progress) -> None:
        if event.note and event.note != self.note:  # above the bars, where it stays visible
            self.note = event.note
            self.bars.console.print(f"{event.what}: {event.note}", markup=False, highlight=False)
        if self.uncounted is not None:
            self.bars.remove_task(self.uncounted)
            self.uncounted = None
        if not event.total and not event.done:
            self.uncounted = self.bars.add_task(event.what, total=None, text="")
            return
        if event.what not in self.tasks:
            if time.monotonic() - self.start_time < MIN_STAGE_SECONDS and not event.losses:
                return
            self.tasks[event.what] = self.bars.add_task(event.what, total=None, text="")
        self.bars.update(self.tasks[event.what], completed=event.done, total=event.total or None, text=details(event))


@contextmanager
def progress_on_stderr() -> Iterator[OnProgress]:
    """The function that shows the progress of a verb: bars where stderr is a terminal, otherwise lines."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:,}", markup=False),
        TextColumn("{task.fields[text]}", style="dim", markup=False),
    )
    with Progress(*columns, console=Console(file=cast(IO[str], _Stderr())), refresh_per_second=4, transient=False) as bars:
        yield _Bars(bars)

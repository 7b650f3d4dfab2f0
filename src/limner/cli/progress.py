"""Progress on stderr: a bar on a terminal, a plain line every ten seconds anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from limner.cli.show.tables import format_duration

if TYPE_CHECKING:
    from rich import progress

EVERY = 10.0  # seconds between plain lines
QUIET = 2.0  # seconds of a phase that need no line


class Step(Protocol):
    """One event of progress: what `limner.core.progress.Progress` offers, stated here so that `--help` need not load it."""

    @property
    def what(self) -> str: ...
    @property
    def images(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def images_per_second(self) -> float: ...
    @property
    def losses(self) -> Mapping[str, float]: ...
    @property
    def left(self) -> float | None: ...
    @property
    def note(self) -> str: ...


def details(step: Step) -> str:
    """``1,302 images/s · generator 0.81 discriminator 1.21 · 1 min 20 s left``"""
    parts = []
    if step.images_per_second:
        parts.append(f"{step.images_per_second:,.0f} images/s")
    if step.losses:
        parts.append(" ".join(f"{name} {value:.3g}" for name, value in step.losses.items()))
    if step.left is not None:
        parts.append(f"{format_duration(step.left)} left")
    if step.note:
        parts.append(step.note)
    return " · ".join(parts)


class _Lines:
    """For logs and pipes: the first word of each stage at once, then one line every ten seconds, and each note once."""

    def __init__(self) -> None:
        self.what = ""
        self.note = ""
        self.last = 0.0

    def __call__(self, what: str, images: int, total: int, text: str, note: str = "") -> None:
        now = time.monotonic()
        fresh_note = bool(note) and note != self.note
        if what == self.what and not fresh_note and now - self.last < EVERY:
            return
        self.what, self.note, self.last = what, note, now
        done = f" {images:,} of {total:,}" if total else (f" {images:,}" if images else "")
        print(f"{what}{done}" + (f" · {text}" if text else ""), file=sys.stderr, flush=True)


class _Bars:
    """For a terminal: one bar per stage."""

    def __init__(self, bar: progress.Progress) -> None:
        self.bar = bar
        self.note = ""
        self.tasks: dict[str, Any] = {}

    def __call__(self, what: str, images: int, total: int, text: str, note: str = "") -> None:
        if note and note != self.note:  # above the bar, where it stays to be read
            self.note = note
            self.bar.console.print(f"{what}: {note}", markup=False, highlight=False)
        if what not in self.tasks:
            self.tasks[what] = self.bar.add_task(what, total=None, text="")
        self.bar.update(self.tasks[what], completed=images, total=total or None, text=text)


@contextmanager
def _screen() -> Iterator[Callable[..., None]]:
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}", style="dim", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as bar:
        yield _Bars(bar)


@contextmanager
def counter(what: str) -> Iterator[Callable[..., None]]:
    """A callback `(done, total)` for verbs that only count images; `(done, total, stage)` for a stage that counts otherwise.

    A fourth argument is a note, which is shown at once.
    """
    start = time.monotonic()
    with _screen() as draw:

        def tell(done: int, total: int, stage: str | None = None, note: str = "") -> None:
            seconds = time.monotonic() - start
            if note:
                draw(stage or what, done, total, note, note)
            elif seconds > 1:  # what is over in a moment needs no bar
                draw(stage or what, done, total, "" if stage else f"{done / seconds:,.0f} images/s")

        yield tell


@contextmanager
def phases() -> Iterator[Callable[[str], None]]:
    """A callback for verbs that say what they are at: in one line of a terminal; in logs, a line where the
    last one is more than two seconds old."""
    if not sys.stderr.isatty():
        last = [time.monotonic()]

        def tell(what: str) -> None:
            if time.monotonic() - last[0] > QUIET:
                last[0] = time.monotonic()
                print(what, file=sys.stderr, flush=True)

        yield tell
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield lambda what: status.update(f"{what} …")


@contextmanager
def steps() -> Iterator[Callable[[Step], None]]:
    """A callback for the verbs that train."""
    with _screen() as draw:
        yield lambda step: draw(step.what, step.images, step.total, details(step), step.note)

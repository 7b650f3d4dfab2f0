"""SIGINT and SIGTERM as a wish that the loop asks about, so that it can save before it leaves."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Wish:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.stop = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.stop:  # asked twice: leave now; the last checkpoint stands
            raise KeyboardInterrupt
        self.stop = True


@contextmanager
def wishes() -> Iterator[Wish]:
    """Within the block, signals set `Wish.stop` instead of ending the process. Outside the main thread there are none."""
    wish = Wish()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    before = {number: signal.signal(number, wish) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

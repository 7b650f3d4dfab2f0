"""Ctrl-C and SIGTERM as a request that the training loop looks at after each step, so that it can save before it leaves."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether somebody asked the process to stop."""

    def __init__(self) -> None:
        self.made = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signal handler. A second signal leaves at once, with `KeyboardInterrupt`; the last checkpoint stands."""
        if self.made:
            raise KeyboardInterrupt
        self.made = True


@contextmanager
def handle_signals() -> Iterator[StopRequest]:
    """Within the block, signals make the `StopRequest` instead of ending the process.

    Outside the main thread, where Python handles no signals, none is ever made.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    handlers = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)

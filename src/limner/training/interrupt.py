"""Ctrl-C, SIGTERM and on Windows Ctrl-Break as a request that the training loop looks at after each step, to save and leave."""

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
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGBREAK"):  # Windows alone: Ctrl-Break, which also reaches a process without a terminal of its own
        numbers.append(signal.SIGBREAK)
    handlers = {number: signal.signal(number, request) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)

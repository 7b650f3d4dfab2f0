"""Ctrl-C, SIGTERM and on Windows Ctrl-Break as a request to stop: the training loop ends after the step, its state saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """A signal handler that remembers whether the process was asked to stop."""

    def __init__(self) -> None:
        self.is_set = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handles one signal. A second one ends at once, with `KeyboardInterrupt`; checkpoints on disk stay valid."""
        if self.is_set:
            raise KeyboardInterrupt
        self.is_set = True


@contextmanager
def handle_signals() -> Iterator[StopRequest]:
    """A context in which signals set the `StopRequest` that it yields, instead of ending the process.

    Outside the main thread, where Python cannot handle signals, the request is never set.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGBREAK"):  # only on Windows: Ctrl-Break, which also reaches a process without a console
        numbers.append(signal.SIGBREAK)
    handlers = {number: signal.signal(number, request) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)

"""Signals as a request to stop: the training loop ends after the step, its state saved, and then the signal is handed on.

Ctrl-C, SIGTERM, SIGHUP (the terminal was closed, or the connection lost) and on Windows Ctrl-Break are such signals.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

HANGUP: int | None = getattr(signal, "SIGHUP", None)
"""Windows has no such signal."""


class StopRequest:
    """A signal handler that remembers whether the process was asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.number: int | None = None

    @property
    def is_set(self) -> bool:
        """Whether the process was asked to stop."""
        return self.number is not None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handles one signal. A second one ends at once, with `KeyboardInterrupt`; checkpoints on disk stay valid.

        A terminal that closes may send SIGHUP several times, or SIGTERM after it, and nobody is impatient then.
        """
        if number == HANGUP:
            self.number = self.number or number
            return
        if self.number not in (None, HANGUP):
            raise KeyboardInterrupt
        self.number = number


@contextmanager
def handle_signals() -> Iterator[StopRequest]:
    """A context in which signals set the `StopRequest` that it yields, instead of ending the process.

    Outside the main thread, where Python cannot handle signals, the request is never set. A SIGHUP or SIGTERM that is ignored,
    as SIGHUP is under `nohup`, stays ignored.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    numbers: list[int] = [signal.SIGINT]
    if hasattr(signal, "SIGBREAK"):  # only on Windows: Ctrl-Break, which also reaches a process without a console
        numbers.append(signal.SIGBREAK)
    endings = [signal.SIGTERM] if HANGUP is None else [signal.SIGTERM, HANGUP]
    numbers += [number for number in endings if signal.getsignal(number) is not signal.SIG_IGN]
    handlers = {number: signal.signal(number, request) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def hand_on(number: int) -> None:
    """Raises a signal again that was held back until the state was saved, so that it does what it would do without limner.

    The person's handler is called; that of Ctrl-C is Python's own, and the command line has one too. Without a handler the
    signal ends the process, which a batch system or a supervisor expects of SIGTERM. Errors: what the handler raises, such as
    `KeyboardInterrupt`.
    """
    if signal.getsignal(number) is not signal.SIG_IGN:
        flush_streams()
        signal.raise_signal(number)


def flush_streams() -> None:
    """Writes what was printed, since a process that a signal ends does not come to it."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # no stream, one that cannot be written, or one that is closed
            stream.flush()

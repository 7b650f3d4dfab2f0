"""Work in threads, within bounds of memory.

Threads, not processes: Pillow and hashlib let go of the interpreter while they decode, resize and hash, so that threads scale;
they need no guarded main module, copy no pixels, are safe beside torch's own threads, and end quietly on an interrupt.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from limner.core.process import ignore_warnings

Result = TypeVar("Result")


class ByteBudget:
    """Lets threads hold `limit` bytes together; who wants more than that holds all of it, alone."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._in_use = 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Waits until `size` more bytes fit, and counts them as in use until the block ends."""
        size = min(size, self.limit)
        with self._changed:
            self._changed.wait_for(lambda: self._in_use + size <= self.limit)
            self._in_use += size
        try:
            yield
        finally:
            with self._changed:
                self._in_use -= size
                self._changed.notify_all()


@dataclass(frozen=True)
class Job(Generic[Result]):
    """A function to run in a thread, and about how many bytes it and its result hold until that is used."""

    run: Callable[[], Result]
    size: int = 0


def in_parallel(jobs: Iterator[Job[Result]], workers: int | None, waiting_bytes: int) -> Iterator[Result]:
    """The results of `jobs` in their order; no more are under way than `workers` (None: the cores) can use soon.

    Together they hold at most `waiting_bytes`; one that holds more is under way alone.
    """
    threads = max(1, workers or _cores())
    waiting: deque[tuple[int, Future[Result]]] = deque()

    def results(most: int, most_bytes: int) -> Iterator[Result]:
        while waiting and (len(waiting) > most or sum(size for size, _ in waiting) > most_bytes):
            yield waiting.popleft()[1].result()

    # Pillow's warnings are about odd metadata and many pixels; the latter are refused by name.
    with ignore_warnings(), ThreadPoolExecutor(threads, "limner-read") as pool:
        try:
            for job in jobs:
                yield from results(2 * threads, max(0, waiting_bytes - job.size))
                waiting.append((job.size, pool.submit(job.run)))
                del job  # what it holds is freed as it runs
                yield from results(2 * threads, waiting_bytes)  # so that no file is read beside one that is too large
            yield from results(0, 0)
        finally:
            pool.shutdown(cancel_futures=True)


def _cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

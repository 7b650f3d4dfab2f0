"""How busy other programs keep the cores of this machine, and what helps where they compete with torch's threads."""

from __future__ import annotations

import math
import os
import time

AVERAGE_SECONDS = 60.0
"""Over which the operating system averages its load."""
MIN_OTHER_LOAD = 0.75
"""Cores that other programs keep busy below which they are no reason for a slow training."""


def own_load() -> float:
    """An upper bound of what this process has added to the load average until now, in cores."""
    return time.process_time() / AVERAGE_SECONDS


def competing_load(threads: int, own: float) -> float | None:
    """The cores that other programs keep busy, where those and `threads` of this process are more than the machine has.

    It is the load average over a minute without `own`, the cores that this process has kept busy. None where there is room for
    all, and where the operating system does not say (Windows).
    """
    try:
        others = os.getloadavg()[0] - own
    except (AttributeError, OSError):
        return None
    return others if others >= MIN_OTHER_LOAD and others + threads > (os.cpu_count() or 1) + 0.5 else None


def describe_load(others: float) -> str:
    """
    >>> describe_load(1.94).partition(" of ")[0]
    'other programs keep about 1.9'
    """
    return f"other programs keep about {others:.2g} of this machine's {os.cpu_count() or 1} cores busy"


def fewer_threads(others: float) -> int:
    """The number of threads for which `others`, cores that are busy, leave room; at least 1."""
    return max(1, (os.cpu_count() or 1) - math.ceil(others - 0.5))


def competition_note(threads: int, own: float) -> str:
    """A sentence that says that other programs compete with `threads` of this process, and what helps; "" where none does.

    Torch's threads wait for each other several times in each layer, so that one that has to wait for a core holds up all
    (docs/benchmarks.md, "A busy machine").
    """
    others = competing_load(threads, own)
    if others is None or (number := fewer_threads(others)) >= threads:
        return ""
    return (
        f"{describe_load(others)}, and {threads} threads that wait for each other then train several times slower: "
        f"start with OMP_NUM_THREADS={number} while they run"
    )

"""The operating system, the settings that act on the whole process, and contexts in which threads share a change of them.

It imports nothing slow at its top, since the command line imports it before anything else.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Literal

System = Literal["linux", "macos", "windows", "other"]

_SYSTEMS: Mapping[str, System] = {"linux": "linux", "darwin": "macos", "win32": "windows", "cygwin": "windows"}

TESTED_PLATFORMS: Mapping[tuple[System, str], str] = {
    ("linux", "cpu"): "every test",
    ("linux", "cuda"): "one NVIDIA card; several at once were not",
}
"""(operating system, kind of device) on which its authors ran limner -> what they ran there.

Code for everything else (macOS, Windows; mps, xpu) is only tested against simulated devices. An accelerator whose kind has no
row is used only where LIMNER_DEVICE names it (`limner.core.precision.device_kind`).
"""


def system() -> System:
    """The operating system. Code that treats one of them differently calls this, so that a test can simulate another one."""
    return _SYSTEMS.get(sys.platform, "other")


# What is changed in the whole process, by whom, and for how long. The rule: from Python, limner leaves a process as it was;
# only the command line, which owns its process, tunes it for good. Where a person has set an environment variable, their value
# stays.
#
# ==============================  ==========================  ==================================================================
# function                        setting                     what it does, and who calls the function
# ==============================  ==========================  ==================================================================
# configure_command               GOMP_SPINCOUNT=1000         How long torch's threads wait for each other in a busy loop. When
#                                                             another process competes for a core, the thread that they wait for
#                                                             is not running, and training was measured ten to twenty times
#                                                             slower; a short busy loop costs a tenth on an idle machine
#                                                             (docs/lab-notes.md). OpenMP reads it when torch is loaded. The
#                                                             command line calls this as it starts.
# configure_command               malloc                      Freed memory stays with the process: `keep_freed_memory`.
# fix_thread_count                torch.set_num_threads       Sets the number to what it already is: this alone stops MKL from
#                                                             using fewer threads when it sees fit. A sum that is split among
#                                                             other threads rounds differently, and an exact resume needs the
#                                                             same bits. Training, `load` and `repeatable` call this.
# ordered_sums                    CUBLAS_WORKSPACE_CONFIG     cuBLAS adds up in one fixed order. Read at the first matrix
#                                                             product on a GPU; undone at the end of the block.
# ==============================  ==========================  ==================================================================
#
# More settings are made for a block only, and undone at its end: torch's float32 precision, its deterministic mode, its default
# type and device and its grad mode (`precision.repeatable`, `precision.own_modes`), its global generators
# (`seeds.preserve_generators`), signal handlers (`training.interrupt.handle_signals`), numbers of threads
# (`metrics.stats.threads`) and filters of warnings (`ignore_warnings`). Blocks may overlap in several threads: those in which
# everybody sets the same value are a `SharedContext`, and those in which each wants a value of its own hold `STATE_LOCK`.

STATE_LOCK = threading.RLock()
"""Held by whoever uses, for a while, what the process has only once: torch's generators, and the numbers of threads."""


class SharedContext:
    """Contexts that several threads may be in at once: the first that enters makes a change, the last that leaves undoes it.

    With a context of its own, a thread that enters while another one is inside would take the changed value for the person's,
    and restore that one at its end. Where the person changes the value inside, the next that enters makes the change again, and
    restores the person's.

    >>> from contextlib import contextmanager
    >>> @contextmanager
    ... def change():
    ...     print("changed")
    ...     yield
    ...     print("as it was")
    >>> shared = SharedContext(change, lambda: True)
    >>> with shared():
    ...     with shared():
    ...         print("inside")
    changed
    inside
    as it was
    """

    def __init__(self, make: Callable[[], AbstractContextManager[None]], holds: Callable[[], bool]) -> None:
        """`make` is the context that makes the change and undoes it; `holds` says whether the change is in force now."""
        self._make, self._holds, self._lock = make, holds, threading.Lock()
        self._changes: list[_Change] = []

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """The context of one thread."""
        with self._lock:
            if not self._changes or not self._holds():
                change = _Change(ExitStack())
                change.undo.enter_context(self._make())
                self._changes.append(change)
            change = self._changes[-1]
            change.users += 1
        try:
            yield
        finally:
            with self._lock:
                change.users -= 1
                if not change.users:
                    self._changes.remove(change)
                    change.undo.close()


@dataclass(eq=False)
class _Change:
    undo: ExitStack
    users: int = 0


def ignore_warnings(category: type[Warning] = Warning, message: str = "") -> AbstractContextManager[None]:
    """A context in which warnings of `category` whose text begins with a match of `message`, a pattern, are not shown.

    `warnings.catch_warnings` restores the whole list of filters, so that of two threads the one that leaves last would restore
    the filters of the other. This removes no more than its own filter.
    """
    key = ("ignore", re.compile(message, re.IGNORECASE) if message else None, category, None, 0)
    shared = SharedContext(partial(_filter_warnings, category, message), lambda: key in warnings.filters)
    return _FILTERS.setdefault((category, message), shared)()


_FILTERS: dict[tuple[type[Warning], str], SharedContext] = {}


@contextmanager
def _filter_warnings(category: type[Warning], message: str) -> Iterator[None]:
    before = list(warnings.filters)
    warnings.filterwarnings("ignore", message=message, category=category)
    own = warnings.filters[0]
    try:
        yield
    finally:
        if own not in before:  # otherwise the person has this very filter
            with suppress(ValueError):  # the person has replaced the whole list in the meantime
                warnings.filters.remove(own)  # type: ignore[attr-defined]


def configure_command() -> None:
    """Tunes a process that the command line owns, for speed. It takes full effect only before torch is imported."""
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    keep_freed_memory()


def fix_thread_count() -> None:
    """Fixes torch's number of threads at what it is, so that sums are always split in the same way."""
    import torch

    with STATE_LOCK:  # not while another thread computes something small with one thread
        torch.set_num_threads(torch.get_num_threads())


@contextmanager
def ordered_sums() -> Iterator[None]:
    """A context in which cuBLAS adds up in one fixed order, if the first matrix product on the GPU comes in it."""
    name = "CUBLAS_WORKSPACE_CONFIG"
    if name in os.environ:
        yield
        return
    os.environ[name] = ":4096:8"
    try:
        yield
    finally:
        os.environ.pop(name, None)


def has_glibc() -> bool:
    """Whether the C library is glibc, whose allocator can be told to keep freed memory."""
    try:
        return system() == "linux" and (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError):  # no confstr (Windows), or a C library that does not have this name
        return False


def keep_freed_memory() -> bool:
    """Tells glibc to keep freed memory for the next tensor, instead of returning it to the kernel. Whether that succeeded.

    This cannot be undone, and leaves the process with the most memory that it ever used, so only the command line does it.
    Otherwise each large tensor costs page faults again; docs/lab-notes.md has measurements of training on a CPU. Elsewhere than
    on Linux with glibc it does nothing and returns False.
    """
    if not has_glibc():
        return False
    import ctypes

    # The names of malloc.h: parameters of mallopt(3), which returns 1 for success.
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(m_mmap_max, 0) and mallopt(m_trim_threshold, 1 << 30) and mallopt(m_top_pad, 1 << 26))

"""The process as a whole: which operating system it runs on, and the switches that act on all of it.

`limner` itself imports this before anything else, so nothing that takes time is imported at the top.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Literal

System = Literal["linux", "macos", "windows", "other"]
Moment = Literal["import", "work", "ordered sums"]

_SYSTEMS: Mapping[str, System] = {"linux": "linux", "darwin": "macos", "win32": "windows", "cygwin": "windows"}

TRIED: Mapping[tuple[System, str], str] = {
    ("linux", "cpu"): "every test",
    ("linux", "cuda"): "one NVIDIA card; several at once were not",
}
"""(operating system, kind of device) on which limner was run by those who make it, and what was tried there.

Whatever stands here was run, not only simulated. All else (macOS, Windows; mps, xpu) is written to work and was never tried.
An accelerator whose kind has no row is taken only where LIMNER_DEVICE names it (`limner.core.precision.device_kind`).
"""


def system() -> System:
    """The operating system. Whatever treats one of them differently asks here, so that a test can pretend to be on another."""
    return _SYSTEMS.get(sys.platform, "other")


def configure_process(moment: Moment) -> None:
    """Sets the process-wide switches that are due at `moment`. What a person has set in the environment stays.

    ============  ==========================  =======================================================================
    moment        switch                      what it does, and who asks for it
    ============  ==========================  =======================================================================
    import        GOMP_SPINCOUNT=1000         How long torch's threads wait for each other by spinning. Where another
                                              process wants a core too, the one they wait for is not running, and
                                              training was measured ten to twenty times slower; a short spin costs a
                                              tenth on a quiet machine (docs/lab-notes.md). Read when torch is loaded:
                                              `limner/__init__.py` asks.
    work          malloc (see `keep_memory`)  Freed memory is kept. `train`, its dry run and `load` ask.
    work          torch.set_num_threads       To what it is: this alone stops MKL from choosing fewer threads by
                                              itself. A sum that is split otherwise rounds otherwise, and an exact
                                              resume wants one answer. A precaution; no run was seen to differ for it.
    ordered sums  CUBLAS_WORKSPACE_CONFIG     cuBLAS sums in one order. Read when a card first multiplies:
                                              `precision.repeatable` asks.
    ============  ==========================  =======================================================================

    Three more switches act on the whole process, are set for a block only and put back at its end: torch's number formats and
    deterministic mode (`precision.repeatable`), the handlers of signals (`training.interrupt.handle_signals`), and how many
    threads torch has while a statistic is made (`metrics.stats.threads`). `seeds.seed_all` seeds torch's own generators, which
    nobody puts back.
    """
    if moment == "import":
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    elif moment == "ordered sums":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    else:
        import torch

        keep_memory()
        torch.set_num_threads(torch.get_num_threads())


def has_glibc() -> bool:
    """Whether the C library is glibc, whose allocator can be told to keep memory."""
    import platform

    return system() == "linux" and platform.libc_ver()[0] == "glibc"


def keep_memory() -> bool:
    """Tells glibc to keep freed memory instead of handing every large tensor back to the kernel and faulting it in again.

    The constants are M_MMAP_MAX (-4), M_TRIM_THRESHOLD (-1) and M_TOP_PAD (-2) of malloc.h. Measured on CPU training: see
    docs/lab-notes.md. Linux with glibc only; elsewhere it does nothing, silently, and returns False.
    """
    if not has_glibc():
        return False
    import ctypes

    mallopt = ctypes.CDLL(None).mallopt
    large = 1 << 30
    return bool(mallopt(-4, 0) and mallopt(-1, large) and mallopt(-2, 1 << 26))

"""The operating system, and the settings that act on the whole process.

`limner/__init__.py` imports this file before anything else, so it imports nothing slow at its top.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
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


# The settings of the process. Each is made at its own moment, by one of the three functions below; where a person has set the
# environment variable, their value stays.
#
# ==============================  ==========================  ==================================================================
# function                        setting                     what it does, and who calls the function
# ==============================  ==========================  ==================================================================
# configure_at_import             GOMP_SPINCOUNT=1000         How long torch's threads wait for each other in a busy loop. When
#                                                             another process competes for a core, the thread that they wait for
#                                                             is not running, and training was measured ten to twenty times
#                                                             slower; a short busy loop costs a tenth on an idle machine
#                                                             (docs/lab-notes.md). OpenMP reads it when torch is loaded, so
#                                                             `limner/__init__.py` calls this.
# configure_for_computation       malloc                      Freed memory stays with the process: `keep_freed_memory`. `train`,
#                                                             its dry run and `load` call this.
# configure_for_computation       torch.set_num_threads       Sets the number to what it already is: this alone stops MKL from
#                                                             using fewer threads when it sees fit. A sum that is split among
#                                                             other threads rounds differently, and an exact resume needs the
#                                                             same bits. A precaution: no run was observed to differ for it.
# configure_for_ordered_sums      CUBLAS_WORKSPACE_CONFIG     cuBLAS adds up in one fixed order. Read at the first matrix
#                                                             product on a GPU; `precision.repeatable` calls this.
# ==============================  ==========================  ==================================================================
#
# Three more settings are made for a block only and undone at its end: torch's float32 precision and deterministic mode
# (`precision.repeatable`), the signal handlers (`training.interrupt.handle_signals`), and torch's number of threads while a
# statistic is computed (`metrics.stats.threads`). `seeds.seed_all` seeds torch's global generators, and nothing undoes that.


def configure_at_import() -> None:
    """Limits how long threads wait in a busy loop; takes effect only before torch is imported."""
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def configure_for_computation() -> None:
    """Keeps freed memory and fixes torch's number of threads: before training, and before a trained model is loaded."""
    import torch

    keep_freed_memory()
    torch.set_num_threads(torch.get_num_threads())


def configure_for_ordered_sums() -> None:
    """Makes cuBLAS add up in one fixed order; takes effect only before the first matrix product on a GPU."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def has_glibc() -> bool:
    """Whether the C library is glibc, whose allocator can be told to keep freed memory."""
    import platform

    return system() == "linux" and platform.libc_ver()[0] == "glibc"


def keep_freed_memory() -> bool:
    """Tells glibc to keep freed memory for the next tensor, instead of returning it to the kernel. Whether that succeeded.

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

"""Verb: what this machine offers, what of it was never tried, and what is wrong with the installation; memory in bytes."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core import process
from limner.core.files import cache_folder
from limner.core.process import TRIED, System

if TYPE_CHECKING:
    import torch

TORCH = "2.13"  # what the tests run with; older ones back to 2.11 are known to import
EXTRAS: Mapping[str, tuple[str, ...]] = {"export": ("onnx", "onnxruntime")}
"""The extras of pyproject.toml but for `dev`, and the modules that each brings."""

_PROPER: Mapping[System, str] = {"linux": "Linux", "macos": "macOS", "windows": "Windows", "other": "this operating system"}


def examine(data: Mapping[str, str]) -> dict[str, Any]:
    """Everything a report of a fault should carry: device, precision, threads, versions, memory, caches, extras, warnings.

    `data` says where each data set that is at hand lies. `memory` is in bytes: the device's own where it is a GPU, the
    machine's otherwise. `tried` lists where limner was ever run.
    Errors: `InputError` where LIMNER_DEVICE names no device, or one that is not here.
    """
    import torch

    from limner.core import precision

    device = precision.device()
    return {
        "limner": version("limner"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": str(device),
        "device_name": precision.processor(),
        "precision": precision.choose(device),
        "threads": torch.get_num_threads(),
        "memory": total_memory(device),
        "allocator": _allocator(),
        "cache": str(cache_folder()),
        "data": dict(data),
        "extras": {name: all(find_spec(module) for module in modules) for name, modules in EXTRAS.items()},
        "system": process.system(),
        "tried": [{"system": system, "device": kind, "what": what} for (system, kind), what in TRIED.items()],
        "warnings": [*_untried(device.type), *_warnings(torch.__version__)],
    }


def version(package: str) -> str:
    """Of an installed package; a checkout that was never installed has none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def total_memory(device: torch.device) -> int | None:
    """Bytes: the device's own where it is a GPU, the machine's otherwise; None where nobody says."""
    import torch

    if device.type == "mps":
        return torch.mps.recommended_max_memory()
    if device.type != "cpu":
        return int(torch.get_device_module(device).get_device_properties(device).total_memory)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # no sysconf (Windows), or one without these names
        return None


def free_memory(device: torch.device) -> int:
    """Bytes that can still be allocated on a GPU."""
    import torch

    if device.type == "mps":
        return max(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory(), 0)
    return int(torch.get_device_module(device).mem_get_info(device)[0])


def peak_memory(device: torch.device) -> int:
    """The most bytes that this process ever held: on the GPU where `device` is one, else of main memory. 0 where nobody says.

    mps keeps no record of its peak: there it is what the process holds now, of which it gives back little.
    """
    import torch

    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    if device.type != "cpu":
        return int(torch.get_device_module(device).max_memory_allocated(device))
    if process.system() == "windows":
        return _peak_on_windows()
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if process.system() == "macos" else peak * 1024  # macOS counts bytes, Linux KiB


def _peak_on_windows() -> int:
    """The peak of the working set, from PROCESS_MEMORY_COUNTERS of psapi.h."""
    import ctypes

    class Counters(ctypes.Structure):
        _fields_ = (
            ("size", ctypes.c_uint32),
            ("faults", ctypes.c_uint32),
            ("peak", ctypes.c_size_t),
            ("further", ctypes.c_size_t * 7),
        )

    library = getattr(ctypes, "WinDLL", None)
    if library is None:
        return 0
    kernel, counters = library("kernel32"), Counters()
    counters.size = ctypes.sizeof(counters)
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    kernel.K32GetProcessMemoryInfo.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32)
    fine = kernel.K32GetProcessMemoryInfo(kernel.GetCurrentProcess(), ctypes.byref(counters), counters.size)
    return int(counters.peak) if fine else 0


def _allocator() -> str:
    """Who hands out memory; freed memory kept between steps is worth up to ×2 on a CPU."""
    for word in ("jemalloc", "tcmalloc", "mimalloc"):
        if word in os.environ.get("LD_PRELOAD", ""):
            return word
    if process.has_glibc():
        return "glibc, told to keep freed memory while training"
    return "the system's"


def _untried(kind: str) -> list[str]:
    """A sentence for each way in which this machine is unlike those that limner was ever run on."""
    import torch

    from limner.core import precision

    system, never = process.system(), list[str]()
    if (system, "cpu") not in TRIED:
        never.append(f"limner was never run on {_PROPER[system]}, only tested as if it were there: report what goes wrong")
    if kind == "cpu" and (idle := precision.untried_accelerator()):
        never.append(
            f"there is a device of kind {idle}, which limner was never run on and does not take by itself: set "
            f"LIMNER_DEVICE={idle} to use it, compare a short run with one of LIMNER_DEVICE=cpu, and report what differs"
        )
    elif kind != "cpu" and (system, kind) not in TRIED:
        never.append(
            f"limner was never run on {kind} here, only tested as if it were there: compare a short run with one of "
            "LIMNER_DEVICE=cpu, and report what differs"
        )
    elif kind != "cpu" and torch.accelerator.device_count() > 1:
        never.append("limner was tried with one GPU, never with several; a process uses one")
    return never


def _warnings(torch_version: str) -> list[str]:
    warnings = []
    if find_spec("torchvision") is not None:
        warnings.append("torchvision is installed: limner does without it, and its build often does not fit torch's")
    if not torch_version.startswith(f"{TORCH}."):
        warnings.append(f"torch is {torch_version}; limner is tested with {TORCH}")
    missing = [
        part for part in os.environ.get("LIMNER_DATA", "").split(os.pathsep) if part and not Path(part).expanduser().is_dir()
    ]
    warnings.extend(f"LIMNER_DATA names {part}, which is no folder" for part in missing)
    cache = cache_folder()
    there = next(folder for folder in (cache, *cache.parents) if folder.exists())
    if not os.access(there, os.W_OK):
        warnings.append(f"the cache {cache} cannot be written; set LIMNER_CACHE to a folder of your own")
    return warnings

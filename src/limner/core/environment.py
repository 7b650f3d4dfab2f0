"""What `limner doctor` reports: the machine, the versions, and what is wrong with the installation. Memory is in bytes."""

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
from limner.core.process import TESTED_PLATFORMS, System

if TYPE_CHECKING:
    import torch

TESTED_TORCH = "2.13"
"""The version of torch that the tests run with; limner also imports with older ones, back to 2.11."""
EXTRAS: Mapping[str, tuple[str, ...]] = {"export": ("onnx", "onnxruntime")}
"""Each extra of pyproject.toml, except `dev`, and the modules that it installs."""

_SYSTEM_NAMES: Mapping[System, str] = {
    "linux": "Linux",
    "macos": "macOS",
    "windows": "Windows",
    "other": "this operating system",
}


def examine(data: Mapping[str, str]) -> dict[str, Any]:
    """What a bug report should contain, as the fields of `limner.tasks.doctor.DoctorResult`.

    `data`: name of each data set on this machine -> its folder.
    Errors: `InputError` where LIMNER_DEVICE names no kind of device, or one that this machine lacks.
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
        "tried": [{"system": system, "device": kind, "what": what} for (system, kind), what in TESTED_PLATFORMS.items()],
        "warnings": [*_untested(device.type), *_installation_faults(torch.__version__)],
    }


def version(package: str) -> str:
    """The version of an installed package; "not installed" otherwise, also for limner when it runs from a checkout."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def total_memory(device: torch.device) -> int | None:
    """Bytes: of the device where it is a GPU, otherwise of the machine; None where the system does not say."""
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
    """Bytes that can still be allocated on `device`, a GPU."""
    import torch

    if device.type == "mps":
        return max(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory(), 0)
    return int(torch.get_device_module(device).mem_get_info(device)[0])


def available_memory() -> int | None:
    """Bytes of main memory that this process can still take without being killed, within the limits of its container or job;
    None where the system does not say."""
    limits = [_kernel_estimate(), *_cgroup_limits(), _process_limit()]
    return min((limit for limit in limits if limit is not None), default=None)


def _kernel_estimate() -> int | None:
    """Linux' estimate of what new work can take without swapping, proc(5); None on other systems."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _cgroup_limits(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> list[int]:
    """What each control group of this process, from its own to the root, can still take; [] where none is limited.

    The page cache counts as used but is given up under pressure, so that inactive files are free. Version 2 has one hierarchy,
    version 1 one of memory (cgroups(7)).
    """
    try:
        lines = [line.split(":", 2) for line in membership.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return []
    free: list[int] = []
    for _, controllers, name in (line for line in lines if len(line) == 3):
        if controllers == "":
            base, maximum, current, cache = root, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            base, maximum = root / "memory", "memory.limit_in_bytes"
            current, cache = "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        own = base / name.lstrip("/")
        for group in (own, *own.parents):
            if group != base and base not in group.parents:
                break
            try:
                limit, used = (int((group / file).read_text(encoding="ascii")) for file in (maximum, current))
                rows = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
                free.append(max(limit - used + int(rows.get(cache, 0)), 0))
            except (OSError, ValueError):  # no such file, or "max": no limit
                continue
    return free


def _process_limit() -> int | None:
    """What ``ulimit -v`` leaves; None without a limit."""
    try:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (ImportError, OSError, ValueError, IndexError):
        return None
    return None if limit == resource.RLIM_INFINITY else max(limit - pages * resource.getpagesize(), 0)


def peak_memory(device: torch.device) -> int:
    """Most bytes that this process has held so far: on the GPU where `device` is one, otherwise of main memory.

    0 where the system does not say. mps records no peak, so there it is what the process holds now, of which it rarely returns
    much.
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
    """The peak of the working set in bytes, from PROCESS_MEMORY_COUNTERS of psapi.h; 0 where Windows does not say."""
    import ctypes

    class Counters(ctypes.Structure):
        _fields_ = (
            ("size", ctypes.c_uint32),
            ("faults", ctypes.c_uint32),
            ("peak", ctypes.c_size_t),
            ("others", ctypes.c_size_t * 7),
        )

    library = getattr(ctypes, "WinDLL", None)
    if library is None:
        return 0
    kernel, counters = library("kernel32"), Counters()
    counters.size = ctypes.sizeof(counters)
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    kernel.K32GetProcessMemoryInfo.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32)
    succeeded = kernel.K32GetProcessMemoryInfo(kernel.GetCurrentProcess(), ctypes.byref(counters), counters.size)
    return int(counters.peak) if succeeded else 0


def _allocator() -> str:
    """The memory allocator. Training on a CPU is up to twice as fast with one that keeps freed memory between steps."""
    for name in ("jemalloc", "tcmalloc", "mimalloc"):
        if name in os.environ.get("LD_PRELOAD", ""):
            return name
    if process.has_glibc():
        return "glibc, told to keep freed memory while training"
    return "the system's"


def _untested(kind: str) -> list[str]:
    """A sentence for each way in which this machine differs from those on which limner was run."""
    import torch

    from limner.core import precision

    system, warnings = process.system(), list[str]()
    if (system, "cpu") not in TESTED_PLATFORMS:
        warnings.append(
            f"limner was never run on {_SYSTEM_NAMES[system]}, only tested as if it were there: report what goes wrong"
        )
    if kind == "cpu" and (unused := precision.untested_accelerator()):
        warnings.append(
            f"there is a device of kind {unused}, which limner was never run on and does not take by itself: set "
            f"LIMNER_DEVICE={unused} to use it, compare a short run with one of LIMNER_DEVICE=cpu, and report what differs"
        )
    elif kind != "cpu" and (system, kind) not in TESTED_PLATFORMS:
        warnings.append(
            f"limner was never run on {kind} here, only tested as if it were there: compare a short run with one of "
            "LIMNER_DEVICE=cpu, and report what differs"
        )
    elif kind != "cpu" and torch.accelerator.device_count() > 1:
        warnings.append("limner was tried with one GPU, never with several; a process uses one")
    return warnings


def _installation_faults(torch_version: str) -> list[str]:
    """A sentence for each fault of the installation or of the environment variables."""
    warnings = []
    if find_spec("torchvision") is not None:
        warnings.append("torchvision is installed: limner does without it, and its build often does not fit torch's")
    if not torch_version.startswith(f"{TESTED_TORCH}."):
        warnings.append(f"torch is {torch_version}; limner is tested with {TESTED_TORCH}")
    missing = [
        part for part in os.environ.get("LIMNER_DATA", "").split(os.pathsep) if part and not Path(part).expanduser().is_dir()
    ]
    warnings.extend(f"LIMNER_DATA names {part}, which is no folder" for part in missing)
    cache = cache_folder()
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    if not os.access(existing, os.W_OK):
        warnings.append(f"the cache {cache} cannot be written; set LIMNER_CACHE to a folder of your own")
    return warnings

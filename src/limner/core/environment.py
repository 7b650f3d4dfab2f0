"""Verb: what this machine offers, and what is wrong with the installation."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from limner.core.files import cache_folder

TORCH = "2.13"  # what the tests run with; older ones back to 2.11 are known to import
EXTRAS: dict[str, tuple[str, ...]] = {
    "studio": ("fastapi", "uvicorn", "multipart"),
    "video": ("av",),
    "hub": ("huggingface_hub",),
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "provenance": ("c2pa",),
    "privacy": ("opacus",),
    "tensorboard": ("tensorboard",),
    "parquet": ("pyarrow",),
}


def examine() -> dict[str, Any]:
    """Everything a report of a fault should carry: device, precision, threads, versions, memory, caches, extras, warnings.

    `memory` is in bytes: the device's own where it is a GPU, the machine's otherwise.
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
        "memory": _memory(device),
        "allocator": _allocator(),
        "cache": str(cache_folder()),
        "extras": {name: all(find_spec(module) for module in modules) for name, modules in EXTRAS.items()},
        "warnings": _warnings(torch.__version__),
    }


def version(package: str) -> str:
    """Of an installed package; a checkout that was never installed has none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def peak_memory(device: Any) -> int:
    """Most bytes that this process has held so far: on the card where `device` is one, otherwise in all. 0 where unknown."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _memory(device: Any) -> int | None:
    if device.type == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # no sysconf (Windows), or one without these names
        return None


def _allocator() -> str:
    """Who hands out memory; freed memory kept between steps is worth up to ×2 on a CPU."""
    for word in ("jemalloc", "tcmalloc", "mimalloc"):
        if word in os.environ.get("LD_PRELOAD", ""):
            return word
    if sys.platform.startswith("linux") and platform.libc_ver()[0] == "glibc":
        return "glibc, told to keep freed memory while training"
    return "the system's"


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

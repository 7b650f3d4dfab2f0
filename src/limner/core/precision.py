"""What this processor does well: the device, the number format, the allocator."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from torch import nn

Precision = Literal["fp32", "bf16"]


def device() -> torch.device:
    """The accelerator where there is one, otherwise the CPU. With several processes on a node, each takes its own card."""
    if torch.cuda.is_available():
        from limner.core import parallel

        return torch.device("cuda", parallel.local_rank() % torch.cuda.device_count())
    return torch.device("cpu")


def _cpu_flags() -> frozenset[str]:
    """The kernel's own list; empty where there is none (other systems), which means "nothing special"."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("flags"):
                return frozenset(line.split(":", 1)[1].split())
    return frozenset()


def choose(where: torch.device | None = None) -> Precision:
    """bf16 where the hardware multiplies it (avx512_bf16 or amx on a CPU, Ampere and later on a GPU); emulated it is slow."""
    where = where or device()
    if where.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(where)[0] >= 8 else "fp32"
    return "bf16" if {"avx512_bf16", "amx_bf16"} & _cpu_flags() else "fp32"


def autocast(where: torch.device, precision: Precision) -> torch.autocast:
    """The forward pass in `precision`; weights, gradients and optimiser stay in float32."""
    return torch.autocast(where.type, dtype=torch.bfloat16, enabled=precision == "bf16")


@contextlib.contextmanager
def repeatable() -> Iterator[None]:
    """The same bits each time, and float32 that is IEEE's: no TF32, no bf16 behind one's back. On a CPU it changes nothing.

    On a GPU, cuDNN, cuBLAS and the sums behind an index otherwise take whichever order is ready first, and a run that was
    killed and resumed is another run. Two gradients may be summed in any order even so: that of `grid_sample` (the `adaptive`
    augmentation; seen), and that of PyTorch's memory-efficient attention (it warns; priors resumed to the bit at the sizes
    that were tried). What it costs: docs/benchmarks.md.
    """
    # One switch per operation (torch ≥ 2.9), each read and put back: the old global ones refuse to be read when mixed.
    switches = (
        torch.backends.cuda.matmul,
        torch.backends.cudnn.conv,  # type: ignore[attr-defined]
        torch.backends.mkldnn.matmul,  # type: ignore[attr-defined]
        torch.backends.mkldnn.conv,  # type: ignore[attr-defined]
    )
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = "ieee"
        with _in_order() if torch.cuda.is_available() else contextlib.nullcontext():
            yield
    finally:
        for switch, old in zip(switches, before, strict=True):
            switch.fp32_precision = old


@contextlib.contextmanager
def _in_order() -> Iterator[None]:
    """A GPU sums in one order inside."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when a card first multiplies
    before, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*determinis")  # of those two
        try:
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warns)
            torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


@contextlib.contextmanager
def exact(device_type: str) -> Iterator[None]:
    """`repeatable`, and nothing but float32: no autocast. And no gradients. For whatever ends in a reported number."""
    with repeatable(), torch.no_grad(), torch.autocast(device_type, enabled=False):
        yield


def processor() -> str:
    """A name for the record, such as ``AMD EPYC (avx512_bf16)``."""
    where = device()
    if where.type == "cuda":
        return torch.cuda.get_device_name(where)
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    special = sorted({"avx2", "avx512f", "avx512_bf16", "amx_bf16"} & _cpu_flags())
    return f"{name} ({', '.join(special)})" if special else name


def settle() -> None:
    """Once per process, before torch is worked hard: memory is kept, and every matrix product uses the same threads.

    Setting the number of threads, even to what it is, also stops MKL from choosing fewer by itself: a sum split otherwise
    rounds otherwise, and an exact resume wants one answer. A precaution; no run was seen to differ for it.
    """
    keep_memory()
    torch.set_num_threads(torch.get_num_threads())


def keep_memory() -> bool:
    """Tells glibc to keep freed memory instead of handing every large tensor back to the kernel and faulting it in again.

    The constants are M_MMAP_MAX (-4), M_TRIM_THRESHOLD (-1) and M_TOP_PAD (-2) of malloc.h. Measured on CPU training: see
    docs/lab-notes.md. Linux with glibc only; elsewhere it does nothing, silently, and returns False.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    large = 1 << 30
    return bool(mallopt(-4, 0) and mallopt(-1, large) and mallopt(-2, 1 << 26))


def prepare_module(module: nn.Module, device: torch.device) -> None:
    """Moves a network to the device with its convolution weights channels last."""
    module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

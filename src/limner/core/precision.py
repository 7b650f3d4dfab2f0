"""What computes here, and in which number format: the device, bfloat16 or float32, float64 where it is there, the same bits."""

from __future__ import annotations

import contextlib
import os
import platform
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from limner.core.errors import InputError, nearest
from limner.core.process import TRIED, configure_process

Precision = Literal["fp32", "bf16"]
Accelerator = Literal["cuda", "mps", "xpu"]
Kind = Literal["cpu"] | Accelerator

CHOICE = "LIMNER_DEVICE"
"""The environment variable that names another kind of device than the one that would be taken."""


def accelerator() -> Accelerator | None:
    """The accelerator that this machine has and this build of torch can use; None for one that limner does not know."""
    there = torch.accelerator.current_accelerator(check_available=True)
    kinds: tuple[Accelerator, ...] = ("cuda", "mps", "xpu")
    return next((kind for kind in kinds if there is not None and there.type == kind), None)


def untried_accelerator() -> Accelerator | None:
    """The accelerator of this machine if limner was never run on one of its kind, whatever the operating system; else None."""
    there = accelerator()
    return None if there in {kind for _, kind in TRIED} else there


def device_kind() -> Kind:
    """What LIMNER_DEVICE names; without it the accelerator where there is one of a kind that was tried, otherwise the CPU.

    A kind was tried where `process.TRIED` has it, on whatever operating system. Another one is taken only by its name:
    nobody knows yet what it computes, and a run that was begun on the CPU must not go on elsewhere unasked.

    Errors: `InputError` where it names no kind of device, or one that is not here.
    """
    asked, there = os.environ.get(CHOICE, "").strip().lower(), accelerator()
    here: tuple[Kind, ...] = ("cpu",) if there is None else ("cpu", there)
    if not asked:
        return "cpu" if untried_accelerator() else here[-1]
    for kind in here:
        if asked == kind:
            return kind
    known = ("cpu", "cuda", "mps", "xpu")
    if asked in known:
        raise InputError(f"{CHOICE}={asked}, but torch sees no {asked} device here; choose {' or '.join(here)}")
    hint = nearest(asked, known) or f"; it is one of {', '.join(known)}"
    raise InputError(f"{CHOICE}={asked} is no kind of device{hint} (which card: CUDA_VISIBLE_DEVICES)")


def device() -> torch.device:
    """The device that computes (see `device_kind`). With several processes on a node, each takes its own card.

    Errors: `InputError` for a LIMNER_DEVICE that is not here.
    """
    kind = device_kind()
    if kind == "cpu":
        return torch.device("cpu")
    number_on_node = int(os.environ.get("LOCAL_RANK", "0"))  # torchrun counts the processes of a node
    return torch.device(kind, number_on_node % torch.accelerator.device_count())


def _cpu_flags() -> frozenset[str]:
    """The kernel's own list; empty where there is none (other systems), which means "nothing special"."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("flags"):
                return frozenset(line.split(":", 1)[1].split())
    return frozenset()


def choose(where: torch.device | None = None) -> Precision:
    """bf16 where the hardware multiplies it (avx512_bf16 or amx on a CPU, Ampere and later on a GPU); emulated it is slow.

    On mps float32: which operations take bfloat16 there depends on the chip and on macOS, and none was tried.
    """
    where = where or device()
    if where.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(where)[0] >= 8 else "fp32"
    if where.type == "xpu":
        return "bf16" if torch.xpu.is_bf16_supported(including_emulation=False) else "fp32"
    if where.type == "mps":
        return "fp32"
    return "bf16" if {"avx512_bf16", "amx_bf16"} & _cpu_flags() else "fp32"


def autocast(where: torch.device, precision: Precision) -> torch.autocast:
    """The forward pass in `precision`; weights, gradients and optimiser stay in float32."""
    return torch.autocast(where.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def float64_home(device: torch.device) -> torch.device:
    """Where numbers of float64 are kept that belong to tensors on `device`: there, or on the CPU where it has none (mps)."""
    lacking = device.type == "mps" or (device.type == "xpu" and not torch.xpu.get_device_properties(device).has_fp64)
    return torch.device("cpu") if lacking else device


def in_float64(x: Tensor) -> Tensor:
    """`x` in float64, on its `float64_home`."""
    return x.to(float64_home(x.device), torch.float64)


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
        with _in_order() if device_kind() != "cpu" else contextlib.nullcontext():
            yield
    finally:
        for switch, old in zip(switches, before, strict=True):
            switch.fp32_precision = old


@contextlib.contextmanager
def _in_order() -> Iterator[None]:
    """A GPU sums in one order inside."""
    configure_process("ordered sums")
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
    if where.type == "xpu":
        return torch.xpu.get_device_name(where)
    name = platform.processor() or platform.machine()
    if where.type == "mps":
        return f"{name} (mps)"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    special = sorted({"avx2", "avx512f", "avx512_bf16", "amx_bf16"} & _cpu_flags())
    return f"{name} ({', '.join(special)})" if special else name


def prepare_module(module: nn.Module, device: torch.device) -> None:
    """Moves a network to the device with its convolution weights channels last."""
    module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

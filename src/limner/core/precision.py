"""The device that computes, its number format (float32, bfloat16, float64), and contexts in which results repeat to the bit."""

from __future__ import annotations

import contextlib
import os
import platform
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from limner.core.config import Precision
from limner.core.errors import InputError, nearest
from limner.core.process import (
    STATE_LOCK,
    TESTED_PLATFORMS,
    SharedContext,
    fix_thread_count,
    ignore_warnings,
    ordered_sums,
)

Accelerator = Literal["cuda", "mps", "xpu"]
DeviceKind = Literal["cpu"] | Accelerator

DEVICE_VARIABLE = "LIMNER_DEVICE"
"""The environment variable by which a person chooses the kind of device."""
DEVICE_KINDS: tuple[DeviceKind, ...] = ("cpu", "cuda", "mps", "xpu")


def accelerator() -> Accelerator | None:
    """The accelerator that this machine has and this build of torch can use; None where there is none that limner supports."""
    current = torch.accelerator.current_accelerator(check_available=True)
    kinds: tuple[Accelerator, ...] = ("cuda", "mps", "xpu")
    return next((kind for kind in kinds if current is not None and current.type == kind), None)


def untested_accelerator() -> Accelerator | None:
    """The accelerator of this machine if limner was never run on one of its kind, whatever the operating system; else None."""
    kind = accelerator()
    return None if kind in {tested for _, tested in TESTED_PLATFORMS} else kind


def device_kind() -> DeviceKind:
    """What LIMNER_DEVICE names; without it the accelerator, if limner was tested on one of its kind, otherwise the CPU.

    A kind was tested if `process.TESTED_PLATFORMS` has it, on any operating system. Others are used only by name: their results
    were never checked, and a run that was begun on the CPU must not silently go on elsewhere.

    Errors: `InputError` where the variable names no kind of device, or one that this machine lacks.
    """
    choice, current = os.environ.get(DEVICE_VARIABLE, "").strip().lower(), accelerator()
    available: tuple[DeviceKind, ...] = ("cpu",) if current is None else ("cpu", current)
    if not choice:
        return "cpu" if untested_accelerator() else available[-1]
    for kind in available:
        if choice == kind:
            return kind
    if choice in DEVICE_KINDS:
        raise InputError(f"{DEVICE_VARIABLE}={choice}, but torch sees no {choice} device here; choose {' or '.join(available)}")
    hint = nearest(choice, DEVICE_KINDS) or f"; it is one of {', '.join(DEVICE_KINDS)}"
    raise InputError(f"{DEVICE_VARIABLE}={choice} is no kind of device{hint} (which card: CUDA_VISIBLE_DEVICES)")


def device() -> torch.device:
    """The device that computes (see `device_kind`). Of several processes on a node, each takes its own GPU.

    Errors: `InputError` where LIMNER_DEVICE names a device that this machine lacks.
    """
    kind = device_kind()
    if kind == "cpu":
        return torch.device("cpu")
    number_on_node = int(os.environ.get("LOCAL_RANK", "0"))  # torchrun counts the processes of a node
    return torch.device(kind, number_on_node % torch.accelerator.device_count())


def _cpu_flags() -> frozenset[str]:
    """Instruction sets of the CPU, as Linux lists them; empty on other systems, where none is assumed."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("flags"):
                return frozenset(line.split(":", 1)[1].split())
    return frozenset()


def choose(target: torch.device | None = None) -> Precision:
    """bf16 where the hardware multiplies it (avx512_bf16 or amx on a CPU, Ampere and later on a GPU); emulated it is slow.

    On mps fp32: which operations support bfloat16 there depends on the chip and on macOS, and none was tested. `target` is
    `device()` where it is None.
    """
    target = target or device()
    if target.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(target)[0] >= 8 else "fp32"
    if target.type == "xpu":
        return "bf16" if torch.xpu.is_bf16_supported(including_emulation=False) else "fp32"
    if target.type == "mps":
        return "fp32"
    return "bf16" if {"avx512_bf16", "amx_bf16"} & _cpu_flags() else "fp32"


@contextlib.contextmanager
def autocast(target: torch.device, precision: Precision) -> Iterator[None]:
    """A context in which forward passes compute in `precision`; weights, gradients and optimiser state stay in float32.

    Autocast keeps its copies of weights until the outermost context ends, which may be the caller's. They are dropped here at
    the end, since the next forward pass has other weights.
    """
    try:
        kind = "cpu" if target.type == "meta" else target.type
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=precision == "bf16"):
            yield
    finally:
        torch.clear_autocast_cache()


def no_autocast(device: torch.device) -> torch.autocast:
    """A context in which nothing on `device` is computed in bfloat16. Autocast does not know the device "meta"."""
    return torch.autocast("cpu" if device.type == "meta" else device.type, enabled=False)


def float64_device(device: torch.device) -> torch.device:
    """The device for float64 results about tensors on `device`: that device, or the CPU if it has no float64 (mps)."""
    lacks_float64 = device.type == "mps" or (device.type == "xpu" and not torch.xpu.get_device_properties(device).has_fp64)
    return torch.device("cpu") if lacks_float64 else device


def in_float64(x: Tensor) -> Tensor:
    """`x` in float64, on the `float64_device` of its device."""
    return x.to(float64_device(x.device), torch.float64)


@contextlib.contextmanager
def repeatable() -> Iterator[None]:
    """A context in which the same computation gives the same bits, and float32 means IEEE float32: no TF32, no hidden bfloat16.

    On a CPU it changes nothing. On a GPU, cuDNN, cuBLAS and scatter-like sums otherwise add in whatever order is ready first,
    so that a run that was killed and resumed would differ. Two gradients may still be summed in any order: that of
    `grid_sample` (in the `adaptive` augmentation; observed), and that of PyTorch's memory-efficient attention (torch warns of
    it; priors resumed to the bit at every size that was tested). What it costs: docs/benchmarks.md.

    Several threads may be inside at once; the settings are as they were when the last one leaves.
    """
    if not _thread.has_count:
        fix_thread_count()  # a thread takes torch's number of threads with its first computation
        _thread.has_count = True
    with _SWITCHES(), _DETERMINISTIC() if device_kind() != "cpu" else contextlib.nullcontext():
        yield


class _Thread(threading.local):
    has_count = False
    """Whether torch's number of threads is fixed in this thread."""


_thread = _Thread()


@contextlib.contextmanager
def _switch() -> Iterator[None]:
    """A context in which float32 means IEEE float32, whatever computes.

    One setting per operation (torch ≥ 2.9), each restored: the old global ones cannot be read once these differ.
    """
    settings = _float32_settings()
    before = [setting.fp32_precision for setting in settings]
    try:
        for setting in settings:
            setting.fp32_precision = "ieee"
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.fp32_precision = value


def _float32_settings() -> tuple[Any, ...]:
    return (
        torch.backends.cuda.matmul,
        torch.backends.cudnn.conv,  # type: ignore[attr-defined]
        torch.backends.mkldnn.matmul,  # type: ignore[attr-defined]
        torch.backends.mkldnn.conv,  # type: ignore[attr-defined]
    )


_SWITCHES = SharedContext(_switch, lambda: all(one.fp32_precision == "ieee" for one in _float32_settings()))


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    """A context in which a GPU adds up in a fixed order, where torch has an implementation that does."""
    enabled, warn_only = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fills_memory = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    with ordered_sums(), ignore_warnings(message=".*determinis"):  # about the two operations that `repeatable` names
        try:
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
            yield
        finally:
            torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
            torch.utils.deterministic.fill_uninitialized_memory = fills_memory  # type: ignore[attr-defined]


_DETERMINISTIC = SharedContext(_deterministic, torch.are_deterministic_algorithms_enabled)


@contextlib.contextmanager
def own_modes() -> Iterator[None]:
    """A context in which torch has the modes that limner's code is written for, whatever modes the caller has set.

    Inside, new tensors are float32 and on the CPU unless something else is said, gradients are computed, and neither inference
    mode nor autocast is on. The default type belongs to the process, all others to the thread.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_FLOAT32())
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(_nested_autocast())
        for kind in DEVICE_KINDS:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        yield


@contextlib.contextmanager
def _nested_autocast() -> Iterator[None]:
    """A context in which no autocast is the outermost one.

    The outermost one clears, at its end, the copies of weights of every thread. In the middle of another thread's training step
    that would change how its gradients are rounded, so it waits here until none is under way.
    """
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            with STATE_LOCK:
                torch.clear_autocast_cache()


@contextlib.contextmanager
def _float32_by_default() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


_FLOAT32 = SharedContext(_float32_by_default, lambda: torch.get_default_dtype() == torch.float32)


@contextlib.contextmanager
def exact(device_type: str) -> Iterator[None]:
    """A context for computations that end in a reported number: `repeatable`, float32 without autocast, and no gradients.

    `device_type` is that of the device that computes.
    """
    with own_modes(), repeatable(), torch.no_grad():
        yield


def processor() -> str:
    """The name of the device that computes, such as ``AMD EPYC (avx512_bf16)``."""
    current = device()
    if current.type == "cuda":
        return torch.cuda.get_device_name(current)
    if current.type == "xpu":
        return torch.xpu.get_device_name(current)
    name = platform.processor() or platform.machine()
    if current.type == "mps":
        return f"{name} (mps)"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    extensions = sorted({"avx2", "avx512f", "avx512_bf16", "amx_bf16"} & _cpu_flags())
    return f"{name} ({', '.join(extensions)})" if extensions else name


def prepare_module(module: nn.Module, device: torch.device) -> None:
    """Moves a network to `device`, in place, with the weights of its convolutions in channels-last memory format."""
    module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

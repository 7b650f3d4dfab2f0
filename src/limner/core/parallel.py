"""Several processes on one task, started by torchrun. With one process, every function here returns at once.

`training.step` sums gradients over the processes through `sum_all`, once per step and in buckets, because
DistributedDataParallel does not support `torch.autograd.grad` (its documentation says so). "The main process" is the one of
rank 0: it writes the files and makes the decisions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from limner.core import precision

T = TypeVar("T")

BUCKET_ENTRIES = 25 * 2**20 // 4
"""float32 entries summed in one message: 25 MiB, the default of DistributedDataParallel."""


def rank() -> int:
    """The number of this process, from 0 to `process_count()` - 1."""
    return dist.get_rank() if dist.is_initialized() else 0


def process_count() -> int:
    """How many processes work together; 1 outside of `processes()`."""
    return dist.get_world_size() if dist.is_initialized() else 1


def processes_on_node() -> int:
    """How many of the processes share this machine's memory and cores."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if dist.is_initialized() else 1


def is_main_process() -> bool:
    """Whether this process is the one that writes files and reports progress."""
    return rank() == 0


@contextmanager
def processes() -> Iterator[None]:
    """A context in which the processes that torchrun started work as one group; without torchrun it does nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    device = precision.device()
    with _current_device(device):
        dist.init_process_group(_backend(device), timeout=timedelta(hours=2))
        try:
            yield
            # Leave together: torchrun ends all processes once one has failed, and the main process may still be writing files.
            dist.barrier()
        finally:
            dist.destroy_process_group()


@contextmanager
def _current_device(device: torch.device) -> Iterator[None]:
    """A context in which `device` is torch's current one; afterwards that is the one before."""
    if device.type not in ("cuda", "xpu"):  # mps is one device, and always the current one
        yield
        return
    before = torch.accelerator.current_device_index()
    torch.accelerator.set_device_index(device.index)
    try:
        yield
    finally:
        torch.accelerator.set_device_index(before)


def _backend(device: torch.device) -> str:
    """nccl (cuda) or xccl (xpu), which need one GPU per process of the node; gloo where processes share a GPU or have none."""
    own = {"cuda": "nccl", "xpu": "xccl"}.get(device.type)
    if own is None or int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > torch.accelerator.device_count():
        return "gloo"
    return own


def _message_device() -> str:
    """Where a tensor must lie to be sent: nccl and xccl send from the GPU only, gloo from the CPU."""
    return {"nccl": "cuda", "xccl": "xpu"}.get(dist.get_backend(), "cpu")


def _gradient_device(device: torch.device) -> torch.device:
    """Where gradients on `device` are summed: gloo also accepts cuda tensors (not mps or xpu), which saves a copy."""
    return device if device.type == "cuda" else torch.device(_message_device())


def sum_all(tensors: Sequence[Tensor]) -> None:
    """Sums each tensor over all processes, in place. Several tensors travel in one flat float32 message.

    Every process must pass tensors of the same shapes in the same order.
    """
    if process_count() == 1:
        return
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        bucket.append(tensor)
        size += tensor.numel()
        if size >= BUCKET_ENTRIES:
            _sum_bucket(bucket)
            bucket, size = [], 0
    if bucket:
        _sum_bucket(bucket)


def _sum_bucket(tensors: Sequence[Tensor]) -> None:
    flat = torch.cat([tensor.detach().float().reshape(-1) for tensor in tensors])
    flat = flat.to(_gradient_device(flat.device))
    dist.all_reduce(flat)
    start = 0
    for tensor in tensors:
        tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
        start += tensor.numel()


def broadcast_integers(values: Sequence[int]) -> list[int]:
    """The main process's `values`, on every process. All must pass the same number of values."""
    if process_count() == 1:
        return list(values)
    tensor = torch.tensor(values, dtype=torch.int64, device=_message_device())
    dist.broadcast(tensor, src=0)
    return [int(value) for value in tensor.tolist()]


def broadcast_object(value: T) -> T:
    """The main process's `value`, on every process. For small values that JSON can hold, such as texts and reports.

    It is sent as JSON and not pickled, so tuples arrive as lists. The main process gets back its own `value`.
    """
    if process_count() == 1:
        return value
    text = json.dumps(value).encode() if is_main_process() else b""
    (size,) = broadcast_integers([len(text)])
    message = torch.zeros(size, dtype=torch.uint8, device=_message_device())
    if is_main_process():
        message.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
    dist.broadcast(message, src=0)
    return value if is_main_process() else cast(T, json.loads(bytes(message.cpu().tolist())))


def wait_for_all() -> None:
    """Returns when every process has called it."""
    if process_count() > 1:
        broadcast_integers([0])


def main_process_first(make: Callable[[], T]) -> T:
    """`make()`, called on the main process first and then on the others, which find its files on disk."""
    result = make() if is_main_process() else None
    wait_for_all()
    return make() if result is None else result


def all_gather_rows(rows: Tensor) -> Tensor:
    """[n, …] on the CPU of each process -> [Σ n, …] on the CPU of every process, in the order of ranks.

    n may differ between processes, and may be 0.
    """
    if process_count() == 1:
        return rows
    rows = rows.to(_message_device())
    sizes = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(process_count())]
    dist.all_gather(sizes, torch.tensor([len(rows)], device=rows.device))
    padded = rows.new_zeros(max(int(size) for size in sizes), *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in range(process_count())]
    dist.all_gather(parts, padded)
    return torch.cat([part[: int(size)] for part, size in zip(parts, sizes, strict=True)]).cpu()

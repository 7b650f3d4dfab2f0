"""Processes: started by torchrun, one per accelerator or per share of the cores. One process needs none of this.

Gradients are averaged by the loop itself, once per step and in buckets, because DistributedDataParallel excludes
`torch.autograd.grad` (its documentation says so). Which process does what is decided here and nowhere else.
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

BUCKET = 25 * 2**20 // 4
"""float32 entries reduced in one message (25 MiB, as DistributedDataParallel does)."""


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def process_count() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main_process() -> bool:
    """Whether this process is the one that writes files and speaks."""
    return rank() == 0


@contextmanager
def processes() -> Iterator[None]:
    """Joins the group that torchrun announced in the environment; without one, does nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    device = precision.device()
    if device.type in ("cuda", "xpu"):  # mps is one device, and always the current one
        torch.accelerator.set_device_index(device.index)
    dist.init_process_group(_backend(device), timeout=timedelta(hours=2))
    try:
        yield
        # All leave together: torchrun ends the others as soon as one is gone amiss, and the leading one may still be writing.
        dist.barrier()
    finally:
        dist.destroy_process_group()


def _backend(device: torch.device) -> str:
    """The card's own (nccl, xccl), which wants a card for each process of a node; gloo where they share one, or have none."""
    own = {"cuda": "nccl", "xpu": "xccl"}.get(device.type)
    if own is None or int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > torch.accelerator.device_count():
        return "gloo"
    return own


def _message_device() -> str:
    """Where a message must lie: nccl and xccl send from the card alone."""
    return {"nccl": "cuda", "xccl": "xpu"}.get(dist.get_backend(), "cpu")


def _gradient_device(device: torch.device) -> torch.device:
    """The same for what lies on `device`: gloo also takes it from a card of cuda (not of mps or xpu), which spares a way."""
    return device if device.type == "cuda" else torch.device(_message_device())


def sum_all(tensors: Sequence[Tensor]) -> None:
    """Adds each tensor over all processes, in place, in buckets of one flat message each."""
    if process_count() == 1:
        return
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        bucket.append(tensor)
        size += tensor.numel()
        if size >= BUCKET:
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
    """The leading process's `values`, on every process. All must give as many."""
    if process_count() == 1:
        return list(values)
    tensor = torch.tensor(values, dtype=torch.int64, device=_message_device())
    dist.broadcast(tensor, src=0)
    return [int(value) for value in tensor.tolist()]


def broadcast_object(value: T) -> T:
    """The leading process's `value`, on every process: small things that JSON can hold, such as decisions, texts, reports.

    Sent as JSON and not pickled, so that tuples arrive as lists. The leading process keeps its own `value`.
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
    """Returns when every process has come here."""
    if process_count() > 1:
        broadcast_integers([0])


def main_process_first(make: Callable[[], T]) -> T:
    """`make()` on the leading process, then on the others, which find made what it has left on disk."""
    mine = make() if is_main_process() else None
    wait_for_all()
    return make() if mine is None else mine


def all_gather_rows(rows: Tensor) -> Tensor:
    """[n, …] on the CPU of every process -> [Σ n, …] on every process, in the order of their ranks; n may differ, and be 0."""
    if process_count() == 1:
        return rows
    rows = rows.to(_message_device())
    sizes = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(process_count())]
    dist.all_gather(sizes, torch.tensor([len(rows)], device=rows.device))
    padded = rows.new_zeros(max(int(size) for size in sizes), *rows.shape[1:])
    padded[: len(rows)] = rows
    every = [torch.empty_like(padded) for _ in range(process_count())]
    dist.all_gather(every, padded)
    return torch.cat([part[: int(size)] for part, size in zip(every, sizes, strict=True)]).cpu()

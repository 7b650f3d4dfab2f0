"""Random numbers as a function of the position in a run.

No generator state is ever saved. Before each chunk of a batch, torch's generators are seeded from (seed, images seen, phase,
chunk), so that a resumed run draws the same numbers as one without interruption. One seed is one image: the noise of a sample
is drawn on the CPU for each seed by itself, so that it depends on neither batch, device nor number of processes.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core.precision import accelerator
from limner.core.process import STATE_LOCK


def fold(*parts: int | str) -> int:
    """A seed, 0 … 2⁶³-1, from any number of parts; the same parts give the same seed on every machine.

    A whole number of NumPy or torch is the same part as that number of Python. Errors: `TypeError` for a part that is neither
    a whole number nor a text.

    >>> fold(7, "latent", 0) == fold(np.int64(7), "latent", 0), fold(7, "latent", 0) == fold(7, "latent", 1)
    (True, False)
    """
    plain = tuple(part if isinstance(part, int | str) else operator.index(part) for part in parts)
    digest = hashlib.blake2b(repr(plain).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_all(*parts: int | str) -> None:
    """Seeds torch's global generators, of the CPU and of the accelerator, from `fold(*parts)`.

    `torch.manual_seed` does the same, but records a traceback for each kind of accelerator that is absent, which costs a
    percent of a small training step.
    """
    seed = fold(*parts)
    torch.default_generator.manual_seed(seed)
    kind = accelerator()
    if kind == "cuda":
        torch.cuda.manual_seed_all(seed)
    elif kind == "xpu":
        torch.xpu.manual_seed_all(seed)
    elif kind == "mps":
        torch.mps.manual_seed(seed)


@contextmanager
def preserve_generators(device: torch.device) -> Iterator[None]:
    """A context in which torch's global generators, of the CPU and of `device`, are the block's own; they are restored when it
    ends.

    Whatever seeds them or draws from them does so in such a context, also the initial weights of a network. Another thread that
    enters one waits until this one is left, so that neither changes the draws of the other.
    """
    with STATE_LOCK:
        if device.type == "mps":  # `fork_rng` passes a device number to its generator, which does not accept one
            before = torch.mps.get_rng_state()
            with torch.random.fork_rng([]):
                try:
                    yield
                finally:
                    torch.mps.set_rng_state(before)
            return
        kind = device.type
        if kind == "cpu" and accelerator() == "cuda" and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            kind = "cuda"  # the person's, which `seed_all` seeds too
        with torch.random.fork_rng([] if kind == "cpu" else range(torch.accelerator.device_count()), device_type=kind):
            yield


def noise(seeds: Sequence[int], *shape: int, stream: str = "latent") -> Tensor:
    """[len(seeds), *shape] float32, standard normal, on the CPU: row i depends only on `seeds[i]` and `stream`."""
    rows = [torch.randn(shape, generator=torch.Generator().manual_seed(fold("sample", stream, seed))) for seed in seeds]
    return torch.stack(rows) if rows else torch.empty(0, *shape)


@lru_cache(maxsize=4)
def _permutation(seed: int, stream: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.Generator(np.random.Philox(fold(seed, "epoch", stream, epoch))).permutation(count)


def order(seed: int, stream: int, start: int, size: int, count: int) -> NDArray[np.int64]:
    """[size] int64: the images, 0 … count-1, at positions start … start+size-1 of an endless sequence of shuffled epochs.

    Each epoch is a fresh permutation of all images; a batch may span two epochs. Each `stream` has a sequence of its own.

    >>> sorted(order(seed=7, stream=0, start=0, size=5, count=5).tolist())
    [0, 1, 2, 3, 4]
    """
    positions = np.arange(start, start + size, dtype=np.int64)
    rows = np.empty(size, dtype=np.int64)
    for epoch in range(int(positions[0] // count), int(positions[-1] // count) + 1):
        inside = positions // count == epoch
        rows[inside] = _permutation(seed, stream, epoch, count)[positions[inside] % count]
    return rows


SCORED_SEEDS = 1_000_000
"""Scores are computed from samples of seeds from here on; pictures for people have small seeds."""

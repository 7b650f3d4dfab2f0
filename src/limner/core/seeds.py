"""Randomness is a function of where we are.

No generator state is ever saved: before each chunk the generators are seeded from (seed, images seen, phase, chunk), so that a
resumed run draws what the uninterrupted one would have drawn. One seed is one image: sampling noise is drawn on the CPU, seed
by seed, whatever the batch, the device or the number of processes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core.precision import accelerator


def fold(*parts: int | str) -> int:
    """A 63-bit seed from any number of parts; the same parts give the same seed on every machine."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_all(*parts: int | str) -> None:
    """Seeds torch's own generators (CPU and accelerator) from `parts`.

    `torch.manual_seed` does the same and notes a traceback for every accelerator that is not there: a percent of a small step.
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
def generators_kept(device: torch.device) -> Iterator[None]:
    """Within the block torch's own generators may be seeded and drawn from; after it they stand where they stood before.

    Those of the CPU and of `device`.
    """
    if device.type == "mps":  # `fork_rng` hands its generator a number of a device, and it takes none
        before = torch.mps.get_rng_state()
        with torch.random.fork_rng([]):
            try:
                yield
            finally:
                torch.mps.set_rng_state(before)
        return
    with torch.random.fork_rng([] if device.type == "cpu" else [device], device_type=device.type):
        yield


def noise(seeds: Sequence[int], *shape: int, stream: str = "latent") -> Tensor:
    """[len(seeds), *shape] float32 standard normal on the CPU: row i depends on seeds[i] and on nothing else."""
    rows = [torch.randn(shape, generator=torch.Generator().manual_seed(fold("sample", stream, seed))) for seed in seeds]
    return torch.stack(rows) if rows else torch.empty(0, *shape)


@lru_cache(maxsize=4)
def _permutation(seed: int, stream: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.Generator(np.random.Philox(fold(seed, "epoch", stream, epoch))).permutation(count)


def order(seed: int, stream: int, start: int, size: int, count: int) -> NDArray[np.int64]:
    """Which of `count` training images stand at places start … start+size-1 of an endless shuffled reading.

    Every epoch is a fresh permutation: each image is seen once before any is seen twice. A batch may straddle two epochs.
    """
    places = np.arange(start, start + size, dtype=np.int64)
    rows = np.empty(size, dtype=np.int64)
    for epoch in range(int(places[0] // count), int(places[-1] // count) + 1):
        inside = places // count == epoch
        rows[inside] = _permutation(seed, stream, epoch, count)[places[inside] % count]
    return rows


SCORED_SEEDS = 1_000_000
"""Samples are scored on seeds from here on, pictures for people are on small ones."""

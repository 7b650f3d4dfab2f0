"""What every peer is asked, and how it answers. Only NumPy and the standard library are imported here.

    PYTHON peers/PEER.py --pictures FILE.npz --out FILE.npz --minutes M --seed S --count N

`--pictures` holds `train` and `test`, uint8 [N, 28, 28, 1]. A peer trains on `train` until the clock says stop (whatever runs
between the first step and the last counts; drawing does not), and writes `images`, uint8 [n, 28, 28, 1], to `--out`, n being
`--count`, or fewer where drawing would take too long (`draw`); also `reconstructions` of `test`, where there are. Its last line
on standard output is JSON: `images_seen`, `seconds`, `parameters`, `recipe` (what it follows, and where it is documented),
`drawing` (seconds), `versions`.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

EVALUATIONS = 50
"""Evaluations of a network for one picture, at most: drawing is nobody's minutes, and has to end."""
DRAWING = 3
"""Times the minutes of training: after that nothing more is drawn, and what there is has to do."""


@dataclass(frozen=True)
class Task:
    train: np.ndarray
    test: np.ndarray
    minutes: float
    seed: int
    count: int
    out: Path
    told: argparse.Namespace

    def clock(self) -> Clock:
        return Clock(self.minutes)

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Rows of `train`, each epoch in another order, without what is left over; for ever."""
        random = np.random.default_rng(self.seed)
        while True:
            order = random.permutation(len(self.train))
            yield from (order[first : first + size] for first in range(0, len(order) - size + 1, size))


class Clock:
    """Runs from its making."""

    def __init__(self, minutes: float) -> None:
        self.began, self.budget = time.monotonic(), 60 * minutes

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    @property
    def over(self) -> bool:
        return self.seconds >= self.budget


def asked(about: str | None, more: dict[str, dict[str, Any]] | None = None) -> Task:
    """What the command line asks; `more` are options of this peer alone."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    for name, settings in (more or {}).items():
        parser.add_argument(name, **settings)
    told = parser.parse_args()
    with np.load(told.pictures) as arrays:
        train, test = arrays["train"], arrays["test"]
    if train.shape[1:] != (28, 28, 1):
        sys.exit(f"the recipe of this peer is for pictures of 28x28x1, not {'x'.join(map(str, train.shape[1:]))}")
    return Task(train, test, told.minutes, told.seed, told.count, told.out, told)


def keep_memory() -> None:
    """For drawing with torch, which is nobody's minutes: glibc is not to give every large array back to the kernel (twice as
    fast here). Training goes without, as the recipes do."""
    libc = ctypes.CDLL(None)
    for parameter, value in ((-4, 0), (-1, 1 << 30), (-2, 1 << 28)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
        libc.mallopt(parameter, value)


def draw(task: Task, some: Callable[[int], Any], at_once: int = 100) -> tuple[np.ndarray, float]:
    """Pictures by `some(n)`, a tensor [n, 1, 28, 28] in 0..1, some at a time; as uint8 [N, 28, 28, 1], and the seconds."""
    keep_memory()
    clock, parts, there = Clock(DRAWING * task.minutes), [], 0
    while there < task.count and not (parts and clock.over):
        made = some(min(at_once, task.count - there))
        parts.append(made.mul(255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy())
        there += len(made)
    return np.concatenate(parts), clock.seconds


def threads() -> int:
    """So many may be used."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)


def answer(
    task: Task, *, images: np.ndarray, packages: tuple[str, ...], arrays: dict[str, np.ndarray] | None = None, **told: Any
) -> None:
    """Writes the arrays and says the line."""
    assert images.shape[1:] == (28, 28, 1)
    assert 0 < len(images) <= task.count
    assert images.dtype == np.uint8
    np.savez(task.out, images=images, **(arrays or {}))
    print(json.dumps(told | {"versions": {name: version(name) for name in packages}}), flush=True)

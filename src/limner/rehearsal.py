"""`train --dry-run`: what would be done, how long it would take and how large it would be; nothing is trained, nothing left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from limner.core import precision
from limner.core.method import At
from limner.loop import Loop
from limner.run import Run
from limner.training import AUTO, MINUTES, parameters, settle, silent


def dry_run(
    source: str | Path,
    *,
    preset: str = AUTO,
    out: Path | str = "runs",
    images: int | None = None,
    minutes: float | None = None,
    seed: int | None = None,
    name: str | None = None,
    settings: Sequence[str] = (),
    steps: int = 8,
) -> dict[str, Any]:
    """What `train` would do: the resolved recipe, parameters, and memory and time from a few timed steps. Leaves nothing."""
    recipe, dataset, why = settle(source, preset, images, minutes, seed, settings, silent)
    precision.settle()
    loop = Loop(Run(Path("dry-run")), recipe, dataset, None, silent)
    loop.build(None)
    shares, speeds = [share for _, share, _ in loop.stages if share], [_speed(loop, steps)]
    while len(speeds) < len(shares):
        loop.place.stage += 1
        loop.build_stage()
        speeds.append(_speed(loop, steps))
    budget = recipe.budget
    parts = list(zip(shares, speeds, strict=True))  # shares of the images, or of the time where that is what is given
    speed = 1 / sum(part / fast for part, fast in parts) if budget.images else sum(part * fast for part, fast in parts)
    estimate = budget.images / speed if budget.images else 60 * (budget.minutes or MINUTES)
    weights = sum(p.numel() for p in loop.method.parameters())
    peak = torch.cuda.max_memory_allocated() if loop.device.type == "cuda" else _peak_memory()
    return {
        "recipe": recipe.model_dump(mode="json"),
        "why": why,
        "parameters": parameters(loop),
        "weights_bytes": 4 * weights,
        "memory": peak,
        "images_per_second": round(speed, 1),
        "images": budget.images or round(speed * estimate),
        "seconds_estimate": round(estimate, 1),
        "data": {
            "path": str(dataset.path),
            "shape": list(dataset.shape),
            "splits": {k: len(v) for k, v in dataset.splits.items()},
        },
    }


def _speed(loop: Loop, steps: int) -> float:
    """Images per second of the loop's stage, by the median of a few steps."""
    size, took = loop.recipe.batch.size, list[float]()
    loop.remember()
    for step in range(steps):
        began = time.perf_counter()
        logs = loop.stepper.step(loop.feed.draw, At(step * size, 0.0), step)
        loop.ema.update(size, 0.0)
        sum(float(value) for value in logs.values())  # waits for the device
        took.append(time.perf_counter() - began)
    return size / sorted(took[2:])[len(took[2:]) // 2]


def _peak_memory() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

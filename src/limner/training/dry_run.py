"""`train --dry-run`: what would be done, how long it would take and how large it would be; nothing is trained, nothing left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from limner.core import precision
from limner.core.method import At
from limner.core.progress import silent
from limner.runs.run import Run
from limner.training.loop import Loop
from limner.training.resolve import AUTO, MINUTES, settle
from limner.training.train import parameters


@dataclass(frozen=True)
class Pace:
    """Seconds that a stage takes for an image: `each` time that it is seen, and `once` more for each of `count` images, which
    are seen for the first time, encoded by a frozen codec and remembered."""

    each: float
    once: float
    count: int

    def seconds(self, images: float) -> float:
        return images * self.each + min(images, self.count) * self.once

    def images(self, seconds: float) -> float:
        """The inverse."""
        beginning = self.seconds(self.count)
        if seconds <= beginning:
            return seconds / (self.each + self.once)
        return self.count + (seconds - beginning) / self.each


@dataclass(frozen=True)
class Rehearsed:
    """What is known of a stage."""

    name: str
    parameters: dict[str, int]
    images: int
    images_per_second: float
    seconds_estimate: float
    memory: int
    """Bytes, at most, up to its end."""


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
    """What `train` would do: the resolved recipe, parameters, and memory and time from a few timed steps. Leaves nothing.

    `stages` says so of every stage that would be trained; the rest is of all together.
    """
    recipe, dataset, why = settle(source, preset, images, minutes, seed, settings, silent)
    precision.settle()
    loop = Loop(Run(Path("dry-run")), recipe, dataset, None, silent)
    loop.build(None)
    budget, stages, total = recipe.budget, list[Rehearsed](), 0.0
    for place in range(loop.place.stage, len(loop.stages)):
        if place > loop.place.stage:
            loop.place.stage = place
            loop.build_stage()
        label, share, _ = loop.stages[place]
        pace = _pace(loop, steps)
        # A share is of the images, or of the time where that is what is given.
        if budget.images is not None:
            seen = share * budget.images
        else:
            seen = pace.images(share * 60 * (budget.minutes or MINUTES))
        took = pace.seconds(seen)
        total += took
        memory = torch.cuda.max_memory_allocated() if loop.device.type == "cuda" else _peak_memory()
        stages.append(Rehearsed(label, parameters(loop), round(seen), round(seen / took, 1), round(took, 1), memory))
    seen = budget.images or sum(stage.images for stage in stages)
    return {
        "recipe": recipe.model_dump(mode="json"),
        "why": why,
        "stages": [asdict(stage) for stage in stages],
        "parameters": _together([stage.parameters for stage in stages]),
        "weights_bytes": 4 * sum(p.numel() for p in loop.method.parameters()),
        "memory": max(stage.memory for stage in stages),
        "images_per_second": round(seen / total, 1),
        "images": seen,
        "seconds_estimate": round(total, 1),
        "data": {
            "path": str(dataset.path),
            "shape": list(dataset.shape),
            "splits": {k: len(v) for k, v in dataset.splits.items()},
        },
    }


def _together(parts: Sequence[dict[str, int]]) -> dict[str, int]:
    """Parameters of the players of every stage, and of all."""
    players = {name: count for part in parts for name, count in part.items() if name != "total"}
    return players | {"total": sum(part["total"] for part in parts)}


@precision.repeatable()
def _pace(loop: Loop, steps: int) -> Pace:
    """Of the loop's stage: a few steps between any two fractions of it at which a phase begins or ends."""
    loop.remember()
    memory, codec, size = loop.feed.memory, loop.method.codec, loop.recipe.batch.size
    count, first = 0, 0.0
    if memory is not None:
        count = int((~memory.known).sum())
        if count:  # what lies in the cache must not make the others look cheap
            loop.feed.remember(codec.encode)
            first = _seconds(loop, steps, 0.0)
    marks = sorted({0.0, 1.0} | {mark for phase in loop.stepper.phases for mark in (phase.start, phase.stop)})
    spans = [(end - start, _seconds(loop, steps, start)) for start, end in pairwise(marks)]
    return Pace(sum(share * took for share, took in spans) / size, max(first - spans[0][1], 0.0) / size, count)


def _seconds(loop: Loop, steps: int, progress: float) -> float:
    """Of a step at that progress of the stage, by the median of a few; they always see the same pictures."""
    size, took = loop.recipe.batch.size, list[float]()
    for step in range(steps):
        began = time.perf_counter()
        logs = loop.stepper.step(loop.feed.draw, At(step * size, progress), step)
        loop.ema.update(size, 0.0)
        sum(float(value) for value in logs.values())  # waits for the device
        took.append(time.perf_counter() - began)
    return sorted(took[2:])[len(took[2:]) // 2]


def _peak_memory() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

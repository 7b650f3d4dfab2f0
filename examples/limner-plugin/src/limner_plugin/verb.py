"""A verb: the mean of many samples, as one picture. What is the same in all of them is sharp in it, what varies is blurred."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from limner.core.fields import Cli, OutputFile, RunPath
from limner.core.progress import OnProgress, Progress
from limner.core.verb import Request, Result, Verb

BATCH = 64
"""Samples in memory at a time."""


class AverageRequest(Request):
    """Draw the mean of many samples."""

    run: Annotated[RunPath, Cli("RUN", is_argument=True)] = Field(description="The folder of a run.")
    count: int = Field(64, ge=1, le=10_000, description="How many samples are averaged.")
    out: Annotated[OutputFile | None, Cli("FILE")] = Field(None, description="The picture; default: average.png in the run.")


class AverageResult(Result):
    """The mean picture."""

    picture_field: ClassVar[str | None] = "file"  # what a notebook shows

    file: str
    count: int
    brightness: float
    """Of the mean picture, in 0..255."""


def average(request: AverageRequest, on_progress: OnProgress) -> AverageResult:
    """Draws the samples of the first seeds and writes their mean. Errors: `InputError` where the run draws no pictures."""
    import numpy as np

    from limner.core.images import save_png
    from limner.runs.model import load

    model = load(request.run)
    total = np.zeros(model.shape)
    for start in range(0, request.count, BATCH):
        seeds = range(start, min(start + BATCH, request.count))
        total += model.sample(seeds).sum(0, dtype=np.float64)
        on_progress(Progress("averaging", seeds.stop, request.count))
    mean = (total / request.count).round().astype(np.uint8)
    path: Path = request.out or model.run.path / "average.png"
    save_png(path, mean)
    return AverageResult(file=str(path), count=request.count, brightness=float(mean.mean()))


VERB = Verb(AverageRequest, AverageResult, average)

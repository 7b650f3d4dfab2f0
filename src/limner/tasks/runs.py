"""Verbs: the runs in a folder, and the removal of their old checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from limner.core.fields import Cli, InputPath
from limner.core.progress import OnProgress
from limner.core.verb import Request, Result


class RunsRequest(Request):
    """List the runs in a folder, or prune them.

    'runs prune' frees the space of old checkpoints; of each run the last and the best stay.
    """

    folder: Annotated[InputPath, Cli("DIR", is_argument=True)] = Field(
        Path("runs"), description="The folder of runs; default: runs."
    )


class RunsResult(Result):
    """`runs` has a row for every run: `run`, `preset`, `data`, `state`, `images`, `budget`, `score` and more."""

    runs: list[dict[str, Any]]


class PruneRequest(Request):
    """Remove old checkpoints of the runs in a folder.

    Of each run the last and the best stay.
    """

    folder: Annotated[InputPath, Cli("DIR", is_argument=True)] = Field(
        Path("runs"), description="The folder of runs; default: runs."
    )


class PruneResult(Result):
    """`runs` that were looked at; `removed` holds the folders of the checkpoints that are gone."""

    runs: list[str]
    removed: list[str]


def runs(request: RunsRequest, on_progress: OnProgress) -> RunsResult:
    """Reads the recipe and status of every run. Errors: `InputError` where the folder is not there."""
    from limner.runs.listing import list_runs

    return RunsResult(runs=list_runs(request.folder))


def prune(request: PruneRequest, on_progress: OnProgress) -> PruneResult:
    """Removes checkpoints. Errors: `InputError` where the folder is not there, or one of its runs is being trained."""
    from limner.runs import listing

    return PruneResult(**listing.prune(request.folder))

"""Verbs: list the runs in a folder, and remove their old checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from limner.core.fields import Cli, RunsFolder
from limner.core.progress import OnProgress
from limner.core.verb import Request, Result


class RunsRequest(Request):
    """List the runs in a folder.

    'limner runs prune' removes old checkpoints; the last and the best of each run stay.
    """

    folder: Annotated[RunsFolder, Cli("DIR", is_argument=True)] = Field(
        Path("runs"), description="Folder that holds the runs; default: runs."
    )


class RunsResult(Result):
    """`runs` has a row for every run: `run`, `preset`, `data`, `state`, `images`, `budget`, `score` and more."""

    runs: list[dict[str, Any]]


class PruneRequest(Request):
    """Remove old checkpoints of the runs in a folder.

    The last and the best of each run stay.
    """

    folder: Annotated[RunsFolder, Cli("DIR", is_argument=True)] = Field(
        Path("runs"), description="Folder that holds the runs; default: runs."
    )


class PruneResult(Result):
    """`runs` are the folders of all runs there; `removed` are the folders of the checkpoints that were removed."""

    runs: list[str]
    removed: list[str]


def runs(request: RunsRequest, on_progress: OnProgress) -> RunsResult:
    """Reads the recipe and the status of every run. Errors: `InputError` where the folder does not exist."""
    from limner.runs.listing import list_runs

    return RunsResult(runs=list_runs(request.folder))


def prune(request: PruneRequest, on_progress: OnProgress) -> PruneResult:
    """Removes checkpoints. Errors: `InputError` where the folder does not exist, or one of its runs is being trained."""
    from limner.runs import listing

    return PruneResult(**listing.prune(request.folder))

"""Verbs on whole runs: list, delete and restore them, rename, move and describe them, and remove their old checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from limner.core.fields import RUN_HELP, Cli, Names, RunPath, RunsFolder
from limner.core.progress import OnProgress
from limner.core.verb import Request, Result

FOLDER_HELP = "Folder that holds the runs; default: runs."
"""Describes the argument of the verbs on all runs of a folder."""


class RunsRequest(Request):
    """List the runs in a folder, with the settings that differ.

    A run's name or number in place of the folder lists that run alone. Runs in sub-folders are listed too. 'limner runs prune'
    removes old checkpoints; 'limner runs delete' and 'restore' move a run to the trash and back; 'rename', 'move' and 'note'
    change its name, its folder and what you say about it.
    """

    folder: Annotated[RunsFolder, Cli("DIR", is_argument=True)] = Field(Path("runs"), description=FOLDER_HELP)
    where: Annotated[Names | None, Cli("KEY=VALUE,…")] = Field(
        None, description="Only runs for which all of these hold, such as state=done,score<10,data.source=digits."
    )
    sort: Annotated[str | None, Cli("KEY")] = Field(
        None, description="Column or setting to sort by, such as best_score or method.width; -KEY: from the largest down."
    )
    trash: bool = Field(False, description="List the deleted runs instead.")


class RunsResult(Result):
    """`runs` has a row for every run: `run`, `preset`, `data`, `state`, `images`, `budget`, `score` and more."""

    folder: str = ""
    """The whole path of the folder in which runs were looked for."""
    runs: list[dict[str, Any]]
    """Beside those: `best` (images at the best checkpoint), `best_score`, `real_score` (what real pictures get), `evaluated`
    (the distance that `evaluate` found for the checkpoint that was judged last) and `evaluated_count` (of how many samples:
    of several reports that by the most), `checkpoints`, `seed`, `seconds`, `images_per_second`, `note`, and
    `settings`, the settings in which these runs differ."""


class PruneRequest(Request):
    """Remove old checkpoints of the runs in a folder.

    The last and the best of each run stay. With --trash, deleted runs are removed for good.
    """

    folder: Annotated[RunsFolder, Cli("DIR", is_argument=True)] = Field(Path("runs"), description=FOLDER_HELP)
    trash: bool = Field(False, description="Also empty the trash: deleted runs cannot be restored afterwards.")


class PruneResult(Result):
    """`runs` are the folders of all runs there; `removed` are the folders of the checkpoints that were removed."""

    runs: list[str]
    removed: list[str]
    skipped: list[dict[str, str]]
    """`run` and `reason` of each run that was left alone: it is being trained, or its files are damaged."""
    trash: list[str]
    """What was removed from the trash."""
    freed: int
    """Bytes that this freed in the trash."""


class MoveResult(Result):
    """`moves` has a row for every run: where it was (`before`) and where it is (`run`)."""

    moves: list[dict[str, str]]
    notes: list[str] = Field(default_factory=list)
    """Other runs whose recipes name these, as their codec or in init_from, and whether they name the new place now."""


class DeleteRequest(Request):
    """Delete runs: move them to the trash beside them.

    'limner runs restore' brings them back, 'limner runs prune --trash' removes them for good.
    """

    runs: Annotated[list[RunPath], Cli("RUN…", is_argument=True)] = Field(description=RUN_HELP)


class RestoreRequest(Request):
    """Bring deleted runs back from the trash.

    'limner runs --trash' lists those that are there.
    """

    runs: Annotated[list[RunPath], Cli("RUN…", is_argument=True)] = Field(
        description="A deleted run: its number, its name, the beginning of it, or its folder in the trash."
    )


class RenameRequest(Request):
    """Give a run another name; its number stays."""

    run: Annotated[RunPath, Cli("RUN", is_argument=True)] = Field(description=RUN_HELP)
    name: Annotated[str, Cli("NAME", is_argument=True)] = Field(description="The new name: letters, digits, - _ and .")


class MoveRequest(Request):
    """Move a run to another folder."""

    run: Annotated[RunPath, Cli("RUN", is_argument=True)] = Field(description=RUN_HELP)
    folder: Annotated[RunsFolder, Cli("DIR", is_argument=True)] = Field(
        description="Folder to move it into, such as runs/old; it is made where there is none."
    )


class NoteRequest(Request):
    """Write or show a note about a run, which 'limner runs' lists."""

    run: Annotated[RunPath, Cli("RUN", is_argument=True)] = Field(description=RUN_HELP)
    text: Annotated[str | None, Cli("TEXT", is_argument=True)] = Field(
        None, description='The note; "" removes it. Without it the note is shown.'
    )


class NoteResult(Result):
    """`note` is what the run's folder now says about it."""

    run: str
    note: str


def runs(request: RunsRequest, on_progress: OnProgress) -> RunsResult:
    """Reads the recipe and the other files of every run; those that are damaged are listed with the reason.

    Errors: `InputError` where the folder does not exist, and for a condition or key that means nothing.
    """
    from limner.runs.listing import list_runs

    rows = list_runs(request.folder, request.where or (), request.sort, request.trash)
    return RunsResult(folder=str(request.folder.expanduser().absolute()), runs=rows)


def prune(request: PruneRequest, on_progress: OnProgress) -> PruneResult:
    """Removes checkpoints. Runs that are being trained or damaged are left alone, and named with the reason.

    Errors: `InputError` where the folder does not exist.
    """
    from limner.runs import listing

    return PruneResult(**listing.prune(request.folder, trash=request.trash))


def delete_runs(request: DeleteRequest, on_progress: OnProgress) -> MoveResult:
    """Moves each run into ``.trash``, in a folder of this moment, beside it.

    Errors: `InputError` where one of them is not there or is being trained; then none is moved.
    """
    from limner.runs import moves

    places = moves.delete_runs(request.runs)
    return _move_result(
        places,
        [
            f"the recipe of {path} names {before} ({', '.join(keys)}): that run works without it, a new training by its recipe "
            "does not"
            for before, _ in places
            for path, keys in moves.references(before)
        ],
    )


def restore_runs(request: RestoreRequest, on_progress: OnProgress) -> MoveResult:
    """Moves each run from the trash to where it was.

    Errors: `InputError` where there is no such run in the trash, or another one stands in its place.
    """
    from limner.runs import moves

    return _move_result(moves.restore_runs(request.runs))


def rename_run(request: RenameRequest, on_progress: OnProgress) -> MoveResult:
    """Renames the folder of a run: ``0007-old`` becomes ``0007-NAME``. Recipes of other runs that name it are mended.

    Errors: `InputError` for a name that is taken or cannot be a folder's everywhere, and for a run that is being trained.
    """
    from limner.runs import moves

    place = moves.rename_run(request.run, request.name)
    return _move_result([place], moves.mend_references(*place))


def move_run(request: MoveRequest, on_progress: OnProgress) -> MoveResult:
    """Moves the folder of a run into another folder, also on another disk. Recipes of other runs that name it are mended.

    Errors: `InputError` where its name is taken there, and for a run that is being trained.
    """
    from limner.runs import moves

    place = moves.move_run(request.run, request.folder)
    return _move_result([place], moves.mend_references(*place))


def note_run(request: NoteRequest, on_progress: OnProgress) -> NoteResult:
    """Writes ``note.txt`` into the folder of a run, or reads it. Errors: `InputError` for a note that is too long."""
    from limner.runs.moves import write_note

    run, note = write_note(request.run, request.text)
    return NoteResult(run=str(run), note=note)


def _move_result(places: list[tuple[Path, Path]], notes: list[str] | None = None) -> MoveResult:
    """The result of moves, each (before, after), with `notes` about other runs."""
    return MoveResult(moves=[{"run": str(after), "before": str(before)} for before, after in places], notes=notes or [])

"""Moves whole runs: into the trash and back, to another name, to another folder. It imports torch only to hold a run's lock."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from limner.core import process
from limner.core.errors import InputError
from limner.core.files import atomic_folder, folder_size, make_folder, os_errors_as_input_errors, slug, write_text
from limner.runs.lookup import (
    NOTE_FILE,
    RUNS_FOLDER,
    TRASH,
    find_deleted_run,
    find_run,
    read_note,
    run_folders,
    run_number,
    trash_folders,
)

MAX_NAME = 100
"""Characters of a run's name; file systems allow 255 bytes, of which some are needed for temporary names."""
MAX_NOTE = 10_000
"""Characters of a note."""


def delete_runs(names: Sequence[Path | str]) -> list[tuple[Path, Path]]:
    """Moves runs into the trash beside them, and returns (before, after) of each.

    Errors: `InputError` where one of them is not there or is being trained; then none is moved.
    """
    runs = list(dict.fromkeys(find_run(name) for name in names))
    for run in runs:
        with _idle(run):
            pass
    moment = time.strftime("%Y%m%d-%H%M%S")
    return [(run, _move(run, _free(run.parent / TRASH / moment, run.name))) for run in runs]


def restore_runs(names: Sequence[Path | str]) -> list[tuple[Path, Path]]:
    """Moves runs out of the trash to where they were, and returns (before, after) of each.

    Errors: `InputError` where there is no such run in the trash, or another run stands in its place.
    """
    places = []
    for run in list(dict.fromkeys(find_deleted_run(name) for name in names)):
        trash = next(parent for parent in (*run.parents, *run.absolute().parents) if parent.name == TRASH)
        places.append((run, _move(run, trash.parent / run.name)))
        for folder in (run.parent, trash):
            with suppress(OSError):  # it holds other runs
                folder.rmdir()
    return places


def empty_trash(folder: Path) -> tuple[list[str], int]:
    """Deletes for good what lies in the trash of `folder` and its sub-folders; returns the paths and their size in bytes."""
    removed, size = [], 0
    for trash in trash_folders(folder):
        for entry in sorted(trash.iterdir()):
            before = folder_size(entry)
            shutil.rmtree(entry, ignore_errors=True)
            size += before - folder_size(entry)
            removed += [] if entry.exists() else [str(entry)]
        with suppress(OSError):
            trash.rmdir()
    return removed, size


def rename_run(name: Path | str, new_name: str) -> tuple[Path, Path]:
    """Gives a run another name behind its number, and returns its folder before and after.

    Errors: `InputError` for a name that a folder cannot have everywhere, or that is taken, and for a run that is being trained.
    """
    run = find_run(name)
    proper = slug(new_name, ascii_only=True).strip("-.")
    if not proper or proper != new_name or len(new_name) > MAX_NAME:
        hint = f", such as {proper[:MAX_NAME]}" if proper else ""
        raise InputError(f"{new_name[:MAX_NAME]!r} is no name for a run; use up to {MAX_NAME} letters, digits, - _ and .{hint}")
    head = run.name.partition("-")[0] if run_number(run.name) is not None else ""
    return run, _move(run, run.with_name(f"{head}-{new_name}" if head else new_name))


def move_run(name: Path | str, folder: Path) -> tuple[Path, Path]:
    """Moves a run into `folder`, which is made where there is none, and returns its folder before and after.

    Errors: `InputError` where the run is being trained, or something of its name is in `folder` already.
    """
    run, folder = find_run(name), folder.expanduser()
    if folder.resolve().is_relative_to(run.resolve()):
        raise InputError(f"{run} cannot be moved into itself; name another folder")
    return run, _move(run, folder / run.name)


def mend_references(before: Path, after: Path) -> list[str]:
    """Writes the new place of a run that was moved from `before` to `after` into the recipes that name it as their `codec` or
    in `init_from`, of the runs around both places and in the usual folder. Returns a sentence about each.

    Such a run has the weights already. But a training by its recipe, or one that is resumed before its first checkpoint, reads
    them from there. A run that a process trains is left as it is, and the sentence says so.
    """
    from limner.runs.run import Run

    sentences = []
    for path, keys in references(before, after.parent):
        try:
            run = Run(path)
            with run.locked():
                run.write_recipe(run.recipe().model_copy(update=dict.fromkeys(keys, str(after.resolve()))))
            sentences.append(f"the recipe of {path} now names the new place ({', '.join(keys)})")
        except (InputError, OSError) as error:
            sentences.append(f"the recipe of {path} still names the old place ({', '.join(keys)}): {error}")
    return sentences


def references(before: Path, *folders: Path) -> list[tuple[Path, list[str]]]:
    """The runs beside `before`, in `folders` and in the usual one whose recipes name the run that was there: the settings that
    do."""
    from limner.runs.run import Run

    place = str(before.parent.resolve() / before.name)
    results = dict[Path, tuple[Path, list[str]]]()
    for path in (path for folder in (before.parent, *folders, RUNS_FOLDER) for path in run_folders(folder)):
        try:
            recipe = Run(path).recipe()
        except (InputError, OSError):
            continue
        if keys := [key for key in ("codec", "init_from") if getattr(recipe, key) == place]:
            results.setdefault(path.resolve(), (path, keys))
    return list(results.values())


def write_note(name: Path | str, text: str | None) -> tuple[Path, str]:
    """Writes what a person says about a run into its folder, "" removes it and None leaves it; returns folder and note.

    Errors: `InputError` for more than `MAX_NOTE` characters, and where the folder cannot be written.
    """
    run = find_run(name)
    if text is not None and len(text) > MAX_NOTE:
        raise InputError(f"a note has at most {MAX_NOTE:,} characters, and this one {len(text):,}; make it shorter")
    if text is not None and text.strip():
        write_text(run / NOTE_FILE, text.strip() + "\n")
    elif text is not None:
        with os_errors_as_input_errors(run):
            (run / NOTE_FILE).unlink(missing_ok=True)
    return run, read_note(run)


def _free(folder: Path, name: str) -> Path:
    """``folder/name``, or ``folder-2/name`` and so on where that exists."""
    number = 1
    while (path := folder.with_name(f"{folder.name}-{number}" if number > 1 else folder.name) / name).exists():
        number += 1
    return path


def _move(run: Path, target: Path) -> Path:
    """Moves the folder of a run to `target`, completely or not at all. Errors: `InputError`, also where `target` exists."""
    if os.path.lexists(target):
        raise InputError(f"{target} exists already, so {run} stays where it is; choose another name, or move that away")
    if run.is_symlink():
        raise InputError(f"{run} is a link; name the folder that it leads to: {run.resolve()}")
    with _idle(run), os_errors_as_input_errors(target):
        make_folder(target.parent)
        try:
            os.rename(run, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with atomic_folder(target) as copy:  # another file system
                shutil.copytree(run, copy, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(run)
    return target


@contextmanager
def _idle(run: Path) -> Iterator[None]:
    """Holds the lock by which one process at a time trains a run, except on Windows, where a folder with an open file cannot be
    renamed. Errors: `InputError` where a process trains it."""
    from limner.runs.run import Run

    lock: AbstractContextManager[None] = Run(run).locked()
    if process.system() == "windows":
        with lock:
            pass
        lock = nullcontext()
    with lock:
        yield

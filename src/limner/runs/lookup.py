"""Finds runs: all of a folder and its sub-folders, and the one that a person names.

It imports no torch, so that listing, moving and naming runs is quick.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from limner.core.documents import read_text
from limner.core.errors import InputError, nearest, short_repr
from limner.core.fields import run_text

RUNS_FOLDER = Path("runs")
"""The folder of runs where nobody names another."""
TRASH = ".trash"
"""The folder, beside a run, into which a deleted run is moved: ``runs/.trash/20261130-142501/0007-flowers``."""
NOTE_FILE = "note.txt"
"""The file in a run folder that holds what a person wrote about the run."""
MAX_DEPTH = 3
"""Folders below each other in which runs are looked for."""


def is_run(folder: Path) -> bool:
    """Whether `folder` is a run: whether it holds a recipe, or the status and the checkpoints of a run that has lost it.

    A folder that may not be looked into is one where it is called like one, so that it is named and not passed over.
    """
    if os.path.lexists(folder / "recipe.yaml"):  # also where it is no file
        return True
    if os.path.isfile(folder / "status.json") and os.path.isdir(folder / "checkpoints"):
        return True
    return run_number(folder.name) is not None and os.path.isdir(folder) and not os.access(folder, os.X_OK)


def run_folders(folder: Path) -> list[Path]:
    """The runs in `folder` and its sub-folders: those directly in it first, each level in the order of their names.

    Hidden folders, such as the trash, and the insides of runs are left out; links to folders are followed.
    """
    return [path for level, _ in _levels(folder) for path in level]


def trash_folders(folder: Path) -> list[Path]:
    """The trash of `folder` and of each of its sub-folders, where there is one."""
    parents = [folder, *(path for _, others in _levels(folder) for path in others)]
    return [trash for parent in parents if (trash := parent / TRASH).is_dir()]


def _levels(folder: Path) -> Iterator[tuple[list[Path], list[Path]]]:
    """The runs and the other folders directly in `folder`, then those one folder deeper, and so on, down to `MAX_DEPTH`."""
    visited: set[str] = set()
    parents = [folder]
    for _ in range(MAX_DEPTH):
        folders = sorted(path for parent in parents for path in _folders_in(parent, visited))
        runs = [path for path in folders if is_run(path)]
        parents = sorted(set(folders) - set(runs))
        yield runs, parents


def _folders_in(parent: Path, visited: set[str]) -> Iterator[Path]:
    """The folders in `parent` that are not hidden; none where it may not be read, or was `visited` by another way."""
    place = os.path.realpath(parent)
    if place in visited:
        return
    visited.add(place)
    try:
        names = os.listdir(parent)
    except OSError:
        return
    yield from (parent / name for name in names if not name.startswith(".") and os.path.isdir(parent / name))


def run_number(name: str) -> int | None:
    """The number at the beginning of a run's name.

    >>> run_number("0007-flowers"), run_number("flowers")
    (7, None)
    """
    match = re.match(r"([0-9]{1,18})(?:-|$)", name)
    return None if match is None else int(match[1])


def find_run(name: str | int | os.PathLike[str]) -> Path:
    """The folder of the run that a person names: by its path, its number, its name, or the beginning of either.

    ``7``, ``0007``, ``flowers``, ``0007-fl`` and ``runs/0007`` all name ``runs/0007-flowers``. A path is looked up as it is,
    and in the sub-folders of its parent; a name without folders here, then in ``runs`` and its sub-folders. Runs directly in a
    folder come before those in its sub-folders; a full name comes before a number, and that before a beginning.

    Errors: `InputError` where there is no such run, or more than one.
    """
    text = run_text(name)
    if not isinstance(text, str):
        raise InputError(f"a run is named by a path or a number, not by {short_repr(name)}")
    path = Path(text).expanduser()
    if is_run(path):
        return path
    is_bare = len(path.parts) == 1
    levels = [(path.parent, runs) for runs, _ in islice(_levels(path.parent), 1 if is_bare else None)]
    levels += [(RUNS_FOLDER, runs) for runs, _ in _levels(RUNS_FOLDER)] if is_bare else []
    for place, runs in levels:
        matches = _matches(path.name, runs)
        if len(matches) == 1:
            return matches[0]
        if matches:
            paths = ", ".join(str(match.relative_to(place)) for match in matches)
            raise InputError(f"no run at {name} (several begin so: {paths}); say which of them")
    hint = nearest(path.name, [run.name for _, runs in levels for run in runs])
    folder = RUNS_FOLDER if is_bare else path.parent
    raise InputError(f"no run at {name}{hint}; `limner runs {folder}` lists what is there")


def find_deleted_run(name: Path | str) -> Path:
    """The folder in the trash of the run that a person names, as in `find_run`; its path in the trash names it too.

    Errors: `InputError` where there is no such run, or more than one.
    """
    path = Path(str(name)).expanduser()
    if is_run(path) and TRASH in path.absolute().parts:
        return path
    trashes = [path.parent / TRASH, *trash_folders(RUNS_FOLDER)] if len(path.parts) == 1 else trash_folders(path.parent)
    runs = [run for trash in trashes for run in run_folders(trash)]
    matches = _matches(path.name, runs)
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise InputError(f"{name} was deleted more than once ({', '.join(map(str, matches))}); name one by this path")
    raise InputError(f"no deleted run {name}{nearest(path.name, [run.name for run in runs])}; `limner runs --trash` lists them")


def read_note(run: Path) -> str:
    """What a person wrote about the run in the folder `run`; "" where there is nothing that can be read."""
    try:
        return read_text(run / NOTE_FILE).strip()
    except InputError:
        return ""


def _matches(name: str, runs: Sequence[Path]) -> list[Path]:
    """The runs that `name` names in the first of the ways in which it names any."""
    number = int(name) if re.fullmatch(r"[0-9]{1,18}", name) else None
    ways: list[Callable[[str], bool]] = [
        lambda full: full == name,
        lambda full: number is not None and run_number(full) == number,
        lambda full: full.partition("-")[2] == name,
        lambda full: full.startswith(name) or full.partition("-")[2].startswith(name),
    ]
    if not name:
        return []
    return next((matches for way in ways if (matches := [run for run in runs if way(run.name)])), [])

"""The run folder: the recipe of a run, and everything that it did and made.

The files are the only record, and the only interface between the process that trains and others.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import filelock

from limner.core.documents import MissingFileError, finite_number, read_json, read_json_lines
from limner.core.errors import InputError, NearestNames
from limner.core.fields import number_text
from limner.core.files import make_folder, os_errors_as_input_errors, slug, write_json, write_text
from limner.core.text import Captions
from limner.recipes.recipe import Recipe
from limner.recipes.settings import read_recipe
from limner.runs.averages import AVERAGES, GUIDE_SIGMA, Snapshot, choose_guide
from limner.runs.checkpoint import Checkpoint, WeightFolder
from limner.runs.lookup import TRASH, find_run

if TYPE_CHECKING:  # torch takes seconds to load, and most that is done with a run reads no weights
    from torch import Tensor

F = TypeVar("F", bound=WeightFolder)
DISTANCE = "frechet"
"""The score by which checkpoints are compared: its key in a row of scores.jsonl, and its name among the metrics of a report."""
CONTROL_FILES = ("pause", "stop", "sample-now", "save-now")
"""Names of files in ``control/`` by which another process gives orders to the one that trains."""


@dataclass(frozen=True)
class Run(NearestNames):
    """A run folder, read and written through its files; the object itself holds the path alone."""

    path: Path

    def __post_init__(self) -> None:
        """A text is a path that a person wrote, so it is checked. Errors: `InputError` where there is no such folder."""
        path: object = self.path
        if isinstance(path, str):
            object.__setattr__(self, "path", Path(path))
            self.check_folder()

    def __fspath__(self) -> str:
        """The folder, so that a run names itself wherever a run or a path is wanted."""
        return str(self.path)

    def check_folder(self) -> None:
        """Errors: `InputError` where there is no folder."""
        if not self.path.is_dir():
            raise InputError(f"there is no run at {self.path}; `limner runs {self.path.parent}` lists what is there")

    @staticmethod
    def create(parent: Path, name: str, recipe: Recipe) -> Run:
        """Makes the folder ``parent/0007-name`` with the next free number, and writes `recipe` into it.

        Errors: `InputError` where `parent` cannot be written.
        """
        name = slug(name, ascii_only=True).strip("-.") or "run"
        with os_errors_as_input_errors(parent):
            make_folder(parent)
            # Those in the trash count too: a number that a deleted run had would be ambiguous once that run is restored.
            entries = [*parent.iterdir(), *(parent / TRASH).glob("*/*")]
            numbers = [int(match[1]) for entry in entries if (match := re.match(r"([0-9]{4,18})-", entry.name))]
            number = max(numbers, default=0) + 1
            while True:
                path = parent / f"{number:04d}-{name}"
                with os_errors_as_input_errors(path):
                    try:
                        path.mkdir()
                        break
                    except FileExistsError:
                        number += 1
            for inside in ("checkpoints", "previews", "control", "evaluations"):
                (path / inside).mkdir()
        run = Run(path)
        run.write_recipe(recipe)
        return run

    @staticmethod
    def open(name: str | int | os.PathLike[str]) -> Run:
        """The run that a person names: by its folder, its number, its name, or a beginning of these (`limner.runs.lookup`).

        Errors: `InputError` where there is none, or more than one.
        """
        return Run(find_run(name))

    def is_present(self) -> bool:
        """Whether the folder is a run's folder still."""
        return (self.path / "recipe.yaml").is_file()

    def check_presence(self) -> None:
        """Checks, before something is written, that nobody has moved or deleted the folder, since writing would make it anew.

        Errors: `InputError` where that has happened.
        """
        if not self.is_present():
            raise InputError(
                f"{self.path} was renamed, moved or deleted while it trained; if it has a new name, go on from its last "
                "checkpoint with `limner resume NEW-NAME`"
            )

    # The recipe and the budget.

    def recipe(self) -> Recipe:
        """The recipe in ``recipe.yaml``. Errors: `InputError` where it is missing or not valid."""
        self.check_folder()
        return read_recipe(self.path / "recipe.yaml")

    def write_recipe(self, recipe: Recipe) -> None:
        """Writes ``recipe.yaml``."""
        write_text(self.path / "recipe.yaml", recipe.to_yaml())

    def provenance(self) -> dict[str, Any]:
        """``provenance.json``: command, versions, hardware and data. Errors: `InputError` where it is missing or damaged."""
        return read_json(self.path / "provenance.json")

    def captions(self) -> Captions | None:
        """Up to 1,000 training captions, of which one is drawn where nobody gives a text; None where the method takes no text.

        Errors: `InputError` where the file is damaged.
        """
        path = self.path / "captions.json"
        if not path.is_file():
            return None
        try:
            return Captions.of_json(read_json(path))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is damaged ({error!r}); bring it back from a copy, or remove it") from error

    def write_captions(self, captions: Captions) -> None:
        """Writes ``captions.json``, once, when a run starts whose method takes texts."""
        write_json(self.path / "captions.json", captions.as_json())

    def plan(self) -> list[tuple[int, int]]:
        """Rows (images, budget) in order: from so many images on, the budget is so many images. A row is written before use.

        Errors: `InputError` where the file is damaged: training by another plan would be another run.
        """
        path, rows = self.path / "plan.jsonl", list[tuple[int, int]]()
        for row in read_json_lines(path, ("at", "images")):
            at, images = row["at"], row["images"]
            is_whole = isinstance(at, int) and isinstance(images, int)
            if not is_whole or images < 1 or at < (rows[-1][0] if rows else 0):
                raise InputError(f"{path} is damaged: row {len(rows) + 1} is from {at} images on, of {images} in all")
            rows.append((at, images))
        return rows

    def add_plan(self, at: int, images: int) -> None:
        """Adds a row of `plan`: from `at` images on, the budget is `images`."""
        self._append("plan.jsonl", {"at": at, "images": images})

    def replan(self, start: int, images: int | None) -> None:
        """Replaces all rows of the plan after `start` images by a budget of `images`; None: by nothing, for a budget in minutes
        whose speed has not been measured yet."""
        rows = [row for row in self.plan() if row[0] < start or (row[0] == start and images is not None)]
        rows += [(start, images)] if images is not None else []
        write_text(self.path / "plan.jsonl", "".join(json.dumps({"at": at, "images": total}) + "\n" for at, total in rows))

    # What the run does.

    def status(self) -> dict[str, Any]:
        """``status.json``: `state`, `images` and more; of a new run, where there is no such file.

        Errors: `InputError` where the file is damaged or may not be read.
        """
        path = self.path / "status.json"
        try:
            status = read_json(path)
        except MissingFileError:
            return {"state": "new", "images": 0}
        if not isinstance(status.get("state"), str) or finite_number(status.get("images")) is None:
            raise InputError(
                f"{path} is damaged: it lacks a state or a number of images; remove it, `limner resume` makes it anew"
            )
        return status

    def write_status(self, state: str, **more: Any) -> None:
        """Writes ``status.json`` with `state`, the fields `more`, the time and the process id.

        Without `warnings` among the fields, those of the last status stay, where it can be read.
        """
        self.check_presence()
        warnings: Any = []
        with suppress(InputError):
            warnings = self.status().get("warnings", [])
        more.setdefault("warnings", warnings)
        write_json(self.path / "status.json", {"state": state, "heartbeat": time.time(), "pid": os.getpid(), **more})

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Adds a row to ``metrics.jsonl``, without waiting until it is on disk."""
        self._append("metrics.jsonl", row, durable=False)

    def metrics(self) -> list[dict[str, Any]]:
        """Rows of training (images, seconds, losses, …), oldest first. Errors: `InputError` where the file is damaged."""
        return read_json_lines(self.path / "metrics.jsonl", ("images",))

    def append_score(self, row: Mapping[str, Any]) -> None:
        """Adds a row to ``scores.jsonl``."""
        self._append("scores.jsonl", row)

    def scores(self) -> list[dict[str, Any]]:
        """Scores on the validation split while training (images, frechet, …), oldest first.

        Errors: `InputError` where the file is damaged: without all scores another checkpoint could be taken for the best.
        """
        rows = read_json_lines(self.path / "scores.jsonl", ("images", DISTANCE))
        return [row for row in rows if math.isfinite(row[DISTANCE])]

    def set_scores_aside(self) -> str:
        """Renames ``scores.jsonl``, whose scores cannot be compared with those to come, and returns its new name."""
        number = next(number for number in itertools.count(1) if not (self.path / f"scores-{number}.jsonl").exists())
        name = f"scores-{number}.jsonl"
        if (self.path / "scores.jsonl").is_file():
            (self.path / "scores.jsonl").rename(self.path / name)
        return name

    def log(self, text: str) -> None:
        """Adds `text` with the time to ``log.txt``."""
        self.check_presence()
        path = self.path / "log.txt"
        with os_errors_as_input_errors(self.path), path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text.rstrip()}\n")

    def delete_after(self, images: int) -> None:
        """Deletes metrics, scores, previews and snapshots of later than `images`: training goes on from a checkpoint there."""
        for name, rows in (("metrics.jsonl", self.metrics()), ("scores.jsonl", self.scores())):
            earlier = [row for row in rows if row["images"] <= images]
            if len(earlier) < len(rows):
                write_text(self.path / name, "".join(json.dumps(row) + "\n" for row in earlier))
        for preview in (self.path / "previews").glob("[0-9]*.png"):
            if is_count(preview.stem) and int(preview.stem) > images:
                preview.unlink()
        for snapshot in self.snapshots():
            if snapshot.images > images:
                snapshot.remove()

    # Checkpoints.

    def checkpoints(self) -> list[Checkpoint]:
        """The complete checkpoints, oldest first."""
        return [one for one in self._weight_folders("checkpoints", Checkpoint) if one.is_complete()]

    def checkpoint(self, which: str | int = "last") -> Checkpoint:
        """The checkpoint `which`: ``last``, ``best`` or a number of images. Errors: `InputError` that names those there are."""
        self.check_folder()
        which = str(number_text(which))
        available = self.checkpoints()
        if not available:
            raise InputError(f"{self.path} has no complete checkpoint yet; let it train, or `limner resume {self.path}`")
        if which == "last":
            return available[-1]
        images = self.best() if which == "best" else int(which) if is_count(which) else None
        for checkpoint in available:
            if checkpoint.images == images:
                return checkpoint
        numbers = ", ".join(str(c.images) for c in available)
        raise InputError(f"{self.path} has no checkpoint '{which}'; there are: last, best, {numbers}")

    def best(self) -> int | None:
        """Images at the checkpoint with the lowest Fréchet distance; at the last one where none has a score; else None."""
        available = {c.images for c in self.checkpoints()}
        scores = [(row[DISTANCE], row["images"]) for row in self.scores() if row["images"] in available]
        return min(scores)[1] if scores else max(available, default=None)

    def save(
        self, images: int, parts: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any], recipe: Recipe
    ) -> Checkpoint:
        """Writes a complete checkpoint or none. One that exists already for `images` is returned as it is.

        `parts` are named tensors by file (`model`, `ema`, `optim` and perhaps `averages`), `state` is the JSON beside them.
        Errors: `InputError` where the folder cannot be written.
        """
        self.check_presence()
        checkpoint = Checkpoint(self.path / "checkpoints" / f"{images:09d}", images)
        checkpoint.write(parts, state, recipe)
        return checkpoint

    def prune(self, keep: int) -> list[Path]:
        """Removes all checkpoints but the last, the best and the `keep` newest others, and returns the removed folders."""
        available = self.checkpoints()
        others = [c for c in available if c.images not in {available[-1].images, self.best()}] if available else []
        old = others[: max(0, len(others) - keep)]
        for checkpoint in old:
            checkpoint.remove()
        return [checkpoint.path for checkpoint in old]

    def remove_leftovers(self) -> None:
        """Removes temporary files and incomplete checkpoints and snapshots that a killed process left, and nothing else."""
        folders = [*self._weight_folders("checkpoints", Checkpoint), *self._weight_folders(AVERAGES, Snapshot)]
        leftovers = [one.path for one in folders if not one.is_complete()]
        for folder in (self.path, self.path / "checkpoints", self.path / AVERAGES, self.path / "previews"):
            leftovers += folder.glob(".*.tmp")
        for leftover in leftovers:
            _remove(leftover)

    def _weight_folders(self, parent: str, kind: type[F]) -> list[F]:
        """The folders of weights in the folder `parent`, oldest first, complete or not."""
        paths = [path for path in (self.path / parent).glob("[0-9]*") if is_count(path.name)]
        return sorted((kind(path, int(path.name)) for path in paths), key=lambda one: one.images)

    # Snapshots of the averaged weights.

    def snapshots(self) -> list[Snapshot]:
        """The complete snapshots in ``averages/``, oldest first; none where the recipe does not ask for them."""
        return [one for one in self._weight_folders(AVERAGES, Snapshot) if one.is_complete()]

    def guide(self) -> Snapshot | None:
        """The snapshot at about an eighth of the budget, whose weights guide those of the end (`guide_weights`)."""
        rows = self.plan()
        return choose_guide(self.snapshots(), rows[-1][1]) if rows else None

    def guide_weights(self) -> dict[str, Tensor] | None:
        """The averaged weights of the guide by name, float32 on the CPU; None for a run without snapshots of its first half.

        A velocity of these weights is worse in the same way as that of the trained ones, only more so: leading away from it
        makes pictures more typical (autoguidance: Karras et al. 2024, arXiv:2406.02507). What a method has beside its averaged
        players, such as the scale of the data or a frozen codec, is not among them, and is the same throughout a run. Errors:
        `InputError` where the snapshot is damaged.
        """
        guide = self.guide()
        return None if guide is None else guide.weights(GUIDE_SIGMA)

    # Other processes.

    def take_orders(self) -> set[str]:
        """The `CONTROL_FILES` that lie in ``control/``. All but `pause`, which holds as long as it lies there, are removed."""
        orders = {name for name in CONTROL_FILES if (self.path / "control" / name).exists()}
        for name in orders - {"pause"}:
            _remove(self.path / "control" / name)
        return orders

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the lock by which one process at a time trains the run. Errors: `InputError` where another process holds it.

        On Linux and macOS it is `flock` on ``.lock``, as in earlier versions of limner, which are kept out by it as well.
        """
        lock = filelock.FileLock(self.path / ".lock", timeout=0)
        try:
            with os_errors_as_input_errors(self.path):
                lock.acquire()
        except filelock.Timeout as error:
            raise InputError(f"{self.path} is being trained by another process; wait for it, or stop it first") from error
        try:
            yield
        finally:
            lock.release()

    def is_training(self) -> bool:
        """Whether a process trains the run now. The kernel releases the lock of a process that died."""
        try:
            with self.locked():
                return False
        except InputError:
            return True

    def _append(self, name: str, row: Mapping[str, Any], durable: bool = True) -> None:
        """Adds a row to a JSON-lines file; with `durable` it is on disk when this returns."""
        self.check_presence()
        with os_errors_as_input_errors(self.path / name), (self.path / name).open("a+b") as file:
            file.seek(0, os.SEEK_END)
            if file.tell():
                file.seek(-1, os.SEEK_END)
            is_complete = file.read(1) in (b"\n", b"")  # a row cut short by a kill or a full disk gets a line of its own
            file.write((b"" if is_complete else b"\n") + json.dumps(row).encode() + b"\n")
            if durable:
                file.flush()
                os.fsync(file.fileno())


def is_count(name: str) -> bool:
    """Whether the name of a checkpoint or of a preview is a number of images, as limner's are.

    >>> is_count("000050000"), is_count("12abc"), is_count("1²")
    (True, False, False)
    """
    return re.fullmatch(r"[0-9]{1,18}", name) is not None


def _remove(path: Path) -> None:
    """Removes a file, or a folder with all that is in it; what may not be removed stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink()

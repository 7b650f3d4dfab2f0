"""The run folder: everything a run was told, did and made. Files are the truth, and the interface between processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import safetensors.torch
from torch import Tensor

from limner.core.errors import InputError, nearest
from limner.core.files import atomic_folder, os_errors_as_input_errors, slug, write_json, write_text
from limner.core.text import Captions
from limner.recipes.recipe import Recipe
from limner.recipes.settings import read_recipe
from limner.runs.checkpoint import Checkpoint, read_json

CONTROLS = ("pause", "stop", "sample-now", "save-now")


@dataclass(frozen=True)
class Run:
    """A handle on a run folder."""

    path: Path

    @staticmethod
    def create(parent: Path, name: str, recipe: Recipe) -> Run:
        """A new folder ``parent/0007-name`` with the next free number, holding `recipe`."""
        name = slug(name, ascii_only=True).strip("-.") or "run"
        with os_errors_as_input_errors(parent):
            parent.mkdir(parents=True, exist_ok=True)
            taken = [int(match[1]) for entry in parent.iterdir() if (match := re.match(r"(\d{4,})-", entry.name))]
            number = max(taken, default=0) + 1
            while True:
                path = parent / f"{number:04d}-{name}"
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
    def open(path: Path | str) -> Run:
        """A run by its folder, by a unique beginning of it such as ``runs/0007``, or by its name, such as ``runs/demo``."""
        path = Path(path)
        if not (path / "recipe.yaml").is_file():
            siblings = [p for p in path.parent.glob("*") if (p / "recipe.yaml").is_file()] if path.parent.is_dir() else []
            begins = [p for p in siblings if p.name.startswith(path.name) or p.name.partition("-")[2] == path.name]
            if len(begins) != 1:
                hint = nearest(path.name, [p.name for p in siblings])
                several = f" (several begin so: {', '.join(sorted(p.name for p in begins))})" if begins else ""
                raise InputError(f"no run at {path}{several}{hint}; `limner runs {path.parent}` lists what is there")
            path = begins[0]
        return Run(path)

    # What the run was told.

    def recipe(self) -> Recipe:
        return read_recipe(self.path / "recipe.yaml")

    def write_recipe(self, recipe: Recipe) -> None:
        write_text(self.path / "recipe.yaml", recipe.to_yaml())

    def provenance(self) -> dict[str, Any]:
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
        """(from this many images on, the budget is so many images), as it was written down before it was used."""
        return [(row["at"], row["images"]) for row in self._rows("plan.jsonl")]

    def add_plan(self, at: int, images: int) -> None:
        self._append("plan.jsonl", {"at": at, "images": images})

    def replan(self, start: int, images: int | None) -> None:
        """From `start` on the budget is `images` (None: minutes, yet to be measured); later plans are forgotten."""
        rows = [row for row in self.plan() if row[0] < start or (row[0] == start and images is not None)]
        rows += [(start, images)] if images is not None else []
        write_text(self.path / "plan.jsonl", "".join(json.dumps({"at": at, "images": total}) + "\n" for at, total in rows))

    # What it did.

    def status(self) -> dict[str, Any]:
        try:
            return read_json(self.path / "status.json")
        except InputError:
            return {"state": "new", "images": 0}

    def write_status(self, state: str, **more: Any) -> None:
        """`warnings` stay until others, or none, are given."""
        more.setdefault("warnings", self.status().get("warnings", []))
        write_json(self.path / "status.json", {"state": state, "heartbeat": time.time(), "pid": os.getpid(), **more})

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        self._append("metrics.jsonl", row, durable=False)

    def metrics(self) -> list[dict[str, Any]]:
        return self._rows("metrics.jsonl")

    def append_score(self, row: Mapping[str, Any]) -> None:
        self._append("scores.jsonl", row)

    def scores(self) -> list[dict[str, Any]]:
        return self._rows("scores.jsonl")

    def log(self, text: str) -> None:
        with os_errors_as_input_errors(self.path), (self.path / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text.rstrip()}\n")

    def forget_after(self, images: int) -> None:
        """Drops rows and previews of a future that is about to be lived again from `images` on."""
        for name in ("metrics.jsonl", "scores.jsonl"):
            rows = self._rows(name)
            kept = [row for row in rows if row["images"] <= images]
            if len(kept) < len(rows):
                write_text(self.path / name, "".join(json.dumps(row) + "\n" for row in kept))
        for preview in (self.path / "previews").glob("[0-9]*.png"):
            if int(preview.stem) > images:
                preview.unlink()

    # What it made.

    def checkpoints(self) -> list[Checkpoint]:
        """Complete ones, oldest first."""
        folders = (self.path / "checkpoints").glob("[0-9]*")
        return sorted((Checkpoint(p, int(p.name)) for p in folders if (p / "COMPLETE").is_file()), key=lambda c: c.images)

    def checkpoint(self, which: str = "last") -> Checkpoint:
        """`last`, `best` or a number of images. Errors: `InputError` that says which there are."""
        there = self.checkpoints()
        if not there:
            raise InputError(f"{self.path} has no complete checkpoint yet; let it train, or `limner resume {self.path}`")
        if which == "last":
            return there[-1]
        wanted = self.best() if which == "best" else int(which) if which.isdigit() else None
        for checkpoint in there:
            if checkpoint.images == wanted:
                return checkpoint
        numbers = ", ".join(str(c.images) for c in there)
        raise InputError(f"{self.path} has no checkpoint '{which}'; there are: last, best, {numbers}")

    def best(self) -> int | None:
        """Images at the checkpoint with the lowest score, among those still there; the last where nothing was scored."""
        there = {c.images for c in self.checkpoints()}
        scored = [(row["frechet"], row["images"]) for row in self.scores() if row["images"] in there]
        return min(scored)[1] if scored else max(there, default=None)

    def save(
        self, images: int, parts: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any], recipe: Recipe
    ) -> Checkpoint:
        """Writes a whole checkpoint or none; one that is there already under this number is taken to be the same."""
        path = self.path / "checkpoints" / f"{images:09d}"
        if (path / "COMPLETE").is_file():
            return Checkpoint(path, images)
        with os_errors_as_input_errors(path):
            shutil.rmtree(path, ignore_errors=True)
        with atomic_folder(path) as folder:
            for name, tensors in parts.items():
                own = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
                metadata = {"recipe": recipe.portable()}  # one key: safetensors writes several in an order of chance
                (folder / f"{name}.safetensors").write_bytes(safetensors.torch.save(own, metadata))
            (folder / "state.json").write_text(json.dumps(state, indent=2, sort_keys=True) + "\n", encoding="utf-8")
            (folder / "COMPLETE").write_text("", encoding="utf-8")
        return Checkpoint(path, images)

    def prune(self, keep: int) -> list[Path]:
        """Removes all checkpoints but the last, the best and the `keep` newest others; gives what went."""
        there = self.checkpoints()
        others = [c for c in there if c.images not in {there[-1].images, self.best()}] if there else []
        gone = others[: max(0, len(others) - keep)]
        for checkpoint in gone:
            (checkpoint.path / "COMPLETE").unlink()  # from here on it does not exist, even if we are killed half-way
            shutil.rmtree(checkpoint.path, ignore_errors=True)
        return [checkpoint.path for checkpoint in gone]

    def sweep(self) -> None:
        """Removes what a killed process left half-written."""
        for leftover in [
            *self.path.glob(".*.tmp"),
            *(self.path / "checkpoints").glob("*"),
            *(self.path / "previews").glob(".*.tmp"),
        ]:
            if leftover.is_file():
                leftover.unlink()
            elif leftover.suffix == ".tmp" or not (leftover / "COMPLETE").is_file():
                shutil.rmtree(leftover, ignore_errors=True)

    # How others speak to it.

    def asked(self) -> set[str]:
        """Which of `CONTROLS` somebody has put into ``control/``; all but `pause` are taken away by asking."""
        there = {name for name in CONTROLS if (self.path / "control" / name).exists()}
        for name in there - {"pause"}:
            with suppress(FileNotFoundError):
                (self.path / "control" / name).unlink()
        return there

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process trains a run at a time. Errors: `InputError` where another one does.

        On Linux and macOS it is flock on ``.lock``, so that a limner of before, which called that itself, is kept out as well.
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

    def busy(self) -> bool:
        """Whether a process trains it just now: the kernel lets go of a dead one's lock."""
        try:
            with self.locked():
                return False
        except InputError:
            return True

    def _append(self, name: str, row: Mapping[str, Any], durable: bool = True) -> None:
        with os_errors_as_input_errors(self.path / name), (self.path / name).open("a+b") as file:
            file.seek(0, os.SEEK_END)
            if file.tell():
                file.seek(-1, os.SEEK_END)
            whole = file.read(1) in (b"\n", b"")  # a row cut short by a kill or a full disk must not swallow the next one
            file.write((b"" if whole else b"\n") + json.dumps(row).encode() + b"\n")
            if durable:
                file.flush()
                os.fsync(file.fileno())

    def _rows(self, name: str) -> list[dict[str, Any]]:
        """All whole rows; a last one cut short by a kill is as good as not written."""
        try:
            lines = (self.path / name).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        rows = []
        for line in lines:
            with suppress(json.JSONDecodeError):
                rows.append(json.loads(line))
        return rows

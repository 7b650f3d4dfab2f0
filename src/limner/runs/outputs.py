"""Where verbs write files: into a folder for each call, which says in ``request.json`` what was requested.

By default it is a new folder ``RUN/made/0003-sample``; a person may name another by ``--out``. There, files of another call are
never replaced: the folder has to be new or empty, or to hold the files of the same call, which are then written again. So it is
with an array file that a person names, which says in its array ``request`` what was requested.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic_core import to_jsonable_python

from limner.core.address import public_text
from limner.core.documents import parse_json, read_json
from limner.core.errors import InputError, short_repr
from limner.core.files import atomic, check_writable, make_folder, os_errors_as_input_errors, write_json
from limner.core.invocation import option
from limner.core.verb import Request
from limner.data.listing import printable
from limner.data.npz import read_array
from limner.runs.model import Loaded

CALLS_FOLDER = "made"
"""The folder of a run in which each call of a verb has a folder of its own."""
REQUEST_FILE = "request.json"
"""The file in such a folder that says what was requested."""
MAX_NAMES = 3
"""Files that a message names of those that are in the way."""
_NOT_CONTENT = frozenset({"run", "out", "npz", "grid"})
"""Fields of requests that decide where files are written, and how many, and not what the same file holds."""


@dataclass(frozen=True)
class Call:
    """A call of a verb on a model: what decides the content of the files that it writes."""

    request: Request
    model: Loaded

    @property
    def verb(self) -> str:
        """The verb, by the name of its request: that of a `SampleRequest` is "sample"."""
        return type(self.request).__name__.removesuffix("Request").lower()

    def as_json(self) -> dict[str, Any]:
        """As ``request.json`` holds it: `verb`, `request`, and of the model its `run`, `checkpoint` and the weights' digest."""
        request = {name: getattr(self.request, name) for name in type(self.request).model_fields}
        return {
            "verb": self.verb,
            "request": _public(to_jsonable_python(request, fallback=lambda value: f"{type(value).__name__} in memory")),
            "run": self.model.run.path.name,
            "checkpoint": self.model.checkpoint.images,
            "model": self.model.checkpoint.digest(),
        }


def check_output(call: Call, out: Path | None) -> None:
    """Checks, before a long computation, that `call` may write to the folder `out`; None is a new one in the run.

    Creates nothing. Errors: `InputError` where nothing can be written there, and where files of another call are there.
    """
    check_writable(call.model.run.path if out is None else out)
    if out is None or not out.is_dir():
        return
    names = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
    stored = _read_request(out)
    if names and not _is_same(stored, call):
        more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
        what = _describe_difference(stored, call) or f"files of something else ({', '.join(names[:MAX_NAMES])}{more})"
        raise InputError(
            f"{out} holds {what}; give a new or an empty folder, or leave {option('out')} out for a new one in "
            f"{call.model.run.path / CALLS_FOLDER}"
        )


@contextmanager
def output_folder(call: Call, out: Path | None) -> Iterator[Path]:
    """Yields the folder for the files of `call`, which holds ``request.json``: `out`, or a new one in the run.

    A folder that was made here is removed where the block ends with an error. Errors: `InputError` as `check_output`.
    """
    check_output(call, out)
    if out is None:
        folder, is_new = new_numbered_folder(call.model.run.path / CALLS_FOLDER, call.verb), True
    else:
        folder, is_new = out, not out.exists()
        make_folder(folder)
    try:
        write_json(folder / REQUEST_FILE, call.as_json())
        yield folder
    except BaseException:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def new_numbered_folder(parent: Path, name: str) -> Path:
    """Makes the folder ``parent/0003-name`` with the next free number; of two processes each gets a folder of its own.

    Errors: `InputError` where `parent` cannot be written.
    """
    make_folder(parent)
    with os_errors_as_input_errors(parent):
        while True:
            numbers = [int(match[1]) for entry in parent.iterdir() if (match := re.match(r"(\d{4,})-", entry.name))]
            path = parent / f"{max(numbers, default=0) + 1:04d}-{name}"
            try:
                path.mkdir()
            except FileExistsError:  # another process was quicker
                continue
            return path


def check_array_file(call: Call, path: Path) -> None:
    """Checks, before a long computation, that `call` may write an ``.npz`` to `path`.

    Errors: `InputError` where it cannot be written, and where a file is there that is not of the same call.
    """
    check_writable(path.parent)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of an .npz file")
    stored = _read_array_request(path) if path.exists() else None
    if path.exists() and not _is_same(stored, call):
        what = _describe_difference(stored, call)
        there = f"is there already{f' and holds {what}' if what else ''}"
        raise InputError(f"{path} {there}; give another name, or remove it first")


def write_arrays(path: Path, arrays: Mapping[str, Any], call: Call) -> None:
    """Writes the `arrays` of `call` to an ``.npz``, atomically, and the call as JSON beside them as the array ``request``.

    Errors: `InputError` where it cannot be written.
    """
    stored = call.as_json()
    stored["request"] = _content_fields(stored)
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays, request=np.array(json.dumps(stored)))


def _read_array_request(path: Path) -> dict[str, Any] | None:
    """The request that is stored in an ``.npz``; None where there is none that can be read."""
    array = read_array(path, "request")
    try:
        value = None if array is None else parse_json(str(array))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _public(value: Any) -> Any:
    """A value of JSON whose texts can be written as UTF-8 and hold no secrets of addresses."""
    if isinstance(value, dict):
        return {key: _public(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_public(inner) for inner in value]
    return public_text(printable(value)) if isinstance(value, str) else value


def _is_same(stored: Mapping[str, Any] | None, call: Call) -> bool:
    """Whether the request that was `stored` in a folder is that of `call`, to the same weights."""
    if stored is None or not isinstance(stored.get("request"), dict):
        return False
    return _content(stored) == _content(call.as_json())


def _describe_difference(stored: Mapping[str, Any] | None, call: Call) -> str:
    """``the files of another call of sample (count: 4 there, 8 here)``; "" where no call is recorded in the folder."""
    if stored is None or not isinstance(stored.get("request"), dict) or not isinstance(stored.get("verb"), str):
        return ""
    own = call.as_json()
    if stored["verb"] != own["verb"]:
        return f"the files of a call of {stored['verb']}"
    pairs = {name: (stored["request"].get(name), value) for name, value in own["request"].items() if name not in _NOT_CONTENT}
    different = [f"{name}: {short_repr(old)} there, {short_repr(new)} here" for name, (old, new) in pairs.items() if old != new]
    if stored.get("model") != own["model"]:
        different.insert(
            0, f"{stored.get('run')} at {stored.get('checkpoint')} images there, {own['run']} at {own['checkpoint']} here"
        )
    return f"the files of another call of {own['verb']} ({'; '.join(different) or 'by another version of limner'})"


def _content(stored: Mapping[str, Any]) -> list[Any]:
    return [stored.get("verb"), stored.get("model"), _content_fields(stored)]


def _content_fields(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request that decide what a file of this name holds."""
    return {name: value for name, value in stored["request"].items() if name not in _NOT_CONTENT}


def _read_request(folder: Path) -> dict[str, Any] | None:
    """The request that is stored in a folder; None where there is none that can be read."""
    try:
        return read_json(folder / REQUEST_FILE)
    except InputError:
        return None

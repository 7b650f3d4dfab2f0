"""What a study keeps: its key (which picture is which, and what each person is shown), and one line per judgement.

The page that people see holds pictures under blind names and nothing that says what they are; the key lies in a file of its own
beside it. A judgement is checked against the key wherever it comes from: over the network, or in a file that somebody sent.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from limner.core.errors import InputError
from limner.core.files import write_text

Task = Literal["timed", "untimed", "pairs"]
TASKS: tuple[Task, ...] = ("timed", "untimed", "pairs")
Answer = Literal["real", "generated", "left", "right", "tie"]
ANSWERS: Mapping[Task, tuple[Answer, ...]] = {
    "timed": ("real", "generated"),
    "untimed": ("real", "generated"),
    "pairs": ("left", "right", "tie"),
}
KEY, PAGE, ANSWERED = "key.json", "study.html", "answers"
MOST_BYTES = 4096
"""Of one judgement as JSON; a real one takes about 250."""

Name = Annotated[str, Field(pattern="^[0-9a-f]{8}$")]
Long = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
_HOUR = 3_600_000


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Judgement(_Record):
    """One answer of one person: ``shown`` are the blind names of the picture, or of the left and the right one."""

    version: Literal[1]
    study: Long
    person: Long
    form: int = Field(ge=0)
    trial: int = Field(ge=0)
    task: Task
    shown: list[Name] = Field(min_length=1, max_length=2)
    answer: Answer
    ms: int = Field(ge=0, le=_HOUR)
    """From the moment the picture stood there to the answer."""
    exposure: int | None = Field(default=None, ge=0, le=_HOUR)
    """Milliseconds that a timed picture was to be seen, as the browser measured it."""


class Picture(_Record):
    """What stands behind a blind name. ``number`` is the seed of a sample, or the row of a picture."""

    kind: Literal["real", "sample", "noise"]
    run: int | None = None
    number: int


class Shown(_Record):
    task: Task
    shown: list[Name]


class Rated(_Record):
    """One of the things that are compared."""

    name: str
    path: str
    checkpoint: int | None = None
    digest: str | None = None
    """Of a run's weights, or of all the pictures of a folder or file."""


class Reals(_Record):
    data: str
    fingerprint: str
    split: str


class Key(_Record):
    """All of a study that its page must not tell. ``forms[f][t]`` is trial t of form f, and each person is given a form."""

    version: Literal[1] = 1
    study: Long
    seed: int
    count: int
    tasks: list[Task]
    exposure: int
    runs: list[Rated]
    reals: Reals
    pictures: dict[Name, Picture]
    forms: list[list[Shown]]

    def fault(self, judgement: Judgement) -> str | None:
        """Why `judgement` is none of this study's, in words; None where it is."""
        if judgement.study != self.study:
            return "of another study"
        if judgement.form >= len(self.forms) or judgement.trial >= len(self.forms[judgement.form]):
            return "of no trial of this study"
        trial = self.forms[judgement.form][judgement.trial]
        if (trial.task, trial.shown) != (judgement.task, judgement.shown):
            return "of other pictures than that trial shows"
        if judgement.answer not in ANSWERS[judgement.task]:
            return "no answer to the question asked"
        if (judgement.exposure is None) == (judgement.task == "timed"):
            return "without the time of exposure, or with one where nothing was timed"
        return None

    def write(self, folder: Path) -> None:
        write_text(folder / KEY, self.model_dump_json() + "\n")


def read_key(folder: Path) -> Key:
    """The key of the study in `folder`. Errors: `InputError` where there is none, or a damaged one."""
    path = folder / KEY
    try:
        return Key.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"no study in {folder} (it has no {KEY}); make one with `limner rate RUN…`") from error
    except ValidationError as error:
        raise InputError(f"{path} is damaged ({reason(error)}); make the study anew with `limner rate RUN…`") from error


def read_judgement(text: bytes | str) -> Judgement:
    """Errors: `pydantic.ValidationError`."""
    return Judgement.model_validate_json(text)


def reason(error: ValidationError) -> str:
    """The first fault, without what was sent: `trial: Input should be a valid integer`."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"][:3])[:60]
    return f"{where}: {first['msg']}" if where else str(first["msg"])


def append(path: Path, judgement: Judgement) -> None:
    """Adds one line to `path`, whole or not at all, and on disk when this returns.

    A line that a crash had cut off is closed first, so that it spoils no other. Errors: `OSError`.
    """
    line: bytes = judgement.model_dump_json(exclude_none=True).encode() + b"\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
    try:
        size = os.fstat(handle).st_size
        if size:
            os.lseek(handle, size - 1, os.SEEK_SET)
            if os.read(handle, 1) != b"\n":
                line = b"\n" + line
        try:
            if os.write(handle, line) != len(line):
                raise OSError(28, "no space left")
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, size)
            raise
    finally:
        os.close(handle)


def plain(record: _Record) -> dict[str, Any]:
    return record.model_dump(exclude_none=True)

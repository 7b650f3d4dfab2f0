"""The records of a study: its key, which says what each picture is and what each person is shown, and the judgements.

The page that people see holds pictures under blind names (random ones, which say nothing); the key is a separate file. A
judgement is checked against the key wherever it comes from: over the network, or in a file that somebody sent.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from limner.core.errors import InputError
from limner.core.files import read_regular_file, write_text
from limner.evaluation.human.study_types import Task

TASKS: tuple[Task, ...] = ("timed", "untimed", "pairs")
Answer = Literal["real", "generated", "left", "right", "tie"]
TASK_ANSWERS: Mapping[Task, tuple[Answer, ...]] = {
    "timed": ("real", "generated"),
    "untimed": ("real", "generated"),
    "pairs": ("left", "right", "tie"),
}
KEY_FILE, PAGE_FILE, ANSWERS_FOLDER = "key.json", "study.html", "answers"
MAX_JUDGEMENT_BYTES = 4096
"""Of one judgement as JSON; a usual one takes about 250."""

BlindName = Annotated[str, Field(pattern="^[0-9a-f]{8}$")]
HexId = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
_HOUR = 3_600_000  # milliseconds


class _Record(BaseModel):
    # Help imports this module: what checks a record is built when the first one is read.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class Judgement(_Record):
    """One answer of one person."""

    version: Literal[1]
    study: HexId
    person: HexId
    form: int = Field(ge=0)
    trial: int = Field(ge=0)
    task: Task
    shown: list[BlindName] = Field(min_length=1, max_length=2)
    """The blind name of the picture; in `pairs`, of the left and the right one."""
    answer: Answer
    ms: int = Field(ge=0, le=_HOUR)
    """Milliseconds from the appearance of the picture to the answer."""
    exposure: int | None = Field(default=None, ge=0, le=_HOUR)
    """Milliseconds for which a timed picture was visible, as the browser measured it."""


class Picture(_Record):
    """The picture behind a blind name."""

    kind: Literal["real", "sample", "noise"]
    run: int | None = None
    """The place of its source in `StudyKey.runs`, of a sample."""
    number: int
    """The seed of a run's sample, or the row of a picture in its source."""


class Trial(_Record):
    """One question: what is shown, by blind names."""

    task: Task
    shown: list[BlindName]


class ComparedSource(_Record):
    """A run, folder or array whose pictures are compared with others."""

    name: str
    path: str
    checkpoint: int | None = None
    """Images seen at the checkpoint of a run."""
    digest: str | None = None
    """sha256 of a run's weights, or of all pictures of a folder or file."""


class RealPictures(_Record):
    """The prepared data set and the split from which the real pictures come."""

    data: str
    fingerprint: str
    split: str


class StudyKey(_Record):
    """Everything about a study that its page must not reveal."""

    version: Literal[1] = 1
    study: HexId
    seed: int
    count: int
    tasks: list[Task]
    exposure: int
    runs: list[ComparedSource]
    reals: RealPictures
    pictures: dict[BlindName, Picture]
    forms: list[list[Trial]]
    """``forms[f][t]`` is trial t of form f; each person is given one form."""

    def fault(self, judgement: Judgement) -> str | None:
        """Why `judgement` does not belong to this study, in words; None where it does."""
        if judgement.study != self.study:
            return "of another study"
        if judgement.form >= len(self.forms) or judgement.trial >= len(self.forms[judgement.form]):
            return "of no trial of this study"
        trial = self.forms[judgement.form][judgement.trial]
        if (trial.task, trial.shown) != (judgement.task, judgement.shown):
            return "of other pictures than that trial shows"
        if judgement.answer not in TASK_ANSWERS[judgement.task]:
            return "no answer to the question asked"
        if (judgement.exposure is None) == (judgement.task == "timed"):
            return "without the time of exposure, or with one where nothing was timed"
        return None

    def write(self, folder: Path) -> None:
        """Writes the key into the folder of its study."""
        write_text(folder / KEY_FILE, self.model_dump_json() + "\n")


def read_key(folder: Path) -> StudyKey:
    """The key of the study in `folder`. Errors: `InputError` where there is none, or a damaged one."""
    path = folder / KEY_FILE
    try:
        return StudyKey.model_validate_json(read_regular_file(path))
    except OSError as error:
        raise InputError(f"no study in {folder} (it has no {KEY_FILE}); make one with `limner rate RUN…`") from error
    except ValidationError as error:
        raise InputError(f"{path} is damaged ({first_fault(error)}); make the study anew with `limner rate RUN…`") from error


def read_judgement(text: bytes | str) -> Judgement:
    """The judgement in a line of JSON. Errors: `pydantic.ValidationError`."""
    return Judgement.model_validate_json(text)


def first_fault(error: ValidationError) -> str:
    """The first fault, without the value that was sent: ``trial: Input should be a valid integer``."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"][:3])[:60]
    return f"{where}: {first['msg']}" if where else str(first["msg"])


def append_judgement(path: Path, judgement: Judgement) -> None:
    """Adds one line to the file at `path`, completely or not at all, and on disk when this returns.

    A last line that a crash cut off is ended first, so that it does not damage the new one. Errors: `OSError`.
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


def to_json_fields(record: _Record) -> dict[str, Any]:
    """The fields of a record that are not None."""
    return record.model_dump(exclude_none=True)

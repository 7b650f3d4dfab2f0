"""Types for the fields of requests: paths by what they are for, seeds, lists of names, settings.

Each accepts what a person types (``"0-15,42"``, ``"frechet,copies"``) and what Python code has at hand (a range, a list), so
that every door (command line, Python, HTTP) speaks to the same models.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, WithJsonSchema

from limner.core.errors import InputError

MAX_SEEDS = 1_000_000
"""Pictures that one command draws."""
_MAX_SEED = 2**63 - 1
_RANGE = re.compile(r"([0-9]{1,19})(?:-([0-9]{1,19}))?")


@dataclass(frozen=True)
class Cli:
    """How a field is written on the command line, where that is not ``--name VALUE``."""

    metavar: str = ""
    """Stands for the value in the help; "" leaves it to the type."""
    is_argument: bool = False
    """Written by its place and without an option's name; several arguments stand in the order of their fields."""
    option: str = ""
    """The option's name, where it is not the field's."""


PathUse = Literal["run", "source", "input", "output file", "output folder", "run or pictures", "study"]


@dataclass(frozen=True)
class PathKind:
    """What a path is for, so that a door over the network can resolve it below one of its own folders, or refuse it."""

    use: PathUse


def _path_text(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _source(value: object) -> object:
    """A path as text; whatever is no path, such as an array, as it is."""
    return _path_text(value)


def _path_schema(use: PathUse) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "format": use})


RunPath = Annotated[Path, PathKind("run"), _path_schema("run")]
"""The folder of a run, or a unique beginning of its name."""
Source = Annotated[Any, PathKind("source"), BeforeValidator(_source), _path_schema("source")]
"""A data set's name, a folder, an archive, a file or an address; from Python also pictures in memory."""
InputPath = Annotated[Path, PathKind("input"), _path_schema("input")]
"""A file, folder or archive that is only read."""
OutputFile = Annotated[Path, PathKind("output file"), _path_schema("output file")]
OutputFolder = Annotated[Path, PathKind("output folder"), _path_schema("output folder")]
RunOrPictures = Annotated[Any, PathKind("run or pictures"), BeforeValidator(_path_text), _path_schema("run or pictures")]
"""A run, a folder of pictures or an .npz; from Python also arrays."""


def parse_numbers(text: str, option: str, what: str) -> list[int]:
    """``"0-15,42"`` is the numbers 0 to 15 and 42, in the order written, each once; `option` and `what` are for errors.

    Errors: `InputError` for anything else, for a range that runs backwards, and for more than a million numbers.

    >>> parse_numbers("0-3,42", "--seeds", "seed")
    [0, 1, 2, 3, 42]
    """
    ranges: list[range] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise InputError(f"{option} {text!r}: {part.strip()!r} is neither a number nor a range; write for example 0-15,42")
        first = int(match[1])
        last = int(match[2]) if match[2] is not None else first
        if last > _MAX_SEED or first > _MAX_SEED:
            raise InputError(f"{option} {text!r}: a {what} is at most {_MAX_SEED}")
        if last < first:
            raise InputError(f"{option} {text!r}: {part.strip()} runs backwards; write {last}-{first}")
        ranges.append(range(first, last + 1))
    if sum(one.stop - one.start for one in ranges) > MAX_SEEDS:
        raise InputError(f"{option} {text!r}: more than {MAX_SEEDS:,} {what}s; ask for them in several commands")
    return list(dict.fromkeys(chain.from_iterable(ranges)))


@dataclass(frozen=True)
class _Numbers:
    """Reads numbers from text or from any iterable of whole numbers."""

    option: str
    what: str

    def __call__(self, value: object) -> object:
        if isinstance(value, str):
            return parse_numbers(value, self.option, self.what)
        if isinstance(value, Iterable):
            return [int(number) if hasattr(number, "__index__") else number for number in value]
        return value


Seeds = Annotated[list[int], BeforeValidator(_Numbers("--seeds", "seed")), Cli(metavar="0-15,42")]
"""One seed is one picture. ``"0-15,42"``, or whole numbers."""
LatentNumbers = Annotated[list[int], BeforeValidator(_Numbers("--latents", "latent")), Cli(metavar="0-9,12")]


def choose_seeds(seeds: Sequence[int] | None, count: int | None) -> list[int]:
    """`seeds`, or the first `count` seeds (16 where neither is given). Errors: `InputError` for both, and for a bad count."""
    if seeds is not None and count is not None:
        raise InputError("--seeds and --count exclude each other; give one of them")
    if seeds is not None:
        return list(seeds)
    number = 16 if count is None else count
    if not 1 <= number <= MAX_SEEDS:
        raise InputError(f"--count {number}: choose 1 to {MAX_SEEDS:,}")
    return list(range(number))


def _names(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_names), Cli(metavar="A,B")]
"""``"a, b"``, or a list of names."""


def _settings(value: object) -> object:
    for word in value if isinstance(value, list | tuple) else ():
        key, equals, _ = str(word).partition("=")
        if not equals or not key.strip():
            raise InputError(f"{word!r} is not a setting; settings are written key=value, for example data.size=64")
    return value


Settings = Annotated[tuple[str, ...], BeforeValidator(_settings), Cli("KEY=VALUE…", is_argument=True)]
"""``key=value`` words; what the keys mean is the recipe's business."""

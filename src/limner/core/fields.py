"""Types of the fields of requests: paths by their use, seeds, lists of names, settings.

Each accepts text as a person types it (``"0-15,42"``, ``"frechet,copies"``) and values of Python (a range, a list), so that the
command line, Python and HTTP use the same request models.
"""

from __future__ import annotations

import json
import operator
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema
from pydantic.fields import FieldInfo

from limner.core.errors import InputError, short_repr
from limner.core.invocation import option
from limner.core.numeric_fields import is_truth_value

MAX_SEEDS = 1_000_000
"""The largest number of pictures that one command draws."""
_MAX_SEED = 2**63 - 1
_YAML_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null"})
_PLAIN_TEXT = re.compile(r"[\w./#+-](?:[\w./#+@,-]|:(?=\S)| (?=[\w./+]))*")
_DATE = re.compile(r"\d{4}-\d{1,2}-\d")
MAX_IMAGES, MAX_MINUTES = 10**15, 10 * 366 * 24 * 60
"""The largest budgets: a number of images that int64 and float64 still count, and ten years."""
ARRAY_SUFFIX = ".npz"
"""Of the files that verbs write arrays to."""
FILE_SUFFIXES = frozenset(
    (
        *(".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".apng", ".avif", ".heic", ".svg", ".ico"),
        *(".mp4", ".webm", ".mov", ".avi", ".mkv", ".m4v", ".mpg", ".mpeg", ".ogv", ".wmv"),
        *(
            ARRAY_SUFFIX,
            ".npy",
            ".zip",
            ".tar",
            ".gz",
            ".tgz",
            ".csv",
            ".json",
            ".jsonl",
            ".html",
            ".pdf",
            ".txt",
            ".pt",
            ".h5",
        ),
        *(".safetensors", ".onnx", ".yaml", ".yml", ".parquet"),
    )
)
"""Suffixes of names that a person means as a picture, a film, an archive, a table or another single file, in lower case."""
_RANGE = re.compile(r"(-?[0-9]+)(?:-(-?[0-9]+))?")


@dataclass(frozen=True)
class Cli:
    """How a field is written on the command line, where that is not ``--name VALUE``."""

    metavar: str = ""
    """The word that stands for the value in the help; "": it follows from the type."""
    is_argument: bool = False
    """Whether it is written by its position, without the name of an option. Arguments stand in the order of their fields."""
    option: str = ""
    """The name of the option; "": it follows from the name of the field."""


RUN_HELP = "The run: its number, its name, the beginning of it, or its folder, such as 7, flowers or runs/0007."
SOURCE_HELP = "Pictures: a name from 'limner data list', a folder, an archive, a file of a data set, or an address."
CHECKPOINT_HELP = "Which checkpoint of the run to use; N is a number of images."
LABEL_HELP = "Class of the pictures, by name; for models that were trained with classes."
"""Descriptions that fields of several requests share."""

PathUse = Literal[
    "run", "runs", "source", "input", "output file", "output folder", "run or pictures", "name or file", "settings"
]


@dataclass(frozen=True)
class PathKind:
    """The use of a path, by which a server can resolve it below one of its own folders, or refuse it.

    "runs" is a folder of runs. "name or file" is a path where it ends in a suffix such as .yaml or .onnx, and a name otherwise.
    "settings" are ``key=value``, of which ``data.source``, ``codec`` and ``init_from`` have paths as values.
    """

    use: PathUse


def number_text(value: object) -> object:
    """A whole number of any integer type as text, since Python code may name a run, a checkpoint or a class by its number.

    Anything else is unchanged.

    >>> number_text(7), number_text("flowers"), number_text(True)
    ('7', 'flowers', True)
    """
    number = None if isinstance(value, str) else _integer(value)
    return value if number is None else str(number)


def run_text(value: object) -> object:
    """The number of a run, a run, a loaded model or the result of a training as text; anything else unchanged."""
    return os.fspath(value) if isinstance(value, os.PathLike) else number_text(value)


def path_text(value: object) -> object:
    """A path, or what names a run, as text; anything else, such as an array, unchanged.

    Errors: `InputError` for empty text, which names no place.
    """
    value = run_text(value)
    if isinstance(value, str) and not value.strip():
        raise InputError("an empty text names no pictures; give a path, a name or an address (. is this folder)")
    return value


def _path_schema(use: PathUse) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "format": use})


RunPath = Annotated[Path, PathKind("run"), BeforeValidator(run_text), _path_schema("run")]
"""A run, by its number, its name, the beginning of it, or its folder (`limner.runs.lookup`)."""
Source = Annotated[Any, PathKind("source"), BeforeValidator(path_text), _path_schema("source")]
"""A data set's name, a folder, an archive, a file or an address; from Python also pictures in memory."""
CheckpointName = Annotated[str, BeforeValidator(number_text)]
"""A checkpoint of a run: last, best, or a number of images."""
ClassName = Annotated[str, BeforeValidator(number_text)]
"""A class by its name, or by its number where no class has that name."""
RunsFolder = Annotated[Path, PathKind("runs"), _path_schema("runs")]
"""A folder of runs."""
NameOrFile = Annotated[str, PathKind("name or file"), _path_schema("name or file")]
"""A name of a table, or the path of a file."""
InputPath = Annotated[Path, PathKind("input"), _path_schema("input")]
"""A file, folder or archive to read."""


def path_list(value: object) -> object:
    """A single path as a list of one; anything else unchanged."""
    return [value] if isinstance(value, str | Path) else value


InputPaths = Annotated[list[InputPath], BeforeValidator(path_list)]
"""Files, folders or archives to read; from Python also a single one."""


def _folder_name(path: Path) -> Path:
    """Errors: `InputError` for a path with the suffix of a file, since a folder of that name is not what was meant."""
    if path.suffix.lower() in FILE_SUFFIXES and not path.is_dir():
        raise InputError(
            f"{path} is the name of a file, and this writes a folder of files; give a name such as {path.stem or 'out'}"
        )
    return path


def _array_file_name(path: Path) -> Path:
    """Errors: `InputError` for a path whose suffix is that of a file of another kind than an array."""
    if path.suffix.lower() in FILE_SUFFIXES - {ARRAY_SUFFIX}:
        raise InputError(f"{path} would be an {ARRAY_SUFFIX} file; give a name such as {path.stem}{ARRAY_SUFFIX}")
    return path


OutputFile = Annotated[Path, PathKind("output file"), _path_schema("output file")]
"""A file to write."""
ArrayFile = Annotated[Path, AfterValidator(_array_file_name), PathKind("output file"), _path_schema("output file")]
"""An ``.npz`` file to write."""
OutputFolder = Annotated[Path, AfterValidator(_folder_name), PathKind("output folder"), _path_schema("output folder")]
"""A folder to write files into."""
RunOrPictures = Annotated[Any, PathKind("run or pictures"), BeforeValidator(path_text), _path_schema("run or pictures")]
"""A run, a folder of pictures or a file of an array; from Python also arrays."""
RunOrFiles = Annotated[str, PathKind("run or pictures"), BeforeValidator(path_text), _path_schema("run or pictures")]
"""The same without arrays: what is read again later, by its place."""


def parse_numbers(text: str, name: str, what: str) -> list[int]:
    """The numbers in a text such as ``"0-15,42"``, in the order in which they stand there, each once.

    `name` is the field that holds them and `what` the word for one of them in errors. Errors: `InputError` for other text, for
    a number out of range, for a range whose end is below its start, and for more than `MAX_SEEDS` numbers.

    >>> parse_numbers("0-3,42", "seeds", "seed")
    [0, 1, 2, 3, 42]
    """
    start = f"{option(name)} {short_repr(text)}"
    ranges: list[range] = []
    for part in map(str.strip, text.split(",")):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise InputError(f"{start}: {short_repr(part)} is neither a whole number nor a range; write for example 0-15,42")
        first, last = (_number_in_range(digits, f"{start}: ", what) for digits in (match[1], match[2] or match[1]))
        if last < first:
            raise InputError(f"{start}: {part} runs backwards; write {last}-{first}")
        ranges.append(range(first, last + 1))
    if sum(one.stop - one.start for one in ranges) > MAX_SEEDS:
        raise InputError(f"{start}: more than {MAX_SEEDS:,} {what}s; ask for them in several calls")
    return list(dict.fromkeys(chain.from_iterable(ranges)))


def _number_in_range(digits: str, start: str, what: str) -> int:
    """Errors: `InputError` for a number below 0 or too large; `int` itself refuses more than some thousand digits."""
    if digits.startswith("-") or len(digits.lstrip("0")) > len(str(_MAX_SEED)) or int(digits) > _MAX_SEED:
        raise InputError(f"{start}a {what} is a whole number from 0 to {_MAX_SEED}")
    return int(digits)


SeedList = Any
"""What stands for several seeds in Python: a range, a list, text such as ``"0-15,42"``, a NumPy array or a torch tensor [N]."""


def whole_number(value: object, name: str, what: str) -> int:
    """A whole number of any integer type, of Python, NumPy or torch, as Python's `int`.

    `name` and `what` are as in `parse_numbers`. Errors: `InputError` for a truth value, a number that is not of an integer
    type, a negative or too large number, and anything else.

    >>> whole_number(range(8)[-1], "seed", "seed")
    7
    """
    number = _integer(value)
    if number is None or not 0 <= number <= _MAX_SEED:
        raise InputError(f"{option(name)} {short_repr(value)}: a {what} is a whole number from 0 to {_MAX_SEED}")
    return number


def _integer(value: object) -> int | None:
    """A number of any integer type as Python's `int`; None for truth values, floats and anything else."""
    if is_truth_value(value) or getattr(value, "ndim", None):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def whole_numbers(values: object, name: str, what: str) -> list[int]:
    """Numbers from text as `parse_numbers` reads it, or from a sequence or an array [N] of any integer type.

    Errors: `InputError` as `parse_numbers` and `whole_number` have them, and for an array that is not of one dimension, a set
    or a mapping (which have no order), and a single number.

    >>> whole_numbers(range(3), "seeds", "seed"), whole_numbers("0-1,7", "seeds", "seed")
    ([0, 1, 2], [0, 1, 7])
    """
    if isinstance(values, str):
        return parse_numbers(values, name, what)
    if not isinstance(values, Iterable) or isinstance(values, bytes | bytearray | Set | Mapping):
        raise InputError(f"{option(name)} {short_repr(values)}: give a list of {what}s, such as [0, 1, 42] or range(16)")
    if getattr(values, "ndim", 1) != 1:
        shape = list(getattr(values, "shape", ()))
        raise InputError(f"{option(name)}: an array of the shape {shape} is no list of {what}s; give one of one dimension")
    as_list = getattr(values, "tolist", None)  # of an array at once, since one number of a tensor at a time is slow
    elements = as_list() if callable(as_list) else list(islice(values, MAX_SEEDS + 1))
    if len(elements) > MAX_SEEDS:
        raise InputError(f"more than {MAX_SEEDS:,} {what}s; ask for them in several calls")
    return [whole_number(one, name, what) for one in elements]


@dataclass(frozen=True)
class _Numbers:
    """A validator that reads what `whole_numbers` does; None stays None."""

    name: str
    what: str

    def __call__(self, value: object) -> object:
        return None if value is None else whole_numbers(value, self.name, self.what)


def _seed(value: object) -> object:
    if value is None or isinstance(value, str):
        return value
    number = _integer(value)
    return whole_number(value, "seed", "seed") if number is None else number


Seed = Annotated[int, BeforeValidator(_seed)]
"""One seed, a whole number of any integer type. Its range is that of the field."""


Seeds = Annotated[list[int], BeforeValidator(_Numbers("seeds", "seed")), Cli(metavar="0-15,42")]
"""Seeds, each of which stands for one picture: ``"0-15,42"``, or whole numbers."""
LatentNumbers = Annotated[list[int], BeforeValidator(_Numbers("latents", "latent")), Cli(metavar="0-9,12")]
"""Numbers of latents, counted from 0: ``"0-9,12"``, or whole numbers."""


def choose_seeds(seeds: Sequence[int] | None, count: int | None) -> list[int]:
    """`seeds`, or the seeds 0 to `count` − 1; 16 of them where both are None.

    Errors: `InputError` where neither is None, and for a count that is not between 1 and `MAX_SEEDS`.

    >>> choose_seeds(None, 3)
    [0, 1, 2]
    """
    if seeds is not None and count is not None:
        raise InputError(f"{option('seeds')} and {option('count')} exclude each other; give one of them")
    if seeds is not None:
        return list(seeds)
    number = 16 if count is None else _integer(count)
    if number is None or not 1 <= number <= MAX_SEEDS:
        raise InputError(f"{option('count')} {short_repr(count)}: choose 1 to {MAX_SEEDS:,}")
    return list(range(number))


def describe_range(info: FieldInfo) -> str:
    """The bounds of a field in words, such as "a number above 0 and of at most 1" or "a whole number from 0 to 9"."""
    bounds = {name: getattr(one, name) for one in info.metadata for name in ("ge", "gt", "lt", "le") if hasattr(one, name)}
    if info.annotation is not float and float not in get_args(info.annotation):
        low, high = bounds.get("ge", bounds.get("gt", -1) + 1), bounds.get("le", bounds.get("lt", 0) - 1)
        return f"a whole number from {low} to {high}" if {"le", "lt"} & set(bounds) else f"a whole number of {low} or more"
    words = {"gt": "above {}", "ge": "of {} or more", "lt": "below {}", "le": "of at most {}"}
    parts = [text.format(f"{bounds[name]:.10g}") for name, text in words.items() if name in bounds]
    return f"a number {' and '.join(parts)}".rstrip()


def _names(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _check_text(text: str) -> str:
    if not text.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InputError(f"{short_repr(text)} holds bytes that are not UTF-8, or half of a character; write the text in UTF-8")
    return text


Text = Annotated[str, AfterValidator(_check_text)]
"""A text that can be written as UTF-8."""

Names = Annotated[list[str], BeforeValidator(_names), Cli(metavar="A,B")]
"""Names: ``"a,b"``, or a list."""


def _setting_texts(settings: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
    """``key=value`` for every entry of a mapping, whose values may be mappings of the parts of a key.

    >>> list(_setting_texts({"data.size": 64, "batch": {"size": 32}, "data.mirror": True, "name": "yes"}))
    ['data.size=64', 'batch.size=32', 'data.mirror=true', 'name="yes"']
    """
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _setting_texts(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={_setting_text(value)}"


def _setting_text(value: object) -> str:
    """A value as the text of a setting, which is read as YAML: a text is in quotes where YAML would read something else."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, str):
        is_plain = _PLAIN_TEXT.fullmatch(value) and not _DATE.match(value) and value.lower() not in _YAML_WORDS
        return value if is_plain else json.dumps(value, ensure_ascii=False)
    number = getattr(value, "item", None)  # a number of NumPy or torch
    try:
        return json.dumps(number() if callable(number) and not getattr(value, "ndim", 0) else value, ensure_ascii=False)
    except TypeError as error:
        raise InputError(f"{short_repr(value)} is no value of a setting; give a number, a text, a list or None") from error


def _settings(value: object) -> object:
    if isinstance(value, Mapping):
        return tuple(_setting_texts(value))
    if isinstance(value, str):
        value = (value,)
    for word in value if isinstance(value, list | tuple) else ():
        key, equals, _ = str(word).partition("=")
        if not equals or not key.strip():
            raise InputError(f"{word!r} is not a setting; settings are written key=value, for example data.size=64")
    return value


Settings = Annotated[
    tuple[str, ...],
    BeforeValidator(_settings),
    Cli("KEY=VALUE…", is_argument=True),
    PathKind("settings"),
    WithJsonSchema({"type": "array", "items": {"type": "string", "format": "settings"}}),
]
"""Settings of a recipe, each written ``key=value``; from Python also a mapping such as ``{"data.size": 64}``. Whether there is
such a key is checked when the recipe is read."""

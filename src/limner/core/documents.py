"""Reads YAML and JSON files that a person, another program or an interrupted process may have written.

Every reader of a recipe or of a side file of a run goes through here, so that whatever lies in such a file is an `InputError`
of one line: bytes that are no text, values that the parser refuses, nesting without end, aliases that unfold into gigabytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.errors import InputError, short_repr
from limner.core.files import describe_os_error, why_irregular

if TYPE_CHECKING:
    import yaml

MAX_YAML_BYTES = 2 * 2**20
"""A recipe with the names of 21,000 classes takes a quarter of this; PyYAML reads 1 MB in 1.6 s."""
MAX_YAML_DEPTH = 100
"""Collections inside each other. PyYAML calls itself for each, and Python allows about 300."""
MAX_YAML_CHARACTERS = 8 * 2**20
"""Characters of all values once aliases (``*name``) are replaced by what they stand for; nine lines can stand for gigabytes."""
MAX_JSON_BYTES = 64 * 2**20
"""Of a file with one JSON object, which is read as a whole."""

_READ_ERRORS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What PyYAML's constructors and `json` raise for values that they cannot make, beside errors of their own: `!!int abc`,
5,000 digits, `!!bool maybe`, `!!timestamp x`, a thousand brackets."""


class MissingFileError(InputError):
    """There is no such file."""


def read_text(path: Path, max_bytes: int | None = None) -> str:
    """The text of a UTF-8 file.

    Errors: `MissingFileError` where there is none; `InputError` where it is no regular file (a pipe would be waited for), may
    not be read, has more than `max_bytes`, or is no UTF-8.
    """
    try:
        status = path.stat()
        if what := why_irregular(status.st_mode):
            raise InputError(f"{path} is {what} and no file that could be read; put a regular file there")
        if max_bytes is not None and status.st_size > max_bytes:
            raise InputError(f"{path} is too large ({status.st_size:,} bytes; at most {max_bytes:,} are read)")
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingFileError(f"{path} is missing") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is damaged: it is no UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise InputError(_unreadable(path, error)) from error


def _unreadable(path: Path, error: OSError) -> str:
    """One line about a file that cannot be read."""
    return describe_os_error(error) or f"{path} cannot be read: {error.strerror}"


# ---- YAML ---------------------------------------------------------------------------------------------------------------


def read_yaml(path: Path) -> Any:
    """The content of a YAML file. Errors: `InputError`, as `read_text` and `parse_yaml` have them."""
    return parse_yaml(read_text(path, MAX_YAML_BYTES), str(path))


def parse_yaml(text: str, where: str) -> Any:
    """The value that a YAML text stands for; dates stay text, since no setting is a date and a name may look like one.

    `where` is what the error calls the text. Errors: `InputError` for a text or value that is no YAML, for collections deeper
    than `MAX_YAML_DEPTH`, and for aliases that unfold into more than `MAX_YAML_CHARACTERS`.

    >>> parse_yaml("a: [1, 2001-01-01]", "here")
    {'a': [1, '2001-01-01']}
    """
    import yaml

    try:
        return yaml.load(text, Loader=_loader())
    except (yaml.YAMLError, *_READ_ERRORS) as error:
        raise InputError(f"{where} is not readable as YAML: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """The first line of an error, with the line of the text where PyYAML says it."""
    mark = getattr(error, "problem_mark", None)
    text = getattr(error, "problem", None) or next(iter(str(error).splitlines()), "") or type(error).__name__
    return f"{text[:200]}{'' if mark is None else f' (line {mark.line + 1})'}"


def _loader() -> type[yaml.SafeLoader]:
    """PyYAML's safe loader, made when it is first used since PyYAML is imported late: bounded, and without dates."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses what is nested too deep, and measures what aliases unfold into."""

        def __init__(self, text: str) -> None:
            super().__init__(text)
            self.depth = 0
            self.sizes: dict[int, int] = {}
            """Id of a complete node -> its characters, aliases unfolded."""

        def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
            """The next node. An alias to a node that is not complete yet would be a value that contains itself."""
            is_alias, event = self.check_event(yaml.AliasEvent), self.peek_event()  # type: ignore[no-untyped-call]
            if self.depth >= MAX_YAML_DEPTH:
                raise yaml.MarkedYAMLError(problem=f"more than {MAX_YAML_DEPTH} levels deep", problem_mark=event.start_mark)
            self.depth += 1
            node: yaml.Node | None = super().compose_node(parent, index)
            self.depth -= 1
            if node is None:
                return None
            if is_alias and id(node) not in self.sizes:
                raise yaml.MarkedYAMLError(problem="an alias inside what it stands for", problem_mark=event.start_mark)
            if not is_alias:
                self.sizes[id(node)] = _size(node, self.sizes)
            if self.sizes[id(node)] > MAX_YAML_CHARACTERS:
                raise yaml.MarkedYAMLError(problem="aliases unfold into too much", problem_mark=event.start_mark)
            return node

        def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
            """The value of a node; the error of a constructor says for which text."""
            try:
                return super().construct_object(node, deep)
            except _READ_ERRORS as error:
                kind = node.tag.rpartition(":")[2]
                text = short_repr(node.value) if isinstance(node.value, str) else "this"
                raise yaml.MarkedYAMLError(problem=f"{text} is no {kind}", problem_mark=node.start_mark) from error

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return Loader


def _size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Characters of a node, from those of the nodes in it."""
    if isinstance(node.value, str):
        return 1 + len(node.value)
    parts = [part for entry in node.value for part in (entry if isinstance(entry, tuple) else (entry,))]
    return 1 + sum(sizes[id(part)] for part in parts)


# ---- JSON ---------------------------------------------------------------------------------------------------------------


def parse_json(text: str | bytes, allow_nan: bool = True) -> Any:
    """The value that a JSON text stands for. Errors: `ValueError` for any text that cannot be read, however it fails."""
    try:
        return json.loads(text, parse_constant=float if allow_nan else _refuse_constant)
    except _READ_ERRORS as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _refuse_constant(name: str) -> float:
    """Errors: `ValueError`: ``NaN`` and ``Infinity`` are no JSON, and `limner.core.files.write_json` writes none."""
    raise ValueError(f"{name} is no JSON")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Errors: `MissingFileError` where there is none; `InputError` where it cannot be read, or holds something else.
    """
    text = read_text(path, MAX_JSON_BYTES)
    try:
        value = parse_json(text, allow_nan=False)
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} is damaged: it holds {_kind(value)} and not a JSON object")
    return value


def read_json_lines(path: Path, numbers: Sequence[str], *, skip_damaged: bool = False) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file, objects whose fields `numbers` are numbers; none where there is no file.

    A row that a kill cut short is left out. Errors: `InputError` for any other line that is no such row, unless
    `skip_damaged`, which leaves these out too, and for a file that may not be read.
    """
    try:
        with path.open("rb") as file:
            lines = list(_lines(file.read()))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        if skip_damaged:
            return []
        raise InputError(_unreadable(path, error)) from error
    rows = []
    for number, line in lines:
        try:
            row = parse_json(line)
        except ValueError as error:
            if skip_damaged or (line.startswith(b"{") and line.isascii()):  # limner writes ASCII, so this was cut short
                continue
            raise InputError(f"{path} is damaged: line {number}: {error}; remove that line") from error
        if isinstance(row, dict) and all(_is_number(row.get(name)) for name in numbers):
            rows.append(row)
        elif not skip_damaged:
            what = f"holds {_kind(row)}" if not isinstance(row, dict) else f"lacks a number for {' or '.join(numbers)}"
            raise InputError(f"{path} is damaged: line {number} {what}; remove that line")
    return rows


def _lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines that are not empty, with their numbers from 1."""
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.strip():
            yield number, line.strip()


def _is_number(value: Any) -> bool:
    """Whether `value` is a number that a row can hold: a float, NaN among them, or a whole number of 64 bits."""
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63)


def finite_number(value: Any) -> float | None:
    """`value` as a float where it is a finite number, else None. True and False are not numbers here.

    >>> finite_number(2), finite_number(True), finite_number("2"), finite_number(float("nan")), finite_number(10**400)
    (2.0, None, None, None, None)
    """
    return float(value) if _is_number(value) and math.isfinite(value) else None


def _kind(value: Any) -> str:
    """What a JSON value is, in words."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return {int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}[type(value)]

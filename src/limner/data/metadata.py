"""`metadata.csv` and `metadata.jsonl` with the columns file_name, label, text, given_file_name: the imagefolder convention.

Source: https://huggingface.co/docs/datasets/image_dataset
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass

from limner.core.errors import InputError, nearest
from limner.data.listing import printable

NAMES = ("metadata.csv", "metadata.jsonl")


@dataclass(frozen=True)
class Row:
    """What a table says about one file: None where it says nothing."""

    label: str | None
    text: str | None
    given_file_name: str | None = None
    """The picture that is given with it, relative to the table."""


def parse(where: str, data: bytes) -> dict[str, Row]:
    """The rows of the table `where`, by file name as written there. Errors: `InputError` with the line at fault."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is not UTF-8 text (byte {error.start}); save it again as UTF-8") from error
    rows = _jsonl(where, text) if where.lower().endswith(".jsonl") else _csv(where, text)
    by_name: dict[str, Row] = {}
    for line, values in rows:
        name = values.get("file_name")
        if not name:
            raise InputError(f"{where}, line {line}: no file_name; every row needs the picture's path relative to the table")
        partner = values.get("given_file_name")
        by_name[_plain_path(name)] = Row(
            values.get("label") or None,
            printable(values.get("text") or "") or None,  # JSON can spell half of a surrogate pair, which no file can hold
            _plain_path(partner) if partner else None,
        )
    if not by_name:
        raise InputError(f"{where} has no rows; give one row per picture with file_name, label, text, or remove the file")
    return by_name


def _plain_path(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")


def _csv(where: str, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        columns = [name.strip() for name in reader.fieldnames or ()]
        if "file_name" not in columns:
            names = ", ".join(columns) or "none"
            hint = nearest("file_name", columns)
            raise InputError(f"{where} has no column 'file_name' (its columns: {names}){hint}")
        reader.fieldnames = columns
        for values in reader:
            yield reader.line_num, {key: value for key, value in values.items() if key and isinstance(value, str)}
    except csv.Error as error:
        raise InputError(f"{where}, line {reader.line_num}: not readable as CSV ({error})") from error


def _jsonl(where: str, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    for line, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        try:
            values = json.loads(content)
        except (json.JSONDecodeError, RecursionError) as error:
            raise InputError(f"{where}, line {line}: not readable as JSON ({error})") from error
        if not isinstance(values, dict):
            raise InputError(f'{where}, line {line}: not a JSON object; write {{"file_name": ..., "label": ..., "text": ...}}')
        yield line, {key: str(value) for key, value in values.items() if isinstance(value, str | int) and value is not None}

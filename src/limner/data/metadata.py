"""`metadata.csv` and `metadata.jsonl` with the columns file_name, label, text, given_file_name: the imagefolder convention.

Also the labels of StyleGAN's `dataset.json`. Sources: https://huggingface.co/docs/datasets/image_dataset,
https://github.com/NVlabs/stylegan3#preparing-datasets
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from limner.core.errors import InputError, nearest
from limner.data.listing import enumerate_names, printable

NAMES = ("metadata.csv", "metadata.jsonl")
STYLEGAN_NAME = "dataset.json"
COLUMNS = ("file_name", "label", "text", "given_file_name")
"""The columns that are read."""
_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "file_name": ("filename", "file", "filepath", "file_path", "path", "image", "image_path", "image_name", "img", "name"),
    "label": ("labels", "class", "class_name", "classname", "class_id", "category", "target", "y"),
    "text": ("texts", "caption", "captions", "prompt", "prompts", "description", "title", "txt"),
    "given_file_name": (
        "given",
        "condition",
        "conditioning_image",
        "conditioning_image_file_name",
        "source",
        "input_file_name",
    ),
}
"""What other programs call the columns: only named in hints, since such columns may hold anything."""
_PLAIN_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]{0,15})?")


@dataclass(frozen=True)
class Row:
    """What a table says about one file: None where it says nothing."""

    label: str | None
    text: str | None
    given_file_name: str | None = None
    """The picture that is given with it, relative to the table."""


@dataclass(frozen=True)
class Table:
    """The rows of a table by file name as written there, and sentences about what is odd in it."""

    rows: dict[str, Row]
    notes: tuple[str, ...] = ()


def parse(where: str, data: bytes, rules: int) -> Table:
    """The table `where`, a path by whose ending its form is known.

    By `rules` 1 the names of columns are taken as they are written, labels in JSON are whole numbers or texts, and nothing is
    noted. Errors: `InputError` with the line at fault.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is not UTF-8 text (byte {error.start}); save it again as UTF-8") from error
    lines = _jsonl(where, text, rules) if where.lower().endswith(".jsonl") else _csv(where, text, rules)
    table = _TableReader(where, rules)
    for line, values in lines:
        table.add(line, values)
    if not table.rows:
        raise InputError(f"{where} has no rows; give one row per picture with file_name, label, text, or remove the file")
    return Table(table.rows) if rules < 2 else Table(with_plain_labels(table.rows), table.notes())


def parse_stylegan(where: str, data: bytes) -> Table | None:
    """The labels of a `dataset.json` as StyleGAN's dataset_tool.py writes it: ``{"labels": [["00000/img0.png", 3], …]}``.

    None for a JSON file of another form. Where the labels are null no row has one.
    """
    try:
        labels = json.loads(data)["labels"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return None
    pairs = [] if labels is None else labels
    if not isinstance(pairs, list) or not all(_is_labelled_file(one) for one in pairs):
        return None
    texts = {_plain_path(file): _text_of(label) for file, label in pairs}
    name, vectors, repeats = where.rpartition("/")[2], [*texts.values()].count(None), len(pairs) - len(texts)
    notes = [f"{name}: {vectors:,} labels are no single numbers or names, and are not read"] if vectors else []
    notes += [f"{name}: {repeats:,} rows are about the picture of another row; the last of them counts"] if repeats else []
    return Table(with_plain_labels({file: Row(text or None, None) for file, text in texts.items()}), tuple(notes))


def _is_labelled_file(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)


class _TableReader:
    """Collects the rows of one table, and what is to be said about them."""

    def __init__(self, where: str, rules: int) -> None:
        self.where, self.rules = where, rules
        self.rows: dict[str, Row] = {}
        self.lines: dict[str, int] = {}  # of the row of each picture
        self.repeats: list[str] = []
        self.unread_columns: dict[str, None] = {}  # as an ordered set
        self.odd_values: Counter[str] = Counter()  # rows, by column
        self.long_lines: list[int] = []

    def add(self, line: int, values: Mapping[str | None, Any]) -> None:
        texts = (
            self.texts(line, values) if self.rules >= 2 else {key: value for key, value in values.items() if key is not None}
        )
        name = texts.get("file_name")
        if not name:
            hint = "" if "file_name" in texts else _file_name_hint([key for key in values if key])
            raise InputError(
                f"{self.where}, line {line}: no file_name; every row needs the picture's path relative to the table{hint}"
            )
        partner = texts.get("given_file_name")
        row = Row(
            texts.get("label") or None,
            printable(texts.get("text") or "") or None,  # JSON can spell half of a surrogate pair, which no file can hold
            _plain_path(partner) if partner else None,
        )
        name = _plain_path(name)
        if self.rows.get(name, row) != row:
            self.repeats.append(f"{name} (lines {self.lines[name]} and {line})")
        self.rows[name], self.lines[name] = row, line

    def texts(self, line: int, values: Mapping[str | None, Any]) -> dict[str, str]:
        """Column -> what stands there, for the columns that are read; upper case and blanks around names make no difference."""
        if None in values:  # fields of a CSV file behind its last column
            self.long_lines.append(line)
        texts = {}
        for key, value in values.items():
            column = (key or "").strip().casefold()
            is_twin = key != column and column in values
            if key is not None and (column not in COLUMNS or is_twin):
                self.unread_columns[key] = None
                continue
            text = _text_of(value)
            if text is None:
                self.odd_values[column] += 1
            elif key is not None:
                texts[column] = text if column == "text" else text.strip()
        return texts

    def notes(self) -> tuple[str, ...]:
        """What is odd, in sentences."""
        name = self.where.rpartition("/")[2]
        notes = []
        if self.unread_columns:
            hints = [f"call {key} '{column}' if it is that" for key in self.unread_columns if (column := _meaning(key))]
            notes.append("; ".join([f"columns that are not read: {enumerate_names([*self.unread_columns])}", *hints]))
        for column, count in self.odd_values.items():
            notes.append(f"rows whose {column} is no single text or number, and is not read: {count:,}")
        if self.long_lines:
            lines = enumerate_names([*map(str, self.long_lines)])
            notes.append(f"lines with more fields than there are columns, cut off there: {lines}; quote texts with commas")
        if self.repeats:
            notes.append(f"rows that differ about one picture, of which the last counts: {enumerate_names(self.repeats)}")
        return tuple(f"{name}: {note}" for note in notes)


def with_plain_labels(rows: Mapping[str, Row]) -> dict[str, Row]:
    """The rows, with numbers as labels in one form where all labels are numbers: 1.0 is 1, and -1 is no label.

    >>> rows = with_plain_labels({"a.png": Row("1.0", None), "b.png": Row("1", None), "c.png": Row("-1", None)})
    >>> [row.label for row in rows.values()]
    ['1', '1', None]
    """
    if not all(row.label is None or _PLAIN_NUMBER.fullmatch(row.label) for row in rows.values()):
        return dict(rows)
    return {name: replace(row, label=_plain_number(row.label)) for name, row in rows.items()}


def _plain_number(label: str | None) -> str | None:
    if label is None or "." not in label:
        return None if label == "-1" else label  # 007 may be a code
    number = _text_of(float(label))
    return None if number == "-1" else number


def _text_of(value: Any) -> str | None:
    """A text or number of a table as text, "" for none; None for what is neither, such as a list."""
    if value is None:
        return ""
    if isinstance(value, float):
        if not math.isfinite(value):  # how pandas writes that there is none
            return ""
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value) if isinstance(value, str | int) else None


def _meaning(column: str) -> str:
    """Which of `COLUMNS` others call by this name; "" where none is known."""
    name = column.strip().casefold()
    meaning = next((column for column, names in _SYNONYMS.items() if name in names), "")
    return meaning or next(iter(difflib.get_close_matches(name, COLUMNS, n=1, cutoff=0.75)), "")


def _file_name_hint(columns: Sequence[str]) -> str:
    """The end of an error about a table without a column file_name."""
    if len(columns) == 1 and re.search("[;\t]", columns[0]):
        return "; separate the columns by commas"
    synonym = next((column for column in columns if column.strip().casefold() in _SYNONYMS["file_name"]), None)
    return nearest("file_name", [synonym or "", *columns]) or (f"; did you mean '{synonym}'?" if synonym else "")


def _plain_path(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")


def _csv(where: str, text: str, rules: int) -> Iterator[tuple[int, dict[str | None, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        columns = [name.strip() for name in reader.fieldnames or ()]
        if "file_name" not in (columns if rules < 2 else map(str.casefold, columns)):
            names = ", ".join(columns) or "none"
            raise InputError(f"{where} has no column 'file_name' (its columns: {names}){_file_name_hint(columns)}")
        reader.fieldnames = columns
        for values in reader:
            line: dict[str | None, Any] = {key: value for key, value in values.items() if isinstance(value, str) and key}
            if None in values:
                line[None] = None
            yield reader.line_num, line
    except csv.Error as error:
        raise InputError(f"{where}, line {reader.line_num}: not readable as CSV ({error})") from error


def _jsonl(where: str, text: str, rules: int) -> Iterator[tuple[int, dict[str | None, Any]]]:
    for line, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        try:
            values = json.loads(content)
        except (ValueError, RecursionError) as error:  # Python refuses to read numbers of thousands of digits
            raise InputError(f"{where}, line {line}: not readable as JSON ({error})") from error
        if not isinstance(values, dict):
            raise InputError(f'{where}, line {line}: not a JSON object; write {{"file_name": ..., "label": ..., "text": ...}}')
        yield line, values if rules >= 2 else {key: str(value) for key, value in values.items() if isinstance(value, str | int)}

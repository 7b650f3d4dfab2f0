"""Formats numbers, durations and sizes, and prints tables, in the form that all verbs share."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from limner.core.verb import Result, is_empty

Answer = Mapping[str, Any] | Result
"""The result of a verb, or a part of it."""

MISSING_VALUE = "–"
"""Stands in a cell of a table that has no value."""
MAX_ROWS = 20
"""Rows of a list that are printed; of the rest only the number. ``--json`` prints all."""


def format_duration(seconds: float | None) -> str:
    """A duration in words.

    >>> format_duration(8), format_duration(80), format_duration(7500)
    ('8.0 s', '1 min 20 s', '2 h 5 min')
    """
    if seconds is None:
        return MISSING_VALUE
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def format_size(size: float | None) -> str:
    """A number of bytes with its unit.

    >>> format_size(3_435_973_837)
    '3.2 GiB'
    """
    if size is None:
        return MISSING_VALUE
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def format_value(value: Any) -> str:
    """One value as the text of a table's cell.

    >>> [format_value(value) for value in (1234, 0.5, True, [28, 28, 1], {"train": 90, "val": 10}, None)]
    ['1,234', '0.5', 'yes', '28×28×1', 'train 90, val 10', '–']
    """
    if value is None or value == "":
        return MISSING_VALUE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {format_value(inner)}" for key, inner in value.items()) or MISSING_VALUE
    if isinstance(value, Sequence) and not isinstance(value, str):
        of_numbers = all(isinstance(part, int) and not isinstance(part, bool) for part in value)  # a shape
        return "×".join(map(str, value)) if of_numbers else ", ".join(map(format_value, value))
    return str(value)


def print_pairs(pairs: Sequence[tuple[str, Any]]) -> None:
    """Prints a line with name and value for each pair that has a value."""
    rows = [(name, format_value(value)) for name, value in pairs if not is_empty(value)]
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Prints a table with `columns` as its header; the values of `rows` are formatted by `format_value`."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(*columns, box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for row in rows:
        grid.add_row(*(Text(cell if isinstance(cell, str) else format_value(cell)) for cell in row))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200, highlight=False).print(grid)


def print_rest(count: int) -> None:
    """Prints how many of `count` rows were left out beyond `MAX_ROWS`, if any."""
    if count > MAX_ROWS:
        print(f"… and {count - MAX_ROWS} more (all of them with --json)")

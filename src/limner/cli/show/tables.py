"""Numbers, durations, sizes and tables as text."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

Answer = Mapping[str, Any]
_ABSENT = "–"


def span(seconds: float | None) -> str:
    """8 s, 1 min 20 s, 2 h 5 min."""
    if seconds is None:
        return _ABSENT
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(amount: float | None) -> str:
    """Bytes as 3.2 GiB."""
    if amount is None:
        return _ABSENT
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def short(value: Any) -> str:
    """One value in a table's cell."""
    if value is None or value == "":
        return _ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {short(inner)}" for key, inner in value.items()) or _ABSENT
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "×".join(str(part) for part in value) if all(isinstance(v, int) for v in value) else ", ".join(map(str, value))
    return str(value)


def lines(pairs: Sequence[tuple[str, Any]]) -> None:
    """`name  value` under each other; what is absent is left out."""
    kept = [(name, short(value)) for name, value in pairs if value not in (None, "", {}, [])]
    width = max((len(name) for name, _ in kept), default=0)
    for name, value in kept:
        print(f"{name:<{width}}  {value}")


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(*columns, box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for row in rows:
        grid.add_row(*(Text(cell if isinstance(cell, str) else short(cell)) for cell in row))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200, highlight=False).print(grid)

"""HTML that a notebook shows for the result of a verb: a table, perhaps below a picture.

Reports are pages made from the templates of `pages`. A result stands on the ground floor, which knows no pages, and a notebook
shows it without a template engine.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence


def html_table(rows: Iterable[Sequence[str]], heads: Sequence[str] = (), png: bytes | None = None) -> str:
    """A table of texts, whatever characters they hold, below the picture `png`; the first cell of a row is its heading.

    >>> html_table([["files", "a<b"]])
    '<table><tr><th>files</th><td>a&lt;b</td></tr></table>'
    """
    picture = "" if png is None else f'<img src="data:image/png;base64,{base64.b64encode(png).decode()}">'
    lines = [_line(heads, len(heads))] if heads else []
    lines += [_line(row, 1) for row in rows]
    return f"{picture}<table>{''.join(lines)}</table>"


def _line(cells: Sequence[str], headings: int) -> str:
    """A row of a table; the first `headings` cells are headings."""
    tags = ["th" if place < headings else "td" for place in range(len(cells))]
    return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for tag, cell in zip(tags, cells, strict=True))}</tr>"

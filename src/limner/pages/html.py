"""Pages that open anywhere: what they show is in them (pictures as data, curves as SVG), and nothing in them runs.

Their content policy forbids scripts and the network, so that a page from a stranger opens safely.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def document(title: str, parts: Iterable[str]) -> str:
    """A whole page of `parts`, which are HTML; empty ones are left out."""
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n<body><main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main></body></html>\n"
    )


def picture(png: bytes, words: str) -> str:
    """A picture as data; a click, or the space bar, shows it large, and again to go back. No script: a check box does it."""
    data = base64.b64encode(png).decode("ascii")
    return (
        f'<label class="zoom"><input type="checkbox" aria-label="enlarge: {escape(words)}">'
        f'<img alt="{escape(words)}" src="data:image/png;base64,{data}"></label>'
    )


def figure(image: NDArray[np.uint8], words: str, caption: str) -> str:
    """[H, W, C] with a line below it."""
    from limner.core import images  # torch comes with it, and reports of a run's files do without

    buffer = io.BytesIO()
    images.picture(image).save(buffer, format="PNG")
    return f"<figure>{picture(buffer.getvalue(), words)}<figcaption>{escape(caption)}</figcaption></figure>"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Of texts; a first column of names, and numbers to the right."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>" for name, *cells in rows
    )
    return f'<div class="wide"><table class="numbers"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def number(value: Any) -> float | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None


def digits(value: Any) -> str:
    """Three significant digits; a dash for what is no number."""
    found = number(value)
    return "–" if found is None else f"{found:,.0f}" if abs(found) >= 1000 else f"{found:.3g}"

"""Draws docs/architecture.svg from the imports of the code, and writes what follows from them into the table of rooms.

    python docs/draw_architecture.py

A test fails where the picture or the table is behind the code.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from house import STANDS_ON_TOP, Package, graph_of  # noqa: E402

PICTURE = HERE / "architecture.svg"
PAGE = HERE / "architecture.md"

WIDTH, ROW, MARGIN = 960, 96, 44
BOX = (156, 54)
COLUMNS: Mapping[str, float] = {
    "core": 0.5,
    "nets": 0.14,
    "pages": 0.4,
    "data": 0.63,
    "metrics": 0.88,
    "methods": 0.14,
    "judges": 0.76,
    "recipes": 0.14,
    "runs": 0.27,
    "training": 0.42,
    "evaluation": 0.65,
    "tasks": 0.88,
    "verbs": 0.5,
    "__init__": 0.42,
    "cli": 0.65,
    "studio": 0.88,
}
"""Where a room stands from left to right, as a share of the width; chosen so that few arrows cross."""
CAPTIONS: Mapping[str, str] = {
    "core": "what a method is",
    "nets": "networks",
    "pages": "HTML and charts",
    "data": "sources become sets",
    "metrics": "features and scores",
    "methods": "GAN, VAE, VQ",
    "judges": "the judge of a data set",
    "recipes": "what a run is told",
    "runs": "the run folder",
    "training": "the loop",
    "evaluation": "scores, comparisons",
    "tasks": "verbs on a model",
    "verbs": "the table of verbs",
    "__init__": "import limner",
    "cli": "the command line",
    "studio": "HTTP and web page",
}


def reduced(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """`graph`, which has no circle, without the arrows that a longer way makes plain."""

    def reach(name: str) -> set[str]:
        return {name}.union(*(reach(below) for below in graph[name]))

    return {
        name: {end for end in ends if not any(end in reach(other) for other in ends - {end})} for name, ends in graph.items()
    }


def picture(package: Package) -> str:
    """The rooms on their floors, and the arrows between them, as SVG."""
    floors = package.floors
    places: dict[str, tuple[float, float]] = {}
    top = max(floors.values())
    for name, floor in floors.items():
        places[name] = (WIDTH * COLUMNS.get(name, 0.5), MARGIN + ROW * (top - floor) + BOX[1] / 2)
    height = 2 * MARGIN + ROW * (top - 1) + BOX[1]
    graph = reduced(graph_of(package.rooms - {STANDS_ON_TOP}, package.arrows.keys()))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" text-anchor="middle">',
        "<style>text {font-family: sans-serif}</style>",
        "<title>The rooms of limner on their floors; imports run only downward</title>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">',
        '<path d="M0 0 8 4 0 8z" fill="#5a6b7b"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for floor in range(1, top + 1):  # a band for each
        y = MARGIN + ROW * (top - floor) + BOX[1] / 2
        lines.append(f'<rect x="0" y="{y - 40:g}" width="{WIDTH}" height="80" fill="#f4f1ea"/>')
        lines.append(f'<text x="18" y="{y + 5:g}" font-size="15" fill="#8a7f6a">{floor}</text>')
    for name, ends in sorted(graph.items()):
        for end in sorted(ends, key=lambda other: places[other]):
            lines.append(_arrow(places[name], places[end]))
    for name, (x, y) in sorted(places.items()):
        lines += _box(name, x, y)
    return "\n".join([*lines, "</svg>", ""])


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    """From the lower edge of one room to the upper edge of another."""
    x, y = start[0], start[1] + BOX[1] / 2
    to_x, to_y = end[0], end[1] - BOX[1] / 2 - 2
    bend = (to_y - y) / 2
    curve = f"M{x:.0f} {y:.0f} C{x:.0f} {y + bend:.0f} {to_x:.0f} {to_y - bend:.0f} {to_x:.0f} {to_y:.0f}"
    return f'<path d="{curve}" fill="none" stroke="#5a6b7b" stroke-width="1.4" marker-end="url(#head)"/>'


def _box(name: str, x: float, y: float) -> Iterator[str]:
    width, height = BOX
    yield (
        f'<rect x="{x - width / 2:.0f}" y="{y - height / 2:.0f}" width="{width}" height="{height}" rx="6" fill="#ffffff" '
        'stroke="#2f3e4c" stroke-width="1.5"/>'
    )
    yield f'<text x="{x:.0f}" y="{y - 3:.0f}" font-size="16" font-weight="bold" fill="#1d2833">{escape(name)}</text>'
    yield f'<text x="{x:.0f}" y="{y + 16:.0f}" font-size="11.5" fill="#51606e">{escape(CAPTIONS.get(name, ""))}</text>'


ROOM_ROW = re.compile(r"^\| (\d+) \| `(\w+)` \| (.*?) \| (.*?) \|$", re.M)
"""Floor, room, what it holds, the rooms that it imports."""


def page(package: Package, text: str) -> str:
    """`text` of the page with floors and imports as they are; rows from the top floor down."""
    holds = {room: what for _, room, what, _ in ROOM_ROW.findall(text)}
    rows = []
    for room, floor in sorted(package.floors.items(), key=lambda item: (-item[1], item[0])):
        below = sorted({there for here, there in package.arrows if here == room})
        rows.append(f"| {floor} | `{room}` | {holds.get(room, '')} | {', '.join(f'`{name}`' for name in below) or 'nothing'} |")
    matches = list(ROOM_ROW.finditer(text))
    return text[: matches[0].start()] + "\n".join(rows) + text[matches[-1].end() :]


if __name__ == "__main__":
    limner = Package()
    PICTURE.write_text(picture(limner), encoding="utf-8")
    PAGE.write_text(page(limner, PAGE.read_text(encoding="utf-8")), encoding="utf-8")

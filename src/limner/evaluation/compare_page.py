"""A comparison as a page, and as one picture: the table, what may be claimed, the same seeds side by side, curves over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from limner.core.images import grid, side_by_side, to_pillow
from limner.evaluation.report_page import called, meaning
from limner.metrics.scores import METRICS
from limner.metrics.stats.intervals import NO_DIFFERENCE
from limner.pages.charts import Curve, interval_chart, line_chart
from limner.pages.html import PageTable, Tile, make_figure, render
from limner.pages.numbers import finite_number, format_count, format_number

if TYPE_CHECKING:
    from markupsafe import Markup

Row = Mapping[str, Any]
Pixels = NDArray[np.uint8]
ACROSS = 5
"""Grids beside one another on a sheet."""
CURVES = {"frechet": "Fréchet distance", "coverage": "Coverage", "class_distance": "Class distance"}
COLOURS = 6
LETTERS = 16  # pixels


def sheet(grids: Mapping[str, Pixels]) -> Pixels:
    """One picture [H, W, C] of all pictures [n, h, w, C], each in a grid of its own with its name above."""
    named = [_named(name, grid(images)) for name, images in grids.items()]
    rows = [side_by_side(*named[first : first + ACROSS]) for first in range(0, len(named), ACROSS)]
    width = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(row, ((0, 8), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows])


def _named(name: str, image: Pixels) -> Pixels:
    """[H, W, C] with `name` above it, or as much of its end as fits."""
    font, width = ImageFont.load_default(LETTERS), image.shape[1]
    shown = next(
        (text for text in (name, *(f"…{name[cut:]}" for cut in range(1, len(name)))) if font.getlength(text) <= width - 4), ""
    )
    strip = Image.new(to_pillow(image).mode, (width, LETTERS + 10), "white")
    ImageDraw.Draw(strip).text((2, 3), shown, fill="black", font=font)
    return np.concatenate([np.asarray(strip).reshape(LETTERS + 10, width, image.shape[2]), image])


def page(answer: Row, grids: Mapping[str, Pixels], scores: Mapping[str, Sequence[Row]]) -> str:
    """The whole page as text; `scores`: what each run said of itself while it trained."""
    features = (answer["features"] or {}).get("name")
    groups = answer["groups"]
    facts = {
        "title": " · ".join(row["name"] for row in answer["table"]),
        "tiles": _tiles(answer),
        "notes": answer["notes"],
        "claims": sentences(answer["differences"], features),
        "pictures": [make_figure(grid(images), f"pictures of {name}", name) for name, images in grids.items()],
        "seeds": max(map(len, grids.values()), default=0),
        "groups": groups,
        "group_claims": sentences(answer["group_differences"], features) if groups else [],
        "group_means": _group_means(groups, features),
        "runs": _runs(answer["table"]),
        "scores": _scores(answer["table"], features),
        "intervals": _intervals(answer["table"], features),
        "curves": _curves(scores),
        "differences": _differences(answer["differences"]),
    }
    return render("evaluation/compare_page.html", facts)


def _tiles(answer: Row) -> list[Tile]:
    reference = answer["reference"]
    tiles = [
        Tile("compared", str(len(answer["table"]))),
        Tile("against", f"{reference['count']:,} of {reference['data']} ({reference['split']})"),
    ]
    if answer["features"]:
        tiles += [Tile("pictures of each", format_count(answer["count"])), Tile("features", answer["features"]["name"])]
    return tiles


def sentences(differences: Sequence[Row], features: str | None) -> list[tuple[str, str]]:
    """(score, what may be said of it): claims first, then, in one clause, all pairs that allow none."""
    claims = []
    for metric, rows in groupby(differences, key=lambda row: row["metric"]):
        claimed: dict[str, list[str]] = {}
        unclear = []
        for row in rows:
            first = row["claim"] or (row["a"] if row["difference"] > 0 else row["b"])
            if row["sure"]:
                claimed.setdefault(first, []).append(row["b"] if first == row["a"] else row["a"])
            else:
                unclear.append(f"{row['a']} and {row['b']}")
        directed = metric in METRICS and METRICS[metric].better != "as real"
        clauses = [
            f"{first} {'is better' if directed else 'has more'} than {', '.join(rest)}" for first, rest in claimed.items()
        ]
        if clauses and not directed:
            clauses[-1] += " (best is what real pictures have)"
        if unclear:
            clauses.append(f"{', '.join(unclear)}: {NO_DIFFERENCE}" if clauses else NO_DIFFERENCE)
        claims.append((called(metric, features), "; ".join(clauses)))
    return claims


def _runs(rows: Sequence[Row]) -> PageTable:
    """What was compared: how each run was trained, dashes where nobody knows."""
    cells = [
        [
            row["name"],
            row["preset"] or "–",
            format_count(row["images"]) or "–",
            "–" if row["seed"] is None else str(row["seed"]),
            "–" if row["seconds"] is None else f"{row['seconds']:,.0f} s",
            row["path"],
        ]
        for row in rows
    ]
    return PageTable(["", "preset", "images seen", "seed", "training", "path"], cells)


def _scores(rows: Sequence[Row], features: str | None) -> PageTable:
    """Every score of everything that was compared."""
    lines = []
    for metric in dict.fromkeys(name for row in rows for name in row["metrics"]):
        there = [row["metrics"].get(metric) for row in rows]
        null = next((one["null"] for one in there if one is not None and one["null"] is not None), None)
        lines.append([called(metric, features), *map(_cell, there), format_number(null), meaning(metric)])
    return PageTable(["", *(row["name"] for row in rows), "real pictures", "what it says"], lines)


def _cell(one: Row | None) -> str:
    if one is None:
        return "–"
    return format_number(one["value"]) + ("" if one["error"] is None else f" ± {format_number(one['error'])}")


def _intervals(rows: Sequence[Row], features: str | None) -> list[Markup]:
    """One chart for each score whose own intervals say something."""
    charts = []
    for metric in dict.fromkeys(name for row in rows for name in row["metrics"]):
        shown = [
            (row["name"], one["value"], one["low"], one["high"])
            for row in rows
            if (one := row["metrics"].get(metric)) is not None and one["low"] is not None
        ]
        null = next(row["metrics"][metric]["null"] for row in rows if metric in row["metrics"])
        if shown:
            charts.append(interval_chart(called(metric, features), shown, None if null is None else ("real pictures", null)))
    return charts


def _group_means(groups: Sequence[Row], features: str | None) -> PageTable:
    """Of every score its mean over the trainings of each group."""
    metrics = list(dict.fromkeys(name for group in groups for name in group["metrics"]))
    lines = [
        [called(name, features), *(_with_ends(group["metrics"].get(name)) for group in groups), meaning(name)]
        for name in metrics
    ]
    return PageTable(["", *(group["name"] for group in groups), "what it says"], lines)


def _with_ends(over: Row | None) -> str:
    return (
        "–" if over is None else f"{format_number(over['mean'])} [{format_number(over['low'])}, {format_number(over['high'])}]"
    )


def _curves(scores: Mapping[str, Sequence[Row]]) -> list[Markup]:
    """What runs scored while they trained, one chart for each score that was written down."""
    charts = []
    for key, title in CURVES.items():
        curves = [
            Curve(name, points, dots=True, dashed=place >= COLOURS)
            for place, (name, rows) in enumerate(scores.items())
            if (points := _points(rows, key))
        ]
        charts.append(line_chart(f"{title} over images seen", curves, zero=True))
    return [chart for chart in charts if chart]


def _points(rows: Sequence[Row], key: str) -> list[tuple[float, float]]:
    return [(float(row["images"]), value) for row in rows if (value := finite_number(row.get(key))) is not None]


def _differences(differences: Sequence[Row]) -> PageTable:
    """Every pair in every score."""
    lines = [
        [
            row["metric"],
            f"{row['a']} − {row['b']}",
            format_number(row["difference"]),
            f"{format_number(row['low'])} to {format_number(row['high'])}",
            format_number(row["p"]),
            row["words"],
        ]
        for row in differences
    ]
    return PageTable(["", "of", "difference", "95 % interval", "p (Holm)", "what may be said"], lines)

"""The page and the picture of a comparison: claims, the same seeds side by side, tables, intervals, curves over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from limner.core.documents import finite_number
from limner.core.images import grid, side_by_side, to_pillow
from limner.evaluation.report_page import display_name, meaning
from limner.evaluation.verdict import headline
from limner.metrics.scores import METRICS
from limner.metrics.stats.intervals import NO_DIFFERENCE
from limner.pages.charts import Curve, interval_chart, line_chart
from limner.pages.html import PageTable, Tile, make_figure, render
from limner.pages.numbers import format_count, format_number

if TYPE_CHECKING:
    from markupsafe import Markup

Row = Mapping[str, Any]
"""The result of a comparison, or a part of it: what `--json` prints."""
Pixels = NDArray[np.uint8]
GRIDS_PER_ROW = 5
"""Grids that stand beside each other on a sheet."""
CURVES = {"frechet": "Fréchet distance", "coverage": "Coverage", "class_distance": "Class distance"}
"""The scores of a training that get a chart, with its title."""
CURVE_COLOURS = 6
"""Colours of curves in the style of the pages; further curves are dashed and take the colours again."""
FONT_SIZE = 16
"""Of the names on a sheet, in pixels."""


def sheet(grids: Mapping[str, Pixels]) -> Pixels:
    """One picture [H, W, C] of all pictures [n, h, w, C], each group in a grid of its own with its name above."""
    tiles = [_with_name(name, grid(images)) for name, images in grids.items()]
    rows = [side_by_side(*tiles[first : first + GRIDS_PER_ROW]) for first in range(0, len(tiles), GRIDS_PER_ROW)]
    width = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(row, ((0, 8), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows])


def _with_name(name: str, image: Pixels) -> Pixels:
    """`image` [H, W, C] with `name` above it, or with as much of the end of `name` as fits."""
    font, width = ImageFont.load_default(FONT_SIZE), image.shape[1]
    endings = (name, *(f"…{name[cut:]}" for cut in range(1, len(name))))
    text = next((ending for ending in endings if font.getlength(ending) <= width - 4), "")
    strip = Image.new(to_pillow(image).mode, (width, FONT_SIZE + 10), "white")
    ImageDraw.Draw(strip).text((2, 3), text, fill="black", font=font)
    return np.concatenate([np.asarray(strip).reshape(FONT_SIZE + 10, width, image.shape[2]), image])


def render_comparison(answer: Row, grids: Mapping[str, Pixels], scores: Mapping[str, Sequence[Row]]) -> str:
    """The page of a comparison as HTML. `answer` is its result, `grids` are pictures [n, H, W, C] by the name of the run or
    folder, and `scores` are the rows that each run logged about itself while it trained."""
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
        "verdicts": nearness_rows(answer["table"]),
        "settings": _settings(answer["table"]),
        "scores": _scores(answer["table"], features),
        "intervals": _intervals(answer["table"], features),
        "curves": _curves(scores),
        "differences": _differences(answer["differences"]),
    }
    return render("evaluation/compare_page.html", facts)


def _tiles(answer: Row) -> list[Tile]:
    """The facts at the top of the page."""
    reference = answer["reference"]
    tiles = [
        Tile("compared", str(len(answer["table"]))),
        Tile("against", f"{reference['count']:,} of {reference['data']} ({reference['split']})"),
    ]
    if answer["features"]:
        tiles += [Tile("pictures of each", format_count(answer["count"])), Tile("features", answer["features"]["name"])]
    return tiles


def sentences(differences: Sequence[Row], features: str | None) -> list[tuple[str, str]]:
    """(name of a metric, what may be said of it), for each metric of `differences`, whose rows are those of
    `limner.evaluation.claims.claims`. Claims come first, and then the pairs that allow none."""
    texts = []
    for metric, rows in groupby(differences, key=lambda row: row["metric"]):
        losers: dict[str, list[str]] = {}
        unclear = []
        for row in rows:
            winner = row["claim"] or (row["a"] if row["difference"] > 0 else row["b"])
            if row["sure"]:
                losers.setdefault(winner, []).append(row["b"] if winner == row["a"] else row["a"])
            else:
                unclear.append(f"{row['a']} and {row['b']}")
        has_direction = metric in METRICS and METRICS[metric].better != "as real"
        verb = "is better" if has_direction else "has more"
        clauses = [f"{winner} {verb} than {', '.join(names)}" for winner, names in losers.items()]
        if clauses and not has_direction:
            clauses[-1] += " (best is what real pictures have)"
        if unclear:
            clauses.append(f"{', '.join(unclear)}: {NO_DIFFERENCE}" if clauses else NO_DIFFERENCE)
        texts.append((display_name(metric, features), "; ".join(clauses)))
    return texts


def _runs(rows: Sequence[Row]) -> PageTable:
    """A row for each run or set of pictures: how it was trained, with dashes where this is unknown."""
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


def nearness_rows(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """(name, how near its pictures are to real ones, in a sentence) of each of `rows` whose report says so.

    Where there are copies among them, the sentence about these stands before.
    """
    return [(row["name"], " ".join(headline(row["verdict"]))) for row in rows if row.get("verdict")]


def setting_rows(rows: Sequence[Row]) -> list[list[Any]]:
    """A line for each setting in which the runs differ: its key, and its value in each run, None where it has none."""
    keys = dict.fromkeys(key for row in rows for key in row["settings"])
    return [[key, *(row["settings"].get(key) for row in rows)] for key in keys]


def _settings(rows: Sequence[Row]) -> PageTable | None:
    """The table of those settings; None where there are none."""
    lines = [["" if cell is None else str(cell) for cell in line] for line in setting_rows(rows)]
    return PageTable(["setting", *(row["name"] for row in rows)], lines) if lines else None


def _scores(rows: Sequence[Row], features: str | None) -> PageTable:
    """A row for each metric, with a column for each of `rows` and one for real pictures (the null)."""
    lines = []
    for metric in _metrics_of(rows):
        scores = [row["metrics"].get(metric) for row in rows]
        null = next((score["null"] for score in scores if score is not None and score["null"] is not None), None)
        lines.append([display_name(metric, features), *map(_with_error, scores), format_number(null), meaning(metric)])
    return PageTable(["", *(row["name"] for row in rows), "real pictures", "what it says"], lines)


def _metrics_of(rows: Sequence[Row]) -> list[str]:
    """The names of all metrics in `rows`, each once."""
    return list(dict.fromkeys(name for row in rows for name in row["metrics"]))


def _with_error(score: Row | None) -> str:
    """``0.42 ± 0.03``, and a dash for None."""
    if score is None:
        return "–"
    return format_number(score["value"]) + ("" if score["error"] is None else f" ± {format_number(score['error'])}")


def _intervals(rows: Sequence[Row], features: str | None) -> list[Markup]:
    """A chart for each metric whose scores have intervals."""
    charts = []
    for metric in _metrics_of(rows):
        scores = {row["name"]: row["metrics"][metric] for row in rows if metric in row["metrics"]}
        null = next(score["null"] for score in scores.values())
        intervals = [(name, one["value"], one["low"], one["high"]) for name, one in scores.items() if one["low"] is not None]
        if intervals:
            mark = None if null is None else ("real pictures", null)
            charts.append(interval_chart(display_name(metric, features), intervals, mark))
    return charts


def _group_means(groups: Sequence[Row], features: str | None) -> PageTable:
    """A row for each metric: its mean over the trainings of each group, with the interval."""
    lines = [
        [display_name(name, features), *(_with_interval(group["metrics"].get(name)) for group in groups), meaning(name)]
        for name in _metrics_of(groups)
    ]
    return PageTable(["", *(group["name"] for group in groups), "what it says"], lines)


def _with_interval(score: Row | None) -> str:
    """``0.42 [0.36, 0.48]``, and a dash for None."""
    if score is None:
        return "–"
    return f"{format_number(score['mean'])} [{format_number(score['low'])}, {format_number(score['high'])}]"


def _curves(scores: Mapping[str, Sequence[Row]]) -> list[Markup]:
    """What runs scored while they trained: a chart for each metric of `CURVES` that was logged."""
    charts = []
    for key, title in CURVES.items():
        curves = [
            Curve(name, points, dots=True, dashed=number >= CURVE_COLOURS)
            for number, (name, rows) in enumerate(scores.items())
            if (points := _points(rows, key))
        ]
        charts.append(line_chart(f"{title} over images seen", curves, zero=True))
    return [chart for chart in charts if chart]


def _points(rows: Sequence[Row], key: str) -> list[tuple[float, float]]:
    """(images seen, score `key`) of the rows that have a finite one."""
    return [(float(row["images"]), value) for row in rows if (value := finite_number(row.get(key))) is not None]


def _differences(differences: Sequence[Row]) -> PageTable:
    """A row for each pair in each metric."""
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

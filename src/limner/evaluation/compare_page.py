"""A comparison as a page, and as one picture: the table, what may be claimed, the same seeds side by side, curves over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from limner.core.images import grid, picture, side_by_side
from limner.evaluation.report_page import called, meaning
from limner.metrics.stats.intervals import NONE
from limner.metrics.stats.score import HIGHER_IS_BETTER, LOWER_IS_BETTER
from limner.pages.charts import Curve, chart, whiskers
from limner.pages.html import count, digits, document, figure, number, table

Row = Mapping[str, Any]
Pixels = NDArray[np.uint8]
ACROSS = 5
"""Grids beside one another on a sheet."""
CURVES = {"frechet": "Fréchet distance", "coverage": "Coverage", "class_distance": "Class distance"}
COLOURS = 6
LETTERS = 16  # pixels
HINT = (
    "<p class='hint'>By 95 % intervals of other samples from the same models, against the same real pictures; the pairs of one "
    "score are looked at together (Holm).</p>"
)


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
    strip = Image.new(picture(image).mode, (width, LETTERS + 10), "white")
    ImageDraw.Draw(strip).text((2, 3), shown, fill="black", font=font)
    return np.concatenate([np.asarray(strip).reshape(LETTERS + 10, width, image.shape[2]), image])


def page(answer: Row, grids: Mapping[str, Pixels], scores: Mapping[str, Sequence[Row]]) -> str:
    """The whole page as text; `scores`: what each run said of itself while it trained."""
    names = [row["name"] for row in answer["table"]]
    return document(
        f"{' · '.join(names)} · compared",
        [
            _head(answer),
            _notes(answer["notes"]),
            _said(answer),
            _seeds(grids),
            _groups(answer),
            _numbers(answer),
            _intervals(answer),
            _curves(scores),
            _pairs(answer["differences"]),
        ],
    )


def _head(answer: Row) -> str:
    reference, rows = answer["reference"], answer["table"]
    tiles = [("compared", str(len(rows))), ("against", f"{reference['count']:,} of {reference['data']} ({reference['split']})")]
    if answer["features"]:
        tiles += [("pictures of each", count(answer["count"])), ("features", answer["features"]["name"])]
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in tiles)
    title = " · ".join(row["name"] for row in rows)
    return f'<header><p class="eyebrow">compared</p><h1>{escape(title)}</h1><dl class="tiles">{cells}</dl></header>'


def _notes(texts: Sequence[str]) -> str:
    items = "".join(f"<p>{escape(text[:1].upper() + text[1:])}.</p>" for text in texts)
    return f'<section class="warnings"><h2>Before you believe the numbers</h2>{items}</section>' if items else ""


def sentences(differences: Sequence[Row], features: str | None) -> list[tuple[str, str]]:
    """(score, what may be said of it): claims first, then, in one clause, all pairs that allow none."""
    found = []
    for metric, rows in groupby(differences, key=lambda row: row["metric"]):
        claimed: dict[str, list[str]] = {}
        unclear = []
        for row in rows:
            first = row["claim"] or (row["a"] if row["difference"] > 0 else row["b"])
            if row["sure"]:
                claimed.setdefault(first, []).append(row["b"] if first == row["a"] else row["a"])
            else:
                unclear.append(f"{row['a']} and {row['b']}")
        directed = metric in LOWER_IS_BETTER | HIGHER_IS_BETTER
        told = [f"{first} {'is better' if directed else 'has more'} than {', '.join(rest)}" for first, rest in claimed.items()]
        if told and not directed:
            told[-1] += " (best is what real pictures have)"
        if unclear:
            told.append(f"{', '.join(unclear)}: {NONE}" if told else NONE)
        found.append((called(metric, features), "; ".join(told)))
    return found


def _said(answer: Row) -> str:
    features = (answer["features"] or {}).get("name")
    found = sentences(answer["differences"], features)
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(words)}</td></tr>" for name, words in found)
    return f"<section><h2>What may be claimed</h2><table>{rows}</table>{HINT}</section>"


def _numbers(answer: Row) -> str:
    rows, features = answer["table"], (answer["features"] or {}).get("name")
    facts = table(
        ["", "preset", "images seen", "seed", "training", "path"],
        [[row["name"], row["preset"] or "–", count(row["images"]) or "–", str(row["seed"] if row["seed"] is not None else "–"),
          f"{row['seconds']:,.0f} s" if row["seconds"] is not None else "–", row["path"]] for row in rows],
    )  # fmt: skip
    lines = []
    for metric in dict.fromkeys(name for row in rows for name in row["metrics"]):
        there = [row["metrics"].get(metric) for row in rows]
        null = next((one["null"] for one in there if one is not None and one["null"] is not None), None)
        lines.append([called(metric, features), *map(_cell, there), digits(null), meaning(metric)])
    scores = table(["", *(row["name"] for row in rows), "real pictures", "what it says"], lines)
    return f"<section><h2>Numbers</h2>{facts}{scores}</section>"


def _cell(one: Row | None) -> str:
    if one is None:
        return "–"
    return digits(one["value"]) + ("" if one["error"] is None else f" ± {digits(one['error'])}")


def _intervals(answer: Row) -> str:
    """One picture for each score whose own intervals say something."""
    features = (answer["features"] or {}).get("name")
    charts = []
    for metric in dict.fromkeys(name for row in answer["table"] for name in row["metrics"]):
        rows = [
            (row["name"], one["value"], one["low"], one["high"])
            for row in answer["table"]
            if (one := row["metrics"].get(metric)) is not None and one["low"] is not None
        ]
        nulls = [row["metrics"][metric]["null"] for row in answer["table"] if metric in row["metrics"]]
        mark = ("real pictures", nulls[0]) if nulls[0] is not None else None
        if rows:
            charts.append(whiskers(called(metric, features), rows, mark))
    return f'<section><h2>With their intervals</h2><div class="charts">{"".join(charts)}</div></section>' if charts else ""


def _groups(answer: Row) -> str:
    groups, features = answer["groups"], (answer["features"] or {}).get("name")
    if not groups:
        return ""
    members = "".join(f"<p class='hint'>{escape(group['name'])}: {escape(', '.join(group['runs']))}</p>" for group in groups)
    metrics = list(dict.fromkeys(name for group in groups for name in group["metrics"]))
    means = [
        [called(name, features), *(_with_ends(group["metrics"].get(name)) for group in groups), meaning(name)]
        for name in metrics
    ]
    found = sentences(answer["group_differences"], features)
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(words)}</td></tr>" for name, words in found)
    return (
        "<section><h2>Recipes, over several trainings</h2><p class='hint'>Means over runs that differ in their seed alone, "
        f"with Student's t intervals over trainings.</p>{members}<table>{rows}</table>"
        + table(["", *(group["name"] for group in groups), "what it says"], means)
        + "</section>"
    )


def _with_ends(over: Row | None) -> str:
    return "–" if over is None else f"{digits(over['mean'])} [{digits(over['low'])}, {digits(over['high'])}]"


def _seeds(grids: Mapping[str, Pixels]) -> str:
    if not grids:
        return ""
    figures = "".join(figure(grid(images), f"pictures of {name}", name) for name, images in grids.items())
    return (
        f'<section><h2>Side by side</h2><p class="hint">The first {max(map(len, grids.values()))} seeds of every run, in one '
        f'order (of files, some at random): nothing was chosen.</p><div class="pair">{figures}</div></section>'
    )


def _curves(scores: Mapping[str, Sequence[Row]]) -> str:
    charts = []
    for key, title in CURVES.items():
        curves = [
            Curve(name, points, dots=True, dashed=place >= COLOURS)
            for place, (name, rows) in enumerate(scores.items())
            if (points := _points(rows, key))
        ]
        charts.append(chart(f"{title} over images seen", curves, zero=True))
    inside = "".join(charts)
    return (
        "<section><h2>Over time</h2><p class='hint'>What each run said of itself while it trained, against the validation "
        f'split: fewer samples, so not the numbers above.</p><div class="charts">{inside}</div></section>'
        if inside
        else ""
    )


def _points(rows: Sequence[Row], key: str) -> list[tuple[float, float]]:
    return [(float(row["images"]), value) for row in rows if (value := number(row.get(key))) is not None]


def _pairs(differences: Sequence[Row]) -> str:
    rows = [
        [row["metric"], f"{row['a']} − {row['b']}", digits(row["difference"]), f"{digits(row['low'])} to {digits(row['high'])}",
         digits(row["p"]), row["words"]]
        for row in differences
    ]  # fmt: skip
    inside = table(["", "of", "difference", "95 % interval", "p (Holm)", "what may be said"], rows)
    return f"<details><summary>All differences</summary>{inside}</details>"

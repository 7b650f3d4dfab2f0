"""Verb: one run as one page, `report.html`, made from the run's files alone.

The page holds everything it shows (pictures as data, curves as SVG) and no script; its content policy forbids scripts and the
network, so that a run from a stranger opens safely. Whatever file is missing or half-written, its part of the page is left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import yaml

from limner.core.files import write_text
from limner.pages.charts import Curve, chart
from limner.pages.html import count, document, number, picture

Row = Mapping[str, Any]
STRIP = 24  # previews shown, spread evenly from the first to the newest
POINTS = 500  # points of a curve


def write_report(run: Path) -> Path:
    """Writes `report.html` into the run folder and returns its path. Errors: `InputError` where the folder is no run."""
    if not any((run / name).exists() for name in ("recipe.yaml", "status.json", "metrics.jsonl")):
        from limner.runs.run import Run  # knows runs by the beginning of their names, and says what is there instead

        run = Run.open(run).path
    path = run / "report.html"
    write_text(path, page(run))
    return path


def page(run: Path) -> str:
    """The whole page as text."""
    recipe, status, provenance = _yaml(run / "recipe.yaml"), _json(run / "status.json"), _json(run / "provenance.json")
    metrics, scores = _rows(run / "metrics.jsonl"), _rows(run / "scores.jsonl")
    previews = _previews(run / "previews")
    title = f"{_data_name(recipe)} · {_text(recipe.get('preset')) or 'limner'}"
    body = [
        _head(run, title, status, metrics, scores),
        _warnings(status),
        _pictures(run / "previews" / "reals.png", previews),
        _strip(previews),
        _curves(metrics, scores),
        _facts(recipe, status, provenance, metrics),
        _folded("Recipe", _read(run / "recipe.yaml")),
        _folded("Command", _command(provenance)),
    ]
    return document(title, body)


# ---- reading: a file that is missing or broken is an absent value -------------------------------------------------------


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _json(path: Path) -> Row:
    try:
        value = json.loads(_read(path))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _yaml(path: Path) -> Row:
    try:
        value = yaml.safe_load(_read(path))
    except yaml.YAMLError:
        return {}
    return value if isinstance(value, dict) else {}


def _rows(path: Path) -> list[Row]:
    """The rows of a JSON-lines file; a last line cut off by a kill is left out."""
    rows: list[Row] = []
    for line in _read(path).splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and number(row.get("images")) is not None:
            rows.append(row)
    return rows


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: Any) -> Row:
    return value if isinstance(value, Mapping) else {}


def _data_name(recipe: Row) -> str:
    source = _text(_mapping(recipe.get("data")).get("source")) or _text(recipe.get("data"))
    return Path(source).name or source or "a run"


def _command(provenance: Row) -> str:
    command = provenance.get("command")
    return " ".join(map(str, command)) if isinstance(command, list) else _text(command)


def _previews(folder: Path) -> list[tuple[int, Path]]:
    """(images seen, file), oldest first, at most `STRIP` of them."""
    if not folder.is_dir():
        return []
    found = sorted((int(path.stem), path) for path in folder.glob("*.png") if path.stem.isascii() and path.stem.isdigit())
    if len(found) <= STRIP:
        return found
    return [found[round(i * (len(found) - 1) / (STRIP - 1))] for i in range(STRIP)]


def _image(path: Path, words: str) -> str:
    try:
        return picture(path.read_bytes(), words)
    except OSError:
        return ""


# ---- the parts of the page ----------------------------------------------------------------------------------------------


def _head(run: Path, title: str, status: Row, metrics: Sequence[Row], scores: Sequence[Row]) -> str:
    state = _text(status.get("state")) or "unknown"
    images = number(status.get("images"))
    if images is None and metrics:
        images = number(metrics[-1]["images"])
    seconds = number(status.get("seconds")) or (number(metrics[-1].get("seconds")) if metrics else None)
    judged = [(score, row) for row in scores if (score := number(row.get("frechet"))) is not None]
    tiles = [("images seen", count(images)), ("time", _span(seconds))]
    if judged:
        score, row = min(judged, key=lambda pair: pair[0])
        null = number(row.get("null"))
        note = f"at {count(number(row['images']))} images" + (f"; real pictures get {null:.3g}" if null is not None else "")
        tiles.append(("best Fréchet distance", f'{score:.3g} <small title="in the judge\'s features">{escape(note)}</small>'))
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in tiles if value)
    return (
        f'<header><p class="eyebrow">{escape(run.resolve().name)} <span class="chip">{escape(state)}</span></p>'
        f'<h1>{escape(title)}</h1><dl class="tiles">{cells}</dl></header>'
    )


def _warnings(status: Row) -> str:
    told = status.get("warnings")
    texts = [_text(_mapping(warning).get("text")) for warning in told] if isinstance(told, list) else []
    items = "".join(f"<p>{escape(text)}</p>" for text in texts if text)
    return f'<section class="warnings" role="alert"><h2>What goes wrong</h2>{items}</section>' if items else ""


def _pictures(reals: Path, previews: Sequence[tuple[int, Path]]) -> str:
    figures = []
    if previews:
        images, path = previews[-1]
        newest = _image(path, f"made by the model after {images:,} images")
        figures.append(f"<figure>{newest}<figcaption>made by the model, after {count(images)} images</figcaption></figure>")
    if real := _image(reals, "real pictures") if reals.is_file() else "":
        figures.append(f"<figure>{real}<figcaption>real pictures</figcaption></figure>")
    return f'<section class="pair">{"".join(figures)}</section>' if figures else ""


def _strip(previews: Sequence[tuple[int, Path]]) -> str:
    if len(previews) < 2:
        return ""
    frames = "".join(
        f"<figure>{_image(path, f'after {images:,} images')}<figcaption>{count(images)}</figcaption></figure>"
        for images, path in previews
    )
    return (
        '<section><h2>Through time</h2><p class="hint">The same seeds at every point; the number is the images seen. '
        f'Click a picture to enlarge it.</p><div class="strip" tabindex="0">{frames}</div></section>'
    )


def _facts(recipe: Row, status: Row, provenance: Row, metrics: Sequence[Row]) -> str:
    last = metrics[-1] if metrics else {}
    seconds = number(last.get("seconds"))
    parameters = _mapping(status.get("parameters")) or _mapping(provenance.get("parameters"))
    facts = [
        ("parameters", ", ".join(f"{name} {count(number(value))}" for name, value in parameters.items())),
        ("speed", f"{last['images'] / seconds:,.0f} images/s over all" if seconds else ""),
        ("memory", f"{memory / 2**30:.2f} GiB" if (memory := number(last.get("memory"))) else ""),
        ("seed", str(recipe["seed"]) if isinstance(recipe.get("seed"), int) else ""),
        ("precision", _text(provenance.get("precision")) or _text(recipe.get("precision"))),
        ("hardware", _flat(provenance.get("hardware"))),
        ("versions", _flat(provenance.get("versions"))),
        ("data fingerprint", _text(_mapping(provenance.get("data")).get("fingerprint"))),
    ]
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts if value)
    return f"<section><h2>Facts</h2><table>{rows}</table></section>" if rows else ""


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {inner}" for key, inner in value.items() if isinstance(inner, str | int | float))
    return _text(value)


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text.strip())}</pre></details>" if text.strip() else ""


def _span(seconds: float | None) -> str:
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def _curves(metrics: Sequence[Row], scores: Sequence[Row]) -> str:
    names = [str(name) for name in dict.fromkeys(name for row in metrics for name in _mapping(row.get("losses")))]
    players = {str(name) for row in metrics for name in _mapping(row.get("lr"))} or set(names)

    def both(group: Iterable[str]) -> list[Curve]:
        """Curves of training, then the same on held-out pictures."""
        trained = [Curve(name, _points(metrics, "losses", name), smooth=True) for name in group]
        return trained + [
            Curve(f"held_out_{c.name}", _points(metrics, "watch", f"held_out_{c.name}"), dots=True) for c in trained
        ]

    varied = [
        Curve("distance between two", _points(metrics, "watch", "diversity"), dots=True),
        Curve("share with a twin", _points(metrics, "watch", "twins"), dots=True),
    ]
    norms = [
        Curve(player, _points(metrics, "watch", f"gradient_norm/{player}"), smooth=True)
        for player in names
        if player in players
    ]
    judged = [
        Curve("Fréchet distance", _points(scores, "frechet"), dots=True),
        Curve("real against real", _points(scores, "null"), dashed=True),
    ]
    shares = [
        Curve("class distance", _points(scores, "class_distance"), dots=True),
        Curve("coverage", _points(scores, "coverage"), dots=True),
    ]
    charts = [
        chart("Losses", both(name for name in names if name in players)),
        chart("Score (lower is better)", judged, zero=True),
        chart("Classes and coverage", shares, zero=True),
        *(chart(title, both(group)) for title, group in _together(name for name in names if name not in players).items()),
        chart("Variety of previews (real pictures: 1 and 0)", varied, zero=True),
        chart("Norm of the gradient", norms, zero=True),
        chart("Images per second", [Curve("images/s", _points(metrics, "images_per_second"))], zero=True),
    ]
    inside = "".join(chart for chart in charts if chart)
    return f'<section><h2>Curves</h2><div class="charts">{inside}</div></section>' if inside else ""


def _together(names: Iterable[str]) -> dict[str, list[str]]:
    """What a method logs beside its losses, by chart: ``right_on_real`` and ``right_on_fake`` share one, ``right on``."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault((name.rpartition("_")[0] or name).replace("_", " "), []).append(name)
    return groups


def _points(rows: Iterable[Row], *keys: Any) -> list[tuple[float, float]]:
    """(images seen, value) of every row that has the value, thinned to `POINTS` by means of neighbours."""
    points = []
    for row in rows:
        value: Any = row
        for key in keys:
            value = _mapping(value).get(key)
        if (found := number(value)) is not None:
            points.append((float(row["images"]), found))
    points.sort(key=lambda point: point[0])
    step = math.ceil(len(points) / POINTS)
    if step <= 1:
        return points
    groups = [points[i : i + step] for i in range(0, len(points), step)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]

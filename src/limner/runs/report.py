"""Verb: one run as one page, `report.html`, made from the run's files alone.

The page holds everything it shows (pictures as data, curves as SVG) and no script; its content policy forbids scripts and the
network, so that a run from a stranger opens safely. Whatever file is missing or half-written, its part of the page is left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from limner.core.address import is_address, public_address, public_name, public_text
from limner.core.files import write_text
from limner.pages.charts import Curve, line_chart
from limner.pages.html import Figure, Tile, render
from limner.pages.numbers import finite_number, format_count

if TYPE_CHECKING:
    from markupsafe import Markup

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
    facts = {
        "title": f"{_data_name(recipe)} · {_text(recipe.get('preset')) or 'limner'}",
        "name": run.resolve().name,
        "state": _text(status.get("state")) or "unknown",
        "tiles": _tiles(status, metrics, scores),
        "warnings": _warnings(status),
        "pictures": _newest_beside_reals(run / "previews" / "reals.png", previews),
        "previews": _through_time(previews),
        "charts": [chart for chart in _charts(metrics, scores) if chart],
        "facts": _facts(recipe, status, provenance, metrics),
        "recipe": _public_recipe(run, recipe).strip(),
        "command": public_text(_command(provenance), _source(recipe)).strip(),
    }
    return render("runs/report.html", facts)


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
        if isinstance(row, dict) and finite_number(row.get("images")) is not None:
            rows.append(row)
    return rows


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: Any) -> Row:
    return value if isinstance(value, Mapping) else {}


def _source(recipe: Row) -> str:
    return _text(_mapping(recipe.get("data")).get("source")) or _text(recipe.get("data"))


def _public_recipe(run: Path, recipe: Row) -> str:
    """The text of recipe.yaml as it may be shown: an address, which may be long and quoted, is replaced before it is text."""
    source, data = _source(recipe), _mapping(recipe.get("data"))
    if not (is_address(source) and data):
        return public_text(_read(run / "recipe.yaml"))
    shown = {**recipe, "data": {**data, "source": public_address(source)}}
    return public_text(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True), source)


def _data_name(recipe: Row) -> str:
    source = _source(recipe)
    return public_name(source) or public_address(source) or "a run"


def _command(provenance: Row) -> str:
    command = provenance.get("command")
    return " ".join(map(str, command)) if isinstance(command, list) else _text(command)


def _previews(folder: Path) -> list[tuple[int, Path]]:
    """(images seen, file), oldest first, at most `STRIP` of them."""
    if not folder.is_dir():
        return []
    files = sorted((int(path.stem), path) for path in folder.glob("*.png") if path.stem.isascii() and path.stem.isdigit())
    if len(files) <= STRIP:
        return files
    return [files[round(i * (len(files) - 1) / (STRIP - 1))] for i in range(STRIP)]


def _figure(path: Path, words: str, caption: str) -> list[Figure]:
    """One figure of the PNG file at `path`, or none where it cannot be read."""
    try:
        return [Figure(path.read_bytes(), words, caption)]
    except OSError:
        return []


# ---- the parts of the page ----------------------------------------------------------------------------------------------


def _tiles(status: Row, metrics: Sequence[Row], scores: Sequence[Row]) -> list[Tile]:
    """How far the run is, how long it took, and its best score."""
    images = finite_number(status.get("images"))
    if images is None and metrics:
        images = finite_number(metrics[-1]["images"])
    seconds = finite_number(status.get("seconds")) or (finite_number(metrics[-1].get("seconds")) if metrics else None)
    tiles = [Tile("images seen", format_count(images)), Tile("time", _span(seconds))]
    judged = [(score, row) for row in scores if (score := finite_number(row.get("frechet"))) is not None]
    if judged:
        score, row = min(judged, key=lambda pair: pair[0])
        null = finite_number(row.get("null"))
        note = f"at {format_count(finite_number(row['images']))} images" + (
            f"; real pictures get {null:.3g}" if null is not None else ""
        )
        tiles.append(Tile("best Fréchet distance", f"{score:.3g}", note, "in the judge's features"))
    return [tile for tile in tiles if tile.value]


def _warnings(status: Row) -> list[str]:
    raised = status.get("warnings")
    texts = [_text(_mapping(warning).get("text")) for warning in raised] if isinstance(raised, list) else []
    return [text for text in texts if text]


def _newest_beside_reals(reals: Path, previews: Sequence[tuple[int, Path]]) -> list[Figure]:
    figures = []
    for images, path in previews[-1:]:
        what = f"made by the model, after {format_count(images)} images"
        figures += _figure(path, f"made by the model after {images:,} images", what)
    return [*figures, *_figure(reals, "real pictures", "real pictures")]


def _through_time(previews: Sequence[tuple[int, Path]]) -> list[Figure]:
    """All previews, where there is more than one."""
    if len(previews) < 2:
        return []
    return [one for images, path in previews for one in _figure(path, f"after {images:,} images", format_count(images))]


def _facts(recipe: Row, status: Row, provenance: Row, metrics: Sequence[Row]) -> list[tuple[str, str]]:
    last = metrics[-1] if metrics else {}
    seconds = finite_number(last.get("seconds"))
    parameters = _mapping(status.get("parameters")) or _mapping(provenance.get("parameters"))
    facts = [
        ("parameters", ", ".join(f"{name} {format_count(finite_number(value))}" for name, value in parameters.items())),
        ("speed", f"{last['images'] / seconds:,.0f} images/s over all" if seconds else ""),
        ("memory", f"{memory / 2**30:.2f} GiB" if (memory := finite_number(last.get("memory"))) else ""),
        ("seed", str(recipe["seed"]) if isinstance(recipe.get("seed"), int) else ""),
        ("precision", _text(provenance.get("precision")) or _text(recipe.get("precision"))),
        ("hardware", _flat(provenance.get("hardware"))),
        ("versions", _flat(provenance.get("versions"))),
        ("data fingerprint", _text(_mapping(provenance.get("data")).get("fingerprint"))),
    ]
    return [(name, value) for name, value in facts if value]


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {inner}" for key, inner in value.items() if isinstance(inner, str | int | float))
    return _text(value)


def _span(seconds: float | None) -> str:
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def _charts(metrics: Sequence[Row], scores: Sequence[Row]) -> list[Markup]:
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
    return [
        line_chart("Losses", both(name for name in names if name in players)),
        line_chart("Score (lower is better)", judged, zero=True),
        line_chart("Classes and coverage", shares, zero=True),
        *(line_chart(title, both(group)) for title, group in _together(name for name in names if name not in players).items()),
        line_chart("Variety of previews (real pictures: 1 and 0)", varied, zero=True),
        line_chart("Norm of the gradient", norms, zero=True),
        line_chart("Images per second", [Curve("images/s", _points(metrics, "images_per_second"))], zero=True),
    ]


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
        if (known := finite_number(value)) is not None:
            points.append((float(row["images"]), known))
    points.sort(key=lambda point: point[0])
    step = math.ceil(len(points) / POINTS)
    if step <= 1:
        return points
    groups = [points[i : i + step] for i in range(0, len(points), step)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]

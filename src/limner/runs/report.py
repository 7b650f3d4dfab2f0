"""The page of a run, ``report.html``, made from the files in its folder alone.

What a missing or half-written file would have shown is left out, so that a page can be made of any run at any time.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import yaml

from limner.core.address import is_address, public_address, public_name, public_text
from limner.core.documents import finite_number, read_json, read_json_lines, read_text, read_yaml
from limner.core.errors import InputError
from limner.core.files import write_text
from limner.pages.charts import Curve, line_chart
from limner.pages.html import Figure, Tile, render
from limner.pages.numbers import format_count
from limner.runs.evaluations import describe_report, latest_report
from limner.runs.lookup import find_run, read_note
from limner.runs.run import DISTANCE, Run
from limner.runs.validation import ValidationScores

if TYPE_CHECKING:
    from markupsafe import Markup

JsonObject = Mapping[str, Any]
MAX_PREVIEWS = 24
"""Previews on the page, spread evenly from the first to the newest."""
MAX_POINTS = 500
"""Points of a curve; more are averaged in groups."""


def write_report(run: Path) -> Path:
    """Writes `report.html` into the run folder and returns its path. Errors: `InputError` where the folder is no run."""
    if not any(os.path.exists(run / name) for name in ("recipe.yaml", "status.json", "metrics.jsonl")):
        run = find_run(run)
    path = run / "report.html"
    write_text(path, render_report(run))
    return path


def render_report(run: Path) -> str:
    """The page of the run in the folder `run`, as HTML."""
    recipe, status, provenance = _yaml(run / "recipe.yaml"), _json(run / "status.json"), _json(run / "provenance.json")
    metrics, scores = _rows(run / "metrics.jsonl"), _rows(run / "scores.jsonl")
    validation = _validation_scores(run, scores, provenance)
    note = read_note(run)
    previews = _previews(run / "previews")
    facts = {
        "title": f"{_data_name(recipe)} · {_text(recipe.get('preset')) or 'limner'}",
        "name": run.resolve().name,
        "state": _text(status.get("state")) or "unknown",
        "tiles": _tiles(status, metrics, validation),
        "validation": _validation_sentences(validation),
        "warnings": _warnings(status),
        "evaluation": _latest_evaluation(run),
        "pictures": _newest_and_real_figures(run / "previews" / "reals.png", previews),
        "previews": _preview_figures(previews),
        "charts": [chart for chart in _charts(metrics, scores) if chart],
        "facts": [("note", note)] * bool(note) + _facts(recipe, status, provenance, metrics),
        "recipe": _public_recipe(run, recipe).strip(),
        "command": public_text(_command(provenance), _source(recipe)).strip(),
    }
    return render("runs/report.html", facts)


# ---- reading: a missing or damaged file is an empty value ---------------------------------------------------------------


def _read(path: Path) -> str:
    try:
        return read_text(path)
    except InputError:
        return ""


def _json(path: Path) -> JsonObject:
    try:
        return read_json(path)
    except InputError:
        return {}


def _yaml(path: Path) -> JsonObject:
    try:
        return _mapping(read_yaml(path))
    except InputError:
        return {}


def _rows(path: Path) -> list[JsonObject]:
    """The rows of a JSON-lines file that have a number of images."""
    rows = read_json_lines(path, ("images",), skip_damaged=True)
    return [row for row in rows if finite_number(row["images"]) is not None]


def _latest_evaluation(run: Path) -> JsonObject:
    """Of the `latest_report` with a verdict or a distance: its sentences, the images that its checkpoint had seen, what was
    compared with what, and its page, as a link."""
    latest = latest_report(run, lambda report: bool(_sentences(report) or describe_report(report)))
    if latest is None:
        return {}
    file, report = latest
    page = file.with_suffix(".html")
    return {
        "sentences": _sentences(report),
        "images": finite_number(report.get("images_seen")),
        "summary": describe_report(report),
        "page": quote(page.relative_to(run).as_posix()) if page.is_file() else "",
    }


def _sentences(report: JsonObject) -> list[str]:
    """The verdict of a report; empty where it has none, or what stands there is damaged."""
    sentences = [_text(one) for one in _list(report.get("verdict"))]
    return sentences if all(sentences) else []


def _validation_scores(run: Path, rows: Sequence[JsonObject], provenance: JsonObject) -> ValidationScores | None:
    """The scores of the last and of the best checkpoint."""
    checkpoints = {checkpoint.images for checkpoint in Run(run).checkpoints()}
    return ValidationScores.of(rows, checkpoints, _mapping(provenance.get("scored_on")))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: Any) -> JsonObject:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _source(recipe: JsonObject) -> str:
    return _text(_mapping(recipe.get("data")).get("source")) or _text(recipe.get("data"))


def _public_recipe(run: Path, recipe: JsonObject) -> str:
    """The text of recipe.yaml without secrets: of an address of the data, only the public part.

    The address is replaced in the parsed recipe, because YAML may quote it or break it over several lines.
    """
    source, data = _source(recipe), _mapping(recipe.get("data"))
    if not (is_address(source) and data):
        return public_text(_read(run / "recipe.yaml"))
    public = {**recipe, "data": {**data, "source": public_address(source)}}
    return public_text(yaml.safe_dump(public, sort_keys=False, allow_unicode=True), source)


def _data_name(recipe: JsonObject) -> str:
    source = _source(recipe)
    return public_name(source) or public_address(source) or "a run"


def _command(provenance: JsonObject) -> str:
    command = provenance.get("command")
    return " ".join(map(str, command)) if isinstance(command, list) else _text(command)


def _previews(folder: Path) -> list[tuple[int, Path]]:
    """(images seen, file), oldest first, at most `MAX_PREVIEWS`, evenly spaced."""
    if not folder.is_dir():
        return []
    files = sorted((int(path.stem), path) for path in folder.glob("*.png") if path.stem.isascii() and path.stem.isdigit())
    if len(files) <= MAX_PREVIEWS:
        return files
    return [files[round(i * (len(files) - 1) / (MAX_PREVIEWS - 1))] for i in range(MAX_PREVIEWS)]


def _figure(path: Path, alt_text: str, caption: str) -> list[Figure]:
    """The figure of the PNG file at `path`; an empty list where it cannot be read."""
    try:
        return [Figure(path.read_bytes(), alt_text, caption)]
    except OSError:
        return []


# ---- the parts of the page ----------------------------------------------------------------------------------------------


def _tiles(status: JsonObject, metrics: Sequence[JsonObject], validation: ValidationScores | None) -> list[Tile]:
    """Images seen, training time, and the scores of the best and of the last checkpoint."""
    images = finite_number(status.get("images"))
    if images is None and metrics:
        images = finite_number(metrics[-1]["images"])
    seconds = finite_number(status.get("seconds")) or (finite_number(metrics[-1].get("seconds")) if metrics else None)
    tiles = [Tile("images seen", format_count(images)), Tile("time", _format_duration(seconds))]
    if validation is not None:
        for name, score in (("best", validation.best), ("last", validation.last)):
            if score is None or (name == "last" and score.images == validation.best.images):
                continue
            null = "" if score.null is None else f"; real pictures get {score.null:.3g}"
            note = f"at {format_count(score.images)} images{null}"
            tiles.append(Tile(f"{name} Fréchet distance", f"{score.value:.3g}", note, "in the judge's features"))
    return [tile for tile in tiles if tile.value]


def _validation_sentences(validation: ValidationScores | None) -> list[str]:
    """What the scores of the tiles are of, which checkpoint is used by default, and whether another one is clearly better."""
    if validation is None:
        return []
    sentence = f"These distances were measured while training, by {validation.pictures}. Verbs such as sample and evaluate use "
    sentence += f"{validation.name_of(validation.last_images)}, unless --checkpoint names another one."
    hint = validation.hint()
    return [sentence] if hint is None else [sentence, f"{hint[0].upper()}{hint[1:]}."]


def _warnings(status: JsonObject) -> list[str]:
    warnings = status.get("warnings")
    texts = [_text(_mapping(warning).get("text")) for warning in warnings] if isinstance(warnings, list) else []
    return [text for text in texts if text]


def _newest_and_real_figures(reals: Path, previews: Sequence[tuple[int, Path]]) -> list[Figure]:
    """The newest preview, and the real pictures to compare it with."""
    figures = []
    for images, path in previews[-1:]:
        what = f"made by the model, after {format_count(images)} images"
        figures += _figure(path, f"made by the model after {images:,} images", what)
    return [*figures, *_figure(reals, "real pictures", "real pictures")]


def _preview_figures(previews: Sequence[tuple[int, Path]]) -> list[Figure]:
    """All previews; none where there is one alone, which is shown large already."""
    if len(previews) < 2:
        return []
    return [one for images, path in previews for one in _figure(path, f"after {images:,} images", format_count(images))]


def _facts(
    recipe: JsonObject, status: JsonObject, provenance: JsonObject, metrics: Sequence[JsonObject]
) -> list[tuple[str, str]]:
    last = metrics[-1] if metrics else {}
    seconds = finite_number(last.get("seconds"))
    parameters = _mapping(status.get("parameters")) or _mapping(provenance.get("parameters"))
    facts = [
        ("parameters", ", ".join(f"{name} {format_count(finite_number(value))}" for name, value in parameters.items())),
        ("speed", f"{last['images'] / seconds:,.0f} images/s over all" if seconds else ""),
        ("memory", f"{memory / 2**30:.2f} GiB" if (memory := finite_number(last.get("memory"))) else ""),
        ("seed", str(recipe["seed"]) if isinstance(recipe.get("seed"), int) else ""),
        ("precision", _text(provenance.get("precision")) or _text(recipe.get("precision"))),
        ("hardware", _join(provenance.get("hardware"))),
        ("versions", _join(provenance.get("versions"))),
        ("data fingerprint", _text(_mapping(provenance.get("data")).get("fingerprint"))),
        *(("about the data", _text(note)) for note in _list(_mapping(provenance.get("data")).get("notes"))),
    ]
    return [(name, value) for name, value in facts if value]


def _join(value: Any) -> str:
    """A mapping as ``name value, name value``; a text as it is."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {inner}" for key, inner in value.items() if isinstance(inner, str | int | float))
    return _text(value)


def _format_duration(seconds: float | None) -> str:
    """``45 s``, ``3 min 20 s`` or ``2 h 5 min``; an empty text for None."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def _charts(metrics: Sequence[JsonObject], scores: Sequence[JsonObject]) -> list[Markup]:
    names = [str(name) for name in dict.fromkeys(name for row in metrics for name in _mapping(row.get("losses")))]
    players = {str(name) for row in metrics for name in _mapping(row.get("lr"))} or set(names)

    def loss_curves(group: Iterable[str]) -> list[Curve]:
        """Curves on training pictures, then the same on held-out pictures."""
        on_training = [Curve(name, _points(metrics, "losses", name), smooth=True) for name in group]
        return on_training + [
            Curve(f"held_out_{c.name}", _points(metrics, "watch", f"held_out_{c.name}"), dots=True) for c in on_training
        ]

    variety = [
        Curve("distance between two", _points(metrics, "watch", "diversity"), dots=True),
        Curve("share with a twin", _points(metrics, "watch", "twins"), dots=True),
    ]
    norms = [
        Curve(player, _points(metrics, "watch", f"gradient_norm/{player}"), smooth=True)
        for player in names
        if player in players
    ]
    distances = [
        Curve("Fréchet distance", _points(scores, DISTANCE), dots=True),
        Curve("real against real", _points(scores, "null"), dashed=True),
    ]
    shares = [
        Curve("class distance", _points(scores, "class_distance"), dots=True),
        Curve("coverage", _points(scores, "coverage"), dots=True),
    ]
    return [
        line_chart("Losses", loss_curves(name for name in names if name in players)),
        line_chart("Score (lower is better)", distances, zero=True),
        line_chart("Classes and coverage", shares, zero=True),
        *(
            line_chart(title, loss_curves(group))
            for title, group in _group_by_title(name for name in names if name not in players).items()
        ),
        line_chart("Variety of previews (real pictures: 1 and 0)", variety, zero=True),
        line_chart("Norm of the gradient", norms, zero=True),
        line_chart("Images per second", [Curve("images/s", _points(metrics, "images_per_second"))], zero=True),
    ]


def _group_by_title(names: Iterable[str]) -> dict[str, list[str]]:
    """Names by the title of their chart: ``right_on_real`` and ``right_on_fake`` share the chart ``right on``."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault((name.rpartition("_")[0] or name).replace("_", " "), []).append(name)
    return groups


def _points(rows: Iterable[JsonObject], *keys: Any) -> list[tuple[float, float]]:
    """(images seen, value) of each row with a finite value at `keys`; more than `MAX_POINTS` are averaged in groups."""
    points = []
    for row in rows:
        value: Any = row
        for key in keys:
            value = _mapping(value).get(key)
        if (y := finite_number(value)) is not None:
            points.append((float(row["images"]), y))
    points.sort(key=lambda point: point[0])
    step = math.ceil(len(points) / MAX_POINTS)
    if step <= 1:
        return points
    groups = [points[i : i + step] for i in range(0, len(points), step)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]

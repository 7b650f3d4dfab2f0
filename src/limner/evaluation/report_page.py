"""The page of a report: scores and what they mean, pictures, the nearest training pictures, precision and recall, classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from limner.core.documents import finite_number
from limner.core.images import grid
from limner.evaluation.sample_scores import SampleScores
from limner.metrics.distribution.coverage import PRECISION_K, radii
from limner.metrics.memorisation.memorisation import contact_sheet, memorisation
from limner.metrics.scores import METRICS
from limner.pages.charts import Curve, line_chart, scatter_chart, share_chart
from limner.pages.html import Figure, PageTable, Tile, make_figure, render
from limner.pages.numbers import format_count, format_number

if TYPE_CHECKING:
    from markupsafe import Markup

Row = Mapping[str, Any]
"""A report, or a part of one: what its JSON file holds."""
MAX_CHART_DOTS = 1000
"""The most samples, and the most real pictures, that the charts of precision and recall show as dots."""


def display_name(name: str, features: str | None) -> str:
    """What the metric `name` is called in the literature where it is measured in `features`, and `name` where it has no such
    name.

    >>> display_name("frechet", "inception"), display_name("frechet", "judge")
    ('FID', 'frechet')
    """
    return METRICS[name].published_names.get(features or "", name) if name in METRICS else name


def meaning(name: str) -> str:
    """What the metric `name` measures, and which way it is better, if one is; "" for a name that is not in the table."""
    if name not in METRICS:
        return ""
    metric = METRICS[name]
    return {"lower": "lower is better: ", "higher": "higher is better: ", "as real": ""}[metric.better] + metric.meaning


def render_report(report: Row, pictures: Mapping[str, NDArray[np.uint8]], scores: SampleScores | None) -> str:
    """The page of `report` as HTML. `pictures` [n, H, W, C] uint8 are shown under their headings; `scores` are None where no
    samples were judged."""
    classes = report.get("classes")
    facts = {
        "title": _title(report),
        "tiles": _tiles(report),
        "verdict": report.get("verdict", ()),
        "warnings": report.get("warnings", ()),
        "scores": _scores(report),
        "of_samples": any(one["null"] is not None for one in report["metrics"].values()),
        "pictures": [make_figure(grid(images), heading, heading) for heading, images in pictures.items()],
        "nearest": _nearest(scores) if scores else None,
        "classes": share_chart(classes["samples"], classes["real"]) if classes else None,
        "overlap": _overlap(scores) if scores and {"precision", "recall"} & set(report["metrics"]) else None,
        "factors": _factors(report.get("factors")),
        "facts": _facts(report),
    }
    return render("evaluation/report_page.html", facts)


def render_report_over_time(report: Row) -> str:
    """The page, as HTML, of a `report` over all checkpoints of a run: curves of the scores, all numbers, and samples."""
    rows = report["checkpoints"]
    names = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    features = (report["features"] or {}).get("name")
    charts = [_chart_over_time(rows, name, display_name(name, features)) for name in names]
    cells = [
        [
            display_name(name, features),
            *(format_number((row["metrics"].get(name) or {}).get("value")) for row in rows),
            format_number((rows[-1]["metrics"].get(name) or {}).get("null")),
        ]
        for name in names
    ]
    sheets = [(row["images"], Path(row["report"]).with_name("samples.png")) for row in rows if row["report"]]
    facts = {
        "title": _title(report),
        "tiles": _tiles(report),
        "warnings": report.get("warnings", ()),
        "charts": [chart for chart in charts if chart],
        "scores": PageTable(["at images", *(f"{row['images']:,}" for row in rows), "real pictures"], cells),
        "samples": [
            make_figure(np.asarray(Image.open(path).convert("RGB")), f"samples at {images:,} images", f"at {images:,} images")
            for images, path in sheets
            if path.is_file()
        ],
        "facts": _facts(report),
    }
    return render("evaluation/report_over_time.html", facts)


def _chart_over_time(rows: Sequence[Row], name: str, title: str) -> Markup:
    """The chart of one metric over images seen: the scores of the checkpoints, and what real pictures score (`null`)."""

    def points(key: str) -> list[tuple[float, float]]:
        values = [(row["images"], finite_number(row["metrics"].get(name, {}).get(key))) for row in rows]
        return [(float(images), value) for images, value in values if value is not None]

    curves = [Curve(title, points("value"), dots=True), Curve("real pictures", points("null"), dashed=True)]
    return line_chart(title, curves)


def _title(report: Row) -> str:
    """The name of the run's folder, or of the folder or file of pictures."""
    return str(report.get("run") or report.get("pictures") or "pictures").rstrip("/").rpartition("/")[2]


def _tiles(report: Row) -> list[Tile]:
    """The facts at the top of the page."""
    reference = report["reference"]
    tiles = [
        Tile("pictures judged", format_count(report["count"])),
        Tile("against", f"{reference['count']:,} of {reference['data']}"),
    ]
    if report.get("images_seen") is not None:
        tiles.append(Tile("after training images", format_count(report["images_seen"])))
    frechet = report["metrics"].get("frechet")
    if frechet:
        features = report["features"]["name"]
        name = (
            display_name("frechet", features)
            if features in METRICS["frechet"].published_names
            else f"Fréchet distance ({features})"
        )
        note = "" if frechet["null"] is None else f"real pictures get {format_number(frechet['null'])}"
        tiles.append(Tile(name, format_number(frechet["value"]), note))
    return tiles


def _scores(report: Row) -> PageTable:
    """A row for each score of the report."""
    features = (report["features"] or {}).get("name")
    rows = []
    for name, score in report["metrics"].items():
        cells = [format_number(score[key]) for key in ("value", "error", "null", "z", "p")]
        rows.append([display_name(name, features), *cells, meaning(name)])
    return PageTable(["", "value", "± error", "null", "z", "p", "what it says"], rows)


def _factors(factors: Row | None) -> PageTable | None:
    """A row for each factor of variation, with how well latents capture it; None where disentanglement was not measured."""
    if not factors:
        return None
    columns = list(next(iter(factors.values())))
    rows = [[name, *(format_number(scores[column]) for column in columns)] for name, scores in factors.items()]
    return PageTable(["", *columns], rows)


@dataclass(frozen=True)
class NearestPictures:
    """Samples beside the training pictures nearest to them, and how many samples look like copies."""

    figure: Figure
    searched: int
    """Samples whose nearest training pictures were searched."""
    near: int
    """Of these, how many are as near to a training picture as hardly a held-out picture is."""
    mirrored: int
    """Of the near ones, how many are near to a mirror image."""
    shifted: int
    """Of the near ones, how many are near to a training picture that is moved by a pixel."""


def _nearest(scores: SampleScores) -> NearestPictures | None:
    """None where copies were not searched for."""
    copies = scores.sides.copies
    if copies is None:
        return None
    sheet = contact_sheet(scores.samples.images, scores.reference.dataset.images, copies.samples)
    counts = memorisation(copies.samples, copies.held_out)
    return NearestPictures(
        make_figure(sheet, "samples beside the nearest training pictures", "samples | nearest training pictures"),
        searched=len(copies.samples.distance),
        near=len({*counts.relative.rows, *counts.double.rows}),
        mirrored=counts.mirrored,
        shifted=counts.moved,
    )


@dataclass(frozen=True)
class Overlap:
    """The charts of precision and recall, and how many samples and real pictures they show."""

    charts: list[Markup]
    samples: int
    real: int


def _overlap(scores: SampleScores) -> Overlap | None:
    """Samples and real pictures as dots, in the two directions in which real features vary most; what lies outside the other
    set has another colour. None for so few pictures that precision and recall are not measured."""
    real = scores.sides.real.features[:MAX_CHART_DOTS].double()
    samples = scores.sides.samples.features[: len(real)].double()  # no more than real pictures, as in `measure_neighbours`
    if min(len(real), len(samples)) <= PRECISION_K or real.shape[1] < 2:
        return None
    real_radii, sample_radii = radii(real, PRECISION_K)[0], radii(samples, PRECISION_K)[0]
    distances = torch.cdist(samples, real, compute_mode="donot_use_mm_for_euclid_dist")
    is_precise = (distances <= real_radii).any(1)  # of each sample: it lies in the neighbourhood of a real picture
    is_recalled = (distances <= sample_radii[:, None]).any(0)  # of each real picture: it lies in that of a sample
    centred = real - real.mean(0)
    axes = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -2:].flip(1)
    points = [((features - real.mean(0)) @ axes).numpy() for features in (samples, real)]
    all_points = np.concatenate(points)
    low, high = np.quantile(all_points, 0.005, axis=0), np.quantile(all_points, 0.995, axis=0)
    sample_dots, real_dots = (np.clip((xy - low) / np.maximum(high - low, 1e-12), 0, 1) for xy in points)
    of_samples = ("samples among real pictures", "samples that lie apart")
    of_real = ("real pictures that samples reach", "real pictures out of reach")
    charts = [
        scatter_chart("Precision", real_dots, sample_dots, is_precise.numpy(), of_samples),
        scatter_chart("Recall", sample_dots, real_dots, is_recalled.numpy(), of_real),
    ]
    return Overlap(charts, len(samples), len(real))


def _facts(report: Row) -> list[tuple[str, str]]:
    """(name, value) of everything that somebody needs who wants to get the same numbers."""
    features, reference, context = report["features"] or {}, report["reference"], report.get("context", {})
    detector = f"{features['name']}, {features['dimensions']:,} numbers, checksum {features['checksum']}" if features else ""
    parts = report["metrics"].get("inception_score", {}).get("parts", ())
    likelihood = report.get("likelihood")
    facts = [
        ("features", detector),
        *((name, str(text)) for name, text in features.get("about", {}).items()),
        (f"splits of the Inception Score ({len(parts)})", ", ".join(map(format_number, parts))),
        ("likelihoods", "" if likelihood is None else f"of {likelihood['of']}; draws for each: {likelihood['draws']}"),
        *(("checkpoint", text) for text in report.get("checkpoint_notes", ())),
        ("weights", str(report.get("checkpoint", ""))),
        ("reference", f"{reference['data']}, {reference['split']} split, {reference['count']:,} pictures"),
        ("its fingerprint", str(reference["fingerprint"])),
        ("quantisation", str(context.get("quantisation", ""))),
        ("seed", str(context.get("seed", ""))),
        ("kept for scores of neighbours", " and ".join(f"{n:,}" for n in context.get("features_kept", []))),
        *(("note", note) for note in context.get("notes", [])),
        ("took", f"{report['seconds']} s"),
    ]
    if features.get("held_out_accuracy") is not None:
        facts.insert(1, ("the judge is right on", f"{features['held_out_accuracy']:.1%} of held-out pictures"))
    return [(name, value) for name, value in facts if value]

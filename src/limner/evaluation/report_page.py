"""A report as a page: the scores and what they mean, the pictures, what lies nearest to them, and how the two sets overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from limner.core.images import grid
from limner.evaluation.sample_scores import Found
from limner.metrics.distribution.coverage import PRECISION_K, radii
from limner.metrics.memorisation.memorisation import contact_sheet, memorisation
from limner.metrics.scores import METRICS
from limner.pages.charts import Curve, line_chart, scatter_chart, share_chart
from limner.pages.html import Figure, PageTable, Tile, make_figure, render
from limner.pages.numbers import finite_number, format_count, format_number

if TYPE_CHECKING:
    from markupsafe import Markup

Row = Mapping[str, Any]
DOTS = 1000
"""Pictures of either set in the picture of precision and recall."""


def called(name: str, features: str | None) -> str:
    """The name of a metric for people, in the features of a detector (FID, in those of inception)."""
    return METRICS[name].published_names.get(features or "", name) if name in METRICS else name


def meaning(name: str) -> str:
    """What a score says, and which way it is better, if one is; nothing of a name that this version does not know."""
    if name not in METRICS:
        return ""
    metric = METRICS[name]
    return {"lower": "lower is better: ", "higher": "higher is better: ", "as real": ""}[metric.better] + metric.meaning


def page(report: Row, shown: Mapping[str, NDArray[np.uint8]], found: Found | None) -> str:
    """The whole page as text; `shown`: pictures by what they are; `found`: what is known of samples, if any were judged."""
    classes = report.get("classes")
    facts = {
        "title": _title(report),
        "tiles": _tiles(report),
        "warnings": report.get("warnings", ()),
        "scores": _scores(report),
        "of_samples": any(one["null"] is not None for one in report["metrics"].values()),
        "pictures": [make_figure(grid(images), what, what) for what, images in shown.items()],
        "nearest": _nearest(found) if found else None,
        "classes": share_chart(classes["samples"], classes["real"]) if classes else None,
        "overlap": _overlap(found) if found and {"precision", "recall"} & set(report["metrics"]) else None,
        "factors": _factors(report.get("factors")),
        "facts": _facts(report),
    }
    return render("evaluation/report_page.html", facts)


def page_over_time(answer: Row) -> str:
    """Every checkpoint of a run: curves of the scores, all numbers, and samples where they were drawn."""
    rows = answer["checkpoints"]
    names = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    features = (answer["features"] or {}).get("name")
    charts = [_over_time(rows, name, called(name, features)) for name in names]
    cells = [
        [
            called(name, features),
            *(format_number((row["metrics"].get(name) or {}).get("value")) for row in rows),
            format_number((rows[-1]["metrics"].get(name) or {}).get("null")),
        ]
        for name in names
    ]
    sheets = [(row["images"], Path(row["report"]).with_name("samples.png")) for row in rows if row["report"]]
    facts = {
        "title": _title(answer),
        "tiles": _tiles(answer),
        "warnings": answer.get("warnings", ()),
        "charts": [chart for chart in charts if chart],
        "scores": PageTable(["at images", *(f"{row['images']:,}" for row in rows), "real pictures"], cells),
        "samples": [
            make_figure(np.asarray(Image.open(path).convert("RGB")), f"samples at {images:,} images", f"at {images:,} images")
            for images, path in sheets
            if path.is_file()
        ],
        "facts": _facts(answer),
    }
    return render("evaluation/report_over_time.html", facts)


def _over_time(rows: Sequence[Row], name: str, title: str) -> Markup:
    """The curve of one score, and that of real pictures."""

    def points(key: str) -> list[tuple[float, float]]:
        values = [(row["images"], finite_number(row["metrics"].get(name, {}).get(key))) for row in rows]
        return [(float(images), value) for images, value in values if value is not None]

    curves = [Curve(title, points("value"), dots=True), Curve("real pictures", points("null"), dashed=True)]
    return line_chart(title, curves)


def _title(report: Row) -> str:
    return str(report.get("run") or report.get("pictures") or "pictures").rstrip("/").rpartition("/")[2]


def _tiles(report: Row) -> list[Tile]:
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
            called("frechet", features) if features in METRICS["frechet"].published_names else f"Fréchet distance ({features})"
        )
        note = "" if frechet["null"] is None else f"real pictures get {format_number(frechet['null'])}"
        tiles.append(Tile(name, format_number(frechet["value"]), note))
    return tiles


def _scores(report: Row) -> PageTable:
    """Every score of a report."""
    features = (report["features"] or {}).get("name")
    rows = []
    for name, one in report["metrics"].items():
        cells = [format_number(one[key]) for key in ("value", "error", "null", "z", "p")]
        rows.append([called(name, features), *cells, meaning(name)])
    return PageTable(["", "value", "± error", "null", "z", "p", "what it says"], rows)


def _factors(factors: Row | None) -> PageTable | None:
    """What is known of each factor, where disentanglement was measured."""
    if not factors:
        return None
    heads = list(next(iter(factors.values())))
    return PageTable(["", *heads], [[name, *(format_number(one[head]) for head in heads)] for name, one in factors.items()])


@dataclass(frozen=True)
class Nearest:
    """Samples beside the training pictures nearest to them, and how many of the `sought` samples look like copies."""

    figure: Figure
    sought: int
    near: int
    mirrored: int
    moved: int


def _nearest(found: Found) -> Nearest | None:
    copies = found.sides.copies
    if copies is None:
        return None
    sheet = contact_sheet(found.judged.images, found.reference.dataset.images, copies.samples)
    known = memorisation(copies.samples, copies.held_out)
    return Nearest(
        make_figure(sheet, "samples beside the nearest training pictures", "samples | nearest training pictures"),
        sought=len(copies.samples.distance),
        near=len({*known.relative.rows, *known.double.rows}),
        mirrored=known.mirrored,
        moved=known.moved,
    )


@dataclass(frozen=True)
class Overlap:
    """The two clouds of precision and recall, of so many samples and real pictures."""

    charts: list[Markup]
    samples: int
    real: int


def _overlap(found: Found) -> Overlap | None:
    """Both sets in the two directions in which real features vary most; faults are drawn in another colour."""
    real = found.sides.real.features[:DOTS].double()
    samples = found.sides.samples.features[: len(real)].double()  # no more than real ones, as the scores have it
    if min(len(real), len(samples)) <= PRECISION_K or real.shape[1] < 2:
        return None
    of_real, of_samples = radii(real, PRECISION_K)[0], radii(samples, PRECISION_K)[0]
    apart = torch.cdist(samples, real, compute_mode="donot_use_mm_for_euclid_dist")
    precise, recalled = (apart <= of_real).any(1), (apart <= of_samples[:, None]).any(0)
    centred = real - real.mean(0)
    axes = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -2:].flip(1)
    places = [((x - real.mean(0)) @ axes).numpy() for x in (samples, real)]
    both = np.concatenate(places)
    low, high = np.quantile(both, 0.005, axis=0), np.quantile(both, 0.995, axis=0)
    unit = [np.clip((place - low) / np.maximum(high - low, 1e-12), 0, 1) for place in places]
    charts = [
        scatter_chart(
            "Precision", unit[1], unit[0], precise.numpy(), ("samples among real pictures", "samples that lie apart")
        ),
        scatter_chart(
            "Recall", unit[0], unit[1], recalled.numpy(), ("real pictures that samples reach", "real pictures out of reach")
        ),
    ]
    return Overlap(charts, len(samples), len(real))


def _facts(report: Row) -> list[tuple[str, str]]:
    features, reference, context = report["features"] or {}, report["reference"], report.get("context", {})
    what = f"{features['name']}, {features['dimensions']:,} numbers, checksum {features['checksum']}" if features else ""
    parts = report["metrics"].get("inception_score", {}).get("parts", ())
    likelihood = report.get("likelihood")
    facts = [
        ("features", what),
        *((name, str(text)) for name, text in features.get("about", {}).items()),
        (f"splits of the Inception Score ({len(parts)})", ", ".join(map(format_number, parts))),
        ("likelihoods", "" if likelihood is None else f"of {likelihood['of']}; draws for each: {likelihood['draws']}"),
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

"""A report as a page: the scores and what they mean, the pictures, what lies nearest to them, and how the two sets overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from limner.core.images import grid
from limner.evaluation.sample_scores import Found
from limner.metrics.distribution.coverage import PRECISION_K, radii
from limner.metrics.memorisation.memorisation import contact_sheet, memorisation
from limner.metrics.stats.score import HIGHER_IS_BETTER, LOWER_IS_BETTER
from limner.pages.charts import Curve, chart
from limner.pages.html import count, digits, document, figure, number, table

Row = Mapping[str, Any]
DOTS = 1000
"""Pictures of either set in the picture of precision and recall."""

MEANING = {
    "frechet": "distance of two Gaussians fitted to the features",
    "mmd": "maximum mean discrepancy, cubic kernel: unbiased, 0 for real pictures",
    "precision": "share of samples that lie among real pictures",
    "recall": "share of real pictures that lie among samples",
    "density": "how many real neighbourhoods a sample lies in, 1 for real pictures",
    "coverage": "share of real neighbourhoods that hold a sample",
    "class_distance": "how far the shares of classes are from the real ones, 0 to 1",
    "label_accuracy": "share of samples that show the class that was asked for",
    "inception_score": "clear classes, and many of them",
    "sliced": "Wasserstein distance of pixels along random lines",
    "two_sample": "how often a classifier tells samples from real pictures; one half is chance",
    "vendi": "effective number of different pictures",
    "pairwise": "mean distance of two samples",
    "copies": "share of samples that lie oddly near to one training picture, by the distance of its neighbours",
    "copies_double": "share of samples three times as near to one training picture as to the next",
    "copies_nearer": "share of samples nearer to a training picture than all but one in 1,000 real ones",
    "data_copying": "C_T: clearly below 0 where samples lie nearer to training pictures than real ones do",
    "gan_train": "accuracy on real pictures of a network that learned from samples alone",
    "gan_test": "accuracy on samples of a classifier that learned from real pictures",
    "mse": "mean squared error of reconstructions, of values from 0 to 1",
    "psnr": "of reconstructions, in dB",
    "ssim": "structural similarity of reconstructions, 1 for equal ones",
    "elbo": "nats per picture, a lower bound of the likelihood's logarithm",
    "nll": "nats per picture, an upper bound of the negative log-likelihood",
    "bits_per_dim": "the same in bits for each value of each pixel",
    "exact": "nats per picture: the log density of a linear-Gaussian model, times the bins' widths",
    "density_bound": "nats per picture: the bound of what is exact",
}
KNOWN_AS = {"frechet": "FID", "mmd": "KID"}
"""What scores are called in the features of `inception`, and in no others."""


def called(name: str, features: str | None) -> str:
    """A score's name for people."""
    return KNOWN_AS.get(name, name) if features == "inception" else name


def meaning(name: str) -> str:
    """What a score says, and which way it is better, if one is."""
    better = "lower is better: " if name in LOWER_IS_BETTER else "higher is better: " if name in HIGHER_IS_BETTER else ""
    return better + MEANING.get(name, "")


def page(report: Row, shown: Mapping[str, NDArray[np.uint8]], found: Found | None) -> str:
    """The whole page as text; `shown`: pictures by what they are; `found`: what is known of samples, if any were judged."""
    title = _title(report)
    pictures = "".join(figure(grid(images), what, what) for what, images in shown.items())
    return document(
        f"{title} · judged",
        [
            _head(title, report),
            _warnings(report.get("warnings", ())),
            _scores(report),
            f'<section class="pair">{pictures}</section>' if pictures else "",
            _nearest(found) if found else "",
            _classes(report.get("classes")),
            _overlap(found) if found and {"precision", "recall"} & set(report["metrics"]) else "",
            _factors(report.get("factors")),
            _facts(report),
        ],
    )


def page_over_time(answer: Row) -> str:
    """Every checkpoint of a run: curves of the scores, all numbers, and samples where they were drawn."""
    rows, title = answer["checkpoints"], _title(answer)
    names = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    features = (answer["features"] or {}).get("name")

    def points(name: str, key: str) -> list[tuple[float, float]]:
        told = [(row["images"], number(row["metrics"].get(name, {}).get(key))) for row in rows]
        return [(float(images), value) for images, value in told if value is not None]

    curves = [
        [Curve(called(name, features), points(name, "value"), dots=True),
         Curve("real pictures", points(name, "null"), dashed=True)]
        for name in names
    ]  # fmt: skip
    charts = "".join(chart(called(name, features), each) for name, each in zip(names, curves, strict=True))
    cells = [
        [called(name, features), *(digits((row["metrics"].get(name) or {}).get("value")) for row in rows)] for name in names
    ]
    nulls = [digits((rows[-1]["metrics"].get(name) or {}).get("null")) for name in names]
    heads = ["at images", *(f"{row['images']:,}" for row in rows), "real pictures"]
    numbers = table(heads, [[*cell, null] for cell, null in zip(cells, nulls, strict=True)])
    sheets = [(row["images"], Path(row["report"]).with_name("samples.png")) for row in rows if row["report"]]
    pictures = "".join(
        figure(np.asarray(Image.open(path).convert("RGB")), f"samples at {images:,} images", f"at {images:,} images")
        for images, path in sheets
        if path.is_file()
    )
    return document(
        f"{title} · judged over time",
        [
            _head(title, answer, "judged over time"),
            _warnings(answer.get("warnings", ())),
            f'<section><h2>Over images seen</h2><div class="charts">{charts}</div></section>' if charts else "",
            f"<section><h2>Numbers</h2>{numbers}</section>",
            f'<section><h2>Samples, of the same seeds</h2><div class="pair">{pictures}</div></section>' if pictures else "",
            _facts(answer),
        ],
    )


def _title(report: Row) -> str:
    return str(report.get("run") or report.get("pictures") or "pictures").rstrip("/").rpartition("/")[2]


def _scores(report: Row) -> str:
    hint = (
        "“null” is what as many real pictures get in the samples' place; z counts how many of its own standard deviations a "
        "score lies away from it."
    )
    if not any(one["null"] is not None for one in report["metrics"].values()):
        hint = "Means over pictures, with the standard error of the mean."
    return f"<section><h2>Scores</h2>{scores_table(report)}<p class='hint'>{hint}</p></section>"


def _factors(factors: Row | None) -> str:
    """What is known of each factor, where disentanglement was measured."""
    if not factors:
        return ""
    heads = list(next(iter(factors.values())))
    rows = [[name, *(digits(one[head]) for head in heads)] for name, one in factors.items()]
    return f"<section><h2>Factors</h2>{table(['', *heads], rows)}</section>"


def _head(title: str, report: Row, eyebrow: str = "judged") -> str:
    reference = report["reference"]
    tiles = [("pictures judged", count(report["count"])), ("against", f"{reference['count']:,} of {reference['data']}")]
    seen = report.get("images_seen")
    if seen is not None:
        tiles.append(("after training images", count(seen)))
    frechet = report["metrics"].get("frechet")
    if frechet:
        note = "" if frechet["null"] is None else f" <small>real pictures get {digits(frechet['null'])}</small>"
        name = "FID" if report["features"]["name"] == "inception" else f"Fréchet distance ({report['features']['name']})"
        tiles.append((name, digits(frechet["value"]) + note))
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in tiles)
    return f'<header><p class="eyebrow">{eyebrow}</p><h1>{escape(title)}</h1><dl class="tiles">{cells}</dl></header>'


def _warnings(texts: Sequence[str]) -> str:
    items = "".join(f"<p>{escape(text[:1].upper() + text[1:])}.</p>" for text in texts)
    return f'<section class="warnings"><h2>Before you believe the numbers</h2>{items}</section>' if items else ""


def scores_table(report: Row) -> str:
    """Every score of a report in one table."""
    features = (report["features"] or {}).get("name")
    rows = []
    for name, one in report["metrics"].items():
        cells = [digits(one[key]) for key in ("value", "error", "null", "z", "p")]
        rows.append([called(name, features), *cells, meaning(name)])
    return table(["", "value", "± error", "null", "z", "p", "what it says"], rows)


def _nearest(found: Found) -> str:
    copies = found.sides.copies
    if copies is None:
        return ""
    sheet = contact_sheet(found.judged.images, found.reference.dataset.images, copies.samples)
    told, sought = memorisation(copies.samples, copies.held_out), len(copies.samples.distance)
    near = len({*told.relative.rows, *told.double.rows})
    kinds = f" Of {sought:,} samples {near:,} are as near to a training picture as hardly a held-out one is" + (
        f": {told.mirrored:,} of these to its mirror image, and {told.moved:,} where it is moved by a pixel." if near else "."
    )
    return (
        "<section><h2>Nearest training pictures</h2><p class='hint'>Left: the samples that look most like copies, the most "
        "suspicious first. Right of each: the training pictures nearest to it, mirrored where that fits better. Where left and "
        f'right are the same picture, it is a copy.{kinds}</p><div class="pair">'
        + figure(sheet, "samples beside the nearest training pictures", "samples | nearest training pictures")
        + "</div></section>"
    )


def _classes(shares: Row | None) -> str:
    if not shares:
        return ""
    names, most = list(shares["real"]), max([*shares["real"].values(), *shares["samples"].values()]) or 1.0
    height, left, wide = 30, 150, 560
    parts = []
    for row, name in enumerate(names):
        top = row * height
        parts.append(f'<text x="{left - 8}" y="{top + 18}" text-anchor="end">{escape(name[:22])}</text>')
        for part, (colour, values) in enumerate((("c0", shares["samples"]), ("c4", shares["real"]))):
            share = values[name]
            words = f"{name}: {share:.1%} of the {'samples' if part == 0 else 'real pictures'}"
            width = max(1.0, share / most * (wide - left - 60))
            y = top + 3 + 12 * part
            box = f'class="{colour}" x="{left}" y="{y}" width="{width:.1f}" height="10"'
            parts.append(f"<rect {box}><title>{escape(words)}</title></rect>")
            parts.append(f'<text x="{left + width + 5:.1f}" y="{y + 9}">{share:.1%}</text>')
    view = f'viewBox="0 0 {wide} {height * len(names)}" role="img" aria-label="shares of classes"'
    key = '<span class="key c0">samples</span><span class="key c4">real pictures</span>'
    return (
        f'<section><h2>Classes, in the judge\'s eyes</h2><figure class="chart bars"><figcaption>{key}</figcaption>'
        f"<svg {view}>{''.join(parts)}</svg></figure></section>"
    )


def _overlap(found: Found) -> str:
    """Both sets in the two directions in which real features vary most; faults are drawn in another colour."""
    real = found.sides.real.features[:DOTS].double()
    samples = found.sides.samples.features[: len(real)].double()  # no more than real ones, as the scores have it
    if min(len(real), len(samples)) <= PRECISION_K or real.shape[1] < 2:
        return ""
    of_real, of_samples = radii(real, PRECISION_K)[0], radii(samples, PRECISION_K)[0]
    apart = torch.cdist(samples, real, compute_mode="donot_use_mm_for_euclid_dist")
    precise, recalled = (apart <= of_real).any(1), (apart <= of_samples[:, None]).any(0)
    centred = real - real.mean(0)
    axes = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -2:].flip(1)
    places = [((x - real.mean(0)) @ axes).numpy() for x in (samples, real)]
    both = np.concatenate(places)
    low, high = np.quantile(both, 0.005, axis=0), np.quantile(both, 0.995, axis=0)
    unit = [np.clip((place - low) / np.maximum(high - low, 1e-12), 0, 1) for place in places]
    panels = [
        _dots("Precision", unit[1], unit[0], precise.numpy(), "samples among real pictures", "samples that lie apart"),
        _dots("Recall", unit[0], unit[1], recalled.numpy(), "real pictures that samples reach", "real pictures out of reach"),
    ]
    return (
        "<section><h2>Precision and recall</h2><p class='hint'>The features of "
        f"{len(samples):,} samples and {len(real):,} real pictures, seen from the two directions in which real ones vary most; "
        f'grey is the other set.</p><div class="charts">{"".join(panels)}</div></section>'
    )


def _dots(title: str, behind: NDArray[Any], front: NDArray[Any], good: NDArray[np.bool_], well: str, badly: str) -> str:
    side, edge = 420, 8

    def circles(points: NDArray[Any], colour: str) -> str:
        at = edge + points * (side - 2 * edge)
        return "".join(f'<circle class="{colour}" cx="{x:.0f}" cy="{side - y:.0f}" r="2"/>' for x, y in at)

    inside = circles(behind, "grey") + circles(front[good], "c0") + circles(front[~good], "c1")
    key = (
        f'<span class="key c0">{escape(well)} <b>{good.mean():.0%}</b></span>'
        f'<span class="key c1">{escape(badly)} <b>{1 - good.mean():.0%}</b></span>'
    )
    view = f'viewBox="0 0 {side} {side}" role="img" aria-label="{escape(title)}"'
    caption = f"<figcaption><strong>{escape(title)}</strong>{key}</figcaption>"
    return f'<figure class="chart">{caption}<svg {view}>{inside}</svg></figure>'


def _facts(report: Row) -> str:
    features, reference, context = report["features"] or {}, report["reference"], report.get("context", {})
    what = f"{features['name']}, {features['dimensions']:,} numbers, checksum {features['checksum']}" if features else ""
    parts = report["metrics"].get("inception_score", {}).get("parts", ())
    likelihood = report.get("likelihood")
    facts = [
        ("features", what),
        *((name, str(text)) for name, text in features.get("about", {}).items()),
        (f"splits of the Inception Score ({len(parts)})", ", ".join(map(digits, parts))),
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
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts if value)
    return f"<section><h2>Facts</h2><table>{rows}</table></section>"

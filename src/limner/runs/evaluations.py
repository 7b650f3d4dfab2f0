"""The reports that `limner evaluate` wrote into a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from limner.core.documents import finite_number, read_json
from limner.core.errors import InputError
from limner.runs.run import DISTANCE
from limner.runs.validation import SPLIT_NAMES

Report = Mapping[str, Any]


def newest_reports(run: Path) -> Iterator[tuple[Path, Report]]:
    """File and content of each report in the folder `run`, the newest first. Those that cannot be read are passed over, and
    so are those that `compare` wrote for itself."""
    files = [path for path in (run / "evaluations").glob("**/report*.json") if path.parent.name != "compared"]
    for path in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            yield path, read_json(path)
        except InputError:
            continue


def judged_distance(report: Report) -> Report | None:
    """The Fréchet distance of a `report` in the judge's features: `value`, `null` and more. None where it has none."""
    features, metrics = report.get("features"), report.get("metrics")
    if not isinstance(features, Mapping) or features.get("name") != "judge" or not isinstance(metrics, Mapping):
        return None
    score = metrics.get(DISTANCE)
    return score if isinstance(score, Mapping) and finite_number(score.get("value")) is not None else None


def newest_distance(run: Path, fingerprint: str | None) -> float | None:
    """The Fréchet distance of the newest report on the run's own data, which have this `fingerprint`; None without any."""
    for _, report in newest_reports(run):
        reference, score = report.get("reference"), judged_distance(report)
        if score is not None and isinstance(reference, Mapping) and reference.get("fingerprint") == fingerprint:
            return finite_number(score["value"])
    return None


def describe_report(report: Report) -> str:
    """``5,000 samples against 1,000 pictures of the test split: Fréchet distance 45.1 (real pictures get 3.79)``.

    An empty text for a report without such a distance.
    """
    reference, score = report.get("reference"), judged_distance(report)
    count = finite_number(report.get("count"))
    if score is None or count is None or not isinstance(reference, Mapping):
        return ""
    real_count, null = finite_number(reference.get("count")), finite_number(score.get("null"))
    real = "" if real_count is None else f"{real_count:,.0f} "
    split = str(reference.get("split"))
    text = f"{count:,.0f} samples against {real}pictures of the {SPLIT_NAMES.get(split, split)} split"
    return f"{text}: Fréchet distance {score['value']:.3g}" + ("" if null is None else f" (real pictures get {null:.3g})")

"""The reports that `limner evaluate` wrote into a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
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


def latest_report(run: Path, is_wanted: Callable[[Report], bool]) -> tuple[Path, Report] | None:
    """File and content of the report that speaks for the checkpoint in the folder `run` that was judged last.

    Of the reports that `is_wanted` accepts, the newest says which checkpoint that is, and against which real pictures. Among
    those of the same checkpoint and real pictures the one by the most samples is taken, and the newest of equal ones: a quick
    look at few samples says less than an earlier evaluation, and must not take its place. None without any.
    """
    reports = [(file, report) for file, report in newest_reports(run) if is_wanted(report)]
    if not reports:
        return None
    subject = _subject(reports[0][1])
    return max((one for one in reports if _subject(one[1]) == subject), key=lambda one: finite_number(one[1].get("count")) or 0)


def _subject(report: Report) -> tuple[Any, ...]:
    """The checkpoint that a report is about, and the real pictures that it was compared with."""
    reference = report.get("reference")
    real: Report = reference if isinstance(reference, Mapping) else {}
    return report.get("images_seen"), report.get("checkpoint"), real.get("fingerprint"), real.get("split")


@dataclass(frozen=True)
class EvaluatedDistance:
    """The Fréchet distance of an evaluation, and of how many samples it is."""

    value: float
    count: int | None
    """None where the report does not say it."""


def latest_distance(run: Path, fingerprint: str | None) -> EvaluatedDistance | None:
    """The Fréchet distance in the `latest_report` on the run's own data, which have this `fingerprint`; None without any."""

    def is_wanted(report: Report) -> bool:
        reference = report.get("reference")
        is_own = isinstance(reference, Mapping) and reference.get("fingerprint") == fingerprint
        return is_own and judged_distance(report) is not None

    latest = latest_report(run, is_wanted)
    score = None if latest is None else judged_distance(latest[1])
    if latest is None or score is None:
        return None
    count = finite_number(latest[1].get("count"))
    return EvaluatedDistance(float(score["value"]), None if count is None else int(count))


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

"""The page of an analysis: whose answers count, what may be claimed, and every estimate with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from limner.evaluation.human.study_types import DetectionRow, EstimateRow, PreferenceRow, StudyAnalysis, Task
from limner.pages.charts import interval_chart
from limner.pages.html import PageTable, Tile, render
from limner.pages.numbers import format_count, format_number

if TYPE_CHECKING:
    from markupsafe import Markup

SECTION_TITLES = {
    "timed": "Real or generated, at a glance",
    "untimed": "Real or generated, without a time limit",
    "pairs": "Which of two looks more real",
}
MEASURES: tuple[tuple[str, tuple[str, float] | None], ...] = (
    ("Accuracy", ("guessing", 0.5)),
    ("d′", ("not told apart", 0.0)),
    ("Criterion", None),
)
"""The title of each measure, and the name and place of a line to compare it with."""


@dataclass(frozen=True)
class ResultSection:
    """The results of one task."""

    title: str
    claims: list[str]
    """Sentences about pairs of runs."""
    estimates: PageTable
    ties: float | None
    """The share of pairs that were called equal."""
    charts: list[Markup]
    differences: PageTable | None
    """Every pair of runs; None where there is one run alone."""


def render_results_page(answer: StudyAnalysis) -> str:
    """The page of an analysis as HTML; `answer` has a `study`."""
    facts = {
        "title": Path(answer["study"]).name,
        "tiles": _tiles(answer),
        "notes": _notes(answer),
        "sections": [_section(task, answer) for task in dict.fromkeys(row["task"] for row in answer["table"])],
        "rules": answer["rules"],
    }
    return render("evaluation/human/results.html", facts)


def _tiles(answer: StudyAnalysis) -> list[Tile]:
    people, reals = answer["people"], answer["reals"]
    return [
        Tile("people", f"{people['kept']} of {people['answered']}"),
        Tile("judgements", format_count(answer["judgements"]["kept"])),
        Tile("comparisons", str(len(answer["runs"]))),
        Tile("real pictures", f"{reals['data']} ({reals['split']})"),
    ]


def _notes(answer: StudyAnalysis) -> list[str]:
    """Which people and judgements are left out, and why; and whether there are too few people for any claim."""
    people, rules = answer["people"], answer["rules"]
    notes = [f"left out: {one['person']} ({one['why']})" for one in people["excluded"]]
    notes += [f"set aside: {number:,} {why}" for why, number in answer["judgements"]["set_aside"].items()]
    if people["kept"] < rules["least_people"]:
        notes.append(f"of fewer than {rules['least_people']} people no interval is known, and so nothing is claimed")
    return notes


def _section(task: Task, answer: StudyAnalysis) -> ResultSection:
    comparisons = [row for row in answer["comparisons"] if row["task"] == task]
    pairs = [[f"{row['a']} − {row['b']}", _with_interval(row["difference"]), row["words"]] for row in comparisons]
    if task == "pairs":
        estimates, charts = _preference_results([row for row in answer["table"] if row["task"] == "pairs"])
    else:
        rows = [row for row in answer["table"] if row["task"] != "pairs"]
        estimates, charts = _detection_results([row for row in rows if row["task"] == task])
    return ResultSection(
        title=SECTION_TITLES[task],
        claims=[row["words"] for row in comparisons],
        estimates=estimates,
        ties=answer["ties"]["share"] if task == "pairs" else None,
        charts=charts,
        differences=PageTable(["difference", "value", "what may be said"], pairs) if pairs else None,
    )


def _detection_results(rows: Sequence[DetectionRow]) -> tuple[PageTable, list[Markup]]:
    """How well people tell each run from real pictures: a table, and a chart of each measure."""
    lines = [
        [row["run"], str(row["people"]), format_count(row["judgements"]), *(_with_interval(one) for one in _measures(row))]
        for row in rows
    ]
    lines = [[*line, row["words"]] for line, row in zip(lines, rows, strict=True)]
    charts = [
        interval_chart(title, [(row["run"], *_value_and_ends(_measures(row)[place])) for row in rows], mark)
        for place, (title, mark) in enumerate(MEASURES)
    ]
    return PageTable(["", "people", "judgements", *(title for title, _ in MEASURES), "what may be said"], lines), charts


def _measures(row: DetectionRow) -> tuple[EstimateRow, EstimateRow, EstimateRow]:
    """In the order of `MEASURES`."""
    return row["accuracy"], row["d_prime"], row["criterion"]


def _preference_results(rows: Sequence[PreferenceRow]) -> tuple[PageTable, list[Markup]]:
    """Which runs people prefer, and by how much: a table and a chart."""
    lines = [
        [
            row["run"],
            *map(format_count, (row["people"], row["won"], row["tied"], row["lost"])),
            _with_interval(row["strength"]),
            "",
        ]
        for row in rows
    ]
    strengths = [(row["run"], *_value_and_ends(row["strength"])) for row in rows]
    chart = interval_chart("Log strength (Bradley–Terry, with ties)", strengths)
    return PageTable(["", "people", "won", "tied", "lost", "log strength", ""], [[*line, ""] for line in lines]), [chart]


def _value_and_ends(estimate: EstimateRow) -> tuple[float, float | None, float | None]:
    return estimate["value"], estimate["low"], estimate["high"]


def _with_interval(estimate: EstimateRow) -> str:
    """``0.61 [0.52, 0.7]``, or the value alone where there is no interval."""
    value, low, high = _value_and_ends(estimate)
    return format_number(value) if low is None else f"{format_number(value)} [{format_number(low)}, {format_number(high)}]"

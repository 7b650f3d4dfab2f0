"""What a study's answers say, as a page: who counts, what may be claimed, and every estimate with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.pages.charts import interval_chart
from limner.pages.html import PageTable, Tile, render
from limner.pages.numbers import format_count, format_number

if TYPE_CHECKING:
    from markupsafe import Markup

Row = Mapping[str, Any]
PARTS = {
    "timed": "Real or generated, at a glance",
    "untimed": "Real or generated, as long as one likes",
    "pairs": "Which of two looks more real",
}
ESTIMATES = {
    "accuracy": ("Accuracy", ("guessing", 0.5)),
    "d_prime": ("d′", ("not told apart", 0.0)),
    "criterion": ("Criterion", None),
}


@dataclass(frozen=True)
class Part:
    """One way to look at pictures: what may be claimed, the estimates, and every difference where there are pairs."""

    title: str
    claims: list[str]
    estimates: PageTable
    ties: float | None
    charts: list[Markup]
    differences: PageTable | None


def page(answer: Row) -> str:
    """The whole page as text, from the answer of `limner.evaluation.human.analysis.analyse`."""
    facts = {
        "title": Path(answer["study"]).name,
        "tiles": _tiles(answer),
        "notes": _notes(answer),
        "parts": [_part(task, answer) for task in dict.fromkeys(row["task"] for row in answer["table"])],
        "rules": answer["rules"],
    }
    return render("evaluation/human/results.html", facts)


def _tiles(answer: Row) -> list[Tile]:
    people, reals = answer["people"], answer["reals"]
    return [
        Tile("people", f"{people['kept']} of {people['answered']}"),
        Tile("judgements", format_count(answer["judgements"]["kept"])),
        Tile("compared", str(len(answer["runs"]))),
        Tile("real pictures", f"{reals['data']} ({reals['split']})"),
    ]


def _notes(answer: Row) -> list[str]:
    """Who and what was left out, and that few people say nothing."""
    people, rules = answer["people"], answer["rules"]
    notes = [f"left out: {one['person']} ({one['why']})" for one in people["excluded"]]
    notes += [f"set aside: {number:,} {why}" for why, number in answer["judgements"]["set_aside"].items()]
    if people["kept"] < rules["least_people"]:
        notes.append(f"of fewer than {rules['least_people']} people no interval is known, and so nothing is claimed")
    return notes


def _part(task: str, answer: Row) -> Part:
    rows = [row for row in answer["table"] if row["task"] == task]
    compared = [row for row in answer["comparisons"] if row["task"] == task]
    pairs = [[f"{row['a']} − {row['b']}", _with_ends(row["difference"]), row["words"]] for row in compared]
    estimates, charts = _strengths(rows) if task == "pairs" else _told_apart(rows)
    return Part(
        title=PARTS[task],
        claims=[row["words"] for row in compared],
        estimates=estimates,
        ties=answer["ties"]["share"] if task == "pairs" else None,
        charts=charts,
        differences=PageTable(["difference", "value", "what may be said"], pairs) if pairs else None,
    )


def _told_apart(rows: Sequence[Row]) -> tuple[PageTable, list[Markup]]:
    """How well people tell each run from real pictures."""
    lines = [
        [
            row["run"],
            str(row["people"]),
            format_count(row["judgements"]),
            *(_with_ends(row[name]) for name in ESTIMATES),
            row["words"],
        ]
        for row in rows
    ]
    charts = [
        interval_chart(title, [(row["run"], *_three(row[name])) for row in rows], mark)
        for name, (title, mark) in ESTIMATES.items()
    ]
    names = [name for name, _ in ESTIMATES.values()]
    return PageTable(["", "people", "judgements", *names, "what may be said"], lines), charts


def _strengths(rows: Sequence[Row]) -> tuple[PageTable, list[Markup]]:
    """Which runs people prefer, and by how much."""
    lines = [
        [row["run"], *(format_count(row[name]) for name in ("people", "won", "tied", "lost")), _with_ends(row["strength"]), ""]
        for row in rows
    ]
    chart = interval_chart("Log strength (Bradley–Terry, with ties)", [(row["run"], *_three(row["strength"])) for row in rows])
    return PageTable(["", "people", "won", "tied", "lost", "log strength", ""], lines), [chart]


def _three(estimate: Row) -> tuple[float, float | None, float | None]:
    return estimate["value"], estimate["low"], estimate["high"]


def _with_ends(estimate: Row) -> str:
    value, low, high = _three(estimate)
    return format_number(value) if low is None else f"{format_number(value)} [{format_number(low)}, {format_number(high)}]"

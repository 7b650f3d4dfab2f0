"""What a study's answers say, as a page: who counts, what may be claimed, and every estimate with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from limner.pages.charts import whiskers
from limner.pages.html import count, digits, document, table

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


def page(answer: Row) -> str:
    """The whole page as text, from the answer of `limner.evaluation.human.analysis.analyse`."""
    tasks = list(dict.fromkeys(row["task"] for row in answer["table"]))
    title = Path(answer["study"]).name
    return document(
        f"{title} · judged by people",
        [_head(title, answer), _aside(answer), *(_part(task, answer) for task in tasks), _rules(answer["rules"])],
    )


def _head(title: str, answer: Row) -> str:
    people, reals = answer["people"], answer["reals"]
    tiles = [
        ("people", f"{people['kept']} of {people['answered']}"),
        ("judgements", count(answer["judgements"]["kept"])),
        ("compared", str(len(answer["runs"]))),
        ("real pictures", f"{reals['data']} ({reals['split']})"),
    ]
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in tiles)
    return f'<header><p class="eyebrow">judged by people</p><h1>{escape(title)}</h1><dl class="tiles">{cells}</dl></header>'


def _aside(answer: Row) -> str:
    """Who and what was left out, and that few people say nothing."""
    people, rules = answer["people"], answer["rules"]
    told = [f"left out: {one['person']} ({one['why']})" for one in people["excluded"]]
    told += [f"set aside: {number:,} {why}" for why, number in answer["judgements"]["set_aside"].items()]
    if people["kept"] < rules["least_people"]:
        told.append(f"of fewer than {rules['least_people']} people no interval is known, and so nothing is claimed")
    items = "".join(f"<p>{escape(text[:1].upper() + text[1:])}.</p>" for text in told)
    return f'<section class="warnings"><h2>Before you believe the numbers</h2>{items}</section>' if items else ""


def _part(task: str, answer: Row) -> str:
    rows = [row for row in answer["table"] if row["task"] == task]
    compared = [row for row in answer["comparisons"] if row["task"] == task]
    claims = "".join(f"<p>{escape(row['words'])}</p>" for row in compared)
    body = _strengths(rows, answer["ties"]) if task == "pairs" else _told_apart(rows)
    pairs = table(
        ["difference", "value", "what may be said"],
        [[f"{row['a']} − {row['b']}", _with_ends(row["difference"]), row["words"]] for row in compared],
    )
    more = f"<details><summary>Differences</summary>{pairs}</details>" if compared else ""
    return f"<section><h2>{escape(PARTS[task])}</h2>{claims}{body}{more}</section>"


def _told_apart(rows: Sequence[Row]) -> str:
    lines = [
        [row["run"], str(row["people"]), count(row["judgements"]), *(_with_ends(row[name]) for name in ESTIMATES), row["words"]]
        for row in rows
    ]
    names = [name for name, _ in ESTIMATES.values()]
    charts = [
        whiskers(title, [(row["run"], *_three(row[name])) for row in rows], mark) for name, (title, mark) in ESTIMATES.items()
    ]
    return table(["", "people", "judgements", *names, "what may be said"], lines) + _charts(charts)


def _strengths(rows: Sequence[Row], ties: Row) -> str:
    lines = [[row["run"], *(count(row[name]) for name in ("people", "won", "tied", "lost")), _with_ends(row["strength"]), ""]
             for row in rows]  # fmt: skip
    chart = whiskers("Log strength (Bradley–Terry, with ties)", [(row["run"], *_three(row["strength"])) for row in rows])
    share = f"<p class='hint'>{ties['share']:.0%} of the pairs were called equal.</p>"
    return table(["", "people", "won", "tied", "lost", "log strength", ""], lines) + share + _charts([chart])


def _charts(charts: Sequence[str]) -> str:
    return f'<div class="charts">{"".join(charts)}</div>'


def _three(estimate: Row) -> tuple[float, float | None, float | None]:
    return estimate["value"], estimate["low"], estimate["high"]


def _with_ends(estimate: Row) -> str:
    value, low, high = _three(estimate)
    return digits(value) if low is None else f"{digits(value)} [{digits(low)}, {digits(high)}]"


def _rules(rules: Row) -> str:
    return (
        f"<section><h2>How it was concluded</h2><p class='hint'>{rules['level']:.0%} intervals by a "
        f"{escape(rules['intervals'])}: people are drawn again, each with all answers. One run is placed before another only "
        "where their two intervals do not overlap and that of the difference, for all pairs together, leaves out 0. Left out "
        f"is whoever got fewer than {rules['catch_right']:.0%} of the catch trials right, or answered fewer than "
        f"{rules['least_catch']} of them.</p></section>"
    )

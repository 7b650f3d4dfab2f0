"""Prints scores and comparisons."""

from __future__ import annotations

from limner.cli.show.tables import _ABSENT, Answer, lines, short, span, table

MOST_ROWS = 20
MOST_COLUMNS = 8


def show_metrics(answer: Answer) -> None:
    rows = [
        [name, one.get("value"), one.get("error"), one.get("null"), one.get("z"), one.get("p")]
        for name, one in answer["metrics"].items()
    ]
    table(["metric", "value", "± error", "null", "z", "p"], rows)
    factors = answer.get("factors") or {}
    if factors:
        columns = list(next(iter(factors.values())))
        table(["factor", *columns], [[name, *one.values()] for name, one in factors.items()])
    count, reference = f"{answer['count']:,}", answer["reference"]
    if reference["split"] == "drawn":
        print(f"{count} scenes of one object, drawn with independent factors")
    elif answer["features"] is None:
        print(f"{count} real pictures ({reference['data']}, {reference['split']})")
    else:
        print(f"{count} pictures against {reference['count']:,} real ones ({reference['data']}, {reference['split']})")
    if points := answer.get("checkpoints", [])[-MOST_COLUMNS:]:
        columns = ["at images", *(f"{point['images']:,}" for point in points)]
        table(
            columns, [[name, *(point["metrics"].get(name, {}).get("value") for point in points)] for name in answer["metrics"]]
        )
    likelihood, features = answer.get("likelihood"), answer["features"]
    lines(
        [
            ("likelihood", likelihood and f"in nats per picture, {_draws(likelihood['draws'])} each, of {likelihood['of']}"),
            ("features", features and features["name"]),
            *(("note", text) for text in answer.get("context", {}).get("notes", [])),
            *(("beware", text) for text in answer.get("warnings", [])),
            ("report", answer.get("page") or answer.get("report") or "none; --out DIR keeps one"),
        ]
    )


def _draws(number: int) -> str:
    return "1 draw" if number == 1 else f"{number:,} draws"


def show_comparison(answer: Answer) -> None:
    from limner.evaluation.compare_page import sentences

    rows = answer["table"]
    table(
        ["", "preset", "images", "seed", "training"],
        [[row["name"], row["preset"], row["images"], row["seed"], span(row["seconds"])] for row in rows],
    )
    print()
    scores = []
    for metric in dict.fromkeys(name for row in rows for name in row["metrics"]):
        there = [row["metrics"].get(metric) for row in rows]
        null = next((one["null"] for one in there if one is not None and one["null"] is not None), None)
        scores.append([metric, *map(_with_error, there), null])
    table(["metric", *(row["name"] for row in rows), "null"], scores)
    reference, features = answer["reference"], answer["features"]
    show_pictures = f"{answer['count']:,} pictures of each" if features else "reconstructions"
    print(f"\n{show_pictures} against {reference['count']:,} real ones ({reference['data']}, {reference['split']})")
    if features:
        print(f"features  {features['name']}")
    for text in answer["notes"]:
        print(f"beware    {text}")
    for title, differences in (("", answer["differences"]), ("recipes, ", answer["group_differences"])):
        if differences:
            print(f"\n{title}by 95 % intervals, the pairs of one score together (Holm):")
            lines(sentences(differences, features and features["name"]))
    if answer["page"]:
        print(f"\npage      {answer['page']}")


def _with_error(score: Answer | None) -> str:
    if score is None:
        return _ABSENT
    return short(score["value"]) + (f" ± {score['error']:.2g}" if score["error"] is not None else "")

"""Prints the scores of `evaluate` and the comparisons of `compare`."""

from __future__ import annotations

from limner.cli.show.tables import MISSING_VALUE, Answer, format_duration, format_value, print_pairs, print_table

MAX_CHECKPOINTS = 8
"""Columns of the table of scores over time; the last checkpoints are shown."""


def show_metrics(answer: Answer) -> None:
    """Prints the result of `evaluate`."""
    for sentence in answer.get("verdict") or ():
        print(sentence)
    keys = ("value", "error", "null", "z", "p")
    scores = [[name, *(score.get(key) for key in keys)] for name, score in answer["metrics"].items()]
    print_table(["metric", "value", "± error", "null", "z", "p"], scores)
    if factors := answer.get("factors"):
        columns = list(next(iter(factors.values())))
        print_table(["factor", *columns], [[name, *row.values()] for name, row in factors.items()])
    print(_what_was_judged(answer))
    if points := answer.get("checkpoints", [])[-MAX_CHECKPOINTS:]:
        columns = ["at images", *(f"{point['images']:,}" for point in points)]
        rows = [[name, *(point["metrics"].get(name, {}).get("value") for point in points)] for name in answer["metrics"]]
        print_table(columns, rows)
    likelihood, features = answer.get("likelihood"), answer["features"]
    print_pairs(
        [
            ("likelihood", likelihood and f"in nats per picture, {_draws(likelihood['draws'])} each, of {likelihood['of']}"),
            ("features", features and features["name"]),
            *(("checkpoint", text) for text in answer.get("checkpoint_notes") or ()),
            *(("note", text) for text in answer.get("context", {}).get("notes", [])),
            *(("beware", text) for text in answer.get("warnings", [])),
            ("report", answer.get("page") or answer.get("report") or "none; --out DIR keeps one"),
            ("gate", _describe_gate(answer.get("gate"))),
        ]
    )


def _describe_gate(gate: Answer | None) -> str | None:
    """``fails: frechet > 20 (exit code 3)``, or ``passes: not frechet > 20``; None without a gate."""
    if gate is None:
        return None
    runs = f", for {', '.join(gate['runs'])}" if gate.get("runs") else ""
    return f"fails: {gate['condition']}{runs} (exit code 3)" if gate["holds"] else f"passes: not {gate['condition']}"


def _what_was_judged(answer: Answer) -> str:
    """``2,000 pictures against 1,000 real ones (digits, test)``."""
    count, reference = f"{answer['count']:,}", answer["reference"]
    if reference["split"] == "drawn":
        return f"{count} scenes of one object, drawn with independent factors"
    if answer["features"] is None:
        return f"{count} real pictures ({reference['data']}, {reference['split']})"
    return f"{count} pictures against {_real_pictures(reference)}"


def _real_pictures(reference: Answer) -> str:
    return f"{reference['count']:,} real ones ({reference['data']}, {reference['split']})"


def _draws(number: int) -> str:
    return "1 draw" if number == 1 else f"{number:,} draws"


def show_comparison(answer: Answer) -> None:
    """Prints the result of `compare`."""
    from limner.evaluation.compare_page import nearness_rows, sentences, setting_rows

    runs = answer["table"]
    trainings = [[run["name"], run["preset"], run["images"], run["seed"], format_duration(run["seconds"])] for run in runs]
    print_table(["", "preset", "images", "seed", "training"], trainings)
    print()
    if settings := setting_rows(runs):
        print_table(["setting", *(run["name"] for run in runs)], settings)
        print()
    scores = []
    for metric in dict.fromkeys(name for run in runs for name in run["metrics"]):
        row = [run["metrics"].get(metric) for run in runs]
        null = next((score["null"] for score in row if score is not None and score["null"] is not None), None)
        scores.append([metric, *map(_with_error, row), null])
    print_table(["metric", *(run["name"] for run in runs), "null"], scores)
    if verdicts := nearness_rows(runs):
        print()
        print_pairs(verdicts)
    features = answer["features"]
    what = f"{answer['count']:,} pictures of each" if features else "reconstructions"
    print(f"\n{what} against {_real_pictures(answer['reference'])}")
    if features:
        print(f"features  {features['name']}")
    for text in answer["notes"]:
        print(f"beware    {text}")
    for title, differences in (("", answer["differences"]), ("recipes, ", answer["group_differences"])):
        if differences:
            print(f"\n{title}by 95 % intervals, the pairs of one score together (Holm):")
            print_pairs(sentences(differences, features and features["name"]))
    if answer["page"]:
        print(f"\npage      {answer['page']}")
    if text := _describe_gate(answer.get("gate")):
        print(f"gate      {text}")


def _with_error(score: Answer | None) -> str:
    """``0.42 ± 0.03``."""
    if score is None:
        return MISSING_VALUE
    return format_value(score["value"]) + (f" ± {score['error']:.2g}" if score["error"] is not None else "")

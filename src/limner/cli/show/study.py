"""Prints a study in which people judge pictures, and what follows from their answers."""

from __future__ import annotations

from limner.cli.show.tables import Answer, print_pairs, print_table


def show_study(answer: Answer) -> None:
    """Prints the result of `rate RUN…` and of `rate STUDY --serve`."""
    reals = answer["reals"]
    print_pairs(
        [
            ("study", answer["study"]),
            ("for people", answer["page"]),
            ("not for people", answer["key"]),
            ("answers go to", answer["answers"]),
            ("compared", ", ".join(answer["runs"])),
            ("real", f"{reals['data']}, {reals['split']} split"),
            ("each person", f"about {answer['minutes']} minutes"),
            ("open", answer.get("url")),
            *(("beware", text) for text in answer["warnings"]),
        ]
    )
    print()
    rows = [[part["task"], part["trials"], part["catch"], part["practice"]] for part in answer["table"]]
    print_table(["part", "trials", "catch", "practice"], rows)
    if answer.get("url"):
        print("\nCtrl-C ends it", flush=True)


def show_judgements(answer: Answer) -> None:
    """Prints the result of `rate STUDY --analyse`: how well people recognise generated pictures, and which run they prefer."""
    people, judgements = answer["people"], answer["judgements"]
    print(
        f"{people['kept']} of {people['answered']} people, {judgements['kept']:,} judgements; "
        "intervals of 95 %, clustered by person"
    )
    for excluded in people["excluded"]:
        print(f"left out: {excluded['person']} ({excluded['why']})")
    for why, number in judgements["set_aside"].items():
        print(f"set aside: {number:,} {why}")
    single = [row for row in answer["table"] if row["task"] != "pairs"]
    if single:
        print()
        estimates = ("accuracy", "d_prime", "criterion")
        rows = [[row["task"], row["run"], row["people"], *(_interval(row[name]) for name in estimates)] for row in single]
        print_table(["part", "run", "people", "accuracy", "d′", "criterion"], rows)
    pairs = [row for row in answer["table"] if row["task"] == "pairs"]
    if pairs:
        print()
        counts = ("run", "people", "won", "tied", "lost")
        print_table([*counts, "log strength"], [[*(row[key] for key in counts), _interval(row["strength"])] for row in pairs])
    print()
    for row in single:
        print(f"{row['task']}: {row['run']}: {row['words']}")
    for row in answer["comparisons"]:
        print(f"{row['task']}: {row['words']}")
    if answer["page"]:
        print(f"page: {answer['page']}")


def _interval(estimate: Answer) -> str:
    """0.61 [0.52, 0.70]"""
    value = f"{estimate['value']:.2f}"
    return value if estimate["low"] is None else f"{value} [{estimate['low']:.2f}, {estimate['high']:.2f}]"

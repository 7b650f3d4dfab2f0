"""Prints studies in which people judge pictures."""

from __future__ import annotations

from limner.cli.show.tables import Answer, lines, table


def show_study(answer: Answer) -> None:
    reals = answer["reals"]
    lines(
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
    table(
        ["part", "trials", "catch", "practice"], [[r["task"], r["trials"], r["catch"], r["practice"]] for r in answer["table"]]
    )
    if "url" in answer:
        print("\nCtrl-C ends it", flush=True)


def _ends(estimate: Answer) -> str:
    """0.61 [0.52, 0.70]"""
    value = f"{estimate['value']:.2f}"
    return value if estimate["low"] is None else f"{value} [{estimate['low']:.2f}, {estimate['high']:.2f}]"


def show_judgements(answer: Answer) -> None:
    people, judgements = answer["people"], answer["judgements"]
    print(
        f"{people['kept']} of {people['answered']} people, {judgements['kept']:,} judgements; "
        "intervals of 95 %, clustered by person"
    )
    for one in people["excluded"]:
        print(f"left out: {one['person']} ({one['why']})")
    for why, number in judgements["set_aside"].items():
        print(f"set aside: {number:,} {why}")
    apart = [row for row in answer["table"] if row["task"] != "pairs"]
    if apart:
        print()
        rows = [[r["task"], r["run"], r["people"], *(_ends(r[n]) for n in ("accuracy", "d_prime", "criterion"))] for r in apart]
        table(["part", "run", "people", "accuracy", "d′", "criterion"], rows)
    pairs = [row for row in answer["table"] if row["task"] == "pairs"]
    if pairs:
        print()
        rows = [[r["run"], r["people"], r["won"], r["tied"], r["lost"], _ends(r["strength"])] for r in pairs]
        table(["run", "people", "won", "tied", "lost", "log strength"], rows)
    print()
    for row in apart:
        print(f"{row['task']}: {row['run']}: {row['words']}")
    for row in answer["comparisons"]:
        print(f"{row['task']}: {row['words']}")
    if answer["page"]:
        print(f"page: {answer['page']}")

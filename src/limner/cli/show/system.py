"""Prints what the machine offers, the methods, and the runs."""

from __future__ import annotations

from limner.cli.show.tables import Answer, lines, size, table


def show_doctor(answer: Answer) -> None:
    missing = [name for name, there in answer["extras"].items() if not there]
    there = [name for name, there in answer["extras"].items() if there]
    data = ", ".join(f"{name} ({path})" for name, path in answer["data"].items())
    lines(
        [
            ("limner", f"{answer['limner']}, Python {answer['python']}, torch {answer['torch']}"),
            ("device", answer["device"] + (f" ({answer['device_name']})" if answer.get("device_name") else "")),
            ("precision", answer["precision"]),
            ("threads", answer["threads"]),
            ("memory", size(answer["memory"])),
            ("allocator", answer["allocator"]),
            ("cache", str(answer["cache"])),
            ("data", data or "no set found in LIMNER_DATA"),
            ("extras", ", ".join(there) or "none"),
            ("not installed", ", ".join(missing)),
            ("tried on", "; ".join(f"{one['system']} with {one['device']} ({one['what']})" for one in answer["tried"])),
        ]
    )
    for warning in answer["warnings"]:
        print(f"! {warning}")


def show_methods(answer: Answer) -> None:
    table(
        ["preset", "family", "what it is", "paper"],
        [[row["name"], row["family"], row["line"], row["paper"]] for row in answer["methods"]],
    )


def show_runs(answer: Answer) -> None:
    rows = answer["runs"]
    if not rows:
        print("no runs here")
        return
    table(
        ["run", "preset", "data", "state", "images", "of", "score"],
        [
            [str(row["run"]), *(row.get(key) for key in ("preset", "data", "state", "images", "budget", "score"))]
            for row in rows
        ],
    )


def show_pruned(answer: Answer) -> None:
    print(f"removed {len(answer['removed'])} checkpoints")


def show_report(answer: Answer) -> None:
    print(answer["report"])

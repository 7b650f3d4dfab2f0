"""Prints the list of runs, and what was done with whole runs."""

from __future__ import annotations

from pathlib import Path

from limner.cli.show.tables import MISSING_VALUE, Answer, format_duration, format_size, format_value, print_table

MAX_SETTING_COLUMNS = 5
"""Settings that differ are columns of the table up to this number; more of them are lines below it."""

SCORE_HEADS = {"score": "last score", "best_score": "best score", "real_score": "real", "evaluated": "evaluated (of)"}
"""Columns of scores, by their keys."""
SCORE_NOTE = (
    "scores are Fréchet distances: last, best and real (what real pictures get) on the validation split while training, "
    "evaluated on held-out pictures by `limner evaluate`, of so many samples; verbs use the last checkpoint unless "
    "--checkpoint best is given"
)


def show_runs(answer: Answer) -> None:
    """Prints the result of `runs`: a table, then settings that differ, notes, and what is wrong with runs that are damaged."""
    runs = answer["runs"]
    if not runs:
        print(f"no runs in {answer['folder']}; limner train SRC makes one" if answer["folder"] else "no runs there")
        return
    settings = list(dict.fromkeys(key for run in runs for key in run["settings"]))
    columns = settings if len(settings) <= MAX_SETTING_COLUMNS else []
    heads = ["run", "preset", "data", "state", "images", "of", "time", "images/s", "seed", *SCORE_HEADS.values()]
    print_table([*heads, *columns], [[*_cells(run), *(run["settings"].get(key) for key in columns)] for run in runs])
    lines = [SCORE_NOTE] if any(run[key] is not None for run in runs for key in SCORE_HEADS) else []
    for run in runs:
        name = Path(run["run"]).name
        if not columns and run["settings"]:
            values = " ".join(f"{key}={format_value(value)}" for key, value in run["settings"].items())
            lines.append(f"{name}: {values}")
        if run["note"]:
            lines.append(f"{name}: {' '.join(run['note'].split())}")
        state, _, reason = (run["state"] or "").partition(": ")
        if reason:
            lines.append(f"{name} is {state}: {reason}")
    if lines:
        print("\n" + "\n".join(lines))


def _cells(run: Answer) -> list[object]:
    """The cells of a run's row that do not depend on the other runs."""
    state = (run["state"] or "").partition(": ")[0]
    rate = run["images_per_second"]
    return [
        *(str(run["run"]), run["preset"], run["data"], state, run["images"], run["budget"]),
        *(format_duration(run["seconds"]), None if rate is None else f"{rate:,.0f}"),
        *(run["seed"], *(run[key] for key in SCORE_HEADS if key != "evaluated"), _evaluated(run)),
    ]


def _evaluated(run: Answer) -> str:
    """``45.1 (5,000)``: the distance of an evaluation and the number of its samples, without which it says little."""
    if run["evaluated"] is None:
        return MISSING_VALUE
    count = run["evaluated_count"]
    return format_value(run["evaluated"]) + ("" if count is None else f" ({count:,})")


def show_pruned(answer: Answer) -> None:
    """Prints the result of `runs prune`."""
    print(f"removed {len(answer['removed'])} checkpoints")
    if answer["trash"]:
        print(f"removed {len(answer['trash'])} entries of the trash, {format_size(answer['freed'])}")
    for one in answer["skipped"]:
        print(f"left alone: {one['run']}: {one['reason']}")


def show_moved(answer: Answer) -> None:
    """Prints the result of the verbs that move runs."""
    for row in answer["moves"]:
        print(f"{row['before']} is now {row['run']}")
    for note in answer["notes"]:
        print(note)


def show_note(answer: Answer) -> None:
    """Prints the result of `runs note`."""
    print(f"{answer['run']}: {answer['note'] or 'no note'}")

"""Prints the plan of a training run, and its result."""

from __future__ import annotations

from limner.cli.show.tables import Answer, format_duration, format_size, print_pairs, print_table
from limner.core.picture_texts import TRANSPARENCY_WORDS


def show_plan(answer: Answer) -> None:
    """Prints the result of `train --dry-run`: what was chosen, its speed, time and memory, and on demand every setting."""
    recipe, data = answer["recipe"], answer["data"]
    height, width, channels = data["shape"]
    splits = ", ".join(f"{name} {count:,}" for name, count in data["splits"].items())
    print_pairs(
        [
            ("preset", recipe["preset"]),
            *(("chosen", line) for line in answer.get("why", ())),
            ("data", f"{recipe['data']['source']}: {splits} of {height}x{width}x{channels}"),
            *(("data", line) for line in answer.get("notes", ())),
            ("parameters", answer.get("parameters")),
            (
                "speed",
                f"{answer['images_per_second']:,.4g} images/s on this machine, previews, scores and checkpoints included",
            ),
            ("images", answer.get("images")),
            ("time", format_duration(answer.get("seconds_estimate")) + _milestones(answer)),
            *(("judge", line) for line in _judge(answer)),
            *(("beware", line) for line in answer["time_warnings"]),
            ("memory", format_size(answer.get("memory"))),
        ]
    )
    stages = answer.get("stages", ())
    if len(stages) > 1:
        print()
        print_table(["stage", "parameters", "images", "images/s", "time", "memory"], [_stage_row(stage) for stage in stages])
    if answer["all_settings"]:
        import yaml

        print("\n" + yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True).rstrip())
    else:
        print("\nevery setting: --all, or --json")


def _milestones(answer: Answer) -> str:
    """How much of the time is no training steps, where that is a second or more."""
    seconds = answer.get("milestone_seconds") or 0.0
    return f", of it {format_duration(seconds)} for previews, scores and checkpoints" if seconds >= 1 else ""


def _judge(answer: Answer) -> list[str]:
    """What the training of a judge adds, as no line or one."""
    seconds = answer.get("judge_seconds", 0.0)
    if seconds == 0:
        return []
    duration = "" if seconds is None else f" in about {format_duration(seconds)}"
    return [f"is trained on these pictures{duration} before that, once, since there is none yet (score.points=0: without)"]


def _stage_row(stage: Answer) -> list[object]:
    return [
        stage["name"],
        stage["parameters"]["total"],
        stage["images"],
        stage["images_per_second"],
        format_duration(stage["seconds_estimate"]),
        format_size(stage["memory"]),
    ]


def show_outcome(answer: Answer) -> None:
    """Prints the result of `train` and of `resume`. The note about transparency was progress of the same command already."""
    run = answer["run"]
    duration = format_duration(answer["seconds"])
    print_pairs(
        [
            ("run", str(run)),
            ("preset", answer.get("preset")),
            *(("chosen", line) for line in answer.get("why", ())),
            *(("data", line) for line in answer.get("notes", ()) if TRANSPARENCY_WORDS not in line),
            ("parameters", answer.get("parameters")),
            ("images", f"{answer['images']:,} in {duration} ({answer['images_per_second']:,.0f}/s)"),
            ("losses", answer["losses"]),
            *(("checkpoint", line) for line in answer.get("checkpoint_notes", ())),
            ("report", f"{run}/report.html"),
            ("next", answer.get("next_command")),
        ]
    )

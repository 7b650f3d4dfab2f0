"""Prints the plan of a training run, what became of it, and its samples."""

from __future__ import annotations

from limner.cli.show.tables import Answer, lines, size, span, table


def show_plan(answer: Answer) -> None:
    """The answer of `train --dry-run`."""
    import yaml

    lines(
        [
            *(("chosen", line) for line in answer.get("why", ())),
            ("parameters", answer.get("parameters")),
            ("memory", size(answer.get("memory"))),
            ("images/s", answer.get("images_per_second")),
            ("images", answer.get("images")),
            ("time", span(answer.get("seconds_estimate"))),
        ]
    )
    stages = answer.get("stages", ())
    if len(stages) > 1:
        print()
        rows = [
            [one["name"], one["parameters"]["total"], one["images"], one["images_per_second"], span(one["seconds_estimate"]),
             size(one["memory"])]
            for one in stages
        ]  # fmt: skip
        table(["stage", "parameters", "images", "images/s", "time", "memory"], rows)
    print("\n" + yaml.safe_dump(answer["recipe"], sort_keys=False, allow_unicode=True).rstrip())


def show_outcome(answer: Answer) -> None:
    """The answer of `train` and `resume`."""
    run = answer["run"]
    stopped = answer["state"] == "stopped"
    lines(
        [
            ("run", str(run)),
            ("preset", answer.get("preset")),
            *(("chosen", line) for line in answer.get("why", ())),
            ("parameters", answer.get("parameters")),
            ("images", f"{answer['images']:,} in {span(answer['seconds'])} ({answer['images_per_second']:,.0f}/s)"),
            ("losses", answer["losses"]),
            ("report", f"{run}/report.html"),
            ("next", f"limner resume {run}" if stopped else f"limner sample {run} --count 64 --grid"),
        ]
    )


def show_samples(answer: Answer) -> None:
    from pathlib import Path

    files = answer.get("files") or []
    where = str(Path(files[0]).parent) if files else None
    lines(
        [
            ("pictures", f"{len(files):,} in {where}" if files else None),
            ("grid", str(answer["grid"]) if answer.get("grid") else None),
            ("npz", str(answer["npz"]) if answer.get("npz") else None),
            ("speed", f"{answer['images_per_second']:,.0f} images/s"),
        ]
    )

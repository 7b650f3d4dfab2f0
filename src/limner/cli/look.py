"""The verbs that look: `doctor`, `methods`, `evaluate`, `compare`, `runs`, `report`."""

from __future__ import annotations

from pathlib import Path

from limner.cli.door import verb
from limner.cli.options import (
    Checkpoint,
    CommonReference,
    Compared,
    CompareOut,
    Features,
    Html,
    Importance,
    Json,
    JudgeCount,
    JudgedCheckpoint,
    Metrics,
    Reference,
    ReportOut,
    Run,
    What,
    Where,
)
from limner.cli.parse import split_list
from limner.cli.show.evaluation import show_comparison, show_metrics
from limner.cli.show.system import show_doctor, show_methods, show_pruned, show_report, show_runs
from limner.core.errors import InputError


def doctor(as_json: Json = False) -> None:
    """Say what this machine offers, and what of it was never tried.

    LIMNER_DEVICE=cpu (or cuda, mps, xpu) in the environment chooses another device than the one that doctor names. mps and xpu
    are taken only in this way, since nobody has tried them yet.
    """
    with verb(as_json) as reply:
        from limner.core.environment import examine
        from limner.data.catalog import known_sets

        sets = {str(one["name"]): one["where"] for one in known_sets() if one["where"]}
        reply(examine(sets), show_doctor)


def methods(as_json: Json = False) -> None:
    """List the methods and presets, with their papers."""
    with verb(as_json) as reply:
        from limner.recipes.registry import methods_table

        reply({"methods": methods_table()}, show_methods)


# Many parameters: each is one option of the command, and typer reads them from here.
def evaluate(
    what: What,
    data: Reference = None,
    count: JudgeCount = None,
    features: Features = "judge",
    metrics: Metrics = None,
    checkpoint: JudgedCheckpoint = "last",
    importance: Importance = None,
    out: ReportOut = None,
    as_json: Json = False,
) -> None:
    """Judge how good and how varied pictures are.

    Every score comes with its error and its null: what real pictures of the same number get.
    """
    with verb(as_json, run=Path(what)) as reply:
        from limner.cli.progress import phases
        from limner.evaluation import evaluate

        with phases() as tell:
            answer = evaluate.evaluate(
                what,
                data=data,
                count=count,
                features=features,
                metrics=split_list(metrics),
                checkpoint=checkpoint,
                importance=importance,
                out=out,
                tell=tell,
            )
        reply(answer, show_metrics)


# Many parameters: each is one option of the command, and typer reads them from here.
def compare(
    what: Compared,
    data: CommonReference = None,
    count: JudgeCount = None,
    features: Features = "judge",
    metrics: Metrics = None,
    checkpoint: Checkpoint = "last",
    html: Html = False,
    out: CompareOut = None,
    as_json: Json = False,
) -> None:
    """Compare runs, and say which differences may be claimed.

    All are judged by the same detector, against the same real pictures, at the same number of pictures.
    """
    with verb(as_json) as reply:
        from limner.cli.progress import phases
        from limner.evaluation import compare

        with phases() as tell:
            answer = compare.compare(
                what,
                data=data,
                count=count,
                features=features,
                metrics=split_list(metrics),
                checkpoint=checkpoint,
                html=html,
                out=out,
                tell=tell,
            )
        reply(answer, show_comparison)


def runs(words: Where = None, as_json: Json = False) -> None:
    """List the runs in a folder, or prune them.

    'runs prune' frees the space of old checkpoints; of each run the last and the best stay.
    """
    with verb(as_json) as reply:
        from limner.runs.listing import list_runs, prune

        is_pruning, folder = _parse_runs(words or [])
        if is_pruning:
            reply(prune(folder), show_pruned)
        else:
            reply({"runs": list_runs(folder)}, show_runs)


def _parse_runs(words: list[str]) -> tuple[bool, Path]:
    """``[prune] [DIR]`` as (whether to prune, the folder of runs)."""
    is_pruning = bool(words) and words[0] == "prune"
    rest = words[1:] if is_pruning else words
    if len(rest) > 1:
        raise InputError(f"runs takes one folder, not {len(rest)}: {' '.join(rest)}")
    return is_pruning, Path(rest[0]) if rest else Path("runs")


def report(run: Run, as_json: Json = False) -> None:
    """Make a run's report.html anew."""
    with verb(as_json, run=run) as reply:
        from limner.runs.report import write_report

        reply({"report": write_report(run)}, show_report)

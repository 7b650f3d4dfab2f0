"""All runs of a folder: a list of them, and the removal of old checkpoints."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from limner.core.address import public_name
from limner.core.errors import InputError
from limner.runs.run import Run


def list_runs(folder: Path) -> list[dict[str, Any]]:
    """One row for each run in `folder`: its path, preset, data, state, images seen, budget, score, best and checkpoints.

    `score` is the latest Fréchet distance, `best` the images at the best checkpoint. A run whose recipe cannot be read has its
    path and the reason alone. Errors: `InputError` where there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"no folder at {folder}; give the folder that holds your runs")
    rows: list[dict[str, Any]] = []
    for path in sorted(p.parent for p in folder.glob("*/recipe.yaml")):
        run = Run(path)
        try:
            recipe = run.recipe()
        except InputError as error:
            rows.append({"run": str(path), "state": f"unreadable: {error}"})
            continue
        status, scores = run.status(), run.scores()
        state = status["state"]
        if state in {"starting", "training", "paused"} and not run.is_training():
            state = "interrupted"
        plan = run.plan()
        rows.append(
            {
                "run": str(path),
                "preset": recipe.preset,
                "data": public_name(recipe.data.source),
                "state": state,
                "images": status.get("images", 0),
                "budget": plan[-1][1] if plan else recipe.budget.images,
                "score": scores[-1]["frechet"] if scores else None,
                "best": run.best(),
                "checkpoints": len(run.checkpoints()),
            }
        )
    return rows


def prune(folder: Path, keep: int = 0) -> dict[str, Any]:
    """Removes old checkpoints of every run in `folder` that no process trains, but the last, the best and `keep` others.

    It returns the paths of the runs, and of the removed folders.
    """
    rows = list_runs(folder)
    removed: list[str] = []
    for row in rows:
        run = Run(Path(row["run"]))
        with suppress(InputError), run.locked():
            removed += [str(path) for path in run.prune(keep)]
    return {"runs": [row["run"] for row in rows], "removed": removed}

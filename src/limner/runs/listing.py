"""All runs of a folder: a list of them with the settings in which they differ, and the removal of old checkpoints."""

from __future__ import annotations

import json
import operator
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from limner.core.address import public_name, public_text
from limner.core.documents import finite_number
from limner.core.errors import InputError, nearest
from limner.core.files import describe_os_error
from limner.core.invocation import option
from limner.recipes.settings import known_keys
from limner.runs.evaluations import latest_distance
from limner.runs.lookup import RUNS_FOLDER, find_run, is_run, read_note, run_folders, trash_folders
from limner.runs.moves import empty_trash
from limner.runs.run import DISTANCE, Run

Row = dict[str, Any]
COLUMNS = (
    "run",
    "preset",
    "data",
    "state",
    "images",
    "budget",
    "score",
    "best",
    "best_score",
    "real_score",
    "evaluated",
    "evaluated_count",
    "checkpoints",
    "seed",
    "seconds",
    "images_per_second",
    "note",
)
"""Keys of a row beside `settings`."""
OWN_COLUMNS = ("schema_version", "preset", "seed", "segments", "budget", "init_from", "codec")
"""Settings, or groups of them, that are no differences between runs: a row has them, or they only name other files."""
DATA_FACTS = ("source", "fingerprint", "classes", "caption_length", "condition_shape", "rules")
"""Settings of `data` that follow from the source, which a row has as `data`."""
COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
"""Comparisons of numbers that a condition can make, beside ``=`` and ``!=``."""


def list_runs(folder: Path, where: Sequence[str] = (), sort: str | None = None, trash: bool = False) -> list[Row]:
    """A row for each run in `folder` and its sub-folders, with the settings in which those runs differ; `folder` may also be a
    run, or name one as in `limner.runs.lookup.find_run`.

    A row has the `COLUMNS`, and `settings`: the values of the settings that differ. `score` is the latest Fréchet distance,
    `best` the images at the best checkpoint, `best_score` the lowest distance of all and `real_score` what real pictures get,
    all on the validation split while training; `evaluated` is the distance in the report of `evaluate` on the run's own data,
    of the checkpoint that was judged last and by the most samples, whose number is `evaluated_count`. `seconds` is the time of
    training. The state of a run whose recipe or other files cannot be read says why; what can be read is there.

    `where` are conditions such as ``state=done``, ``score<10`` or ``data.source=digits``, all of which must hold; `sort` is a
    column or a setting, with ``-`` in front of it for falling order; `trash` lists the deleted runs instead. Errors:
    `InputError` where there is no such folder, column or setting.
    """
    if not trash and (run := _named_run(folder)) is not None:
        folders = [run]
    else:
        _check_folder(folder)
        folders = [run for one in (trash_folders(folder) if trash else [folder]) for run in run_folders(one)]
    rows = [_row(path) for path in folders]
    for condition in where:
        holds = _condition(condition)
        rows = [row for row in rows if holds(row)]
    if sort is not None:
        rows = _sorted(rows, sort)
    names = differing_settings(row["settings"] for row in rows)
    for row in rows:
        row["settings"] = {name: row["settings"][name] for name in names if name in row["settings"]}
    return rows


def _named_run(folder: Path) -> Path | None:
    """The run that `folder` is, or that it names where there is no such folder; None for a folder of runs, and for neither."""
    if is_run(folder) or os.path.lexists(folder):
        return folder if is_run(folder) else None
    try:
        return find_run(folder)
    except InputError:
        return None


def _check_folder(folder: Path) -> None:
    """Errors: `InputError` where there is no folder, or it may not be read."""
    try:
        os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"there is no folder {folder.expanduser().absolute()}; {_place_of_runs()}") from error
    except OSError as error:
        raise InputError(describe_os_error(error) or f"{folder} cannot be read: {error.strerror}") from error


def _place_of_runs() -> str:
    """Where runs are that a person may have meant, as the end of a message about a folder that does not exist."""
    if any(len(run.parts) == 1 for run in run_folders(Path())):
        return "there are runs in the folder that you are in: name it as a dot (.)"
    if run_folders(RUNS_FOLDER):
        return f"give the folder that holds your runs, such as {RUNS_FOLDER}"
    return "nothing has been trained here yet (limner train SRC); or give the folder that holds your runs"


def _row(path: Path) -> Row:
    """The row of the run in the folder `path`, with all of its settings; None stands for what cannot be read."""
    run = Run(path)
    row: Row = {**dict.fromkeys(COLUMNS), "run": str(path), "note": read_note(path) or None, "settings": {}}
    try:
        recipe = run.recipe()
        row |= {
            "preset": recipe.preset,
            "data": public_name(recipe.data.source),
            "budget": recipe.budget.images,
            "seed": recipe.seed,
            "settings": flat_settings(recipe.model_dump(mode="json")),
        }
    except (InputError, OSError) as error:
        return row | {"state": f"unreadable: {public_text(str(error))}"}
    try:
        row |= {"checkpoints": len(run.checkpoints())}
        row |= _progress(run)
        if plan := run.plan():
            row["budget"] = plan[-1][1]
        if scores := run.scores():
            row |= {"score": scores[-1][DISTANCE], "best_score": min(one[DISTANCE] for one in scores)}
            row["real_score"] = finite_number(scores[-1].get("null"))
        if distance := latest_distance(path, recipe.data.fingerprint):
            row |= {"evaluated": distance.value, "evaluated_count": distance.count}
        row["best"] = run.best()
    except (InputError, OSError) as error:
        row["state"] = f"damaged: {public_text(str(error))}"
    return row


def _progress(run: Run) -> Row:
    """State, images, seconds and images per second of a run. A run that says it trains and holds no lock was interrupted."""
    status = run.status()
    state, images, seconds = status["state"], status["images"], finite_number(status.get("seconds"))
    if state in {"starting", "training", "paused"} and not run.is_training():
        state = "interrupted"
    if seconds is None and (rows := run.metrics()):  # the status of a run that failed has no time
        seconds = finite_number(rows[-1].get("seconds"))
    return {
        "state": state,
        "images": images,
        "seconds": seconds,
        "images_per_second": images / seconds if seconds else None,
    }


# ---- settings -----------------------------------------------------------------------------------------------------------


def flat_settings(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The settings of a recipe by their dotted keys; lists are one value.

    >>> flat_settings({"batch": {"size": 64, "chunks": 1}, "seed": 0})
    {'batch.size': 64, 'batch.chunks': 1, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flat_settings(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def differing_settings(settings: Iterable[Mapping[str, Any]]) -> list[str]:
    """The keys of `flat_settings` that have more than one value among recipes, in the order of the recipe.

    Runs of different presets differ in most settings, which their presets say already; so what is not of the `data` is compared
    among runs of one preset. What a row of `list_runs` has in a column of its own is left out.
    """
    values: dict[str, set[str]] = {}
    presets: dict[tuple[str, Any], set[str]] = {}
    for one in settings:
        for key, value in one.items():
            head, _, rest = key.partition(".")
            if head in OWN_COLUMNS or (head == "data" and rest in DATA_FACTS):
                continue
            text = json.dumps(value, sort_keys=True)
            values.setdefault(key, set())
            if head == "data":
                values[key].add(text)
                continue
            group = presets.setdefault((key, one.get("preset")), set())
            group.add(text)
            if len(group) > 1:
                values[key] |= group
    return [key for key, texts in values.items() if len(texts) > 1]


# ---- conditions and order -----------------------------------------------------------------------------------------------


def _value(row: Row, key: str) -> Any:
    """The value of a column or of a setting; None where the run has none."""
    return row[key] if key in COLUMNS else row["settings"].get(key)


def _check_key(key: str, option: str) -> None:
    """Errors: `InputError` for a key that is neither a column nor a setting."""
    keys = known_keys()
    if key not in COLUMNS and key not in keys:
        raise InputError(f"{option}: there is no '{key}'{nearest(key, [*COLUMNS, *keys])} (columns: {', '.join(COLUMNS)})")


def _condition(text: str) -> Callable[[Row], bool]:
    """The condition that a text such as ``score<10`` stands for. Errors: `InputError` for other text and for unknown keys."""
    match = re.fullmatch(r"([\w.]+)(<=|>=|!=|=|<|>)(.*)", text.strip(), re.DOTALL)
    if match is None:
        raise InputError(
            f"{option('where')} {text!r} is no condition; write KEY=VALUE, such as state=done, score<10 or data.source=digits"
        )
    key, sign, target = match[1], match[2], match[3].strip()
    _check_key(key, option("where"))
    if sign not in COMPARISONS:
        return lambda row: _equals(_value(row, key), target) == (sign == "=")
    number = _as_number(target)
    if number is None:
        raise InputError(f"{option('where')} {text!r}: {target!r} is no number; {sign} compares numbers")
    return lambda row: (own := finite_number(_value(row, key))) is not None and COMPARISONS[sign](own, number)


def _equals(value: Any, target: str) -> bool:
    """Whether a value is written as `target`, or is the same number; of a path the last part will do, ``*`` stands for any
    text."""
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value)
    numbers = finite_number(value), _as_number(target)
    return (
        (None not in numbers and numbers[0] == numbers[1])
        or fnmatchcase(text, target)
        or (isinstance(value, str) and fnmatchcase(public_name(value), target))
    )


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _sorted(rows: list[Row], sort: str) -> list[Row]:
    """The rows in the order of a column or setting: numbers before texts, and runs without a value last."""
    falling, key = sort.startswith("-"), sort.lstrip("-+").strip()
    _check_key(key, option("sort"))
    empty = [row for row in rows if _value(row, key) is None]
    numbers = [row for row in rows if finite_number(_value(row, key)) is not None]
    texts = [row for row in rows if row not in empty and row not in numbers]
    numbers.sort(key=lambda row: float(_value(row, key)), reverse=falling)
    texts.sort(key=lambda row: str(_value(row, key)), reverse=falling)
    return [*numbers, *texts, *empty]


# ---- old checkpoints ----------------------------------------------------------------------------------------------------


def prune(folder: Path, keep: int = 0, trash: bool = False) -> dict[str, Any]:
    """Removes old checkpoints of every run in `folder` that no process trains, but the last, the best and `keep` others.

    With `trash`, what lies in the trash is deleted for good too. It returns the paths of the runs and of the removed folders,
    and the runs that were left alone with the reasons. Errors: `InputError` where there is no such folder.
    """
    _check_folder(folder)
    runs, removed, skipped = run_folders(folder), list[str](), list[dict[str, str]]()
    for path in runs:
        run = Run(path)
        try:
            with run.locked():
                removed += [str(one) for one in run.prune(keep)]
        except (InputError, OSError) as error:
            skipped.append({"run": str(path), "reason": str(error)})
    emptied, freed = empty_trash(folder) if trash else ([], 0)
    return {"runs": [str(path) for path in runs], "removed": removed, "skipped": skipped, "trash": emptied, "freed": freed}

"""From judgements to what may be said: who counts, how well runs are told from real pictures, and which is preferred."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from limner.core.errors import InputError
from limner.core.files import write_json, write_text
from limner.evaluation.human.preference import strengths
from limner.evaluation.human.records import ANSWERED, KEY, Judgement, Key, Picture, Task, plain, read_judgement, read_key
from limner.evaluation.human.resampling import FEWEST, Floats, draws, estimate, interval
from limner.evaluation.human.results import page
from limner.evaluation.human.signal import detection
from limner.metrics.stats.intervals import CONFIDENCE_LEVEL, NO_DIFFERENCE

RIGHT = 0.8
"""Share of the catch trials below which a person is left out: of those who guess, 4 in 100 pass 8 of them, 1 in 100 pass 16."""
CAUGHT = 3
"""Catch trials without which nobody can be said to have looked."""
SAME = 20
"""Pictures that nobody who looks calls all generated."""
OFF = 1.5
"""A timed picture seen longer than so many times the time set, or shorter than that time by as much, is set aside."""
REPORT, RESULTS = "analysis.json", "analysis.html"


@dataclass(frozen=True)
class Heard:
    """All judgements of a study that can be used, each trial of each person once."""

    judgements: list[Judgement]
    read: int
    repeated: int
    set_aside: dict[str, int]


def analyse(words: Sequence[str | Path], seed: int = 0, html: bool = False) -> dict[str, Any]:
    """The answer to one study's judgements: a study's folder, with what lies in its ``answers``, or .jsonl files, or both.

    Where no folder is given, the key is looked for beside the files and one folder above. The answer is kept as
    ``analysis.json`` in the study, and with `html` also as a page, ``analysis.html``.

    Errors: `InputError` where there is no key, or no judgement that belongs to it.
    """
    folder, files = _sort(words)
    key = read_key(folder)
    files = files or sorted((folder / ANSWERED).glob("*.jsonl"))
    if not files:
        raise InputError(f"no answers in {folder / ANSWERED}; put the .jsonl files that people sent there")
    heard = hear(key, _lines(files))
    if not heard.judgements:
        why = ", ".join(f"{count} {text}" for text, count in heard.set_aside.items()) or "they are empty"
        raise InputError(f"no judgement of {folder} in {', '.join(map(str, files))} ({why}); give the files that people sent")
    answer = conclude(key, heard, seed)
    answer |= {"study": str(folder), "files": [str(file) for file in files], "report": str(folder / REPORT), "page": None}
    if html:
        answer["page"] = str(folder / RESULTS)
        write_text(folder / RESULTS, page(answer))
    write_json(folder / REPORT, answer)
    return answer


def _sort(words: Sequence[str | Path]) -> tuple[Path, list[Path]]:
    """The study, and the files of judgements that were named."""
    paths = [Path(word).expanduser() for word in words]
    for path in paths:
        if not path.exists():
            raise InputError(f"there is no file or folder at {path}; give a study, or the .jsonl files that people sent")
    folders = [path for path in paths if path.is_dir()]
    files = [path for path in paths if not path.is_dir()]
    if not folders:
        near = [folder for file in files for folder in (file.resolve().parent, file.resolve().parent.parent)]
        folders = [folder for folder in dict.fromkeys(near) if (folder / KEY).is_file()]
    if len(folders) != 1:
        raise InputError(
            f"{'several studies' if folders else 'no study'} to go with these files; "
            "give the folder of one study before them: limner rate STUDY FILE.jsonl --analyse"
        )
    return folders[0], files


def _lines(files: Iterable[Path]) -> Iterable[bytes]:
    for file in files:
        try:
            with file.open("rb") as handle:
                yield from (line.strip() for line in handle if line.strip())
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror}") from error


def hear(key: Key, lines: Iterable[bytes]) -> Heard:
    """What of `lines` belongs to the study of `key`. Of two answers of one person to one trial, the first counts."""
    aside: Counter[str] = Counter()
    kept: dict[tuple[str, int, int], Judgement] = {}
    read = repeated = 0
    for line in lines:
        read += 1
        try:
            judgement = read_judgement(line)
        except ValidationError:
            aside["not a judgement (damaged, or cut off)"] += 1
            continue
        fault = key.fault(judgement)
        if fault is None and judgement.exposure is not None:
            stretch = judgement.exposure / key.exposure
            fault = None if 1 / OFF <= stretch <= OFF else "with a picture shown much too long or too short"
        if fault is not None:
            aside[fault] += 1
            continue
        place = (judgement.person, judgement.form, judgement.trial)
        repeated += place in kept
        kept.setdefault(place, judgement)
    return Heard(list(kept.values()), read, repeated, dict(aside))


def conclude(key: Key, heard: Heard, seed: int = 0) -> dict[str, Any]:
    """Everything that ``limner rate --analyse --json`` prints but the names of files."""
    caught = [(one, right) for one in heard.judgements if (right := catch(key, one)) is not None]
    people = list(dict.fromkeys(one.person for one in heard.judgements))
    excluded = _excluded(people, caught, heard.judgements)
    kept = [one for one in heard.judgements if one.person not in excluded and catch(key, one) is None]
    table: list[dict[str, Any]] = []
    comparisons: list[dict[str, Any]] = []
    answer: dict[str, Any] = {
        "runs": [plain(run) for run in key.runs],
        "reals": plain(key.reals),
        "people": {"answered": len(people), "kept": len(people) - len(excluded), "excluded": list(excluded.values())},
        "judgements": {
            "read": heard.read,
            "kept": len(kept),
            "catch": len(caught),
            "repeated": heard.repeated,
            "set_aside": heard.set_aside,
        },
        "rules": {
            "catch_right": RIGHT,
            "least_catch": CAUGHT,
            "least_people": FEWEST,
            "level": CONFIDENCE_LEVEL,
            "exposure": key.exposure,
            "intervals": "bootstrap, clustered by person",
        },
        "table": table,
        "comparisons": comparisons,
    }
    for task in key.tasks:
        mine = [one for one in kept if one.task == task]
        if task == "pairs":
            rows, compared, more = _preferred(key, mine, seed)
            answer |= more
        else:
            rows, compared = _told_apart(key, task, mine, seed)
        table += rows
        comparisons += compared
    return answer


def catch(key: Key, judgement: Judgement) -> bool | None:
    """Whether a catch trial was answered rightly; None where it is none."""
    seen = [key.pictures[name] for name in judgement.shown]
    noise = [picture.kind == "noise" for picture in seen]
    if not any(noise):
        return None
    if judgement.task == "pairs":
        return judgement.answer == ("right" if noise[0] else "left")
    return judgement.answer == "generated"


def _excluded(
    people: Sequence[str], caught: Sequence[tuple[Judgement, bool]], judgements: Sequence[Judgement]
) -> dict[str, dict[str, Any]]:
    """By person: who cannot be shown to have looked, and why. Catch trials cannot see who calls everything generated."""
    seen: defaultdict[str, list[bool]] = defaultdict(list)
    for judgement, passed in caught:
        seen[judgement.person].append(passed)
    said: defaultdict[str, list[str]] = defaultdict(list)
    for judgement in judgements:
        if judgement.task != "pairs":
            said[judgement.person].append(judgement.answer)
    found = {}
    for person in people:
        right, of = sum(seen[person]), len(seen[person])
        if of < CAUGHT:
            why = f"answered {of} catch trials, fewer than {CAUGHT}"
        elif right < RIGHT * of:
            why = f"missed {of - right} of {of} catch trials"
        elif len(said[person]) >= SAME and set(said[person]) == {"generated"}:
            why = f"called all {len(said[person])} pictures generated"
        else:
            continue
        found[person] = {"person": person, "right": right, "of": of, "why": why}
    return found


# ---- real or generated --------------------------------------------------------------------------------------------------


def _told_apart(
    key: Key, task: Task, judgements: Sequence[Judgement], seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    people = list(dict.fromkeys(one.person for one in judgements))
    place = {person: number for number, person in enumerate(people)}
    called, shown = np.zeros((2, len(people), 1 + len(key.runs)), np.int64)
    for one in judgements:
        where = place[one.person], _column(key.pictures[one.shown[0]])
        shown[where] += 1
        called[where] += one.answer == "generated"
    whole = (shown > 0).all(1)  # somebody who left early may have seen no picture of some run
    called, shown = called[whole], shown[whole]
    if not len(shown):
        return [], []
    weights = draws(len(shown), seed=seed)
    found = detection(called, shown, weights)
    rows = []
    for number, run in enumerate(key.runs):
        row: dict[str, Any] = {
            "run": run.name,
            "task": task,
            "people": len(shown),
            "judgements": int(shown[:, 1 + number].sum()),
        }
        row["hit_rate"] = float(called[:, 1 + number].sum() / shown[:, 1 + number].sum())
        row["false_alarm_rate"] = float(called[:, 0].sum() / shown[:, 0].sum())
        for name in ("accuracy", "d_prime", "criterion"):
            row[name] = asdict(estimate(getattr(found, name)[:, number], len(shown)))
        ends = row["d_prime"]
        apart = ends["low"] is not None and (ends["low"] > 0 or ends["high"] < 0)
        row["told_apart"] = bool(apart)
        row["words"] = "people tell them from real pictures" if apart else f"against real pictures, {NO_DIFFERENCE}"
        rows.append(row)
    compared = _compare(key, task, found.d_prime, len(shown), "lower", "is harder to tell from real pictures than")
    return rows, compared


def _column(picture: Picture) -> int:
    return 0 if picture.run is None else 1 + picture.run


# ---- preference ---------------------------------------------------------------------------------------------------------


def _preferred(
    key: Key, judgements: Sequence[Judgement], seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    people = list(dict.fromkeys(one.person for one in judgements))
    if not people:
        return [], [], {}
    place = {person: number for number, person in enumerate(people)}
    counts = np.zeros((len(people), len(key.runs), len(key.runs), 3), np.int64)
    for one in judgements:
        left, right = (key.pictures[name].run for name in one.shown)
        assert left is not None
        assert right is not None
        counts[place[one.person], left, right, ("left", "tie", "right").index(one.answer)] += 1
    weights = draws(len(people), seed=seed)
    found = strengths(np.tensordot(weights, counts, 1))
    total = counts.sum(0)
    rows = []
    for number, run in enumerate(key.runs):
        row: dict[str, Any] = {"run": run.name, "task": "pairs", "people": len(people)}
        row["won"] = int(total[number, :, 0].sum() + total[:, number, 2].sum())
        row["tied"] = int(total[number, :, 1].sum() + total[:, number, 1].sum())
        row["lost"] = int(total[number, :, 2].sum() + total[:, number, 0].sum())
        row["strength"] = asdict(estimate(found.log_strength[:, number], len(people)))
        rows.append(row)
    compared = _compare(key, "pairs", found.log_strength, len(people), "higher", "is preferred to")
    more = {
        "ties": {"share": float(total[..., 1].sum() / total.sum()), "log_nu": asdict(estimate(found.log_ties, len(people)))},
        "left": {"log_gamma": asdict(estimate(found.log_left, len(people)))},
    }
    return rows, compared, more


# ---- what may be claimed ------------------------------------------------------------------------------------------------


def _compare(
    key: Key, task: Task, values: Floats, people: int, better: Literal["lower", "higher"], words: str
) -> list[dict[str, Any]]:
    """Every pair of runs, from `values` [draws, runs].

    A difference is claimed where the two 95 % intervals do not overlap, and the interval of the difference, at 95 % for all
    pairs together (Bonferroni), leaves out 0. The second is not implied by the first where estimates move against each other,
    as strengths do; the first keeps what is claimed in step with the intervals in the table.
    """
    pairs = list(combinations(range(len(key.runs)), 2))
    found: list[dict[str, Any]] = []
    for a, b in pairs:
        difference = values[:, a] - values[:, b]
        row: dict[str, Any] = {"task": task, "a": key.runs[a].name, "b": key.runs[b].name}
        row["difference"] = asdict(estimate(difference, people))
        first = _claim(values[:, [a, b]], difference, people, len(pairs))
        if better == "lower":
            first = -first
        row["claim"] = {1: row["a"], -1: row["b"], 0: None}[first]
        other = row["b"] if first == 1 else row["a"]
        row["words"] = f"{row['claim']} {words} {other}" if first else f"{row['a']} and {row['b']}: {NO_DIFFERENCE}"
        found.append(row)
    return found


def _claim(two: NDArray[np.float64], difference: Floats, people: int, pairs: int) -> int:
    """1 where the first is higher, −1 where the second is, 0 where it cannot be said."""
    if people < FEWEST:
        return 0
    low, high = interval(two, people)
    least, most = interval(difference, people, 1 - (1 - CONFIDENCE_LEVEL) / pairs)
    if low[0] > high[1] and least > 0:
        return 1
    if low[1] > high[0] and most < 0:
        return -1
    return 0

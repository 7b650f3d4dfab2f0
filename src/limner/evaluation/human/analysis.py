"""From judgements to claims: whose answers count, how well people tell runs from real pictures, and which run they prefer."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from limner.core.errors import InputError
from limner.core.files import write_json, write_text
from limner.evaluation.human.preference import fit_strengths
from limner.evaluation.human.records import (
    ANSWERS_FOLDER,
    KEY_FILE,
    Judgement,
    StudyKey,
    read_judgement,
    read_key,
    to_json_fields,
)
from limner.evaluation.human.resampling import MIN_PEOPLE, Floats, bootstrap_estimate, bootstrap_interval, bootstrap_weights
from limner.evaluation.human.results import render_results_page
from limner.evaluation.human.signal import detection_measures
from limner.evaluation.human.study_types import ComparisonRow, ExcludedPerson, StudyAnalysis, Task
from limner.metrics.stats.intervals import CONFIDENCE_LEVEL, NO_DIFFERENCE

MIN_CATCH_SHARE = 0.8
"""A person is left out who gets a smaller share of the catch trials right. Of people who guess, 4 in 100 get 8 of them right, 1
in 100 gets 16 right."""
MIN_CATCH_TRIALS = 3
"""A person is left out who answered fewer catch trials: nothing shows that they looked."""
MIN_PICTURES_ALL_GENERATED = 20
"""A person is left out who calls at least so many pictures generated, and none real."""
MAX_EXPOSURE_RATIO = 1.5
"""A judgement is set aside whose picture was visible longer than the set time by this factor, or shorter."""
REPORT_FILE, RESULTS_PAGE_FILE = "analysis.json", "analysis.html"


@dataclass(frozen=True)
class CollectedJudgements:
    """The judgements of a study that can be used, each trial of each person once."""

    judgements: list[Judgement]
    read: int
    """Lines read."""
    repeated: int
    """Lines that answer a trial once more."""
    set_aside: dict[str, int]
    """How many other lines do not count, by the reason."""


def analyse_answers(paths: Sequence[str | Path], seed: int = 0, html: bool = False) -> StudyAnalysis:
    """Analyses the answers to one study, and writes the analysis into its folder as ``analysis.json``.

    `paths` are the folder of the study, whose ``answers`` are read, or .jsonl files of judgements, or both. Without a folder,
    the study is looked for beside the files and one folder above. `seed` is that of the bootstrap. With `html`, the analysis is
    also written as a page, ``analysis.html``.

    Errors: `InputError` where there is no key, or no judgement that belongs to it.
    """
    folder, files = _split_paths(paths)
    key = read_key(folder)
    files = files or sorted((folder / ANSWERS_FOLDER).glob("*.jsonl"))
    if not files:
        raise InputError(f"no answers in {folder / ANSWERS_FOLDER}; put the .jsonl files that people sent there")
    collected = collect_judgements(key, _lines(files))
    if not collected.judgements:
        why = ", ".join(f"{count} {text}" for text, count in collected.set_aside.items()) or "they are empty"
        raise InputError(f"no judgement of {folder} in {', '.join(map(str, files))} ({why}); give the files that people sent")
    answer = analyse_judgements(key, collected, seed)
    answer["study"], answer["files"] = str(folder), [str(file) for file in files]
    answer["report"], answer["page"] = str(folder / REPORT_FILE), None
    if html:
        answer["page"] = str(folder / RESULTS_PAGE_FILE)
        write_text(folder / RESULTS_PAGE_FILE, render_results_page(answer))
    write_json(folder / REPORT_FILE, answer)
    return answer


def _split_paths(words: Sequence[str | Path]) -> tuple[Path, list[Path]]:
    """The folder of the study, and the files of judgements that were named."""
    paths = [Path(word).expanduser() for word in words]
    for path in paths:
        if not path.exists():
            raise InputError(f"there is no file or folder at {path}; give a study, or the .jsonl files that people sent")
    folders = [path for path in paths if path.is_dir()]
    files = [path for path in paths if not path.is_dir()]
    if not folders:
        near = [folder for file in files for folder in (file.resolve().parent, file.resolve().parent.parent)]
        folders = [folder for folder in dict.fromkeys(near) if (folder / KEY_FILE).is_file()]
    if len(folders) != 1:
        raise InputError(
            f"{'several studies' if folders else 'no study'} to go with these files; "
            "give the folder of one study before them: `limner rate STUDY FILE.jsonl --analyse`"
        )
    return folders[0], files


def _lines(files: Iterable[Path]) -> Iterable[bytes]:
    for file in files:
        try:
            with file.open("rb") as handle:
                yield from (line.strip() for line in handle if line.strip())
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror}") from error


def collect_judgements(key: StudyKey, lines: Iterable[bytes]) -> CollectedJudgements:
    """The judgements among `lines` that belong to the study of `key`; a person's first answer to a trial counts."""
    set_aside: Counter[str] = Counter()
    judgements: dict[tuple[str, int, int], Judgement] = {}
    read = repeated = 0
    for line in lines:
        read += 1
        try:
            judgement = read_judgement(line)
        except ValidationError:
            set_aside["not a judgement (damaged, or cut off)"] += 1
            continue
        fault = key.fault(judgement) or _exposure_fault(key, judgement)
        if fault is not None:
            set_aside[fault] += 1
            continue
        place = (judgement.person, judgement.form, judgement.trial)
        repeated += place in judgements
        judgements.setdefault(place, judgement)
    return CollectedJudgements(list(judgements.values()), read, repeated, dict(set_aside))


def _exposure_fault(key: StudyKey, judgement: Judgement) -> str | None:
    """The fault of a timed picture that was not visible for about the set time; else None."""
    if judgement.exposure is None:
        return None
    ratio = judgement.exposure / key.exposure
    is_near = 1 / MAX_EXPOSURE_RATIO <= ratio <= MAX_EXPOSURE_RATIO
    return None if is_near else "with a picture shown much too long or too short"


def analyse_judgements(key: StudyKey, collected: CollectedJudgements, seed: int = 0) -> StudyAnalysis:
    """The analysis without the names of files: all that ``limner rate --analyse --json`` prints but these."""
    catch_trials = [(one, passed) for one in collected.judgements if (passed := passed_catch_trial(key, one)) is not None]
    people = list(dict.fromkeys(one.person for one in collected.judgements))
    excluded = _excluded_people(people, catch_trials, collected.judgements)
    judgements = [one for one in collected.judgements if one.person not in excluded and passed_catch_trial(key, one) is None]
    answer: StudyAnalysis = {
        "runs": [to_json_fields(run) for run in key.runs],
        "reals": {"data": key.reals.data, "fingerprint": key.reals.fingerprint, "split": key.reals.split},
        "people": {"answered": len(people), "kept": len(people) - len(excluded), "excluded": list(excluded.values())},
        "judgements": {
            "read": collected.read,
            "kept": len(judgements),
            "catch": len(catch_trials),
            "repeated": collected.repeated,
            "set_aside": collected.set_aside,
        },
        "rules": {
            "catch_right": MIN_CATCH_SHARE,
            "least_catch": MIN_CATCH_TRIALS,
            "least_people": MIN_PEOPLE,
            "level": CONFIDENCE_LEVEL,
            "exposure": key.exposure,
            "intervals": "bootstrap, clustered by person",
        },
        "table": [],
        "comparisons": [],
    }
    for task in key.tasks:
        of_task = [one for one in judgements if one.task == task]
        if task == "pairs":
            _add_preferences(answer, key, of_task, seed)
        else:
            _add_detection(answer, key, task, of_task, seed)
    return answer


def passed_catch_trial(key: StudyKey, judgement: Judgement) -> bool | None:
    """Whether a catch trial was answered correctly; None for other trials."""
    is_noise = [key.pictures[name].kind == "noise" for name in judgement.shown]
    if not any(is_noise):
        return None
    if judgement.task == "pairs":
        return judgement.answer == ("right" if is_noise[0] else "left")
    return judgement.answer == "generated"


def _excluded_people(
    people: Sequence[str], catch_trials: Sequence[tuple[Judgement, bool]], judgements: Sequence[Judgement]
) -> dict[str, ExcludedPerson]:
    """By person: those whose answers do not show that they looked. Somebody who calls every picture generated passes all catch
    trials of single pictures, and is recognised by the answers themselves."""
    passed: defaultdict[str, list[bool]] = defaultdict(list)
    for judgement, is_right in catch_trials:
        passed[judgement.person].append(is_right)
    answers: defaultdict[str, list[str]] = defaultdict(list)
    for judgement in judgements:
        if judgement.task != "pairs":
            answers[judgement.person].append(judgement.answer)
    excluded: dict[str, ExcludedPerson] = {}
    for person in people:
        right, of = sum(passed[person]), len(passed[person])
        if of < MIN_CATCH_TRIALS:
            why = f"answered {of} catch trials, fewer than {MIN_CATCH_TRIALS}"
        elif right < MIN_CATCH_SHARE * of:
            why = f"missed {of - right} of {of} catch trials"
        elif len(answers[person]) >= MIN_PICTURES_ALL_GENERATED and set(answers[person]) == {"generated"}:
            why = f"called all {len(answers[person])} pictures generated"
        else:
            continue
        excluded[person] = {"person": person, "right": right, "of": of, "why": why}
    return excluded


# ---- real or generated --------------------------------------------------------------------------------------------------


def _add_detection(
    answer: StudyAnalysis, key: StudyKey, task: Literal["timed", "untimed"], judgements: Sequence[Judgement], seed: int
) -> None:
    """Adds to the table how well people tell each run from real pictures, and every pair of runs to the comparisons."""
    hits, trials = _count_hits(key, judgements)
    if not len(trials):
        return
    measures = detection_measures(hits, trials, bootstrap_weights(len(trials), seed=seed))
    for number, run in enumerate(key.runs):
        accuracy, d_prime, criterion = (
            bootstrap_estimate(values[:, number], len(trials))
            for values in (measures.accuracy, measures.d_prime, measures.criterion)
        )
        told_apart = d_prime.low is not None and d_prime.high is not None and (d_prime.low > 0 or d_prime.high < 0)
        answer["table"].append(
            {
                "run": run.name,
                "task": task,
                "people": len(trials),
                "judgements": int(trials[:, 1 + number].sum()),
                "hit_rate": float(hits[:, 1 + number].sum() / trials[:, 1 + number].sum()),
                "false_alarm_rate": float(hits[:, 0].sum() / trials[:, 0].sum()),
                "accuracy": accuracy.to_dict(),
                "d_prime": d_prime.to_dict(),
                "criterion": criterion.to_dict(),
                "told_apart": told_apart,
                "words": "people tell them from real pictures" if told_apart else f"against real pictures, {NO_DIFFERENCE}",
            }
        )
    better = "is harder to tell from real pictures than"
    answer["comparisons"] += _comparison_rows(key, task, measures.d_prime, len(trials), better, lower_is_better=True)


def _count_hits(key: StudyKey, judgements: Sequence[Judgement]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Answers "generated" of each person, and pictures that they saw, both [people, 1 + runs]; column 0 is of real pictures.

    People are left out who saw no picture of some kind, because they stopped early.
    """
    people = list(dict.fromkeys(one.person for one in judgements))
    row = {person: number for number, person in enumerate(people)}
    hits, trials = np.zeros((2, len(people), 1 + len(key.runs)), np.int64)
    for one in judgements:
        run = key.pictures[one.shown[0]].run
        place = row[one.person], 0 if run is None else 1 + run
        trials[place] += 1
        hits[place] += one.answer == "generated"
    is_complete = (trials > 0).all(1)
    return hits[is_complete], trials[is_complete]


# ---- preference ---------------------------------------------------------------------------------------------------------


def _add_preferences(answer: StudyAnalysis, key: StudyKey, judgements: Sequence[Judgement], seed: int) -> None:
    """Adds to the table which runs people prefer, every pair of runs to the comparisons, and the ties and the favoured side."""
    people = list(dict.fromkeys(one.person for one in judgements))
    if not people:
        return
    row = {person: number for number, person in enumerate(people)}
    counts = np.zeros((len(people), len(key.runs), len(key.runs), 3), np.int64)
    for one in judgements:
        left, right = (key.pictures[name].run for name in one.shown)
        assert left is not None
        assert right is not None
        counts[row[one.person], left, right, ("left", "tie", "right").index(one.answer)] += 1
    strengths = fit_strengths(np.tensordot(bootstrap_weights(len(people), seed=seed), counts, 1))
    total = counts.sum(0)
    for number, run in enumerate(key.runs):
        on_left, on_right = total[number].sum(0), total[:, number].sum(0)  # [left, tie, right] of this run's trials
        answer["table"].append(
            {
                "run": run.name,
                "task": "pairs",
                "people": len(people),
                "won": int(on_left[0] + on_right[2]),
                "tied": int(on_left[1] + on_right[1]),
                "lost": int(on_left[2] + on_right[0]),
                "strength": bootstrap_estimate(strengths.log_strength[:, number], len(people)).to_dict(),
            }
        )
    answer["comparisons"] += _comparison_rows(key, "pairs", strengths.log_strength, len(people), "is preferred to")
    log_ties, log_left = (bootstrap_estimate(one, len(people)).to_dict() for one in (strengths.log_ties, strengths.log_left))
    answer["ties"] = {"share": float(total[..., 1].sum() / total.sum()), "log_nu": log_ties}
    answer["left"] = {"log_gamma": log_left}


# ---- what may be claimed ------------------------------------------------------------------------------------------------


def _comparison_rows(
    key: StudyKey, task: Task, values: Floats, people: int, better: str, lower_is_better: bool = False
) -> list[ComparisonRow]:
    """A row for every pair of runs, from `values` [1 + repeats, runs]; `better` are the words between the two runs of a claim.

    One run is claimed to be better where the two 95 % intervals do not overlap, and the interval of the difference, at 95 % for
    all pairs together (Bonferroni), leaves out 0. The first does not imply the second where estimates are correlated, as
    strengths are; it keeps the claims consistent with the intervals in the table.
    """
    pairs = list(combinations(range(len(key.runs)), 2))
    rows: list[ComparisonRow] = []
    for first, second in pairs:
        a, b = key.runs[first].name, key.runs[second].name
        higher = _higher_of_two(values[:, [first, second]], people, len(pairs))
        claim = {0: None, 1: a, -1: b}[-higher if lower_is_better else higher]
        rows.append(
            {
                "task": task,
                "a": a,
                "b": b,
                "difference": bootstrap_estimate(values[:, first] - values[:, second], people).to_dict(),
                "claim": claim,
                "words": f"{a} and {b}: {NO_DIFFERENCE}" if claim is None else f"{claim} {better} {b if claim == a else a}",
            }
        )
    return rows


def _higher_of_two(values: NDArray[np.float64], people: int, pairs: int) -> int:
    """1 where the first column of `values` [1 + repeats, 2] is higher, −1 where the second is, 0 where neither is sure."""
    if people < MIN_PEOPLE:
        return 0
    low, high = bootstrap_interval(values, people)
    lowest, highest = bootstrap_interval(values[:, 0] - values[:, 1], people, 1 - (1 - CONFIDENCE_LEVEL) / pairs)
    if low[0] > high[1] and lowest > 0:
        return 1
    if low[1] > high[0] and highest < 0:
        return -1
    return 0

"""The forms of a study: which trials one person does, part by part, and in which order.

A form shows no picture twice. It has as many real pictures as generated ones, as many of each run, and each run of a pair
equally often on either side. On which side the answer "real" is alternates between forms (in the page's script).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from limner.evaluation.human.pictures import study_generator
from limner.evaluation.human.records import Trial
from limner.evaluation.human.study_types import Task

FORMS = 60
"""Forms of a study; a person gets one at random."""
PRACTICE_TRIALS, PRACTICE_PAIRS = 4, 2
"""Trials with the right answer before a part of single pictures, and before the part of pairs."""
TRIALS_PER_CATCH_TRIAL, MIN_CATCH_TRIALS = 10, 4
"""A part has one catch trial for so many others, and at least so many."""
SECONDS_PER_TRIAL = {"timed": 3.0, "untimed": 3.0, "pairs": 4.0}
"""What a trial takes, roughly."""


@dataclass(frozen=True)
class StudyPart:
    """One task of a form, in numbers of trials and pictures."""

    task: Task
    trials: int
    """Without catch trials."""
    catch: int
    reals: int
    """Real pictures."""
    of_each: int
    """Pictures of each run."""

    @property
    def practice(self) -> int:
        """Practice trials before the part."""
        return PRACTICE_PAIRS if self.task == "pairs" else PRACTICE_TRIALS


def study_parts(tasks: Sequence[Task], runs: int, count: int) -> list[StudyPart]:
    """What one person does: `count` pictures of each run in a task of single pictures, and each pair of runs `count` times."""
    parts = []
    for task in tasks:
        pairs = runs * (runs - 1) // 2
        trials = count * (pairs if task == "pairs" else 2 * runs)
        catch = max(MIN_CATCH_TRIALS, round(trials / TRIALS_PER_CATCH_TRIAL))
        reals = catch if task == "pairs" else count * runs
        parts.append(StudyPart(task, trials, catch, reals, count * (runs - 1) if task == "pairs" else count))
    return parts


def estimate_minutes(parts: Sequence[StudyPart]) -> int:
    """Minutes that a person needs, two of them for reading and practice."""
    return round(sum((part.trials + part.catch) * SECONDS_PER_TRIAL[part.task] for part in parts) / 60) + 2


@dataclass(frozen=True)
class BlindNames:
    """The blind names of the pictures in trials, by kind."""

    reals: list[str]
    samples: list[list[str]]
    """Of each run."""
    noise: list[str]


def make_form(parts: Sequence[StudyPart], names: BlindNames, runs: int, seed: int, number: int) -> Iterator[Trial]:
    """The trials of form `number`: part by part, in random order within a part, no picture twice."""
    generator = study_generator(seed, "form", number)

    def shuffle(pool: list[str]) -> Iterator[str]:
        return iter([pool[place] for place in generator.permutation(len(pool))])

    reals, noise, samples = shuffle(names.reals), shuffle(names.noise), [shuffle(pool) for pool in names.samples]
    for part in parts:
        trials: list[list[str]] = []
        if part.task == "pairs":
            for place, (a, b) in enumerate(combinations(range(runs), 2)):
                for turn in range(part.trials // (runs * (runs - 1) // 2)):
                    pair = [next(samples[a]), next(samples[b])]
                    trials.append(pair[::-1] if (turn + place + number) % 2 else pair)
            for turn in range(part.catch):
                pair = [next(reals), next(noise)]
                trials.append(pair[::-1] if (turn + number) % 2 else pair)
        else:
            trials += [[next(reals)] for _ in range(part.reals)]
            trials += [[next(samples[run])] for run in range(runs) for _ in range(part.of_each)]
            trials += [[next(noise)] for _ in range(part.catch)]
        for place in generator.permutation(len(trials)):
            yield Trial(task=part.task, shown=trials[place])

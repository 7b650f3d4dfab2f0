"""Simulated people who sit through a study: what they see in pictures, what they lean to, and whether they look at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import ndtr

from limner.evaluation.human.preference import design_matrix
from limner.evaluation.human.records import StudyKey


@dataclass(frozen=True)
class Rater:
    """`d_prime` and `strength` by run; `lean` is the criterion, `ties` and `left` are log ν and log γ. Lapses are guesses."""

    d_prime: Sequence[float]
    strength: Sequence[float] = ()
    lean: float = 0.0
    ties: float = -1.0
    left: float = 0.0
    looks: bool = True

    def differing(self, rng: Generator, ability: float, lean: float) -> Rater:
        """Another person like this one."""
        own = tuple(np.asarray(self.d_prime) + ability * rng.standard_normal())
        return replace(self, d_prime=own, lean=self.lean + lean * rng.standard_normal())


def chances(log_strength: NDArray[np.float64], log_ties: float, log_left: float) -> NDArray[np.float64]:
    """[i on the left, j on the right, (left, tie, right)] for one set of Davidson's parameters."""
    scores = design_matrix(len(log_strength)) @ np.concatenate([log_strength, [log_ties, log_left]])
    chance = np.exp(scores - scores.max(-1, keepdims=True))
    return chance / chance.sum(-1, keepdims=True)


def sitting(key: StudyKey, rater: Rater, rng: Generator, form: int | None = None) -> Iterator[dict[str, Any]]:
    """The rows that a person's browser would send, trial by trial."""
    person = f"{rng.integers(2**63):016x}"
    form = int(rng.integers(len(key.forms))) if form is None else form
    middle = float(np.mean(rater.d_prime))
    for number, trial in enumerate(key.forms[form]):
        seen = [key.pictures[name] for name in trial.shown]
        row = {"version": 1, "study": key.study, "person": person, "form": form, "trial": number, "task": trial.task}
        row |= {"shown": trial.shown, "ms": int(rng.integers(600, 3000))}
        if trial.task == "timed":
            row["exposure"] = key.exposure
        if trial.task == "pairs":
            if not rater.looks:
                row["answer"] = str(rng.choice(["left", "right", "tie"]))
            elif any(one.kind == "noise" for one in seen):
                row["answer"] = "right" if seen[0].kind == "noise" else "left"
            else:
                left, right = (one.run for one in seen)
                chance = chances(np.asarray(rater.strength), rater.ties, rater.left)[left, right]
                row["answer"] = ("left", "tie", "right")[rng.choice(3, p=chance)]
        elif not rater.looks:
            row["answer"] = str(rng.choice(["real", "generated"]))
        elif seen[0].kind == "noise":
            row["answer"] = "generated"
        else:
            strength = -middle / 2 if seen[0].run is None else rater.d_prime[seen[0].run] - middle / 2
            row["answer"] = "generated" if rng.random() < ndtr(strength - rater.lean) else "real"
        yield row

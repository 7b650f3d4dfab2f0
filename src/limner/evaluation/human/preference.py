"""Which of two is preferred: strengths of runs from comparisons of pairs, with ties (Davidson 1970) and a favoured side.

With strengths π, readiness for ties ν and the left side's advantage γ, of i on the left and j on the right

    left : tie : right  =  √γ πi  :  ν √(πi πj)  :  πj / √γ

so that log γ, log ν and all log π enter linearly, and the likelihood has one maximum. γ is the multiplicative order effect of
Davidson & Beaver 1977 (Biometrics 33), here shared by both sides: a tie stays ν times the geometric mean of the two wins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from limner.evaluation.human.resampling import Floats

PENALTY = 0.01
"""Half of it times the squared length of all parameters is taken off the log-likelihood: a normal prior of standard deviation
10, far too wide to be seen, except where data bound nothing (a run that always wins, ties that nobody ever gave)."""


@dataclass(frozen=True)
class Strengths:
    log_strength: Floats
    """[draws, runs], of mean 0."""
    log_ties: Floats
    """[draws]: log ν."""
    log_left: Floats
    """[draws]: log γ, 0 where no side is favoured."""


def features(runs: int) -> Floats:
    """[runs, runs, 3, runs + 2]: by what each parameter (log π …, log ν, log γ) enters left, tie and right of (i, j)."""
    found = np.zeros((runs, runs, 3, runs + 2))
    for i in range(runs):
        for j in range(runs):
            found[i, j, 0, [i, runs + 1]] = 1, 0.5
            found[i, j, 2, [j, runs + 1]] = 1, -0.5
            found[i, j, 1, i] += 0.5
            found[i, j, 1, j] += 0.5
            found[i, j, 1, runs] = 1
    return found


def strengths(counts: Floats, penalty: float = PENALTY) -> Strengths:
    """From `counts` [draws, i on the left, j on the right, (left, tie, right)], by Newton's method on all draws at once."""
    rounds, runs = counts.shape[:2]
    table = features(runs).reshape(runs * runs, 3, runs + 2)
    counts = counts.reshape(rounds, runs * runs, 3)
    shown = counts.sum(-1)
    told = np.einsum("rmc,mcq->rq", counts, table)
    found = np.zeros((rounds, runs + 2))
    for _ in range(100):
        scores = np.einsum("rq,mcq->rmc", found, table)
        chance = np.exp(scores - scores.max(-1, keepdims=True))
        chance /= chance.sum(-1, keepdims=True)
        expected = np.einsum("rmc,mcq->rmq", chance, table)
        slope = told - np.einsum("rm,rmq->rq", shown, expected) - penalty * found
        second = np.einsum("rmc,mcp,mcq->rmpq", chance, table, table) - expected[..., :, None] * expected[..., None, :]
        curve = np.einsum("rm,rmpq->rpq", shown, second) + penalty * np.eye(runs + 2)
        step = np.linalg.solve(curve, slope[..., None])[..., 0]
        step /= np.maximum(1, np.abs(step).max(-1, keepdims=True))  # at most 1 at a time: far from the top Newton overshoots
        found += step
        if np.abs(step).max() < 1e-9:
            break
    own = found[:, :runs] - found[:, :runs].mean(-1, keepdims=True)
    return Strengths(own, found[:, runs], found[:, runs + 1])

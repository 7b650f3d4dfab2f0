"""Which of two pictures is preferred: strengths of runs from paired comparisons with ties (Davidson 1970) and an order effect.

With strengths π, a tie parameter ν and an advantage γ of the left side, the probabilities for i on the left and j on the right
are in the ratio

    left : tie : right  =  √γ πi  :  ν √(πi πj)  :  πj / √γ

so that the model is log-linear in γ, ν and all π, and the likelihood has one maximum. γ is the multiplicative order effect of
Davidson & Beaver 1977 (Biometrics 33), divided between both sides, so that a tie stays ν times the geometric mean of the wins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from limner.evaluation.human.resampling import Floats

PENALTY = 0.01
"""Of the squared norm of all parameters, half of which is subtracted from the log-likelihood. It is a normal prior of standard
deviation 10: without effect, except where the data bound a parameter on one side only (a run that always wins, no ties)."""


@dataclass(frozen=True)
class Strengths:
    """The parameters of the model, for each bootstrap sample."""

    log_strength: Floats
    """[draws, runs]: log π, with mean 0 over runs."""
    log_ties: Floats
    """[draws]: log ν."""
    log_left: Floats
    """[draws]: log γ; 0 where no side is favoured."""


def design_matrix(runs: int) -> Floats:
    """[runs, runs, 3, runs + 2]: the coefficient of each parameter (log π of each run, log ν, log γ) in the log-odds of left,
    tie and right, for run i on the left and run j on the right."""
    matrix = np.zeros((runs, runs, 3, runs + 2))
    for i in range(runs):
        for j in range(runs):
            matrix[i, j, 0, [i, runs + 1]] = 1, 0.5
            matrix[i, j, 2, [j, runs + 1]] = 1, -0.5
            matrix[i, j, 1, i] += 0.5
            matrix[i, j, 1, j] += 0.5
            matrix[i, j, 1, runs] = 1
    return matrix


def fit_strengths(counts: Floats, penalty: float = PENALTY) -> Strengths:
    """The maximum of the penalised likelihood for `counts` [draws, left run, right run, (left, tie, right)].

    Newton's method runs on all draws at once.
    """
    samples, runs = counts.shape[:2]
    table = design_matrix(runs).reshape(runs * runs, 3, runs + 2)
    counts = counts.reshape(samples, runs * runs, 3)
    trials = counts.sum(-1)
    sums = np.einsum("rmc,mcq->rq", counts, table)
    parameters = np.zeros((samples, runs + 2))
    for _ in range(100):
        log_odds = np.einsum("rq,mcq->rmc", parameters, table)
        probability = np.exp(log_odds - log_odds.max(-1, keepdims=True))
        probability /= probability.sum(-1, keepdims=True)
        expected = np.einsum("rmc,mcq->rmq", probability, table)
        gradient = sums - np.einsum("rm,rmq->rq", trials, expected) - penalty * parameters
        covariance = np.einsum("rmc,mcp,mcq->rmpq", probability, table, table) - expected[..., :, None] * expected[..., None, :]
        information = np.einsum("rm,rmpq->rpq", trials, covariance) + penalty * np.eye(runs + 2)
        step = np.linalg.solve(information, gradient[..., None])[..., 0]
        step /= np.maximum(1, np.abs(step).max(-1, keepdims=True))  # at most 1: far from the maximum Newton's step is too long
        parameters += step
        if np.abs(step).max() < 1e-9:
            break
    log_strength = parameters[:, :runs] - parameters[:, :runs].mean(-1, keepdims=True)
    return Strengths(log_strength, parameters[:, runs], parameters[:, runs + 1])

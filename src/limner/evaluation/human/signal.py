"""Real or generated: how well people tell them apart (d′), and how readily they say "generated" (the criterion).

This is signal detection theory (Green & Swets 1966) with "generated" as the signal. H is the share of generated pictures that
are called generated (hit rate), F the share of real ones (false alarm rate). d′ = Φ⁻¹(H) − Φ⁻¹(F) is 0 where people cannot tell
them apart, and does not depend on how readily they say "generated"; the criterion c = −(Φ⁻¹(H) + Φ⁻¹(F))/2 measures that alone:
below 0, "generated" is said too often.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from limner.evaluation.human.resampling import Floats, normal_cdf, normal_quantile

_CORRELATION_RANGE = (-0.5, 0.8)
"""Where `solve_correlation` looks for its solution."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)


@dataclass(frozen=True)
class Detection:
    """The measures of each run, each [draws, runs]."""

    accuracy: Floats
    """(H + 1 − F) / 2: 0.5 by guessing, whatever the criterion."""
    d_prime: Floats
    criterion: Floats


def detection_measures(hits: NDArray[np.int64], trials: NDArray[np.int64], weights: Floats) -> Detection:
    """The measures from counts [people, 1 + runs]: answers "generated" (`hits`), and pictures (`trials`).

    Column 0 counts real pictures, for which a "hit" is a false alarm; everybody must have seen some of each kind. `weights`
    [draws, people] are those of `resampling.bootstrap_weights`.

    d′ and c are means over people, not those of the pooled answers: pooled shares lie nearer to one half than those of the
    single people, the more so the more people differ, and make d′ too small by a tenth at usual differences.
    """
    rates = (weights @ hits) / (weights @ trials)
    z = mean_z(hits.astype(np.float64), trials.astype(np.float64), weights)
    return Detection(
        accuracy=(rates[:, 1:] + 1 - rates[:, :1]) / 2,
        d_prime=z[:, 1:] - z[:, :1],
        criterion=-(z[:, 1:] + z[:, :1]) / 2,
    )


def corrected_share(hits: Floats, trials: Floats) -> Floats:
    """(hits + ½) / (trials + 1): a share that is never 0 or 1, the log-linear correction (Hautus 1995, Behavior Research
    Methods 27).

    >>> float(corrected_share(np.array(10.0), np.array(10.0)))
    0.9545454545454546
    """
    share: Floats = (hits + 0.5) / (trials + 1)
    return share


def mean_z(hits: Floats, trials: Floats, weights: Floats) -> Floats:
    """[draws, columns]: the mean over people of z, where a person says "generated" with probability Φ(z) and z ~ N(mean, τ²).

    The share of "generated" among all answers is Φ(a) with a = mean / √(1 + τ²). Two answers of one person are both
    "generated" with probability Φ₂(a, a; ρ), ρ = τ²/(1 + τ²). So the share of "generated" and the share of such pairs determine
    the mean, a / √(1 − ρ). Unlike the mean of each person's own d′, this needs no large number of answers per person: that mean
    is biased towards 0 by any correction for shares of 0 and 1.
    """
    total, out_of = weights @ hits, weights @ trials
    a = normal_quantile(corrected_share(total, out_of))
    pairs = weights @ (trials * (trials - 1))
    is_determined = (pairs > 0) & (total > 0) & (total < out_of)
    share = np.where(is_determined, total / np.maximum(out_of, 1), 0.5)
    agree = np.where(is_determined, (weights @ (hits * (hits - 1))) / np.maximum(pairs, 1), 0.25)
    return np.where(is_determined, a / np.sqrt(1 - solve_correlation(share, agree)), a)


def solve_correlation(share: Floats, agree: Floats) -> Floats:
    """ρ with Φ₂(a, a; ρ) = `agree` and Φ(a) = `share`, by bisection; Φ₂ increases with ρ."""
    a = normal_quantile(share)
    low, high = np.full(share.shape, _CORRELATION_RANGE[0]), np.full(share.shape, _CORRELATION_RANGE[1])
    for _ in range(20):
        middle = (low + high) / 2
        above = bivariate_normal_cdf(a, middle) > agree
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    rho: Floats = (low + high) / 2
    return rho


def bivariate_normal_cdf(a: Floats, rho: Floats) -> Floats:
    """Φ₂(a, a; ρ): the probability that two standard normal variables with correlation ρ both lie below a.

    It is Φ(a)² + 1/(2π) ∫₀^{arcsin ρ} exp(−a²/(1 + sin t)) dt (Plackett 1954), by Gauss–Legendre quadrature with 12 points.
    """
    upper = np.arcsin(rho)[..., None]
    integrand = np.exp(-(a[..., None] ** 2) / (1 + np.sin(upper * (_NODES + 1) / 2)))
    probability: Floats = normal_cdf(a) ** 2 + (integrand * _WEIGHTS).sum(-1) * upper[..., 0] / (4 * np.pi)
    return probability

"""Real or generated: how well people tell them apart (d′), and how ready they are to say "generated" (the criterion).

Signal detection (Green & Swets 1966) with "generated" as the signal: H is the share of generated pictures called generated, F
that of real ones. d′ = Φ⁻¹(H) − Φ⁻¹(F) is 0 where nobody tells them apart, and does not care how ready people are to say
"generated"; c = −(Φ⁻¹(H) + Φ⁻¹(F))/2 is that readiness alone: below 0, "generated" is said too often.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from limner.evaluation.human.resampling import Floats, normal, quantile

_ALIKE = (-0.5, 0.8)
"""Where the likeness of one person's answers is looked for."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)


@dataclass(frozen=True)
class Detection:
    """Each [draws, runs]."""

    accuracy: Floats
    """(H + 1 − F) / 2: .5 by guessing, whatever a person leans to."""
    d_prime: Floats
    criterion: Floats


def detection(called: NDArray[np.int64], shown: NDArray[np.int64], weights: Floats) -> Detection:
    """From `called` of `shown` pictures, both [people, 1 + runs] (the real ones first), called generated; `weights` as of
    `resampling.draws` [draws, people]. Everybody must have seen something of each.

    d′ and c are those of a typical person, not of a crowd taken for one person: H and F of a crowd lie nearer to one half than
    those of its members, the more so the more these differ, and its d′ is too small by a tenth at usual differences.
    """
    rates = (weights @ called) / (weights @ shown)
    z = typical(called.astype(np.float64), shown.astype(np.float64), weights)
    return Detection(
        accuracy=(rates[:, 1:] + 1 - rates[:, :1]) / 2,
        d_prime=z[:, 1:] - z[:, :1],
        criterion=-(z[:, 1:] + z[:, :1]) / 2,
    )


def log_linear(called: Floats, shown: Floats) -> Floats:
    """A share that never is 0 or 1: half an answer more, of one picture more (Hautus 1995, Behavior Research Methods 27)."""
    share: Floats = (called + 0.5) / (shown + 1)
    return share


def typical(called: Floats, shown: Floats, weights: Floats) -> Floats:
    """[draws, columns]: mean over people of z, where a person says "generated" with probability Φ(z) and z ~ N(mean, τ²).

    The crowd's share is Φ(mean / √(1 + τ²)). Two answers of one person agree on "generated" with probability Φ₂(a, a; ρ), where
    a is Φ⁻¹ of that share and ρ = τ²/(1 + τ²). So the share, and that of agreeing pairs, give the mean: a / √(1 − ρ). Unlike a
    mean over each person's own d′, it needs no large number of answers per person: that one is pulled towards 0 by any
    correction for shares of 0 and 1.
    """
    total, out_of = weights @ called, weights @ shown
    a = quantile(log_linear(total, out_of))
    pairs = weights @ (shown * (shown - 1))
    known = (pairs > 0) & (total > 0) & (total < out_of)
    share = np.where(known, total / np.maximum(out_of, 1), 0.5)
    agree = np.where(known, (weights @ (called * (called - 1))) / np.maximum(pairs, 1), 0.25)
    return np.where(known, a / np.sqrt(1 - likeness(share, agree)), a)


def likeness(share: Floats, agree: Floats) -> Floats:
    """ρ with Φ₂(a, a; ρ) = `agree` and Φ(a) = `share`, by halving; Φ₂ grows with ρ."""
    a = quantile(share)
    low, high = np.full(share.shape, _ALIKE[0]), np.full(share.shape, _ALIKE[1])
    for _ in range(20):
        middle = (low + high) / 2
        above = both(a, middle) > agree
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    found: Floats = (low + high) / 2
    return found


def both(a: Floats, rho: Floats) -> Floats:
    """Φ₂(a, a; ρ): both of two standard normals with correlation ρ lie below a.

    Φ(a)² + 1/(2π) ∫₀^{arcsin ρ} exp(−a²/(1 + sin t)) dt (Plackett 1954), by 12 points of Gauss and Legendre.
    """
    to = np.arcsin(rho)[..., None]
    inside = np.exp(-(a[..., None] ** 2) / (1 + np.sin(to * (_NODES + 1) / 2)))
    found: Floats = normal(a) ** 2 + (inside * _WEIGHTS).sum(-1) * to[..., 0] / (4 * np.pi)
    return found

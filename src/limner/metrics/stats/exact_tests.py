"""p-values by counting alone: of pictures that may be exchanged for each other, how often would chance put as many here?

Nothing is assumed of the distribution of a score; the counts are exact at any number of pictures.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST = 1e-300
"""No p is smaller: chance may do anything, and float64 knows nothing much below."""


def hypergeometric_tail(population: int, marked: int, drawn: int, least: int) -> float:
    """P(at least `least` of the `drawn` are marked), `drawn` out of `population` without replacement, `marked` of them marked.

    The p of Fisher's exact test, one-sided, and `LEAST` where it is smaller. Relative error below 1e-8 at a million pictures.
    """
    if not (0 <= marked <= population and 0 <= drawn <= population):
        raise ValueError(f"{marked} marked and {drawn} drawn cannot be of {population}")
    low, high = max(0, drawn - (population - marked)), min(marked, drawn)
    if least <= low:
        return 1.0
    if least > high:
        return 0.0
    count = torch.arange(least, high + 1, dtype=torch.float64)
    inside = _log_choose(marked, count) + _log_choose(population - marked, drawn - count)
    total = _log_choose(population, torch.tensor(float(drawn), dtype=torch.float64))
    return min(1.0, max(LEAST, float((inside - total).exp().sum())))


def _log_choose(of: int, count: Tensor) -> Tensor:
    whole = torch.tensor(of + 1.0, dtype=torch.float64)
    return torch.lgamma(whole) - torch.lgamma(count + 1) - torch.lgamma(of - count + 1)

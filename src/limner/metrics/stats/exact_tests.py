"""p-values by counting alone: of pictures that may be exchanged for each other, how often would chance put as many here?

Nothing is assumed of the distribution of a score; the counts are exact at any number of pictures.
"""

from __future__ import annotations

LEAST = 1e-300
"""No p is smaller: float64 has nothing much below, and a p of 0 would claim more than any count of pictures can."""


def hypergeometric_tail(population: int, marked: int, drawn: int, least: int) -> float:
    """P(at least `least` of the `drawn` are marked), `drawn` out of `population` without replacement, `marked` of them marked.

    The p of Fisher's exact test, one-sided, and `LEAST` where it is smaller. Errors: `ValueError` for more than there are.
    """
    if not (0 <= marked <= population and 0 <= drawn <= population):
        raise ValueError(f"{marked} marked and {drawn} drawn cannot be of {population}")
    if least > min(marked, drawn):
        return 0.0
    from scipy import stats

    return min(1.0, max(LEAST, float(stats.hypergeom.sf(least - 1, population, marked, drawn))))

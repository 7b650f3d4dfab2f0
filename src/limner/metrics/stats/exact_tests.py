"""p-values by counting: if pictures of two sets are exchangeable, how often would chance put as many into one of them?

Nothing is assumed of the distribution of a score, and the p-values are exact at any number of pictures.
"""

from __future__ import annotations

MIN_P = 1e-300
"""The smallest p that is given: float64 underflows soon below, and no count of pictures allows a p of 0."""


def hypergeometric_tail(population: int, marked: int, draws: int, at_least: int) -> float:
    """P(at least `at_least` of the draws are marked), for `draws` without replacement from a `population` that holds `marked`
    marked ones.

    It is the p of Fisher's one-sided exact test, and not less than `MIN_P` unless it is 0. Errors: `ValueError` for more marked
    ones or draws than the population has.

    >>> round(hypergeometric_tail(population=4, marked=2, draws=2, at_least=2), 6)
    0.166667
    """
    if not (0 <= marked <= population and 0 <= draws <= population):
        raise ValueError(f"{marked} marked and {draws} draws are impossible in a population of {population}")
    if at_least > min(marked, draws):
        return 0.0
    from scipy import stats

    return min(1.0, max(MIN_P, float(stats.hypergeom.sf(at_least - 1, population, marked, draws))))

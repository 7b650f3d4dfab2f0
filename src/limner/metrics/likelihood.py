"""How likely a model finds given pictures: bounds of the likelihood, and the likelihood itself where it is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Likelihood:
    """Of N pictures under one model; arrays are [N] float64, in nats per picture.

    `exact` and `density_bound` are there where the model is linear-Gaussian: the log density of the grey values, and its
    importance-weighted bound of as many draws. To have the unit of `elbo` and `bound`, both count the probability of a grey
    value's bin as its width times the density in its middle, which adds log(2/255) for every number of the picture. That is the
    bin's probability as long as the decoder's σ is well above 2/255, but for black and white, whose bins are open for `elbo`
    and `bound`.
    """

    elbo: NDArray[np.float64]
    bound: NDArray[np.float64]
    """log-mean-exp of `draws` importance weights: above the ELBO and below the truth, both in expectation (Burda et al. 2015,
    arXiv:1509.00519)."""
    draws: int
    entries: int
    """Numbers in a picture, H·W·C, for bits per dimension."""
    exact: NDArray[np.float64] | None = None
    density_bound: NDArray[np.float64] | None = None

    def bits(self) -> NDArray[np.float64]:
        """[N] bits per dimension, −bound / (entries · ln 2).

        >>> pictures = np.zeros(1), np.array([-8 * np.log(2)])
        >>> Likelihood(*pictures, draws=1, entries=4).bits()
        array([2.])
        """
        bits: NDArray[np.float64] = -self.bound / (self.entries * np.log(2))
        return bits

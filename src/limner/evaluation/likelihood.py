"""Bounds on how likely a model finds pictures: the ELBO, and the importance-weighted bound of any number of draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core import seeds
from limner.core.capabilities import LikelihoodBound
from limner.core.errors import InputError
from limner.core.images import batches_of, to_tensor
from limner.core.precision import exact
from limner.methods.vae.elbo import importance_bound
from limner.metrics.features.pixels import Source, take
from limner.runs.model import Loaded

AT_ONCE = 256


@dataclass(frozen=True)
class Likelihood:
    """[N] float64 each, in nats per picture.

    `exact` and `density_bound` are there where the model is linear-Gaussian: the log density of the grey values, itself and its
    importance-weighted bound of as many draws. To be in the others' units, both count a value's bin as its width times the
    density in its middle, which adds log(2/255) for every number of the picture. That is the bin's probability as long as the
    decoder's σ is well above 2/255, but for black and white, whose bins are open for `elbo` and `bound`.
    """

    elbo: NDArray[np.float64]
    bound: NDArray[np.float64]
    """log-mean-exp of `draws` importance weights: above the ELBO, below the truth (both in expectation)."""
    draws: int
    entries: int
    """Numbers in a picture, for bits per dimension."""
    exact: NDArray[np.float64] | None = None
    density_bound: NDArray[np.float64] | None = None

    def bits(self) -> NDArray[np.float64]:
        """[N] bits per dimension, by the importance-weighted bound."""
        bits: NDArray[np.float64] = -self.bound / (self.entries * np.log(2))
        return bits

    def values(self) -> dict[str, NDArray[np.float64]]:
        """`elbo` and `nll` (nats, by the importance-weighted bound) and `bits_per_dim`, of each picture; where the model is
        linear-Gaussian, `exact` and `density_bound` as well."""
        told = {"elbo": self.elbo, "nll": -self.bound, "bits_per_dim": self.bits()}
        known = {"exact": self.exact, "density_bound": self.density_bound}
        return told | {name: values for name, values in known.items() if values is not None}


def likelihood(model: Loaded, images: Source, draws: int = 1, progress: Callable[[int, int], None] | None = None) -> Likelihood:
    """Of [N, H, W, C] uint8 pictures, in memory that grows with neither; the draws of a place are always the same.

    What is bounded is the probability of the grey values themselves: a decoder's density is integrated over the bin of each
    value and the outermost bins are open, so that nothing has to be dequantised. Errors: `InputError` for a model without such
    a bound, for a number of draws below 1, and for grey pictures where the model is one of black and white.
    """
    method = model.method
    if draws < 1:
        raise InputError(f"{draws} importance samples bound nothing; give 1 (the ELBO) or more, such as 100")
    if not isinstance(method, LikelihoodBound):
        raise InputError(f"{model.run.path} ({model.recipe.preset}) bounds no likelihood; train a vae for one")
    count = int(images.shape[0])
    lower, bound, known, density_bound = np.empty((4, count))
    with exact(method.device.type), torch.inference_mode():
        for part in batches_of(count, AT_ONCE):
            pixels = take(images, part)
            if method.needs_binary_images and not bool(np.isin(pixels, (0, 255)).all()):
                raise InputError(
                    f"{model.run.path} has a decoder of black and white (bernoulli), which gives grey pictures no likelihood; "
                    "train with data.binary=true, or with another method.decoder"
                )
            some = to_tensor(pixels, method.device)
            found = importance_bound(_weights(method, some, draws, part.start))
            lower[part], bound[part] = (each.cpu().numpy() for each in found)
            if method.exact:
                known[part] = method.log_density(some).cpu().numpy()
                _, found_bound = importance_bound(_weights(method, some, draws, part.start, density=True))
                density_bound[part] = found_bound.cpu().numpy()
            if progress is not None:
                progress(min(part.start + AT_ONCE, count), count)
    both = (known, density_bound) if method.exact else ()
    return Likelihood(lower, bound, draws, int(np.prod(images.shape[1:])), *both)


def _weights(method: LikelihoodBound, images: Tensor, draws: int, start: int, density: bool = False) -> Iterator[Tensor]:
    generator = torch.Generator()
    for draw in range(draws):
        generator.manual_seed(seeds.fold("importance", start, draw))
        noise = torch.randn(len(images), method.entries, generator=generator)
        yield method.log_weight(images, noise.to(images.device), density)

"""Bounds on how likely a model finds pictures: the ELBO, and the importance-weighted bound of any number of draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core import images as pictures
from limner.core import seeds
from limner.core.errors import InputError
from limner.core.method import Bounded
from limner.loaded import Loaded
from limner.methods.elbo import importance_bound
from limner.metrics.score import mean_of

AT_ONCE = 256


@dataclass(frozen=True)
class Likelihood:
    """[N] float64 each, in nats per picture."""

    elbo: NDArray[np.float64]
    bound: NDArray[np.float64]
    """log-mean-exp of `draws` importance weights: above the ELBO, below the truth (both in expectation)."""
    draws: int
    entries: int
    """Numbers in a picture, for bits per dimension."""

    def bits(self) -> NDArray[np.float64]:
        """[N] bits per dimension, by the importance-weighted bound."""
        bits: NDArray[np.float64] = -self.bound / (self.entries * np.log(2))
        return bits

    def values(self) -> dict[str, NDArray[np.float64]]:
        """`elbo` and `nll` (nats, by the importance-weighted bound) and `bits_per_dim`, of each picture."""
        return {"elbo": self.elbo, "nll": -self.bound, "bits_per_dim": self.bits()}


def likelihood(
    model: Loaded, images: NDArray[np.uint8], draws: int = 1, progress: Callable[[int, int], None] | None = None
) -> Likelihood:
    """Of [N, H, W, C] uint8 pictures, in memory that does not grow with `draws`; the draws of a place are always the same.

    What is bounded is the probability of the grey values themselves: a decoder's density is integrated over the bin of each
    value and the outermost bins are open, so that nothing has to be dequantised. Errors: `InputError` for a model without such
    a bound, for a number of draws below 1, and for grey pictures where the model is one of black and white.
    """
    method = model.method
    if draws < 1:
        raise InputError(f"{draws} importance samples bound nothing; give 1 (the ELBO) or more, such as 100")
    if not isinstance(method, Bounded):
        raise InputError(f"{model.run.path} ({model.recipe.preset}) bounds no likelihood; train a vae for one")
    if method.black_and_white and not bool(np.isin(images, (0, 255)).all()):
        raise InputError(
            f"{model.run.path} has a decoder of black and white (bernoulli), which gives grey pictures no likelihood; train "
            "with data.binary=true, or with another method.decoder"
        )
    lower, bound = np.empty(len(images)), np.empty(len(images))
    with torch.inference_mode():
        for part in pictures.batches_of(len(images), AT_ONCE):
            some = pictures.to_tensor(images[part], method.device)
            found = importance_bound(_weights(method, some, draws, part.start))
            lower[part], bound[part] = (each.cpu().numpy() for each in found)
            if progress is not None:
                progress(min(part.start + AT_ONCE, len(images)), len(images))
    return Likelihood(lower, bound, draws, int(np.prod(images.shape[1:])))


def _weights(method: Bounded, images: Tensor, draws: int, start: int) -> Iterator[Tensor]:
    generator = torch.Generator()
    for draw in range(draws):
        generator.manual_seed(seeds.fold("importance", start, draw))
        noise = torch.randn(len(images), method.entries, generator=generator)
        yield method.log_weight(images, noise.to(images.device))


def as_metrics(found: Likelihood) -> dict[str, Any]:
    """`Likelihood.values` as means with their standard errors."""
    return {name: asdict(mean_of(values)) for name, values in found.values().items()}

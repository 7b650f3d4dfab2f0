"""Bounds on how likely a model finds pictures: the ELBO, and the importance-weighted bound of any number of draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core import images as pictures
from limner.core import seeds
from limner.core.errors import InputError
from limner.core.method import Bounded
from limner.core.precision import exact
from limner.loaded import Loaded
from limner.methods.elbo import importance_bound

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
    with exact(method.device.type), torch.inference_mode():
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
    """`elbo` and `nll` (nats, by the importance-weighted bound) with standard errors of their means, and `bits_per_dim`."""

    def entry(values: NDArray[np.float64]) -> dict[str, Any]:
        error = float(values.std() / max(len(values), 1) ** 0.5)
        return {"value": float(values.mean()), "error": error, "null": None, "z": None, "p": None}

    return {"elbo": entry(found.elbo), "nll": entry(-found.bound), "bits_per_dim": entry(found.bits())}

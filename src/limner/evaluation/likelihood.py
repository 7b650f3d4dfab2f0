"""Bounds on how likely a model finds pictures: the ELBO, and the importance-weighted bound of any number of draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from limner.core import seeds
from limner.core.capabilities import LikelihoodBound
from limner.core.errors import InputError
from limner.core.images import batches_of, to_tensor
from limner.core.precision import exact
from limner.methods.vae.elbo import importance_bound
from limner.metrics.features.pixels import Source, take
from limner.metrics.likelihood import Likelihood
from limner.runs.model import Loaded

AT_ONCE = 256


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

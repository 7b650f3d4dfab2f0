"""Bounds on how likely a model finds pictures: the ELBO, and the importance-weighted bound of any number of draws."""

from __future__ import annotations

from collections.abc import Iterator

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

LIKELIHOOD_BATCH = 256
"""Pictures whose likelihood is bounded at a time. Another number would give each picture other noise, and so other bounds."""


def likelihood(model: Loaded, images: Source, draws: int = 1) -> Likelihood:
    """Bounds the likelihood of each of `images` [N, H, W, C] uint8 by `draws` importance samples (Burda et al. 2015,
    arXiv:1509.00519), in nats; with one draw the bound is the ELBO.

    What is bounded is the probability of the grey values themselves: a decoder's density is integrated over the bin of each
    value and the outermost bins are open, so that nothing has to be dequantised. The noise depends on the place of a picture
    among `images` alone, so that equal calls give equal numbers. Memory grows neither with N nor with `draws`.

    Errors: `InputError` for a model without such a bound, for fewer than one draw, and for grey pictures where the decoder is
    one of black and white.
    """
    method = model.method
    if draws < 1:
        raise InputError(f"{draws} importance samples bound nothing; give 1 (the ELBO) or more, such as 100")
    if not isinstance(method, LikelihoodBound):
        raise InputError(f"{model.run.path} ({model.recipe.preset}) bounds no likelihood; train a vae for one")
    count = int(images.shape[0])
    elbo, bound, log_density, density_bound = np.empty((4, count))
    with exact(method.device.type), torch.inference_mode():
        for part in batches_of(count, LIKELIHOOD_BATCH):
            pixels = take(images, part)
            if method.needs_binary_images and not bool(np.isin(pixels, (0, 255)).all()):
                raise InputError(
                    f"{model.run.path} has a decoder of black and white (bernoulli), which gives grey pictures no likelihood; "
                    "train with data.binary=true, or with another method.decoder"
                )
            batch = to_tensor(pixels, method.device)
            bounds = importance_bound(_log_weights(method, batch, draws, part.start))
            elbo[part], bound[part] = (values.cpu().numpy() for values in bounds)
            if method.exact:
                log_density[part] = method.log_density(batch).cpu().numpy()
                _, bound_of_density = importance_bound(_log_weights(method, batch, draws, part.start, density=True))
                density_bound[part] = bound_of_density.cpu().numpy()
    exact_values = (log_density, density_bound) if method.exact else ()
    return Likelihood(elbo, bound, draws, int(np.prod(images.shape[1:])), *exact_values)


def _log_weights(method: LikelihoodBound, images: Tensor, draws: int, start: int, density: bool = False) -> Iterator[Tensor]:
    """[B] log importance weights of `images` [B, C, H, W], once for each draw; `start` is the place of the first of them."""
    generator = torch.Generator()
    for draw in range(draws):
        generator.manual_seed(seeds.fold("importance", start, draw))
        noise = torch.randn(len(images), method.entries, generator=generator)
        yield method.log_weight(images, noise.to(images.device), density)

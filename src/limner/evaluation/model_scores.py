"""Scores of a model rather than of its samples: what it makes of held-out pictures, and what its latents mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from limner.core.errors import InputError
from limner.core.images import batches_of
from limner.data import scenes
from limner.data.dataset import Dataset
from limner.data.pictures import Shaping, from_pixels, parse_background
from limner.evaluation.likelihood import likelihood
from limner.metrics.features.pixels import Source, take
from limner.metrics.measure import measure_latents, measure_likelihood, measure_pairs, metrics_of
from limner.metrics.metric import LikelihoodMetric, PairMetric
from limner.metrics.stats.score import Score
from limner.runs.model import Loaded

BANK = 50_000
"""One-object scenes that scores of disentanglement are measured on."""
AT_ONCE = 256
"""Pictures that are reconstructed and compared at a time: a multiple of what a model encodes at once, so that batches stay."""


def bounds(model: Loaded | None, real: Source, importance: int | None, wanted: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Likelihoods of the reference, picture by picture, some at a time (`limner.evaluation.likelihood.AT_ONCE`).

    Errors: `InputError` where the model has none for such pictures, or not those `wanted`.
    """
    if model is None:
        out = "--importance" if importance is not None else ", ".join(likelihood_metrics(exact=False))
        raise InputError(f"likelihoods are those that a model gives to pictures; give a run, or leave {out} out")
    values = measure_likelihood(likelihood(model, real, importance if importance is not None else 1))
    if set(exact := likelihood_metrics(exact=True)) & set(wanted) - set(values):
        raise InputError(
            f"{model.run.path} is not linear-Gaussian, so that nobody knows its likelihood exactly; leave {', '.join(exact)} "
            "out, or train a vae with method.networks=mlp method.widths=[]"
        )
    return values


def likelihood_metrics(exact: bool) -> list[str]:
    """The metrics of bounds of a likelihood; or those that take a likelihood that is known exactly."""
    return [name for name, row in metrics_of(LikelihoodMetric).items() if row.is_exact == exact]


def reconstruction(model: Loaded | None, real: Source) -> dict[str, NDArray[np.float64]]:
    """All metrics of reconstructions of the reference, picture by picture.

    Errors: `InputError` where nothing reconstructs.
    """
    names = list(metrics_of(PairMetric))
    if model is None:
        raise InputError(
            f"{', '.join(names[:-1])} and {names[-1]} are of pictures that went through a model; give a run, or leave them out"
        )
    parts: dict[str, list[torch.Tensor]] = {name: [] for name in names}
    for rows in batches_of(int(real.shape[0]), AT_ONCE):  # eight bytes for each number of a picture, some times over
        some = take(real, rows)
        back = model.reconstruct(some)
        for name, values in measure_pairs(some, back, names).items():
            parts[name].append(values)
    return {name: torch.cat(values).numpy() if values else np.empty(0) for name, values in parts.items()}


def disentanglement(model: Loaded | None, dataset: Dataset, names: Sequence[str]) -> dict[str, Any]:
    """Scores of `limner.metrics.representation.disentanglement`, each beside its null, and (`factors`) what is known
    of each factor.

    Measured on 50,000 scenes of one object that are drawn for it with independent factors (`limner.data.scenes.FACTORS`), among
    them pairs of shape and colour that training never shows; so are the factors of `scenes` told apart where a run has them.
    """
    if model is None or dataset.factors is None:
        raise InputError(
            "disentanglement is measured on a run that was trained on pictures with known factors, such as "
            "`limner train scenes-1 --preset vae`"
        )
    shape, codes_for_latents = model.latent_shape()
    if codes_for_latents or len(shape) != 1:
        what = f"{'codes' if codes_for_latents else 'a map'} of the shape {'x'.join(map(str, shape))}"
        raise InputError(
            f"the latents of {model.run.path} ({model.recipe.preset}) are {what}; disentanglement is measured on vectors"
        )
    height, width, channels = dataset.shape
    shaping = Shaping((height, width), model.recipe.data.fit, channels, parse_background(model.recipe.data.background))
    codes = scenes.draw_factors(BANK, seed=0)
    latents = []
    for part in batches_of(BANK, 1000):
        scene = scenes.paint_factors(codes[part], (height, width))
        pictures = scene if channels == 3 else np.stack([from_pixels(one, shaping) for one in scene])
        latents.append(model.encode_pictures(pictures))
    found = measure_latents(np.concatenate(latents).astype(np.float64), codes, names)
    each = zip(scenes.FACTORS, scenes.FACTORS.values(), *found.of_factors.values(), strict=True)
    return {
        "metrics": {name: Score(value, null=found.null.get(name)).to_dict() for name, value in found.scores.items()},
        "factors": {
            name: {"values": size, **dict(zip(found.of_factors, map(float, values), strict=True))}
            for name, size, *values in each
        },
        "count": BANK,
        "features": {"name": "latents", "checksum": model.checkpoint.digest(), "dimensions": shape[0]},
        "reference": {"data": "scenes-1", "fingerprint": None, "split": "drawn", "count": BANK},
        "seconds": 0.0,
    }

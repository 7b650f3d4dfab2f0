"""Scores of a model rather than of its samples: likelihoods, reconstructions, and what its latents mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from limner.core.errors import InputError
from limner.core.images import batches_of
from limner.core.invocation import option
from limner.data import scenes
from limner.data.dataset import Dataset
from limner.data.pictures import Shaping, from_pixels, parse_background
from limner.evaluation.likelihood import likelihood
from limner.metrics.features.pixels import Source, take
from limner.metrics.measure import measure_latents, measure_likelihood, measure_pairs, metrics_of
from limner.metrics.metric import LikelihoodMetric, PairMetric
from limner.metrics.stats.score import Score
from limner.runs.model import Loaded

SCENE_COUNT = 50_000
"""Scenes of one object that disentanglement is measured on."""
RECONSTRUCTION_BATCH = 256
"""Pictures that are reconstructed and compared at a time. It is a multiple of `limner.runs.model.ENCODING_BATCH`, so that a
model encodes the same batches as it would if it were given all pictures at once, and scores are the same to the bit."""


def score_likelihoods(
    model: Loaded | None, real: Source, importance: int | None, names: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """All metrics of the likelihood of `real` [N, H, W, C] uint8, [N] each, by `importance` draws (one where None).

    Errors: `InputError` where there is no model (pictures alone have no likelihood), where it bounds none for such pictures,
    and where one of `names` takes a likelihood that is known exactly, and this model's is not.
    """
    if model is None:
        cause = option("importance") if importance is not None else ", ".join(likelihood_metrics(exact=False))
        raise InputError(f"likelihoods are those that a model gives to pictures; give a run, or leave {cause} out")
    values = measure_likelihood(likelihood(model, real, importance if importance is not None else 1), names)
    if set(exact := likelihood_metrics(exact=True)) & set(names) - set(values):
        raise InputError(
            f"{model.run.path} is not linear-Gaussian, so that nobody knows its likelihood exactly; leave {', '.join(exact)} "
            "out, or train a vae with method.networks=mlp method.widths=[]"
        )
    return values


def likelihood_metrics(exact: bool) -> list[str]:
    """The names of the metrics that take an `exact` likelihood, or else a bound of it."""
    return [name for name, row in metrics_of(LikelihoodMetric).items() if row.is_exact == exact]


def score_reconstructions(model: Loaded | None, real: Source, names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """The metrics of reconstructions among `names`, of `real` [N, H, W, C] uint8, [N] each.

    Errors: `InputError` where there is no model, or it does not reconstruct; `PackageError`.
    """
    every, names = list(metrics_of(PairMetric)), list(metrics_of(PairMetric, names))
    if model is None:
        raise InputError(
            f"{', '.join(every[:-1])} and {every[-1]} are of pictures that went through a model; give a run, or leave them out"
        )
    parts: dict[str, list[torch.Tensor]] = {name: [] for name in names}
    for rows in batches_of(int(real.shape[0]), RECONSTRUCTION_BATCH):
        pictures = take(real, rows)
        reconstructions = model.reconstruct(pictures)
        for name, values in measure_pairs(pictures, reconstructions, names).items():
            parts[name].append(values)
    return {name: torch.cat(values).numpy() if values else np.empty(0) for name, values in parts.items()}


def score_latents(model: Loaded | None, dataset: Dataset, names: Sequence[str]) -> dict[str, Any]:
    """A report of the metrics of disentanglement `names`, each beside its null, with what each factor scores (`factors`).

    They are measured on `SCENE_COUNT` scenes of one object whose factors are independent (`limner.data.scenes.FACTORS`), which
    are drawn for the purpose; pairs of shape and colour that training never shows are among them.

    Errors: `InputError` where there is no model, `dataset` has no known factors, or the latents are codes or no vectors.
    """
    if model is None or dataset.factors is None:
        raise InputError(
            "disentanglement is measured on a run that was trained on pictures with known factors, such as "
            "`limner train scenes-1 --preset vae`"
        )
    shape, codes_for_latents = model.latent_shape()
    if codes_for_latents or len(shape) != 1:
        kind = f"{'codes' if codes_for_latents else 'a map'} of the shape {'x'.join(map(str, shape))}"
        raise InputError(
            f"the latents of {model.run.path} ({model.recipe.preset}) are {kind}; disentanglement is measured on vectors"
        )
    factors = scenes.draw_factors(SCENE_COUNT, seed=0)
    scores = measure_latents(_encode_scenes(model, dataset, factors), factors, names)
    rows = zip(scenes.FACTORS, scenes.FACTORS.values(), *scores.of_factors.values(), strict=True)
    return {
        "metrics": {name: Score(value, null=scores.null.get(name)).to_dict() for name, value in scores.scores.items()},
        "factors": {
            name: {"values": size, **dict(zip(scores.of_factors, map(float, values), strict=True))}
            for name, size, *values in rows
        },
        "count": SCENE_COUNT,
        "features": {"name": "latents", "checksum": model.checkpoint.digest(), "dimensions": shape[0]},
        "reference": {"data": "scenes-1", "fingerprint": None, "split": "drawn", "count": SCENE_COUNT},
        "seconds": 0.0,
    }


def _encode_scenes(model: Loaded, dataset: Dataset, factors: NDArray[np.int64]) -> NDArray[np.float64]:
    """[N, d] latents of the scenes with these `factors` [N, F], painted in the size and mode that `model` was trained on."""
    height, width, channels = dataset.shape
    shaping = Shaping((height, width), model.recipe.data.fit, channels, parse_background(model.recipe.data.background))
    latents = []
    for part in batches_of(len(factors), 1000):
        scene = scenes.paint_factors(factors[part], (height, width))
        pictures = scene if channels == 3 else np.stack([from_pixels(one, shaping) for one in scene])
        latents.append(model.encode_pictures(pictures))
    return np.concatenate(latents).astype(np.float64)

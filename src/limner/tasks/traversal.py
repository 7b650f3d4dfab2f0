"""One latent at a time: what each of them changes in a picture."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from limner.core.capabilities import Autoencoder, LatentDecoder
from limner.core.cond import Cond
from limner.core.errors import InputError
from limner.core.images import grid, save_png, to_uint8
from limner.core.progress import OnProgress
from limner.core.sampling import latents_of, render
from limner.core.seeds import SCORED_SEEDS
from limner.runs.model import Loaded, load
from limner.tasks.inputs import Given, read_pictures
from limner.tasks.interpolation import latents_of_pictures
from limner.tasks.sampling import folder_for, origin
from limner.tasks.traverse import TraverseRequest, TraverseResult

SHOWN = 10
"""Latents that are shown where none are asked for."""
MEASURED = 2_000
"""Training pictures, or draws, by which the spread of each latent is measured."""
MOST_PICTURES = 100_000


@dataclass(frozen=True)
class Spread:
    """How each latent is distributed over pictures: `mean` and `std` [dim], float32 on the CPU."""

    mean: Tensor
    std: Tensor

    @property
    def order(self) -> list[int]:
        """The latents, the most active first: by the variance of the posterior means (Burda et al. 2016, section 5.2)."""
        return [int(number) for number in self.std.argsort(descending=True, stable=True)]


def measure_spread(model: Loaded) -> Spread:
    """Over training pictures where the model has an encoder, over the latents it draws where it has none.

    Errors: `InputError` where an encoder's data is no longer there.
    """
    if isinstance(model.method, Autoencoder):
        dataset = model.dataset()
        rows = dataset.indices("train")
        rows = rows[np.linspace(0, len(rows) - 1, min(MEASURED, len(rows))).astype(np.int64)]
        latents = torch.from_numpy(model.encode_pictures(dataset.images.gather(rows))).flatten(1)
    else:
        latents = latents_of(model.method, range(SCORED_SEEDS, SCORED_SEEDS + MEASURED)).cpu()
    return Spread(latents.mean(0), latents.std(0, correction=0))


def traverse_latents(request: TraverseRequest, on_progress: OnProgress) -> TraverseResult:
    """What `limner.tasks.traverse.traverse` does. Errors: `InputError`."""
    steps = request.steps
    model = load(request.run, request.checkpoint)
    method = model.method
    if not isinstance(method, LatentDecoder):
        raise InputError(f"{model.run.path} ({model.recipe.preset}) has no vector of latents, so there is none to turn")
    began = time.perf_counter()
    inputs = None if request.image is None else _one_picture(model, request.image)
    if inputs is None:
        requested = model.request(request.label)
        base, labels = latents_of(method, [request.seed]), method.conditions([request.seed], requested).label
    else:
        base, labels = latents_of_pictures(model, inputs, request.label, on_progress)
    spread = measure_spread(model)
    chosen = _chosen(request.latents, spread, base.shape[1], model)
    if len(chosen) * steps > MOST_PICTURES:
        raise InputError(f"{len(chosen)} latents in {steps} steps are more than {MOST_PICTURES:,} pictures; ask for fewer")
    deviations = torch.linspace(-request.span, request.span, steps)
    values = spread.mean[chosen, None] + deviations * spread.std[chosen, None]
    frames = _frames(base.cpu(), chosen, values)
    cond = Cond(label=None if labels is None else labels.expand(len(frames)))
    pictures = to_uint8(render(method, frames.to(base), cond))
    out = folder_for(model, "traversals", "latent[0-9]*-[0-9]*.png", request.out)
    start = {"seed": str(request.seed)} if inputs is None else {"of": Path(inputs.names[0]).name}
    about = origin(model, label=request.label) | start
    files = [out / f"latent{latent:03d}-{step:03d}.png" for latent in chosen for step in range(steps)]
    for path, picture in zip(files, pictures, strict=True):
        save_png(path, picture, about)
    save_png(out / "sheet.png", grid(pictures, columns=steps), about)
    return TraverseResult(
        files=[str(path) for path in files],
        sheet=str(out / "sheet.png"),
        latents=chosen,
        values=values.tolist(),
        own=base[0].cpu()[chosen].tolist(),
        deviations=deviations.tolist(),
        spread=spread.std[chosen].tolist(),
        seed=request.seed if inputs is None else None,
        image=None if inputs is None else inputs.names[0],
        prepared={} if inputs is None else inputs.prepared,
        seconds=round(time.perf_counter() - began, 2),
        checkpoint=model.checkpoint.images,
    )


def _one_picture(model: Loaded, image: Path | str) -> Given:
    """Errors: `InputError`, among others for a folder with several pictures."""
    given = read_pictures(model, [image])
    if len(given.names) > 1:
        raise InputError(f"a traversal starts from one picture, and {image} holds {len(given.names)}; name one of them")
    return given


def _frames(base: Tensor, chosen: Sequence[int], values: Tensor) -> Tensor:
    """[1, dim] and [rows, steps] -> [rows · steps, dim]: `base`, with the latent `chosen[row]` at each of `values[row]`."""
    rows, steps = values.shape
    frames = base.repeat(rows * steps, 1)
    frames[torch.arange(len(frames)), torch.tensor(chosen).repeat_interleave(steps)] = values.flatten()
    return frames


def _chosen(latents: Sequence[int] | None, spread: Spread, dim: int, model: Loaded) -> list[int]:
    if latents is None:
        return spread.order[:SHOWN]
    if not latents:
        raise InputError("no latents to turn; give --latents 0-9, or leave it out for the most active ones")
    for number in latents:
        if not 0 <= number < dim:
            raise InputError(f"{model.run.path} has no latent {number}; it has the latents 0-{dim - 1}")
    return list(latents)

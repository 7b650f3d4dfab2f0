"""Varies the latents of a picture one at a time: the work of `limner.tasks.traverse`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from limner.core.capabilities import Autoencoder, LatentDecoder
from limner.core.errors import InputError
from limner.core.images import grid, save_png, save_sheet, to_uint8
from limner.core.invocation import option
from limner.core.progress import OnProgress
from limner.core.sampling import latents_of, render
from limner.core.seeds import SCORED_SEEDS
from limner.runs.model import Loaded, load
from limner.runs.outputs import Call, check_output, output_folder
from limner.tasks.inputs import InputImages, read_pictures, requested_condition, requested_texts
from limner.tasks.interpolation import latents_of_pictures
from limner.tasks.sampling import describe_origin
from limner.tasks.traverse import TraverseRequest, TraverseResult

DEFAULT_LATENTS = 10
"""Number of latents that vary where the request names none."""
SPREAD_PICTURES = 2_000
"""Training pictures, or samples, over which the mean and deviation of each latent are measured."""
MAX_PICTURES = 100_000
"""The largest number of pictures that one call draws."""


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of each latent over pictures: `mean` and `std` [dim], float32 on the CPU."""

    mean: Tensor
    std: Tensor

    @property
    def order(self) -> list[int]:
        """The latents by falling variance of their posterior means, their "activity" in Burda et al. 2016, section 5.2.

        >>> Spread(torch.zeros(3), torch.tensor([0.1, 1.0, 0.5])).order
        [1, 2, 0]
        """
        return [int(number) for number in self.std.argsort(descending=True, stable=True)]


def measure_spread(model: Loaded) -> Spread:
    """The spread of the latents of training pictures where the model has an encoder, otherwise of those that it draws.

    Errors: `InputError` where the model has an encoder and its training data are no longer there.
    """
    if isinstance(model.method, Autoencoder):
        dataset = model.dataset()
        rows = dataset.indices("train")
        rows = rows[np.linspace(0, len(rows) - 1, min(SPREAD_PICTURES, len(rows))).astype(np.int64)]
        latents = torch.from_numpy(model.encode_pictures(dataset.images.gather(rows))).flatten(1)
    else:
        latents = latents_of(model.method, range(SCORED_SEEDS, SCORED_SEEDS + SPREAD_PICTURES)).cpu()
    return Spread(latents.mean(0), latents.std(0, correction=0))


def traverse_latents(request: TraverseRequest, on_progress: OnProgress) -> TraverseResult:
    """Does the work of `limner.tasks.traverse.traverse`. Errors: `InputError`, as described there."""
    steps = request.steps
    model = load(request.run, request.checkpoint)
    method = model.method
    if not isinstance(method, LatentDecoder):
        raise InputError(f"{model.run.path} ({model.recipe.preset}) draws from no vector of latents, so none can be varied")
    call = Call(request, model)
    check_output(call, request.out)
    began = time.perf_counter()
    inputs = None if request.image is None else _read_picture(model, request.image)
    if inputs is None:
        base, cond = (
            latents_of(method, [request.seed]),
            model.draw_conditions([request.seed], requested_condition(model, request)),
        )
    else:
        base, cond = latents_of_pictures(model, inputs, request, on_progress)
    spread = measure_spread(model)
    latents = _select_latents(request.latents, spread, base.shape[1], model)
    if len(latents) * steps > MAX_PICTURES:
        raise InputError(f"{len(latents)} latents in {steps} steps are more than {MAX_PICTURES:,} pictures; ask for fewer")
    deviations = torch.linspace(-request.span, request.span, steps)
    values = spread.mean[latents, None] + deviations * spread.std[latents, None]
    frames = _frames(base.cpu(), latents, values)
    pictures = to_uint8(render(method, frames.to(base), cond.repeat(len(frames))))
    start = {"seed": str(request.seed)} if inputs is None else {"of": Path(inputs.names[0]).name}
    about = describe_origin(model, **requested_texts(request)) | start
    with output_folder(call, request.out) as out:
        files = [out / f"latent{latent:03d}-{step:03d}.png" for latent in latents for step in range(steps)]
        for path, picture in zip(files, pictures, strict=True):
            save_png(path, picture, about)
        save_sheet(out / "sheet.png", grid(pictures, columns=steps), about)
    return TraverseResult(
        files=[str(path) for path in files],
        sheet=str(out / "sheet.png"),
        latents=latents,
        values=values.tolist(),
        own=base[0].cpu()[latents].tolist(),
        deviations=deviations.tolist(),
        spread=spread.std[latents].tolist(),
        seed=request.seed if inputs is None else None,
        image=None if inputs is None else inputs.names[0],
        label=(model.class_names(cond.label) or [None])[0],
        prepared={} if inputs is None else inputs.prepared,
        seconds=round(time.perf_counter() - began, 2),
        checkpoint=model.checkpoint.images,
        checkpoint_notes=list(model.checkpoint_notes()),
    )


def _read_picture(model: Loaded, image: Path | str) -> InputImages:
    """The one picture at `image`. Errors: `InputError`, among others where that is a folder of several pictures."""
    inputs = read_pictures(model, [image])
    if len(inputs.names) > 1:
        raise InputError(f"a traversal starts from one picture, and {image} holds {len(inputs.names)}; name one of them")
    return inputs


def _frames(base: Tensor, latents: Sequence[int], values: Tensor) -> Tensor:
    """[1, dim] and [rows, steps] -> [rows · steps, dim]: `base` with the latent `latents[row]` set to each of `values[row]`."""
    rows, steps = values.shape
    frames = base.repeat(rows * steps, 1)
    frames[torch.arange(len(frames)), torch.tensor(latents).repeat_interleave(steps)] = values.flatten()
    return frames


def _select_latents(latents: Sequence[int] | None, spread: Spread, dim: int, model: Loaded) -> list[int]:
    """The requested latents, or those of the largest variance. Errors: `InputError` for a number that is not below `dim`."""
    if latents is None:
        return spread.order[:DEFAULT_LATENTS]
    if not latents:
        raise InputError(f"no latents to vary; give {option('latents', '0-9')}, or leave it out for the most active ones")
    for number in latents:
        if not 0 <= number < dim:
            raise InputError(f"{model.run.path} has no latent {number}; it has the latents 0-{dim - 1}")
    return list(latents)

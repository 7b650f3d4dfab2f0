"""Interpolates between pictures in a model's latents: the work of `limner.tasks.interpolate`."""

from __future__ import annotations

import time
from itertools import pairwise

import torch
from torch import Tensor

from limner.core.capabilities import Autoencoder, LatentDecoder
from limner.core.cond import Cond
from limner.core.errors import InputError
from limner.core.images import grid, save_png, save_sheet, to_uint8
from limner.core.invocation import option
from limner.core.progress import OnProgress
from limner.core.sampling import latents_of, render
from limner.runs.model import Loaded, load
from limner.runs.outputs import Call, check_output, output_folder
from limner.tasks.inputs import InputImages, read_pictures, requested_condition, requested_texts
from limner.tasks.interpolate import InterpolateRequest, InterpolateResult
from limner.tasks.inversion import Search, invert
from limner.tasks.model_request import ConditionalRequest
from limner.tasks.sampling import describe_origin


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Spherical linear interpolation: [dim], [dim] and [T] in 0..1 -> [T, dim] on the great circle from `a` (0) to `b` (1).

    High-dimensional draws of a standard normal all have nearly the same length, and points on the straight line between two of
    them are shorter (White 2016, "Sampling Generative Networks", arXiv:1609.04468). Where `a` and `b` differ in length, so do
    the points between. Parallel and opposite vectors lie on no single great circle, so they are interpolated linearly.

    >>> east, north = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    >>> slerp(east, north, torch.tensor([0.0, 0.5, 1.0]))
    tensor([[1.0000, 0.0000],
            [0.7071, 0.7071],
            [0.0000, 1.0000]])
    """
    angle = torch.arccos((a @ b / (a.norm() * b.norm())).clamp(-1, 1))
    if not float(angle.sin()) > 1e-6:
        return lerp(a, b, t)
    t = t[:, None]
    return ((1 - t) * angle).sin() / angle.sin() * a + (t * angle).sin() / angle.sin() * b


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Linear interpolation: [dim], [dim] and [T] in 0..1 -> [T, dim] on the straight line from `a` (0) to `b` (1).

    >>> lerp(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 4.0]), torch.tensor([0.0, 0.5, 1.0])).tolist()
    [[0.0, 2.0], [0.5, 3.0], [1.0, 4.0]]
    """
    return (1 - t[:, None]) * a + t[:, None] * b


def interpolate_pictures(request: InterpolateRequest, on_progress: OnProgress) -> InterpolateResult:
    """Does the work of `limner.tasks.interpolate.interpolate`. Errors: `InputError`, as described there."""
    seeds, steps = request.seeds, request.steps
    model = load(request.run, request.checkpoint)
    if not isinstance(model.method, LatentDecoder):
        raise InputError(
            f"{model.run.path} ({model.recipe.preset}) draws from no vector of latents, so it cannot interpolate; "
            f"train a model that does, such as {option('preset', 'vae or dcgan')}"
        )
    call = Call(request, model)
    check_output(call, request.out)
    began = time.perf_counter()
    inputs: InputImages | None = None
    if request.images:
        inputs = read_pictures(model, request.images)
        if len(inputs.names) < 2:
            raise InputError(f"an interpolation needs two ends, and {inputs.names[0]} is one; give another picture")
        latents, cond = latents_of_pictures(model, inputs, request, on_progress)
    else:
        latents, cond = latents_of(model.method, seeds), model.draw_conditions(seeds, requested_condition(model, request))
    frames, ends = _interpolate_latents(latents, steps, model.method.gaussian)
    pictures = to_uint8(render(model.method, frames, cond.rows(ends)))
    origin = {} if inputs is not None else {"seeds": ",".join(map(str, seeds))}
    about = describe_origin(model, **requested_texts(request)) | origin
    rows = [pair * (steps - 1) + step for pair in range(len(latents) - 1) for step in range(steps)]
    with output_folder(call, request.out) as out:
        files = [out / f"frame{number:04d}.png" for number in range(len(pictures))]
        for path, image in zip(files, pictures, strict=True):
            save_png(path, image, about)
        save_sheet(out / "sheet.png", grid(pictures[rows], columns=steps), about)
    return InterpolateResult(
        files=[str(path) for path in files],
        sheet=str(out / "sheet.png"),
        seeds=None if inputs is not None else seeds,
        images=None if inputs is None else inputs.names,
        labels=model.class_names(cond.label),
        prepared={} if inputs is None else inputs.prepared,
        path="spherical" if model.method.gaussian else "straight",
        seconds=round(time.perf_counter() - began, 2),
        checkpoint=model.checkpoint.images,
        checkpoint_notes=list(model.checkpoint_notes()),
    )


def latents_of_pictures(
    model: Loaded, inputs: InputImages, request: ConditionalRequest, on_progress: OnProgress
) -> tuple[Tensor, Cond]:
    """Latents [N, dim] and conditions of pictures: encoded where the method has an encoder, otherwise found by `invert`."""
    method, requested = model.method, requested_condition(model, request)
    if isinstance(method, Autoencoder):
        latents = torch.from_numpy(model.encode_pictures(inputs.images)).to(method.device)
        return latents.flatten(1), model.draw_conditions(range(len(inputs.names)), requested)
    inversion = invert(model, inputs.images, Search(requested=requested), on_progress)
    return torch.from_numpy(inversion.latents).to(method.device), inversion.cond


def _interpolate_latents(latents: Tensor, steps: int, spherical: bool) -> tuple[Tensor, Tensor]:
    """Latents [N, dim] of the ends -> those of all frames, [(N-1)·(steps-1) + 1, dim], and the nearest end of each frame.

    Each pair of ends gives `steps` frames, of which the end that it shares with the next pair is not repeated.
    """
    t = torch.linspace(0, 1, steps, dtype=torch.float64)
    ends = latents.detach().cpu().double()  # in float64 and back to float32, so that the ends keep their bits
    paths = [(slerp if spherical else lerp)(a, b, t)[1:] for a, b in pairwise(ends)]
    frames = torch.cat([ends[:1], *paths]).to(latents.dtype).to(latents.device)
    position = torch.arange(len(frames)) / (steps - 1)  # of a frame, in ends
    return frames, (position + 0.5).floor().long().clamp(max=len(latents) - 1)

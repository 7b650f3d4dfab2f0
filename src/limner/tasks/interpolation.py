"""Draws the way from one picture to the next through a model's latents."""

from __future__ import annotations

import time
from itertools import pairwise

import torch
from torch import Tensor

from limner.core.capabilities import Autoencoder, LatentDecoder
from limner.core.cond import Cond
from limner.core.errors import InputError
from limner.core.images import grid, save_png, to_uint8
from limner.core.progress import OnProgress
from limner.core.sampling import latents_of, render
from limner.runs.model import Loaded, load
from limner.tasks.inputs import Given, read_pictures
from limner.tasks.interpolate import InterpolateRequest, InterpolateResult
from limner.tasks.inversion import Search, invert
from limner.tasks.sampling import folder_for, origin


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """[dim], [dim] and [T] in 0..1 -> [T, dim] along the great circle from `a` to `b`; exactly these at 0 and 1.

    Between draws of a Gaussian the straight line leaves the shell on which they all lie (White 2016, "Sampling Generative
    Networks", arXiv:1609.04468). Lengths that differ pass smoothly into each other; opposite ends have no one circle, and take
    the straight line.
    """
    angle = torch.arccos((a @ b / (a.norm() * b.norm())).clamp(-1, 1))
    if not float(angle.sin()) > 1e-6:
        return lerp(a, b, t)
    t = t[:, None]
    return ((1 - t) * angle).sin() / angle.sin() * a + (t * angle).sin() / angle.sin() * b


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """The same along the straight line."""
    return (1 - t[:, None]) * a + t[:, None] * b


def interpolate_pictures(request: InterpolateRequest, on_progress: OnProgress) -> InterpolateResult:
    """What `limner.tasks.interpolate.interpolate` does. Errors: `InputError`."""
    seeds, steps = request.seeds, request.steps
    model = load(request.run, request.checkpoint)
    if not isinstance(model.method, LatentDecoder):
        raise InputError(f"{model.run.path} ({model.recipe.preset}) has no latents, so there is no way between its pictures")
    began = time.perf_counter()
    inputs: Given | None = None
    if request.images:
        inputs = read_pictures(model, request.images)
        if len(inputs.names) < 2:
            raise InputError(f"an interpolation needs two ends, and {inputs.names[0]} is one; give another picture")
        latents, labels = latents_of_pictures(model, inputs, request.label, on_progress)
    else:
        requested = model.request(request.label).repeat(len(seeds))
        latents, labels = latents_of(model.method, seeds), model.method.conditions(seeds, requested).label
    frames, classes = _between(latents, labels, steps, model.method.gaussian)
    pictures = to_uint8(render(model.method, frames, Cond(label=classes)))
    out = folder_for(model, "interpolations", "frame[0-9]*.png", request.out)
    about = origin(model, label=request.label) | ({} if inputs is not None else {"seeds": ",".join(map(str, seeds))})
    files = []
    for number, image in enumerate(pictures):
        path = out / f"frame{number:04d}.png"
        save_png(path, image, about)
        files.append(str(path))
    rows = [pair * (steps - 1) + step for pair in range(len(latents) - 1) for step in range(steps)]
    save_png(out / "sheet.png", grid(pictures[rows], columns=steps), about)
    return InterpolateResult(
        files=files,
        sheet=str(out / "sheet.png"),
        seeds=None if inputs is not None else seeds,
        images=None if inputs is None else inputs.names,
        prepared={} if inputs is None else inputs.prepared,
        path="spherical" if model.method.gaussian else "straight",
        seconds=round(time.perf_counter() - began, 2),
        checkpoint=model.checkpoint.images,
    )


def latents_of_pictures(
    model: Loaded, inputs: Given, label: str | None, on_progress: OnProgress
) -> tuple[Tensor, Tensor | None]:
    """Latents [N, dim] and labels [N] of pictures: encoded where the method can, else looked for."""
    method = model.method
    if isinstance(method, Autoencoder):
        latents = torch.from_numpy(model.encode_pictures(inputs.images)).to(method.device)
        return latents.flatten(1), model.request(label).repeat(len(inputs.names)).label
    inversion = invert(model, inputs.images, Search(label=label), on_progress)
    labels = None if inversion.labels is None else torch.from_numpy(inversion.labels).to(method.device)
    return torch.from_numpy(inversion.latents).to(method.device), labels


def _between(latents: Tensor, labels: Tensor | None, steps: int, spherical: bool) -> tuple[Tensor, Tensor | None]:
    """[N, dim] -> [(N-1)·(steps-1) + 1, dim]: from each to the next, an end that two pairs share once; and their labels."""
    t = torch.linspace(0, 1, steps, dtype=torch.float64)
    ends = latents.detach().cpu().double()  # float64, and back: the ends keep their bits
    ways = [(slerp if spherical else lerp)(a, b, t)[1:] for a, b in pairwise(ends)]
    frames = torch.cat([ends[:1], *ways]).to(latents.dtype).to(latents.device)
    if labels is None:
        return frames, None
    near = torch.arange(len(frames)) / (steps - 1)
    return frames, labels[(near + 0.5).floor().long().clamp(max=len(labels) - 1).to(labels.device)]

"""The way from one picture to the next through a model's latents."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limner.core.capabilities import Autoencoder, LatentDecoder
from limner.core.cond import Cond
from limner.core.errors import InputError
from limner.core.images import grid, save_png, to_uint8
from limner.core.sampling import latents_of, render
from limner.runs.model import Loaded, load
from limner.tasks.inputs import Given, read_pictures
from limner.tasks.invert import invert
from limner.tasks.sample import folder_for, origin


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


# Many parameters: the keyword interface of the verb, until every verb has a request model.
def interpolate(
    run: Path | str,
    images: Sequence[Path | str] = (),
    *,
    seeds: Sequence[int] = (),
    steps: int = 8,
    label: str | None = None,
    checkpoint: str = "last",
    out: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """From each of the `seeds`, or of the picture files `images`, to the next, in `steps` pictures, both ends among them.

    Spherical where the method's latents are Gaussian, else straight. A seed's end is its `sample`, to the bit; a picture's end
    is its reconstruction. A class that differs between two ends changes half-way. ``RUN/interpolations`` or `out` takes every
    picture once as ``frame0000.png`` …, and ``sheet.png`` with a row per pair. Errors: `InputError`.
    """
    if images and seeds:
        raise InputError("--seeds and pictures exclude each other; give one of them")
    if not images and len(seeds) < 2:
        raise InputError("an interpolation needs two ends; give --seeds 3,7 or two pictures")
    if not 2 <= steps <= 10_000:
        raise InputError(f"--steps {steps}: choose 2 to 10,000 pictures from one end to the next")
    model = load(run, checkpoint)
    if not isinstance(model.method, LatentDecoder):
        raise InputError(f"{model.run.path} ({model.recipe.preset}) has no latents, so there is no way between its pictures")
    began = time.perf_counter()
    given: Given | None = None
    if images:
        given = read_pictures(model, images)
        if len(given.names) < 2:
            raise InputError(f"an interpolation needs two ends, and {given.names[0]} is one; give another picture")
        latents, labels = latents_of_pictures(model, given, label, progress)
    else:
        asked = model.cond(model.class_of(label), len(seeds)).label
        latents, labels = latents_of(model.method, seeds), model.method.labels(seeds, asked)
    frames, classes = _between(latents, labels, steps, model.method.gaussian)
    shown = to_uint8(render(model.method, frames, Cond(label=classes)))
    out = folder_for(model, "interpolations", "frame[0-9]*.png", out)
    about = origin(model, label=label) | ({} if images else {"seeds": ",".join(map(str, seeds))})
    files = []
    for number, image in enumerate(shown):
        path = out / f"frame{number:04d}.png"
        save_png(path, image, about)
        files.append(str(path))
    rows = [pair * (steps - 1) + step for pair in range(len(latents) - 1) for step in range(steps)]
    save_png(out / "sheet.png", grid(shown[rows], columns=steps), about)
    return {
        "files": files,
        "sheet": str(out / "sheet.png"),
        "seeds": None if images else list(seeds),
        "images": None if given is None else given.names,
        "prepared": {} if given is None else given.prepared,
        "path": "spherical" if model.method.gaussian else "straight",
        "seconds": round(time.perf_counter() - began, 2),
        "checkpoint": model.checkpoint.images,
    }


def latents_of_pictures(
    model: Loaded, given: Given, label: str | None, progress: Callable[[int, int], None] | None
) -> tuple[Tensor, Tensor | None]:
    """Latents [N, dim] and labels [N] of pictures: encoded where the method can, else looked for."""
    method = model.method
    if isinstance(method, Autoencoder):
        chosen = model.class_of(label)
        latents = torch.from_numpy(model.encode(given.images)).to(method.device)
        return latents.flatten(1), model.cond(chosen, len(given.names)).label
    found = invert(model, given.images, label=label, progress=progress)
    labels = None if found.labels is None else torch.from_numpy(found.labels).to(method.device)
    return torch.from_numpy(found.latents).to(method.device), labels


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

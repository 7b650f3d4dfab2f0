"""One latent at a time: what each of them changes in a picture."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner.core.capabilities import Autoencoder, LatentDecoder
from limner.core.cond import Cond
from limner.core.errors import InputError
from limner.core.images import grid, save_png, to_uint8
from limner.core.sampling import latents_of, render
from limner.core.seeds import SCORED_SEEDS
from limner.runs.model import Loaded, load
from limner.tasks.inputs import Given, read_pictures
from limner.tasks.interpolate import latents_of_pictures
from limner.tasks.sample import folder_for, origin

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


def spread(model: Loaded) -> Spread:
    """Over training pictures where the model has an encoder, over the latents it draws where it has none.

    Errors: `InputError` where an encoder's data is no longer there.
    """
    if isinstance(model.method, Autoencoder):
        dataset = model.dataset()
        rows = dataset.indices("train")
        rows = rows[np.linspace(0, len(rows) - 1, min(MEASURED, len(rows))).astype(np.int64)]
        known = torch.from_numpy(model.encode(dataset.images.gather(rows))).flatten(1)
    else:
        known = latents_of(model.method, range(SCORED_SEEDS, SCORED_SEEDS + MEASURED)).cpu()
    return Spread(known.mean(0), known.std(0, correction=0))


# Many parameters: the keyword interface of the verb, until every verb has a request model.
def traverse(
    run: Path | str,
    image: Path | str | None = None,
    *,
    latents: Sequence[int] | None = None,
    steps: int = 7,
    span: float = 3.0,
    seed: int = 0,
    label: str | None = None,
    checkpoint: str = "last",
    out: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Takes each of `latents` from −`span` to +`span` standard deviations about its mean, in `steps` pictures.

    All other latents stay those of the picture file `image`, or of `seed`. Mean and deviation are measured (`spread`), for the
    latents of a trained model need not be standard normal. Where no `latents` are given, the ten most active ones are taken,
    the most active first. ``RUN/traversals`` or `out` takes a PNG each and ``sheet.png`` with a row for every latent
    (Higgins et al. 2017, figure 4). `values` [rows][steps] are those of the latent; `own` [rows] is what it is in the picture.
    Errors: `InputError`.
    """
    _check_range(steps, span)
    model = load(run, checkpoint)
    method = model.method
    if not isinstance(method, LatentDecoder):
        raise InputError(f"{model.run.path} ({model.recipe.preset}) has no vector of latents, so there is none to turn")
    began = time.perf_counter()
    given = None if image is None else _one_picture(model, image)
    if given is None:
        asked = model.cond(model.class_of(label), 1).label
        base, labels = latents_of(method, [seed]), method.labels([seed], asked)
    else:
        base, labels = latents_of_pictures(model, given, label, progress)
    known = spread(model)
    chosen = _chosen(latents, known, base.shape[1], model)
    if len(chosen) * steps > MOST_PICTURES:
        raise InputError(f"{len(chosen)} latents in {steps} steps are more than {MOST_PICTURES:,} pictures; ask for fewer")
    places = torch.linspace(-span, span, steps)
    values = known.mean[chosen, None] + places * known.std[chosen, None]
    frames = _frames(base.cpu(), chosen, values)
    cond = Cond(label=None if labels is None else labels.expand(len(frames)))
    shown = to_uint8(render(method, frames.to(base), cond))
    out = folder_for(model, "traversals", "latent[0-9]*-[0-9]*.png", out)
    about = origin(model, label=label) | ({"seed": str(seed)} if given is None else {"of": Path(given.names[0]).name})
    files = [out / f"latent{latent:03d}-{step:03d}.png" for latent in chosen for step in range(steps)]
    for path, picture in zip(files, shown, strict=True):
        save_png(path, picture, about)
    save_png(out / "sheet.png", grid(shown, columns=steps), about)
    return {
        "files": [str(path) for path in files],
        "sheet": str(out / "sheet.png"),
        "latents": chosen,
        "values": values.tolist(),
        "own": base[0].cpu()[chosen].tolist(),
        "deviations": places.tolist(),
        "spread": known.std[chosen].tolist(),
        "seed": seed if given is None else None,
        "image": None if given is None else given.names[0],
        "prepared": {} if given is None else given.prepared,
        "seconds": round(time.perf_counter() - began, 2),
        "checkpoint": model.checkpoint.images,
    }


def _check_range(steps: int, span: float) -> None:
    """Errors: `InputError`."""
    if not 2 <= steps <= 1000:
        raise InputError(f"--steps {steps}: choose 2 to 1,000 pictures for each latent")
    if not (math.isfinite(span) and span > 0):
        raise InputError(f"--span {span:g}: give a number of standard deviations above 0, such as 3")


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


def _chosen(latents: Sequence[int] | None, known: Spread, dim: int, model: Loaded) -> list[int]:
    if latents is None:
        return known.order[:SHOWN]
    if not latents:
        raise InputError("no latents to turn; give --latents 0-9, or leave it out for the most active ones")
    for number in latents:
        if not 0 <= number < dim:
            raise InputError(f"{model.run.path} has no latent {number}; it has the latents 0-{dim - 1}")
    return list(latents)

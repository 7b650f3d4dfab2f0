"""Draws new pictures by seeds, and writes them: files with their origin in them, a sheet, an array."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limner.core.errors import InputError
from limner.core.fields import choose_seeds
from limner.core.files import atomic, slug
from limner.core.images import grid, save_png
from limner.core.progress import OnProgress
from limner.recipes.registry import sampling_fields
from limner.runs.model import Loaded, load
from limner.tasks.inputs import read_given
from limner.tasks.sample import SampleRequest, SampleResult


def draw_samples(request: SampleRequest, on_progress: OnProgress) -> SampleResult:
    """What `limner.tasks.sample.sample` does. Errors: `InputError`."""
    seeds, out = choose_seeds(request.seeds, request.count), request.out
    if not seeds:
        raise InputError("no seeds to draw from; give --seeds 0-15 or --count 16")
    model = load(request.run, request.checkpoint)
    sampling = model.sampling(request.sampling)
    began = time.perf_counter()
    given = None if request.given is None else read_given(model, request.given)
    images = model.sample(seeds, request.label, request.text, given, sampling)
    seconds = time.perf_counter() - began
    label = model.class_of(request.label)
    class_name = None if label is None else model.recipe.data.classes[label]
    changed = {name: _text(value) for name, value in sampling.changed().items()}
    given_name = None if request.given is None else request.given.name
    about = origin(model, label=class_name, text=request.text, given=given_name, **changed) if request.metadata else None
    if out is None and (request.npz is None or request.grid):
        out = model.run.path / "samples"
        if class_name is not None:
            out /= slug(class_name).strip("-.") or "class"
    if request.npz is not None:
        with atomic(request.npz) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, images=images, seeds=np.asarray(seeds, dtype=np.int64))
    files = [] if out is None else _write_each(out, seeds, images, about)
    return SampleResult(
        files=[str(path) for path in files],
        grid=str(_write_sheet(out, seeds, images, about)) if request.grid and out is not None else None,
        npz=None if request.npz is None else str(request.npz),
        seeds=seeds,
        label=class_name,
        text=request.text,
        given=None if request.given is None else str(request.given),
        images_per_second=round(len(seeds) / max(seconds, 1e-9), 1),
        checkpoint=model.checkpoint.images,
        **{name: field.default for name, field in sampling_fields().items()} | sampling.model_dump(),
    )


def _text(value: object) -> str:
    """A sampling setting as a PNG's text holds it."""
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _write_each(out: Path, seeds: Sequence[int], images: NDArray[np.uint8], about: dict[str, str] | None) -> list[Path]:
    """One PNG in `out` for each seed, with the text `about` it (None: no text at all); their paths."""
    paths = [out / f"seed{seed:06d}.png" for seed in seeds]
    for path, seed, image in zip(paths, seeds, images, strict=True):
        save_png(path, image, None if about is None else about | {"seed": str(seed)})
    return paths


def _write_sheet(out: Path, seeds: Sequence[int], images: NDArray[np.uint8], about: dict[str, str] | None) -> Path:
    """All `images` on one sheet in `out`; its path."""
    save_png(out / "grid.png", grid(images), None if about is None else about | {"seeds": _seed_ranges(seeds)})
    return out / "grid.png"


def origin(model: Loaded, **asked: str | None) -> dict[str, str]:
    """The text of a PNG that says where it comes from: recipe, hash of the weights, and what was asked for."""
    told = {name: value for name, value in asked.items() if value is not None}
    return {"recipe": model.recipe.portable(), "model": model.checkpoint.digest()} | told


def folder_for(model: Loaded, name: str, made: str, out: Path | None) -> Path:
    """`out`; or ``RUN/name`` without the pictures `made` (a pattern) there by an earlier call, which must not stand among new
    ones. From a folder that a person names nothing is removed.
    """
    if out is not None:
        return out
    own = model.run.path / name
    for old in own.glob(made):
        old.unlink()
    return own


def _seed_ranges(seeds: Sequence[int]) -> str:
    """The seeds as ``--seeds`` takes them, such as "0-15,20"."""
    ranges: list[list[int]] = []
    for seed in seeds:
        if ranges and seed == ranges[-1][1] + 1:
            ranges[-1][1] = seed
        else:
            ranges.append([seed, seed])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)

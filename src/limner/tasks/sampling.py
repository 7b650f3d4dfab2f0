"""Draws new pictures by seeds, and writes them with their origin: the work of `limner.tasks.sample`."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limner.core.capabilities import VelocityField
from limner.core.errors import InputError
from limner.core.fields import choose_seeds
from limner.core.images import grid, save_png, save_sheet
from limner.core.invocation import option
from limner.core.progress import OnProgress
from limner.recipes.registry import sampling_fields
from limner.runs.model import Loaded, load
from limner.runs.outputs import Call, check_array_file, check_output, output_folder, write_arrays
from limner.tasks.inputs import read_given, requested_texts
from limner.tasks.sample import SampleRequest, SampleResult


def draw_samples(request: SampleRequest, on_progress: OnProgress) -> SampleResult:
    """Does the work of `limner.tasks.sample.sample`. Errors: `InputError`, as described there."""
    seeds, out = choose_seeds(request.seeds, request.count), request.out
    if not seeds:
        raise InputError(f"no seeds to draw from; give {option('seeds', '0-15')} or {option('count', '16')}")
    model = load(request.run, request.checkpoint)
    sampling = model.sampling(request.sampling)
    call = Call(request, model)
    writes_pictures = request.npz is None or request.grid or out is not None
    if writes_pictures:
        check_output(call, out)
    if request.npz is not None:
        check_array_file(request.npz, ("images", "seeds"))
    calls_before, began = network_calls(model), time.perf_counter()
    given_picture = None if request.given is None else read_given(model, request.given)
    images = model.sample(seeds, request.label, request.text, given_picture, sampling)
    seconds, calls = time.perf_counter() - began, network_calls(model) - calls_before
    label = model.class_of(request.label)
    class_name = None if label is None else model.recipe.data.classes[label]
    changed = {name: _text(value) for name, value in sampling.changed().items()}
    texts = {**requested_texts(request), "label": class_name}
    about = describe_origin(model, **texts, **changed) if request.metadata else None
    if request.npz is not None:
        write_arrays(request.npz, {"images": images, "seeds": np.asarray(seeds, dtype=np.int64)})
    files, sheet = list[Path](), None
    if writes_pictures:
        with output_folder(call, out) as folder:
            files = _write_each(folder, seeds, images, about)
            sheet = _write_sheet(folder, seeds, images, about) if request.grid else None
    return SampleResult(
        files=[str(path) for path in files],
        grid=None if sheet is None else str(sheet),
        npz=None if request.npz is None else str(request.npz),
        seeds=seeds,
        label=class_name,
        text=request.text,
        given=None if request.given is None else str(request.given),
        images_per_second=round(len(seeds) / max(seconds, 1e-9), 1),
        network_passes=round(calls / math.ceil(len(seeds) / model.method.chunk), 2) if calls else None,
        checkpoint=model.checkpoint.images,
        checkpoint_notes=list(model.checkpoint_notes()),
        sampling=sampling.model_dump(),
        **dict.fromkeys(sampling_fields()) | sampling.model_dump(),
    )


def network_calls(model: Loaded) -> int:
    """How often the network of a model that draws in several passes was called so far, each time for all pictures of a pass."""
    return model.method.network_calls if isinstance(model.method, VelocityField) else 0


def _text(value: object) -> str:
    """A sampling setting as the text of a PNG holds it."""
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _write_each(out: Path, seeds: Sequence[int], images: NDArray[np.uint8], about: dict[str, str] | None) -> list[Path]:
    """Writes a PNG for each seed into `out`, with the texts `about` it (None: without any); returns their paths."""
    paths = [out / f"seed{seed:06d}.png" for seed in seeds]
    for path, seed, image in zip(paths, seeds, images, strict=True):
        save_png(path, image, None if about is None else about | {"seed": str(seed)})
    return paths


def _write_sheet(out: Path, seeds: Sequence[int], images: NDArray[np.uint8], about: dict[str, str] | None) -> Path:
    """Writes all `images` [N, H, W, C] as one sheet into `out`; returns its path."""
    if about is None:
        save_png(out / "grid.png", grid(images))
    else:
        save_sheet(out / "grid.png", grid(images), about | {"seeds": _seed_ranges(seeds)})
    return out / "grid.png"


def describe_origin(model: Loaded, **requested: str | None) -> dict[str, str]:
    """The texts of a PNG about its origin: recipe, hash of the weights, and what was `requested`, where that is not None."""
    texts = {name: value for name, value in requested.items() if value is not None}
    return {"recipe": model.recipe.portable(), "model": model.checkpoint.digest()} | texts


def _seed_ranges(seeds: Sequence[int]) -> str:
    """The seeds as ``--seeds`` takes them.

    >>> _seed_ranges([0, 1, 2, 3, 20])
    '0-3,20'
    """
    ranges: list[list[int]] = []
    for seed in seeds:
        if ranges and seed == ranges[-1][1] + 1:
            ranges[-1][1] = seed
        else:
            ranges.append([seed, seed])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)

"""Draws new pictures by seeds, and writes them with their origin: the work of `limner.tasks.sample`."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limner.core.capabilities import VelocityField
from limner.core.errors import InputError
from limner.core.fields import choose_seeds
from limner.core.images import batches_of, grid, save_png, save_sheet
from limner.core.invocation import option
from limner.core.progress import OnProgress
from limner.core.text import decode_captions
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
        check_array_file(call, request.npz)
    calls_before, began = network_calls(model), time.perf_counter()
    given_picture = None if request.given is None else read_given(model, request.given)
    images = model.sample(seeds, request.label, request.text, given_picture, sampling)
    seconds, calls = time.perf_counter() - began, network_calls(model) - calls_before
    label, classes = model.class_of(request.label), model.recipe.data.classes
    class_name, in_force = None if label is None else classes[label], sampling.in_force()
    own = _conditions_of_pictures(model, seeds, request, given_picture)
    names = model.class_names(own.labels)
    settings = {name: None if value is None else _text(value) for name, value in in_force.items()}
    texts = {**requested_texts(request), "label": class_name, **settings}
    about = describe_origin(model, **texts) if request.metadata else None
    if request.npz is not None:
        arrays = {"images": images, "seeds": np.asarray(seeds, np.int64), "sampling": np.array(json.dumps(in_force))}
        if own.labels is not None:
            arrays |= {"labels": own.labels, "classes": np.array(classes)}
        if own.texts is not None:
            arrays["texts"] = np.array(own.texts)
        write_arrays(request.npz, arrays, call)
    files, sheet = list[Path](), None
    if writes_pictures:
        with output_folder(call, out) as folder:
            files = _write_each(folder, seeds, images, about, {"label": names, "text": own.texts})
            sheet = _write_sheet(folder, seeds, images, about) if request.grid else None
    return SampleResult(
        files=[str(path) for path in files],
        grid=None if sheet is None else str(sheet),
        npz=None if request.npz is None else str(request.npz),
        seeds=seeds,
        label=class_name,
        labels=names,
        text=request.text,
        texts=own.texts,
        given=None if request.given is None else str(request.given),
        images_per_second=round(len(seeds) / max(seconds, 1e-9), 1),
        network_passes=round(calls / math.ceil(len(seeds) / model.method.chunk), 2) if calls else None,
        checkpoint=model.checkpoint.images,
        checkpoint_notes=list(model.checkpoint_notes()),
        sampling=in_force,
        **dict.fromkeys(sampling_fields()) | sampling.model_dump(),
    )


@dataclass(frozen=True)
class PictureConditions:
    """The conditions under which each of N pictures was drawn, requested or drawn by its seed."""

    labels: NDArray[np.int64] | None
    """[N] numbers of classes, −1 for none; None for a model that does not draw by class."""
    texts: list[str] | None
    """[N] captions; None for a model that does not draw by caption."""


def _conditions_of_pictures(
    model: Loaded, seeds: Sequence[int], request: SampleRequest, picture: NDArray[np.uint8] | None
) -> PictureConditions:
    """The conditions under which `Loaded.sample` draws `seeds` for this request; `picture` [H, W, C'] is the given one."""
    requested = model.request(request.label, request.text, picture)
    labels, texts = list[NDArray[np.int64]](), list[str]()
    for part in batches_of(len(seeds), 32 * model.method.chunk):
        cond = model.draw_conditions(seeds[part], requested)
        labels += [] if cond.label is None else [cond.label.cpu().numpy()]
        texts += [] if cond.text is None else decode_captions(cond.text.cpu().numpy())
    return PictureConditions(np.concatenate(labels) if labels else None, texts or None)


def network_calls(model: Loaded) -> int:
    """How often the network of a model that draws in several passes was called so far, each time for all pictures of a pass."""
    return model.method.network_calls if isinstance(model.method, VelocityField) else 0


def _text(value: object) -> str:
    """A sampling setting as the text of a PNG holds it."""
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _write_each(
    out: Path,
    seeds: Sequence[int],
    images: NDArray[np.uint8],
    about: dict[str, str] | None,
    of_each: Mapping[str, Sequence[str | None] | None],
) -> list[Path]:
    """Writes a PNG for each seed into `out`; returns their paths.

    Its texts are those `about` all of them (None: no texts), its seed, and its own of those `of_each` [N].
    """
    paths = [out / f"seed{seed:06d}.png" for seed in seeds]
    for row, (path, seed, image) in enumerate(zip(paths, seeds, images, strict=True)):
        own = {name: value for name, values in of_each.items() if values is not None and (value := values[row]) is not None}
        save_png(path, image, None if about is None else about | own | {"seed": str(seed)})
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

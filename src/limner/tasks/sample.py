"""New pictures by seeds: files with their origin in them, a grid, an array."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.core.errors import InputError
from limner.core.files import atomic, slug
from limner.core.images import grid, save_png
from limner.runs.model import Loaded, load


# Many parameters: the keyword interface of the verb, until every verb has a request model.
def sample(
    run: Path | str,
    *,
    seeds: Sequence[int],
    label: str | None = None,
    truncation: float = 1.0,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    checkpoint: str = "last",
    grid: bool = False,
    npz: Path | None = None,
    out: Path | None = None,
    metadata: bool = True,
) -> dict[str, Any]:
    """Draws one picture per seed from the averaged weights of `run`.

    `out` (by default ``RUN/samples`` where no `npz` is asked for) takes one PNG per seed and, with `grid`, a sheet of all;
    `npz` an array ``images`` [N, H, W, C] uint8. `label`, `truncation`, `temperature`, `top_k` and `top_p` are those of
    `Loaded.sample`; a class has a folder of its own in ``RUN/samples``. `metadata` writes recipe, seed, model hash and what was
    asked for into each PNG's text.
    """
    if not seeds:
        raise InputError("no seeds to draw from; give --seeds 0-15 or --count 16")
    model = load(run, checkpoint)
    began = time.perf_counter()
    images = model.sample(seeds, label, truncation, temperature, top_k, top_p)
    seconds = time.perf_counter() - began
    chosen = model.class_of(label)
    named = None if chosen is None else model.recipe.data.classes[chosen]
    knobs = {"truncation": (truncation, 1.0), "temperature": (temperature, 1.0), "top_k": (top_k, 0), "top_p": (top_p, 1.0)}
    turned = {name: None if value == none else f"{value:g}" for name, (value, none) in knobs.items()}
    about = origin(model, label=named, **turned) if metadata else None
    if out is None and (npz is None or grid):
        out = model.run.path / "samples"
        if named is not None:
            out /= slug(named).strip("-.") or "class"
    if npz is not None:
        with atomic(npz) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, images=images, seeds=np.asarray(seeds, dtype=np.int64))
    files = [] if out is None else _write_each(out, seeds, images, about)
    return {
        "files": [str(path) for path in files],
        "grid": str(_write_sheet(out, seeds, images, about)) if grid and out is not None else None,
        "npz": None if npz is None else str(npz),
        "seeds": list(seeds),
        "label": named,
        **{name: value for name, (value, _) in knobs.items()},
        "images_per_second": round(len(seeds) / max(seconds, 1e-9), 1),
        "checkpoint": model.checkpoint.images,
    }


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

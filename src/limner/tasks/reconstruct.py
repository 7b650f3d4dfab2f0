"""Pictures through a model and back: by its encoder, or by looking for the latents."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.core.capabilities import Autoencoder, LatentDecoder
from limner.core.errors import InputError
from limner.core.files import slug
from limner.core.images import batches_of, grid, save_png
from limner.metrics.representation.reconstruction import CEILING, psnr, ssim
from limner.runs.model import load
from limner.tasks.inputs import read_pictures
from limner.tasks.invert import invert
from limner.tasks.sample import folder_for, origin

COLUMNS = 8


# Many parameters: the keyword interface of the verb, until every verb has a request model.
def reconstruct(
    run: Path | str,
    images: Sequence[Path | str],
    *,
    starts: int = 8,
    steps: int = 300,
    encoder: bool = False,
    label: str | None = None,
    checkpoint: str = "last",
    out: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Reconstructs picture files with the averaged weights of `run`, into ``RUN/reconstructions`` or `out`.

    A method with an encoder encodes and decodes; for others the latents are looked for (`invert`, which takes `starts`,
    `steps`, `encoder` and `label`). One PNG each, and ``sheet.png`` with every original above its reconstruction. `errors` are
    mean squared errors on [-1, 1], `psnr` is in dB, at most 100; `ssim` is that of
    `limner.metrics.representation.reconstruction`. `prepared` says what was done to pictures of another size or mode than the
    run's data. Errors: `InputError`.
    """
    model = load(run, checkpoint)
    given = read_pictures(model, images)
    names, originals = given.names, given.images
    began = time.perf_counter()
    classes: list[str] | None = None
    if isinstance(model.method, Autoencoder):
        model.class_of(label)  # a class asked of a model that knows none is said, not overlooked
        how, back = "encoder", model.reconstruct(originals)
    elif isinstance(model.method, LatentDecoder):
        inversion = invert(model, originals, starts=starts, steps=steps, encoder=encoder, label=label, progress=progress)
        how, back = "inversion", inversion.pictures
        if inversion.labels is not None:
            classes = [model.recipe.data.classes[number] for number in inversion.labels]
    else:
        raise InputError(
            f"{model.run.path} ({model.recipe.preset}) has neither an encoder nor latents, so it cannot reconstruct"
        )
    seconds = time.perf_counter() - began
    out = folder_for(model, "reconstructions", "[0-9][0-9][0-9]*-*.png", out)
    about = origin(model, label=label)
    files = [out / f"{n:03d}-{slug(Path(name).stem, ascii_only=True)[:60]}.png" for n, name in enumerate(names)]
    for path, name, image in zip(files, names, back, strict=True):
        save_png(path, image, about | {"of": Path(name).name})
    save_png(out / "sheet.png", above_each_other(originals, back), about)
    return {
        "files": [str(path) for path in files],
        "sheet": str(out / "sheet.png"),
        "images": names,
        "classes": classes,
        "errors": np.square((back.astype(np.float64) - originals) * (2 / 255)).mean((1, 2, 3)).tolist(),
        "psnr": psnr(back, originals).clamp(max=CEILING).tolist(),
        "ssim": ssim(back, originals).tolist(),
        "prepared": given.prepared,
        "seconds": round(seconds, 2),
        "method": how,
        "checkpoint": model.checkpoint.images,
    }


def above_each_other(upper: NDArray[np.uint8], lower: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A sheet of [N, H, W, C] and [N, H, W, C]: rows of up to eight, each of `upper` right above its fellow of `lower`."""
    columns = min(len(upper), COLUMNS)
    rows = []
    for part in batches_of(len(upper), columns):
        for images in (upper[part], lower[part]):
            rows.append(np.full((columns, *images.shape[1:]), 255, np.uint8))
            rows[-1][: len(images)] = images
    return grid(np.concatenate(rows), columns)

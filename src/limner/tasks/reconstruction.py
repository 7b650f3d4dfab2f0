"""Reconstructs pictures by a model's encoder, or by a search for their latents: the work of `limner.tasks.reconstruct`."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limner.core.capabilities import Autoencoder, LatentDecoder
from limner.core.errors import InputError
from limner.core.files import slug
from limner.core.images import batches_of, grid, save_png, save_sheet
from limner.core.invocation import option
from limner.core.progress import OnProgress
from limner.metrics.representation.reconstruction import PSNR_CEILING, psnr, ssim
from limner.runs.model import Loaded, load
from limner.runs.outputs import Call, check_output, output_folder
from limner.tasks.inputs import read_pictures, requested_condition, requested_texts
from limner.tasks.inversion import Search, invert
from limner.tasks.reconstruct import ReconstructRequest, ReconstructResult
from limner.tasks.sampling import describe_origin

COLUMNS = 8
"""Pictures in a row of the sheet."""


def reconstruct_pictures(request: ReconstructRequest, on_progress: OnProgress) -> ReconstructResult:
    """Does the work of `limner.tasks.reconstruct.reconstruct`. Errors: `InputError`, as described there."""
    model = load(request.run, request.checkpoint)
    call = Call(request, model)
    check_output(call, request.out)
    inputs = read_pictures(model, request.images)
    names, originals = inputs.names, inputs.images
    began = time.perf_counter()
    classes: list[str] | None = None
    if isinstance(model.method, Autoencoder):
        _check_no_search(request, model)
        model.class_of(request.label)  # a class that the model does not know is an error, though the encoder needs none
        means, pictures = "encoder", model.reconstruct(originals)
    elif isinstance(model.method, LatentDecoder):
        search = Search(request.starts, request.steps, request.encoder, requested=requested_condition(model, request))
        inversion = invert(model, originals, search, on_progress)
        means, pictures = "inversion", inversion.pictures
        if inversion.labels is not None:
            classes = [model.recipe.data.classes[number] for number in inversion.labels]
    else:
        raise InputError(
            f"{model.run.path} ({model.recipe.preset}) has neither an encoder nor a vector of latents, so it cannot reconstruct"
        )
    seconds = time.perf_counter() - began
    about = describe_origin(model, **requested_texts(request))
    with output_folder(call, request.out) as out:
        files = [out / f"{n:03d}-{slug(Path(name).stem, ascii_only=True)[:60]}.png" for n, name in enumerate(names)]
        for path, name, image in zip(files, names, pictures, strict=True):
            save_png(path, image, about | {"of": Path(name).name})
        save_sheet(out / "sheet.png", stack_pairs(originals, pictures), about)
    return ReconstructResult(
        files=[str(path) for path in files],
        sheet=str(out / "sheet.png"),
        images=names,
        classes=classes,
        errors=np.square((pictures.astype(np.float64) - originals) * (2 / 255)).mean((1, 2, 3)).tolist(),
        psnr=psnr(pictures, originals).clamp(max=PSNR_CEILING).tolist(),
        ssim=ssim(pictures, originals).tolist(),
        prepared=inputs.prepared,
        seconds=round(seconds, 2),
        method=means,
        checkpoint=model.checkpoint.images,
        checkpoint_notes=list(model.checkpoint_notes()),
    )


def _check_no_search(request: ReconstructRequest, model: Loaded) -> None:
    """Errors: `InputError` for an option of the search for latents, of which a model with an encoder has no need."""
    for name in ("starts", "steps", "encoder"):
        if getattr(request, name) != ReconstructRequest.model_fields[name].get_default():
            raise InputError(
                f"{option(name)} would do nothing here: it belongs to the search for latents, and {model.run.path} "
                f"({model.recipe.preset}) has an encoder; leave it out"
            )


def stack_pairs(upper: NDArray[np.uint8], lower: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A sheet of two arrays [N, H, W, C]: in each column a picture of `upper` above the one of `lower` with the same index."""
    columns = min(len(upper), COLUMNS)
    rows = []
    for part in batches_of(len(upper), columns):
        for images in (upper[part], lower[part]):
            rows.append(np.full((columns, *images.shape[1:]), 255, np.uint8))
            rows[-1][: len(images)] = images
    return grid(np.concatenate(rows), columns)

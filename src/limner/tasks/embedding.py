"""Encodes pictures and writes their latents into one array file: the work of `limner.tasks.embed`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.core.errors import InputError
from limner.core.files import slug
from limner.core.images import batches_of
from limner.core.invocation import option
from limner.core.progress import OnProgress, Progress, silent
from limner.data.dataset import Dataset
from limner.data.plan import TooFewPicturesError
from limner.data.sources import describe_source, is_data_set
from limner.runs.model import Loaded, load
from limner.runs.outputs import Call, check_array_file, check_output, output_folder, write_arrays
from limner.tasks.embed import EmbedRequest, EmbedResult
from limner.tasks.inputs import describe_preparation, read_pictures

READING_BATCH = 4096
"""Pictures that are read from a data set at a time."""


def embed_pictures(request: EmbedRequest, on_progress: OnProgress) -> EmbedResult:
    """Does the work of `limner.tasks.embed.embed`. Errors: `InputError`, as described there."""
    sources, split = request.sources, request.split
    model = load(request.run, request.checkpoint)
    call = Call(request, model)
    if request.out is None:
        check_output(call, None)
    else:
        check_array_file(call, request.out)
    began = time.perf_counter()
    own_shape, codes = model.latent_shape()
    prepared: dict[str, str] = {}
    arrays: dict[str, Any]
    dataset = _open_data_set(model, sources)
    if dataset is None:
        if split is not None:
            raise InputError(f"{option('split')} is for data sets, not for single pictures; leave it out")
        inputs = read_pictures(model, sources)
        latents, prepared, name = model.encode_pictures(inputs.images), inputs.prepared, "pictures"
        arrays = {"files": np.array(inputs.names)}
    else:
        rows = np.arange(len(dataset.images)) if split is None else dataset.indices(split)
        latents = encode_rows(model, dataset, rows, on_progress)
        prepared = describe_preparation(model, describe_source(sources[0]), dataset) if sources else {}
        name = dataset.name if split is None else f"{dataset.name}-{split}"
        arrays = {"indices": rows}
        if dataset.labels is not None:
            arrays |= {"labels": dataset.labels[rows], "classes": np.array(dataset.classes)}
        if (files := dataset.manifest["files"]) and len(files) == len(dataset.images):
            arrays["files"] = np.array([files[row]["file"] for row in rows])
    flat = latents.reshape(len(latents), -1)
    arrays |= {"latents": flat, "shape": np.array(own_shape, np.int64)}
    if (out := request.out) is not None:
        write_arrays(out, arrays, call)
    else:
        with output_folder(call, None) as folder:
            out = folder / f"{slug(name, ascii_only=True).strip('-.') or 'pictures'}.npz"
            write_arrays(out, arrays, call)
    return EmbedResult(
        file=str(out),
        count=len(flat),
        shape=list(own_shape),
        kind="codes" if codes else "continuous",
        labels="labels" in arrays,
        split=split,
        prepared=prepared,
        seconds=round(time.perf_counter() - began, 2),
        checkpoint=model.checkpoint.images,
        checkpoint_notes=list(model.checkpoint_notes()),
    )


def _open_data_set(model: Loaded, sources: Sequence[object]) -> Dataset | None:
    """The data set that `sources` name: the run's own where there are none.

    None where they are picture files, or a folder, an archive or an array that holds a single picture.
    """
    if len(sources) > 1 or (sources and not is_data_set(sources[0])):
        return None
    try:
        return model.dataset(sources[0] if sources else None)
    except TooFewPicturesError as error:
        if error.count == 1:
            return None
        raise


def encode_rows(model: Loaded, dataset: Dataset, rows: NDArray[np.int64], on_progress: OnProgress = silent) -> NDArray[Any]:
    """[n, *shape of the latents]: those of the pictures at `rows` [n] of `dataset`, float32 or int64 indices of codes."""
    parts = []
    for part in batches_of(len(rows), READING_BATCH):
        parts.append(model.encode_pictures(dataset.images.gather(rows[part])))
        on_progress(Progress("encoding", part.stop, len(rows)))
    return np.concatenate(parts)

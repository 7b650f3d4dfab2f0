"""Predicts the classes of pictures from a model's latents, and measures how often such predictions are right.

The verb and its result are described in `limner.tasks.classify`.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core.errors import InputError, require
from limner.core.files import cache_folder, write_json
from limner.core.images import batches_of
from limner.core.invocation import option
from limner.core.progress import OnProgress
from limner.core.tensor_cache import read_tensors, write_tensors
from limner.data.dataset import Dataset
from limner.data.sources import describe_source
from limner.metrics.features.pixels import preprocess, work_size
from limner.metrics.representation.probes import Linear, Readout, Scaling
from limner.runs.model import Loaded, load
from limner.runs.outputs import Call, check_output, output_folder
from limner.tasks.classify import ClassifyRequest, ClassifyResult
from limner.tasks.embedding import encode_rows
from limner.tasks.inputs import InputImages, describe_preparation, read_pictures

VERSION = "classify-3"
"""Part of the key of the cache: to be raised whenever the fit, or what is fitted, changes."""
MAX_TRAIN_IMAGES, MAX_VAL_IMAGES, MAX_TEST_IMAGES = 60_000, 5_000, 10_000
"""The largest number of pictures of each split that are used; of a larger split these are spread evenly over its rows."""
MAX_TRAIN_VALUES = 2**27
"""The largest number of values (pictures times dimensions) in a representation of the training pictures; where there would be
more, fewer pictures are used."""
PIXELS_SIDE = 32
"""Pixels of the longer side to which pictures are shrunk for the comparison with raw pixels."""
MIN_HELD_OUT_IMAGES = 10
"""A validation or test split with fewer labelled pictures is replaced by training pictures that are held out."""


@dataclass(frozen=True)
class Rows:
    """The rows of a data set that a readout is fitted on (`train`), chosen by (`val`) and tested on (`test`)."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]
    names: dict[str, str]
    """Name of the part -> the split that its rows come from, or "train, held out"."""


def classify_pictures(request: ClassifyRequest, on_progress: OnProgress) -> ClassifyResult:
    """Does the work of `limner.tasks.classify.classify`. Errors: `InputError`, as described there."""
    require("scipy", "scikit-learn")
    began = time.perf_counter()
    data = request.data
    model = load(request.run, request.checkpoint)
    shape, codes = model.latent_shape()
    if codes:
        raise InputError(f"the latents of {model.run.path} ({model.recipe.preset}) are codes; classify takes continuous ones")
    if data is None and not model.recipe.data.classes:
        raise InputError(
            f"{model.run.path} was trained on pictures without labels; name a labelled set of such pictures with "
            f"{option('data', 'SRC')}"
        )
    call = Call(request, model)
    check_output(call, request.out)
    inputs = read_pictures(model, request.images) if request.images else None
    dataset = None if data is None else model.dataset(data)
    if dataset is not None and (dataset.labels is None or not dataset.classes):
        raise InputError(f"{describe_source(data)} has no labels; give a set whose sub-folders or table name classes")
    prepared = {} if dataset is None else describe_preparation(model, describe_source(data), dataset)
    prepared |= {} if inputs is None else inputs.prepared
    fingerprint = model.recipe.data.fingerprint if dataset is None else dataset.fingerprint
    path = cache_folder() / "probes" / f"{_cache_key(model, str(fingerprint))}.safetensors"
    cached = _read(path)
    if cached is None:
        readout, card = _fit(model, math.prod(shape), model.dataset() if dataset is None else dataset, on_progress)
        _write(path, readout, card)
    else:
        readout, card = cached
    with output_folder(call, request.out) as out:
        result = ClassifyResult(
            **card,
            cached=cached is not None,
            labels=[] if inputs is None else _labels(model, inputs, readout, card["classes"]),
            prepared=prepared,
            checkpoint=model.checkpoint.images,
            checkpoint_notes=list(model.checkpoint_notes()),
            seconds=round(time.perf_counter() - began, 2),
            file=str(out / "result.json"),
        )
        write_json(out / "result.json", result.model_dump(mode="json"))
    return result


def _labels(model: Loaded, inputs: InputImages, readout: Readout, classes: Sequence[str]) -> list[dict[str, Any]]:
    """A row of the result for each of `inputs`: file, label, probability, and what each of the two readouts predicts."""
    latents = torch.from_numpy(model.encode_pictures(inputs.images)).flatten(1)
    predictions = {}
    for name, shares in (("probe", readout.probabilities(latents)), ("knn", readout.shares(latents))):
        best = shares.max(1)
        predictions[name] = [
            {"label": classes[int(label)], "probability": float(share)}
            for share, label in zip(best.values, best.indices, strict=True)
        ]
    rows = zip(inputs.names, predictions[_better(readout)], predictions["probe"], predictions["knn"], strict=True)
    return [{"file": name, **best, "probe": probe, "knn": knn} for name, best, probe, knn in rows]


def _better(readout: Readout) -> str:
    """The more accurate one on validation pictures, "probe" or "knn"; the probe where both are equal."""
    return "probe" if readout.held_out[0] >= readout.held_out[1] else "knn"


def _fit(model: Loaded, dim: int, dataset: Dataset, on_progress: OnProgress) -> tuple[Readout, dict[str, Any]]:
    """The readout of the `dim` latent values of `model`, and the fields of the result that describe it and its accuracy.

    The same procedure on raw pixels shows how much of that accuracy is owed to the latents. Errors: `InputError` where the data
    have too few labelled pictures, or pictures of one class only.
    """
    assert dataset.labels is not None
    height, width, channels = dataset.shape
    size = work_size(height, width, PIXELS_SIDE)
    rows = _select_rows(dataset, MAX_TRAIN_VALUES // max(dim, size[0] * size[1] * channels))
    parts = (rows.train, rows.val, rows.test)
    labels = [torch.from_numpy(dataset.labels[part]) for part in parts]
    classes = len(dataset.classes)
    if len(np.unique(dataset.labels[rows.train])) < 2:
        raise InputError(f"the labelled training pictures of {dataset.name} are all of one class; two are needed at least")

    def fit_readout(train: Tensor, val: Tensor, test: Tensor) -> tuple[Readout, list[dict[str, float]]]:
        readout = Readout.fit(train, labels[0], val, labels[1], classes)
        return readout, [asdict(share) for share in readout.accuracies(test, labels[2])]

    encoded = torch.from_numpy(encode_rows(model, dataset, np.concatenate(parts), on_progress)).flatten(1)
    sizes = [len(part) for part in parts]
    train, val, test = torch.split(encoded, sizes)
    readout, (probe, knn) = fit_readout(train, val, test)
    pixels_readout, (pixels_probe, pixels_knn) = fit_readout(*(_pixels(dataset, part, size) for part in parts))
    card = {
        "accuracy": {"probe": probe, "knn": knn, "pixels_probe": pixels_probe, "pixels_knn": pixels_knn},
        "by": _better(readout),
        "classes": list(dataset.classes),
        "data": dataset.name,
        "splits": rows.names,
        "counts": dict(zip(("train", "validation", "test"), sizes, strict=True)),
        "chosen": {"latents": _hyperparameters(readout), "pixels": _hyperparameters(pixels_readout)},
    }
    return readout, card


def _hyperparameters(readout: Readout) -> dict[str, Any]:
    """What the validation pictures decided about `readout`."""
    return {"penalty": readout.penalty, "k": readout.k, "standardised_neighbours": readout.scaled}


def _select_rows(dataset: Dataset, max_train: int) -> Rows:
    """Labelled rows of each part, at most `max_train` of them for training.

    Of every ten training pictures the first is held out where there is no validation split of `MIN_HELD_OUT_IMAGES` pictures,
    and the sixth where there is no such test split. Errors: `InputError` where there are too few labelled pictures.
    """
    assert dataset.labels is not None
    labelled = {split: rows[dataset.labels[rows] >= 0] for split in dataset.splits for rows in (dataset.indices(split),)}
    train = labelled.get("train", np.empty(0, np.int64))
    held_out: dict[str, NDArray[np.int64]] = {}
    names = {"train": "train"}
    for part, remainder in (("val", 0), ("test", 5)):
        rows = labelled.get(part, np.empty(0, np.int64))
        if len(rows) >= MIN_HELD_OUT_IMAGES:
            held_out[part], names[part] = rows, part
        else:
            held_out[part], names[part] = train[np.arange(len(train)) % 10 == remainder], "train, held out"
    not_trained_on = [rows for part, rows in held_out.items() if names[part] != part]
    train = train[~np.isin(train, np.concatenate([*not_trained_on, np.empty(0, np.int64)]))]
    if min(len(train), *(len(rows) for rows in held_out.values())) < 2:
        raise InputError(f"{dataset.name} has too few labelled pictures to learn from and to be tested on; some 20 are needed")
    val, test = _thin_out(held_out["val"], MAX_VAL_IMAGES), _thin_out(held_out["test"], MAX_TEST_IMAGES)
    return Rows(_thin_out(train, min(MAX_TRAIN_IMAGES, max_train)), val, test, names)


def _thin_out(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """At most `count` of `rows`, at equal distances; all of them where there are no more."""
    return rows if len(rows) <= count else rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)]


def _pixels(dataset: Dataset, rows: NDArray[np.int64], size: tuple[int, int]) -> Tensor:
    """[n, h·w·C] float32 in [-1, 1]: these pictures of `dataset`, shrunk to `size` (h, w)."""
    parts = [preprocess(dataset.images.gather(rows[part]), size).flatten(1) for part in batches_of(len(rows), 1024)]
    return torch.cat(parts)


def _cache_key(model: Loaded, fingerprint: str) -> str:
    """Of a readout of `model` fitted to the data with this `fingerprint`."""
    return hashlib.sha256(f"{VERSION} {model.checkpoint.digest()} {fingerprint}".encode()).hexdigest()[:24]


def _write(path: Path, readout: Readout, card: dict[str, Any]) -> None:
    """Stores `readout`, and the `card` of fields of the result that describe it."""
    tensors = {
        "mean": readout.scaling.mean,
        "scale": readout.scaling.scale,
        "weight": readout.linear.weight,
        "bias": readout.linear.bias,
        "train": readout.train,
        "labels": readout.labels,
    }
    about = {"penalty": readout.penalty, "k": readout.k, "scaled": readout.scaled, "held_out": readout.held_out, "card": card}
    write_tensors(path, tensors, about)


def _read(path: Path) -> tuple[Readout, dict[str, Any]] | None:
    """The readout and the card that `_write` stored at `path`; None where there is no such file, or it is damaged."""
    stored = read_tensors(path)
    if stored is None:
        return None
    tensors, about = stored
    readout = Readout(
        Scaling(tensors["mean"], tensors["scale"]),
        Linear(tensors["weight"], tensors["bias"]),
        about["penalty"],
        tensors["train"],
        tensors["labels"],
        about["k"],
        about["scaled"],
        tuple(about["held_out"]),
    )
    return readout, about["card"]

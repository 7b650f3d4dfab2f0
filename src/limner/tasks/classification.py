"""Labels for new pictures, read off a model's latents; and how far such labels can be trusted."""

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
from limner.core.files import cache_folder
from limner.core.images import batches_of
from limner.core.progress import OnProgress
from limner.core.tensor_cache import read_tensors, write_tensors
from limner.data.dataset import Dataset
from limner.metrics.features.pixels import preprocess, work_size
from limner.metrics.representation.probes import Linear, Readout, Scaling
from limner.runs.model import Loaded, load
from limner.tasks.classify import ClassifyRequest, ClassifyResult
from limner.tasks.embedding import encode_rows
from limner.tasks.inputs import Given, describe_preparation, read_pictures

VERSION = "classify-3"  # to be raised whenever what is fitted, or how, changes
MOST_TRAIN, MOST_VAL, MOST_TEST = 60_000, 5_000, 10_000
"""Pictures of each split that are used, spread evenly over it."""
MOST_NUMBERS = 2**27
"""In one representation of the training pictures; fewer pictures are used where they are more."""
PIXELS_SIDE = 32
"""Raw pixels are shrunk to this many on the longer side."""


@dataclass(frozen=True)
class Rows:
    """Which rows of a data set play which part. `names` says of which split each is."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]
    names: dict[str, str]


def classify_pictures(request: ClassifyRequest, on_progress: OnProgress) -> ClassifyResult:
    """What `limner.tasks.classify.classify` does. Errors: `InputError`."""
    require("scipy", "scikit-learn")
    began = time.perf_counter()
    data = request.data
    model = load(request.run, request.checkpoint)
    shape, codes = model.latent_shape()
    if codes:
        raise InputError(f"the latents of {model.run.path} ({model.recipe.preset}) are codes; classify takes continuous ones")
    if data is None and not model.recipe.data.classes:
        raise InputError(
            f"{model.run.path} was trained on pictures without labels; name a labelled set of such pictures with --data SRC"
        )
    inputs = read_pictures(model, request.images) if request.images else None
    dataset = None if data is None else model.dataset(data)
    if dataset is not None and (dataset.labels is None or not dataset.classes):
        raise InputError(f"{data} has no labels; give a set whose sub-folders or table name classes")
    prepared = {} if data is None or dataset is None else describe_preparation(model, data, dataset)
    prepared |= {} if inputs is None else inputs.prepared
    fingerprint = model.recipe.data.fingerprint if dataset is None else dataset.fingerprint
    path = cache_folder() / "probes" / f"{_key(model, str(fingerprint))}.safetensors"
    cached = _read(path)
    if cached is None:
        readout, card = _fit(model, math.prod(shape), model.dataset() if dataset is None else dataset, on_progress)
        _write(path, readout, card)
    else:
        readout, card = cached
    return ClassifyResult(
        **card,
        cached=cached is not None,
        labels=[] if inputs is None else _labels(model, inputs, readout, card["classes"]),
        prepared=prepared,
        checkpoint=model.checkpoint.images,
        seconds=round(time.perf_counter() - began, 2),
    )


def _labels(model: Loaded, inputs: Given, readout: Readout, classes: Sequence[str]) -> list[dict[str, Any]]:
    latents = torch.from_numpy(model.encode_pictures(inputs.images)).flatten(1)
    told = {}
    for name, shares in (("probe", readout.probabilities(latents)), ("knn", readout.shares(latents))):
        best = shares.max(1)
        told[name] = [
            {"label": classes[int(label)], "probability": float(share)}
            for share, label in zip(best.values, best.indices, strict=True)
        ]
    rows = zip(inputs.names, told[_by(readout)], told["probe"], told["knn"], strict=True)
    return [{"file": name, **best, "probe": probe, "knn": knn} for name, best, probe, knn in rows]


def _by(readout: Readout) -> str:
    """Which of the two does better on validation pictures."""
    return "probe" if readout.held_out[0] >= readout.held_out[1] else "knn"


def _fit(model: Loaded, dim: int, dataset: Dataset, on_progress: OnProgress) -> tuple[Readout, dict[str, Any]]:
    """What is read off the `dim` latents, and the card that says how well, beside what is read off the pixels."""
    assert dataset.labels is not None
    height, width, channels = dataset.shape
    size = work_size(height, width, PIXELS_SIDE)
    rows = _rows(dataset, MOST_NUMBERS // max(dim, size[0] * size[1] * channels))
    parts = (rows.train, rows.val, rows.test)
    labels = [torch.from_numpy(dataset.labels[part]) for part in parts]
    classes = len(dataset.classes)
    if len(np.unique(dataset.labels[rows.train])) < 2:
        raise InputError(f"the labelled training pictures of {dataset.name} are all of one class; two are needed at least")

    def fitted(train: Tensor, val: Tensor, test: Tensor) -> tuple[Readout, list[dict[str, float]]]:
        readout = Readout.fit(train, labels[0], val, labels[1], classes)
        return readout, [asdict(share) for share in readout.accuracies(test, labels[2])]

    whole = encode_rows(model, dataset, np.concatenate(parts), on_progress)
    sizes = [len(part) for part in parts]
    of_train, of_val, of_test = torch.split(torch.from_numpy(whole).flatten(1), sizes)
    readout, (probe, knn) = fitted(of_train, of_val, of_test)
    raw, (pixels_probe, pixels_knn) = fitted(*(_pixels(dataset, part, size) for part in parts))
    card = {
        "accuracy": {"probe": probe, "knn": knn, "pixels_probe": pixels_probe, "pixels_knn": pixels_knn},
        "by": _by(readout),
        "classes": list(dataset.classes),
        "data": dataset.name,
        "splits": rows.names,
        "counts": dict(zip(("train", "validation", "test"), sizes, strict=True)),
        "chosen": {"latents": _chosen(readout), "pixels": _chosen(raw)},
    }
    return readout, card


def _chosen(readout: Readout) -> dict[str, Any]:
    return {"penalty": readout.penalty, "k": readout.k, "standardised_neighbours": readout.scaled}


def _rows(dataset: Dataset, most: int) -> Rows:
    """Labelled rows. A part that the data lacks is taken from the training pictures: every tenth for validation, then for test.

    Errors: `InputError` where there are too few labelled pictures.
    """
    assert dataset.labels is not None
    known = {split: rows[dataset.labels[rows] >= 0] for split in dataset.splits for rows in (dataset.indices(split),)}
    train = known.get("train", np.empty(0, np.int64))
    found: dict[str, NDArray[np.int64]] = {}
    names = {"train": "train"}
    for part, least, take in (("val", 10, 0), ("test", 10, 5)):
        there = known.get(part, np.empty(0, np.int64))
        if len(there) >= least:
            found[part], names[part] = there, part
        else:
            places = np.arange(len(train)) % 10 == take
            found[part], names[part] = train[places], "train, held out"
    held = np.concatenate([found[part] for part in found if names[part] != part] or [np.empty(0, np.int64)])
    train = train[~np.isin(train, held)]
    if min(len(train), *(len(part) for part in found.values())) < 2:
        raise InputError(f"{dataset.name} has too few labelled pictures to learn from and to be tested on; some 20 are needed")
    val, test = _spread(found["val"], MOST_VAL), _spread(found["test"], MOST_TEST)
    return Rows(_spread(train, min(MOST_TRAIN, most)), val, test, names)


def _spread(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def _pixels(dataset: Dataset, rows: NDArray[np.int64], size: tuple[int, int]) -> Tensor:
    """[n, h·w·C] float32 in -1..1"""
    parts = [preprocess(dataset.images.gather(rows[part]), size).flatten(1) for part in batches_of(len(rows), 1024)]
    return torch.cat(parts)


def _key(model: Loaded, fingerprint: str) -> str:
    return hashlib.sha256(f"{VERSION} {model.checkpoint.digest()} {fingerprint}".encode()).hexdigest()[:24]


def _write(path: Path, readout: Readout, card: dict[str, Any]) -> None:
    tensors = {
        "mean": readout.scaling.mean,
        "scale": readout.scaling.scale,
        "weight": readout.linear.weight,
        "bias": readout.linear.bias,
        "train": readout.train,
        "labels": readout.labels,
    }
    told = {"penalty": readout.penalty, "k": readout.k, "scaled": readout.scaled, "held_out": readout.held_out, "card": card}
    write_tensors(path, tensors, told)


def _read(path: Path) -> tuple[Readout, dict[str, Any]] | None:
    """What `_write` left; None where there is nothing, or it is damaged and will be made anew."""
    found = read_tensors(path)
    if found is None:
        return None
    tensors, told = found
    readout = Readout(
        Scaling(tensors["mean"], tensors["scale"]),
        Linear(tensors["weight"], tensors["bias"]),
        told["penalty"],
        tensors["train"],
        tensors["labels"],
        told["k"],
        told["scaled"],
        tuple(told["held_out"]),
    )
    return readout, told["card"]

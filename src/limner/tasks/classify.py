"""Labels for new pictures, read off a model's latents; and how far such labels can be trusted."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
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
from limner.core.tensor_cache import read_tensors, write_tensors
from limner.data.dataset import Dataset
from limner.metrics.features.pixels import standard, work_size
from limner.metrics.representation.probes import Linear, Readout, Scaling
from limner.runs.model import Loaded, load
from limner.tasks.embed import encode_rows
from limner.tasks.inputs import Given, describe_preparation, read_pictures

VERSION = "classify-3"  # to be raised whenever what is fitted, or how, changes
MOST_TRAIN, MOST_VAL, MOST_TEST = 60_000, 5_000, 10_000
"""Pictures of each split that are used, spread evenly over it."""
MOST_NUMBERS = 2**27
"""In one representation of the training pictures; fewer pictures are used where they are more."""
PIXELS_SIDE = 32
"""Raw pixels are shrunk to this many on the longer side."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Rows:
    """Which rows of a data set play which part. `names` says of which split each is."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]
    names: dict[str, str]


def classify(
    run: Path | str,
    images: Sequence[Path | str] = (),
    *,
    data: str | None = None,
    checkpoint: str = "last",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Fits a linear probe and nearest neighbours to the latents of labelled pictures, and labels `images` by them.

    The labels are those of the run's data, or of another labelled set `data`. Both learn from the train split; what they choose
    is chosen on the validation split (`limner.metrics.representation.probes`); `accuracy` is that on the test split with its
    95 % interval: `probe` and `knn` on latents, `pixels_probe` and `pixels_knn` by the same procedure on raw pixels, at most
    32 on the longer side. `labels` has an entry for every picture file: the label by whichever of the two was better on
    validation pictures, with its probability, and what each of them says; `prepared` is what was done to pictures of another
    size or mode. What was fitted is kept in the cache by the hashes of model and data. Errors: `InputError` where the model
    has no encoder, or codes for latents, or the data no labels.
    """
    require("scipy", "scikit-learn")
    began = time.perf_counter()
    model = load(run, checkpoint)
    shape, codes = model.latent_shape()
    if codes:
        raise InputError(f"the latents of {model.run.path} ({model.recipe.preset}) are codes; classify takes continuous ones")
    if data is None and not model.recipe.data.classes:
        raise InputError(
            f"{model.run.path} was trained on pictures without labels; name a labelled set of such pictures with --data SRC"
        )
    given = read_pictures(model, images) if images else None
    dataset = None if data is None else model.dataset(data)
    if dataset is not None and (dataset.labels is None or not dataset.classes):
        raise InputError(f"{data} has no labels; give a set whose sub-folders or table name classes")
    prepared = {} if data is None or dataset is None else describe_preparation(model, data, dataset)
    prepared |= {} if given is None else given.prepared
    fingerprint = model.recipe.data.fingerprint if dataset is None else dataset.fingerprint
    path = cache_folder() / "probes" / f"{_key(model, str(fingerprint))}.safetensors"
    known = _read(path)
    cached = known is not None
    if known is None:
        readout, card = _fit(model, math.prod(shape), model.dataset() if dataset is None else dataset, progress)
        _write(path, readout, card)
    else:
        readout, card = known
    answer = card | {
        "cached": cached,
        "labels": [] if given is None else _labels(model, given, readout, card["classes"]),
        "prepared": prepared,
        "checkpoint": model.checkpoint.images,
        "seconds": round(time.perf_counter() - began, 2),
    }
    return answer


def _labels(model: Loaded, given: Given, readout: Readout, classes: Sequence[str]) -> list[dict[str, Any]]:
    latents = torch.from_numpy(model.encode(given.images)).flatten(1)
    told = {}
    for name, shares in (("probe", readout.probabilities(latents)), ("knn", readout.shares(latents))):
        best = shares.max(1)
        told[name] = [
            {"label": classes[int(label)], "probability": float(share)}
            for share, label in zip(best.values, best.indices, strict=True)
        ]
    rows = zip(given.names, told[_by(readout)], told["probe"], told["knn"], strict=True)
    return [{"file": name, **best, "probe": probe, "knn": knn} for name, best, probe, knn in rows]


def _by(readout: Readout) -> str:
    """Which of the two does better on validation pictures."""
    return "probe" if readout.held_out[0] >= readout.held_out[1] else "knn"


def _fit(model: Loaded, dim: int, dataset: Dataset, progress: Progress | None) -> tuple[Readout, dict[str, Any]]:
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

    whole = encode_rows(model, dataset, np.concatenate(parts), progress)
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
    parts = [standard(dataset.images.gather(rows[part]), size).flatten(1) for part in batches_of(len(rows), 1024)]
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

"""The verb that judges: a run, a folder or an array of samples against real pictures, beside what real pictures get."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.core import images as pictures
from limner.core.errors import InputError, nearest
from limner.core.files import cache_folder, write_json
from limner.core.method import Bounded, Method, Reconstructs, generate
from limner.data import prepare, scenes
from limner.data.dataset import Dataset
from limner.data.pictures import Shaping, from_pixels, parse_background
from limner.loaded import Loaded, load
from limner.loop import SCORED_SEEDS
from limner.metrics.classes import class_distance, class_shares
from limner.metrics.coverage import neighbours
from limner.metrics.detectors import DETECTORS, Detector, untrained
from limner.metrics.disentanglement import SCORES, disentangled
from limner.metrics.frechet import frechet_null, frechet_to
from limner.metrics.judge import Judge, judge_key, load_judge
from limner.metrics.judge_training import train_judge
from limner.metrics.reconstruction import CEILING, psnr, ssim
from limner.metrics.report import Score, score
from limner.metrics.statistics import Moments
from limner.run import Run
from limner.tasks.likelihood import as_metrics, likelihood

OF_SAMPLES = ("frechet", "precision", "recall", "density", "coverage", "class_distance")
OF_RECONSTRUCTIONS = ("psnr", "ssim")
BOUNDS = ("elbo", "nll", "bits_per_dim")
EXACT = ("exact", "density_bound")
"""Of linear-Gaussian models only."""
METRICS = (*OF_SAMPLES, *OF_RECONSTRUCTIONS, *BOUNDS, *EXACT)
"""Where nothing is asked for by name, those of them that there are."""
DISENTANGLEMENT = "disentanglement"
"""The name for all scores of `limner.metrics.disentanglement`, which are measured only when asked for: they take a minute."""
BANK = 50_000
"""One-object scenes that those scores are measured on."""
JUDGE_SEED = 0
FEWEST = 32
"""Held-out pictures below which training scores compare with training pictures."""
COUNT = 5000
"""Samples where none are asked for by number."""
GREY_VALUES = "the pictures' grey values: densities are integrated over each value's bin, the outermost bins are open"


def judge_for(dataset: Dataset) -> Judge:
    """The judge of this data: trained once on its train split, then kept by fingerprint and read from there."""
    path = cache_folder() / "judges" / f"{judge_key(dataset.fingerprint, JUDGE_SEED)}.safetensors"
    if path.is_file():
        return load_judge(path)
    held_out = None
    if dataset.labels is not None and "val" in dataset.splits:
        rows = dataset.indices("val")
        held_out = (dataset.images.gather(rows), dataset.labels[rows])
    judge = train_judge(
        dataset.images,
        dataset.indices("train"),
        dataset.labels,
        len(dataset.classes),
        JUDGE_SEED,
        held_out,
        dataset.fingerprint,
    )
    judge.save(path)
    return judge


class Watch:
    """Scores a method while it trains: Fréchet distance to the validation split, never to the test split."""

    def __init__(self, dataset: Dataset, count: int) -> None:
        split = "val" if "val" in dataset.splits else "train"
        rows = dataset.indices(split)
        if len(rows) < FEWEST:  # too few to know even a mean by; the training images are next best, and the log says so
            split, rows = "train", dataset.indices("train")[:5000]
        self.split, self.count, self.pictures = split, count, len(rows)
        self.judge = judge_for(dataset)
        self.checksum = self.judge.checksum
        self.real = self.judge.see(dataset.images.gather(rows))
        self.distance = frechet_to(Moments.of(self.real.features))
        self.null = frechet_null(self.real.features, min(count, len(rows)), repeats=5, m=len(rows)).mean

    def score(self, method: Method) -> dict[str, float]:
        """`frechet` and its `null`, `coverage`, and `class_distance` where there are classes."""
        fake = pictures.to_uint8(generate(method, range(SCORED_SEEDS, SCORED_SEEDS + self.count)))
        seen = self.judge.see(fake)
        found = {"frechet": float(self.distance(Moments.of(seen.features))), "null": self.null}
        found["coverage"] = neighbours(seen.features[:1000], self.real.features[:1000]).coverage
        if seen.logits is not None and self.real.logits is not None:
            found["class_distance"] = class_distance(seen.logits, self.real.logits)
        return found


def evaluate(
    what: str | Path,
    *,
    data: str | None = None,
    count: int | None = None,
    features: str = "judge",
    metrics: Sequence[str] | None = None,
    checkpoint: str = "last",
    importance: int | None = None,
    out: Path | None = None,
) -> dict[str, Any]:
    """Judges a run, a folder of pictures or an ``.npz`` (key ``images``) against `data` (a run's own data by default).

    Reference: the test split where there is one, otherwise the validation split; the answer says which. Each metric comes with
    its error, and with what as many real pictures get (`null`), a z-score and a p. Where the model bounds likelihoods, `elbo`
    and `nll` are those of the reference in nats per picture, by `importance` draws each; of a linear-Gaussian model `exact` and
    `density_bound` as well (see `tasks.likelihood`). `metrics` "disentanglement" (or single scores of it) is for runs on drawn
    scenes whose method encodes; see `_disentanglement`. Nothing is drawn where no metric of samples is asked for, and `count`
    is then that of the reference. Errors: `InputError`, among others for a metric asked for by name that the model does not
    have.
    """
    began = time.monotonic()
    model = _model(what, checkpoint)
    wanted = _wanted(metrics, model, importance)
    dataset = _reference(what, data, model)
    apart = [name for name in wanted if name in SCORES]
    if apart and len(apart) == len(wanted):
        return _kept(_disentanglement(model, dataset, apart), model, out, began, DISENTANGLEMENT)
    split = next(name for name in ("test", "val", "train") if name in dataset.splits)
    rows = dataset.indices(split)
    real = dataset.images.gather(rows)
    report: dict[str, Any] = {
        "metrics": {},
        "count": len(rows),
        "features": None,
        "reference": {"data": dataset.name, "fingerprint": dataset.fingerprint, "split": split, "count": len(rows)},
        "seconds": 0.0,
    }
    bounds = _bounds(model, real, importance, wanted) if {*BOUNDS, *EXACT} & set(wanted) else {}
    back = _reconstruction(model, real) if set(OF_RECONSTRUCTIONS) & set(wanted) else {}
    if set(OF_SAMPLES) & set(wanted):
        report |= _sampled(_samples(what, model, min(count or COUNT, 50_000), dataset.shape), real, features, dataset)
    found = report["metrics"] | back | bounds
    report["metrics"] = {name: value for name, value in found.items() if name in wanted}
    if apart:
        more = _disentanglement(model, dataset, apart)
        report["metrics"] |= more["metrics"]
        report["factors"] = more["factors"]
    if bounds:
        report["likelihood"] = {"draws": importance or 1, "of": GREY_VALUES}
    return _kept(report, model, out, began)


def _wanted(metrics: Sequence[str] | None, model: Loaded | None, importance: int | None) -> list[str]:
    """The metrics of these names; where none are named, what `model` (None: pictures) has. Importance draws are for bounds.

    Errors: `InputError` for a name that is none.
    """
    known = [*METRICS, *SCORES, DISENTANGLEMENT]
    for name in metrics or ():
        if name not in known:
            raise InputError(f"unknown metric '{name}'{nearest(name, known)} (there are: {', '.join(known)})")
    lacking = set() if metrics else _lacking(model)
    named = [name for name in metrics or METRICS if name not in lacking] + ([*BOUNDS] if importance is not None else [])
    return list(dict.fromkeys(inner for name in named for inner in (SCORES if name == DISENTANGLEMENT else (name,))))


def _lacking(model: Loaded | None) -> set[str]:
    """The metrics that make no sense of it."""
    if model is None:
        return {*OF_RECONSTRUCTIONS, *BOUNDS, *EXACT}
    method, lacking = model.method, set[str]()
    if not method.generates:
        lacking |= set(OF_SAMPLES)
    if not isinstance(method, Reconstructs):
        lacking |= set(OF_RECONSTRUCTIONS)
    if not isinstance(method, Bounded) or (method.black_and_white and not model.recipe.data.binary):
        lacking |= set(BOUNDS)
    if not isinstance(method, Bounded) or not method.exact:
        lacking |= set(EXACT)
    return lacking


def _sampled(samples: NDArray[np.uint8], real: NDArray[np.uint8], features: str, dataset: Dataset) -> dict[str, Any]:
    """All metrics `OF_SAMPLES`, and what they were measured with."""
    detector = _detector(features, dataset)
    seen, truth = detector.see(samples), detector.see(real)
    scores = score(seen.features, seen.logits, truth.features, truth.logits)
    report: dict[str, Any] = {
        "metrics": {name: asdict(value) for name, value in scores.items()},
        "count": len(samples),
        "features": {"name": detector.name, "checksum": detector.checksum, "dimensions": detector.dim},
    }
    if isinstance(detector, Judge):
        report["features"]["held_out_accuracy"] = detector.card.held_out_accuracy
    if seen.logits is not None and truth.logits is not None:
        report["classes"] = {
            "samples": class_shares(seen.logits, dataset.classes), "real": class_shares(truth.logits, dataset.classes)
        }  # fmt: skip
    return report


def _kept(report: dict[str, Any], model: Loaded | None, out: Path | None, began: float, name: str = "report") -> dict[str, Any]:
    """`report` with where it comes from and how long it took, written to `out` or into the run."""
    if model is not None:
        report["run"], report["images_seen"] = str(model.run.path), model.checkpoint.images
        out = out or model.run.path / "evaluations" / f"{model.checkpoint.images:09d}"
    report["seconds"] = round(time.monotonic() - began, 2)
    report["report"] = None
    if out is not None:
        report["report"] = str(out / f"{name}.json")
        write_json(out / f"{name}.json", report)
    return report


def _model(what: str | Path, checkpoint: str) -> Loaded | None:
    """The model of a run; None where `what` is pictures."""
    path = Path(what)
    if path.suffix == ".npz":
        return None
    try:
        run = Run.open(path)
    except InputError:
        if path.is_dir() and any(path.iterdir()):
            return None
        raise
    return load(run.path, checkpoint)


def _reference(what: str | Path, data: str | None, model: Loaded | None) -> Dataset:
    if model is not None:
        return model.dataset(data)
    if data is None:
        raise InputError(f"{what} is not a run, so say what it is to be compared with: --data SRC")
    if Path(what).suffix == ".npz":
        height, width, channels = _npz(Path(what)).shape[1:]
        return prepare(data, size=(height, width), channels=_channels(channels))
    return prepare(data)


def _channels(count: int) -> Any:
    if count not in (1, 3, 4):
        raise InputError(f"pictures have 1, 3 or 4 channels, not {count}")
    return count


def _samples(what: str | Path, model: Loaded | None, count: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """[n, H, W, C] uint8. From a run on seeds that are shown to nobody; from files as many as there are, up to `count`."""
    if model is not None:
        return model.sample(range(SCORED_SEEDS, SCORED_SEEDS + count))
    if Path(what).suffix == ".npz":
        return _npz(Path(what))[:count]
    height, width, channels = shape
    folder = prepare(what, size=(height, width), channels=_channels(channels), split="none")
    return folder.images.gather(np.arange(min(count, len(folder.images))))


def _npz(path: Path) -> NDArray[np.uint8]:
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            found: NDArray[np.uint8] = file["images"]
    except FileNotFoundError as error:
        raise InputError(f"no file at {path}") from error
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} holds no array 'images': {error}") from error
    if found.dtype != np.uint8 or found.ndim != 4:
        raise InputError(f"{path}: 'images' must be uint8 [N, H, W, C], not {found.dtype} {list(found.shape)}")
    return found


def _detector(name: str, dataset: Dataset) -> Detector:
    if name == "judge":
        return judge_for(dataset)
    if name not in DETECTORS:
        known = list(DETECTORS)
        raise InputError(f"unknown features '{name}'{nearest(name, known)} (there are: {', '.join(known)})")
    return untrained(name, dataset.shape)


def _bounds(model: Loaded | None, real: NDArray[np.uint8], importance: int | None, wanted: Sequence[str]) -> dict[str, Any]:
    """Likelihoods of the reference. Errors: `InputError` where the model has none for such pictures, or not those `wanted`."""
    if model is None:
        out = "--importance" if importance is not None else ", ".join(BOUNDS)
        raise InputError(f"likelihoods are those that a model gives to pictures; give a run, or leave {out} out")
    found = as_metrics(likelihood(model, real, importance if importance is not None else 1))
    if set(EXACT) & set(wanted) - set(found):
        raise InputError(
            f"{model.run.path} is not linear-Gaussian, so that nobody knows its likelihood exactly; leave {', '.join(EXACT)} "
            "out, or train a vae with method.networks=mlp method.widths=[]"
        )
    return found


def _reconstruction(model: Loaded | None, real: NDArray[np.uint8]) -> dict[str, dict[str, Any]]:
    """Of reconstructions of the reference: `psnr` in dB and `ssim`, means over images, with the standard errors of these.

    Errors: `InputError` where nothing reconstructs.
    """
    if model is None:
        raise InputError("psnr and ssim are of pictures that went through a model; give a run, or leave them out")
    back = model.reconstruct(real)
    found = {"psnr": psnr(back, real).clamp(max=CEILING), "ssim": ssim(back, real)}
    return {
        name: asdict(Score(float(values.mean()), float(values.std() / max(len(values), 1) ** 0.5)))
        for name, values in found.items()
    }


def _disentanglement(model: Loaded | None, dataset: Dataset, names: Sequence[str]) -> dict[str, Any]:
    """Scores of `limner.metrics.disentanglement`, each beside its null, and (`factors`) what is known of each factor.

    Measured on 50,000 scenes of one object that are drawn for it with independent factors (`limner.data.scenes.FACTORS`), among
    them pairs of shape and colour that training never shows; so are the factors of `scenes` told apart where a run has them.
    """
    if model is None or dataset.factors is None:
        raise InputError(
            "disentanglement is measured on a run that was trained on pictures with known factors, such as "
            "`limner train scenes-1 --preset vae`"
        )
    shape, codes_for_latents = model.latent_shape()
    if codes_for_latents or len(shape) != 1:
        what = f"{'codes' if codes_for_latents else 'a map'} of the shape {'x'.join(map(str, shape))}"
        raise InputError(
            f"the latents of {model.run.path} ({model.recipe.preset}) are {what}; disentanglement is measured on vectors"
        )
    height, width, channels = dataset.shape
    shaping = Shaping((height, width), model.recipe.data.fit, channels, parse_background(model.recipe.data.background))
    codes = scenes.draw_factors(BANK, seed=0)
    latents = []
    for part in pictures.batches_of(BANK, 1000):
        drawn = scenes.paint_factors(codes[part], (height, width))
        latents.append(model.encode(drawn if channels == 3 else np.stack([from_pixels(one, shaping) for one in drawn])))
    found = disentangled(np.concatenate(latents).astype(np.float64), codes, names)
    each = zip(scenes.FACTORS, scenes.FACTORS.values(), *found.of_factors.values(), strict=True)
    return {
        "metrics": {name: asdict(Score(value, null=found.null.get(name))) for name, value in found.scores.items()},
        "factors": {
            name: {"values": size, **dict(zip(found.of_factors, map(float, values), strict=True))}
            for name, size, *values in each
        },
        "count": BANK,
        "features": {"name": "latents", "checksum": model.checkpoint.digest(), "dimensions": shape[0]},
        "reference": {"data": "scenes-1", "fingerprint": None, "split": "drawn", "count": BANK},
        "seconds": 0.0,
    }

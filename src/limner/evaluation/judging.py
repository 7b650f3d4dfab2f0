"""Judges a run, a folder of pictures, an array file or arrays against real pictures, and writes the report."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.core import parallel
from limner.core.capabilities import Autoencoder, LikelihoodBound
from limner.core.errors import InputError, require
from limner.core.files import check_writable, write_json, write_text
from limner.core.images import grid, save_png
from limner.core.progress import OnProgress, Progress, named_progress, silent
from limner.data.dataset import Dataset
from limner.data.prepare import prepare
from limner.evaluation.evaluate import EvaluateRequest, EvaluateResult
from limner.evaluation.inputs import (
    EvaluationInput,
    conditions_for,
    drawn,
    held_out,
    images_from_arrays,
    materialised,
    model_or_none,
    note_on_array_shape,
    open_images,
    reference,
)
from limner.evaluation.model_scores import bounds, disentanglement, likelihood_metrics, reconstruction
from limner.evaluation.report_page import page, page_over_time
from limner.evaluation.sample_scores import QUANTISED, Found, SampleScoring, score_samples
from limner.judges.judge import shuffled_rows
from limner.metrics.distribution.coverage import COVERAGE_K, NEIGHBOUR_SCORES
from limner.metrics.features.pixels import ImageSubset, take
from limner.metrics.features.table import detector_name
from limner.metrics.measure import DISENTANGLEMENT, default_names, metrics_of, resolve_names
from limner.metrics.metric import LatentMetric, LikelihoodMetric, PairMetric, SampleMetric
from limner.metrics.scores import METRICS, METRICS_VERSION
from limner.metrics.stats.score import mean_score
from limner.runs.model import Loaded, load
from limner.runs.run import Run

COUNT = 5000
"""Samples where none are asked for by number."""
BLOCKS = 50
"""Parts of the held-out pictures whose means a report keeps, for whoever compares two models on the same pictures."""
MOST = 1_000_000
"""Seeds that are kept for scores."""
SHOWN = 64
"""Samples, and real pictures, on a report's page."""
GREY_VALUES = "the pictures' grey values: densities are integrated over each value's bin, the outermost bins are open"


def evaluate_pictures(request: EvaluateRequest, on_progress: OnProgress) -> EvaluateResult:
    """What `limner.evaluation.evaluate.evaluate` does. Errors: `InputError`."""
    require("scipy", "scikit-learn")
    with parallel.processes():
        if request.checkpoint == "all":
            return EvaluateResult(**_over_time(request, on_progress))
        model = model_or_none(request.what, request.checkpoint) if isinstance(request.what, str) else None
        return EvaluateResult(**judge(request, model, on_progress))


def _over_time(request: EvaluateRequest, on_progress: OnProgress) -> dict[str, Any]:
    """Every checkpoint of a run, each with a report of its own, and a report over all of them."""
    if not isinstance(request.what, str) or model_or_none(request.what) is None:
        raise InputError("--checkpoint all is for a run; pictures have no checkpoints")
    run = Run.open(request.what)
    rows, answer, folder = [], dict[str, Any](), request.out or run.path / "evaluations"
    for each in run.checkpoints():
        model = load(run.path, str(each.images))
        own = request.model_copy(update={"out": folder / f"{each.images:09d}"})
        answer = judge(own, model, named_progress(f"at {each.images:,} images", on_progress))
        rows.append({"images": each.images, **{key: answer[key] for key in ("metrics", "report", "page")}})
    answer |= {"checkpoints": rows}
    if parallel.is_main_process():
        _keep_other(folder, "report", answer)
        answer |= {"report": str(folder / "report.json"), "page": str(folder / "report.html")}
        write_text(folder / "report.html", page_over_time(answer))
        write_json(folder / "report.json", answer)
    return answer


def judge(request: EvaluateRequest, model: Loaded | None, on_progress: OnProgress = silent) -> dict[str, Any]:
    """The report of `request` where it is known whether there is a `model`; it is written as well.

    `request.data` may be the data set itself, where it has been prepared already.
    """
    began = time.monotonic()
    asked_for = wanted(request.metrics, model, request.features, request.importance)
    _check(request, model)
    on_progress(Progress("preparing the data"))
    with _opened(request, model) as (judged, dataset):
        apart = list(metrics_of(LatentMetric, asked_for))
        if apart and len(apart) == len(asked_for):
            report = disentanglement(model, dataset, apart)
            return _written(report, request, model, began, name=DISENTANGLEMENT)
        split = held_out(dataset)
        real, shown = (
            ImageSubset(dataset.images, rows) for rows in (dataset.indices(split), shuffled_rows(dataset, split)[:SHOWN])
        )
        report = _blank_report(request, model, dataset, asked_for)
        of_model = _add_scores_of_model(report, request, model, real, on_progress)
        asked = [name for name in asked_for if isinstance(METRICS[name], SampleMetric)]
        if not asked:
            report["metrics"] = of_model
            return _written(_more(report, model, dataset, apart), request, model, began, shown)
        if model is not None:
            conditions = conditions_for(model, dataset, split)
            judged = drawn(model, min(request.count or COUNT, MOST), dataset.classes, conditions=conditions)
            on_progress(Progress(f"drawing {judged.images.shape[0]:,} samples"))
        with materialised(judged, request.count or (COUNT if model is not None else None)) as samples:
            own = model is None or dataset.fingerprint == model.recipe.data.fingerprint
            scoring = SampleScoring(dataset, split, request.features, asked, own, required=bool(request.metrics))
            found = score_samples(samples, scoring, on_progress)
            report |= found.to_dict()
            if few := [name for name in NEIGHBOUR_SCORES if name in asked and name not in found.metrics]:
                report["warnings"].append(f"{', '.join(few)} need more than {COVERAGE_K} pictures on both sides: left out")
            every = report["metrics"] | of_model
            report["metrics"] = {name: every[name] for name in METRICS if name in every}
            return _written(_more(report, model, dataset, apart), request, model, began, shown, found)


def _check(request: EvaluateRequest, model: Loaded | None) -> None:
    """Says before the work what would stop it later. Errors: `InputError`."""
    if request.count is not None and not 2 <= request.count <= MOST:
        raise InputError(f"--count {request.count}: give 2 to {MOST:,} pictures to judge")
    if (folder := _folder(model, request.out)) is not None:
        what = request.what
        if model is None and isinstance(what, str) and Path(what).expanduser().resolve() == folder.resolve():
            raise InputError(
                f"{folder} holds what is judged, and a report's pictures would be judged next time; give another --out"
            )
        check_writable(folder)


def _blank_report(request: EvaluateRequest, model: Loaded | None, dataset: Dataset, asked_for: Sequence[str]) -> dict[str, Any]:
    """A report without scores: the question that it answers."""
    split = held_out(dataset)
    count = len(dataset.indices(split))
    report: dict[str, Any] = {
        "metrics": {},
        "asked": asked_for,
        "count": count,
        "features": None,
        "reference": {"data": dataset.name, "fingerprint": dataset.fingerprint, "split": split, "count": count},
        "context": {"quantisation": QUANTISED},
        "warnings": [],
    }
    if model is None and isinstance(request.what, str):
        report["pictures"] = str(request.what)
    return report


def _add_scores_of_model(
    report: dict[str, Any], request: EvaluateRequest, model: Loaded | None, real: ImageSubset, on_progress: OnProgress
) -> dict[str, dict[str, Any]]:
    """The scores of reconstructions and likelihoods that were asked for; what belongs to them is added to `report`."""
    asked_for, count = report["asked"], int(real.shape[0])
    each = dict[str, NDArray[np.float64]]()
    if metrics_of(PairMetric, asked_for):
        on_progress(Progress(f"reconstructing {count:,} pictures"))
        each |= reconstruction(model, real)
    if metrics_of(LikelihoodMetric, asked_for):
        on_progress(Progress(f"bounding the likelihoods of {count:,} pictures"))
        each |= bounds(model, real, request.importance, asked_for)
        report["likelihood"] = {"draws": request.importance or 1, "of": GREY_VALUES}
    of_model = {name: mean_score(values).to_dict() for name, values in each.items() if name in asked_for}
    report["blocks"] = {name: block_means(each[name]) for name in of_model}
    return of_model


def block_means(values: NDArray[np.float64]) -> list[float]:
    """[N] -> at most `BLOCKS` means of as many consecutive values, or one more or fewer."""
    return [float(part.mean()) for part in np.array_split(values, min(BLOCKS, len(values))) if len(part)]


def _more(report: dict[str, Any], model: Loaded | None, dataset: Dataset, apart: Sequence[str]) -> dict[str, Any]:
    """`report` with the scores of disentanglement that were asked for beside others."""
    if apart:
        more = disentanglement(model, dataset, apart)
        report["metrics"] |= more["metrics"]
        report["factors"] = more["factors"]
    return report


@contextmanager
def _opened(request: EvaluateRequest, model: Loaded | None) -> Iterator[tuple[EvaluationInput, Dataset]]:
    """The pictures (of a run: none yet) and what they are compared with."""
    what, data = request.what, request.data
    nothing = EvaluationInput(np.empty((0, 1, 1, 1), np.uint8))
    known, source = (data, None) if isinstance(data, Dataset) else (None, data)
    if model is not None:
        yield nothing, known or parallel.main_process_first(lambda: model.dataset(source))
    elif isinstance(what, str):
        dataset = known or parallel.main_process_first(lambda: reference(what, source))
        yield open_images(Path(what).expanduser(), dataset), dataset
    elif data is None:
        raise InputError("say what the pictures are to be compared with: data=SRC")
    else:
        with images_from_arrays(what) as images:
            height, width, channels = images.shape[1:]
            make = lambda: prepare(str(source), size=(height, width), channels=channels)  # noqa: E731
            dataset = known or parallel.main_process_first(make)
            yield EvaluationInput(images, notes=(note_on_array_shape(dataset),)), dataset


def wanted(metrics: Sequence[str] | None, model: Loaded | None, features: str, importance: int | None) -> list[str]:
    """The metrics of these names; where none are named, what `model` (None: pictures) has. Importance draws are for bounds.

    Errors: `InputError` for a name that is none.
    """
    if metrics:
        names = resolve_names(metrics)
    else:
        lacking = _lacking(model)
        names = [name for name in default_names(detector_name(features)) if name not in lacking]
    return list(dict.fromkeys([*names, *(likelihood_metrics(exact=False) if importance is not None else ())]))


def _lacking(model: Loaded | None) -> set[str]:
    """The metrics that make no sense of it."""
    if model is None:
        return {*metrics_of(PairMetric), *metrics_of(LikelihoodMetric)}
    method, lacking = model.method, set[str]()
    if not method.generates:
        lacking |= set(metrics_of(SampleMetric))
    if not isinstance(method, Autoencoder):
        lacking |= set(metrics_of(PairMetric))
    if not isinstance(method, LikelihoodBound) or (method.needs_binary_images and not model.recipe.data.binary):
        lacking |= set(likelihood_metrics(exact=False))
    if not isinstance(method, LikelihoodBound) or not method.exact:
        lacking |= set(likelihood_metrics(exact=True))
    return lacking


def _folder(model: Loaded | None, out: Path | None) -> Path | None:
    """Where the report goes."""
    own = None if model is None else model.run.path / "evaluations" / f"{model.checkpoint.images:09d}"
    return own if out is None else out


# Many parameters: a report is written from what was judged, by whom, since when, and what there is to see.
def _written(
    report: dict[str, Any],
    request: EvaluateRequest,
    model: Loaded | None,
    began: float,
    real: ImageSubset | None = None,
    found: Found | None = None,
    name: str = "report",
) -> dict[str, Any]:
    """`report` with where it comes from and how long it took, written to `out` or into the run, with a page beside it."""
    if model is not None:
        report["run"], report["images_seen"] = str(model.run.path), model.checkpoint.images
        report["checkpoint"] = model.checkpoint.digest()
    report["limner"] = METRICS_VERSION
    if versions := {name: METRICS[name].since for name in report.get("asked", ()) if name not in METRICS.own}:
        report["metric_versions"] = versions
    report["seconds"] = round(time.monotonic() - began, 2)
    report["report"] = report["page"] = None
    if (out := _folder(model, request.out)) is not None and parallel.is_main_process():
        _keep_other(out, name, report)
        report["report"], report["page"] = str(out / f"{name}.json"), str(out / f"{name}.html")
        shown = _shown(report, model, real, found)
        if found is not None:
            save_png(out / "samples.png", grid(shown["samples"]))
        write_text(out / f"{name}.html", page(report, shown, found))
        write_json(out / f"{name}.json", report)
    return report


def _keep_other(out: Path, name: str, report: dict[str, Any]) -> None:
    """A report that answers another question than `report` is not replaced by it, but goes on as ``<name>-1`` and so on."""
    try:
        old = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
        if _question(old) == _question(report):
            return
    except (OSError, ValueError, AttributeError):  # there is none, or none that could be read
        return
    number = next(n for n in itertools.count(1) if not (out / f"{name}-{n}.json").exists())
    old |= {"report": str(out / f"{name}-{number}.json"), "page": str(out / f"{name}-{number}.html")}
    write_json(out / f"{name}-{number}.json", old)
    if (page_of_old := out / f"{name}.html").is_file():
        page_of_old.replace(out / f"{name}-{number}.html")


def _question(report: dict[str, Any]) -> list[Any]:
    """All that makes a report another one than that of an earlier time."""
    plain = [report.get(key) for key in ("asked", "count", "reference", "likelihood", "checkpoint", "pictures")]
    over_time = [row["images"] for row in report.get("checkpoints", ())]
    return [*plain, (report.get("features") or {}).get("checksum"), over_time]


def _shown(
    report: dict[str, Any], model: Loaded | None, real: ImageSubset | None, found: Found | None
) -> dict[str, NDArray[np.uint8]]:
    """Pictures for the page, each lot under what it is called."""
    shown = {} if found is None else {"samples": take(found.judged.images, slice(0, SHOWN))}
    if real is not None:
        some = take(real, slice(0, SHOWN))
        shown[f"real pictures ({report['reference']['split']} split)"] = some
        if model is not None and metrics_of(PairMetric, report["metrics"]):
            shown["the same pictures, reconstructed"] = model.reconstruct(some)
    return shown

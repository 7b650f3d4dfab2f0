"""Judges a run, a folder of pictures, an array file or arrays against real pictures, and writes the report."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.core import parallel
from limner.core.capabilities import Autoencoder, LikelihoodBound
from limner.core.documents import read_json
from limner.core.errors import InputError, require
from limner.core.files import check_writable, json_text, with_checksum, write_json, write_text
from limner.core.images import grid, save_sheet
from limner.core.invocation import option
from limner.core.progress import OnProgress, Progress, named_progress, silent
from limner.data.dataset import Dataset
from limner.data.prepare import prepare
from limner.data.remarks import remarks
from limner.evaluation.evaluate import EvaluateRequest, EvaluateResult
from limner.evaluation.gate import parse_gate
from limner.evaluation.inputs import (
    EvaluationInput,
    conditions_for,
    held_out_split,
    materialised,
    model_or_none,
    note_on_array_shape,
    open_images,
    open_samples,
    prepare_reference,
)
from limner.evaluation.model_scores import likelihood_metrics, score_latents, score_likelihoods, score_reconstructions
from limner.evaluation.report_page import render_report, render_report_over_time
from limner.evaluation.sample_scores import QUANTISATION, SampleScores, SampleScoring, score_samples
from limner.evaluation.spool import images_from_arrays
from limner.evaluation.verdict import TrainingProgress, verdict
from limner.evaluation.views import VIEWS, views_of
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

DEFAULT_SAMPLE_COUNT = 5000
"""Samples that are drawn where nobody says how many."""
MAX_SAMPLE_COUNT = 1_000_000
"""The most pictures that one evaluation judges; so many seeds are used for scores alone."""
BLOCK_COUNT = 50
"""Blocks of held-out pictures whose means a report holds, so that `compare` can pair two models on the same pictures."""
PAGE_IMAGE_COUNT = 64
"""Samples, and real pictures, that a report's page shows."""
GREY_VALUES = "the pictures' grey values: densities are integrated over each value's bin, the outermost bins are open"
"""What a likelihood is a probability of."""


def evaluate_pictures(request: EvaluateRequest, on_progress: OnProgress) -> EvaluateResult:
    """What `limner.evaluation.evaluate.evaluate` does; it stands here, since this file imports torch. Errors: `InputError`."""
    require("scipy", "scikit-learn")
    with parallel.processes():
        if request.checkpoint == "all":
            report = _judge_checkpoints(request, on_progress)
        else:
            model = model_or_none(request.what, request.checkpoint) if isinstance(request.what, str) else None
            report = judge(request, model, on_progress)
        if request.fail_if is not None:
            gate = parse_gate(request.fail_if)
            report |= {"gate": {"condition": gate.text, "holds": gate.answer(report["metrics"])}}
        return EvaluateResult(**report)


def _judge_checkpoints(request: EvaluateRequest, on_progress: OnProgress) -> dict[str, Any]:
    """Judges every checkpoint of a run, each with a report of its own, and writes a report over all of them."""
    if not isinstance(request.what, str) or model_or_none(request.what) is None:
        raise InputError(f"{option('checkpoint', 'all')} is for a run; pictures have no checkpoints")
    run = Run.open(request.what)
    rows, report, folder = [], dict[str, Any](), request.out or run.path / "evaluations"
    for checkpoint in run.checkpoints():
        model = load(run.path, str(checkpoint.images))
        own_request = request.model_copy(update={"out": folder / f"{checkpoint.images:09d}"})
        report = judge(own_request, model, named_progress(f"at {checkpoint.images:,} images", on_progress))
        rows.append({"images": checkpoint.images, **{key: report[key] for key in ("metrics", "report", "page")}})
    report |= {"checkpoints": rows}
    if parallel.is_main_process():
        _move_other_report(folder, "report", report)
        report |= {"report": str(folder / "report.json"), "page": str(folder / "report.html")}
        write_text(folder / "report.html", render_report_over_time(report))
        write_json(folder / "report.json", with_checksum(report))
    return report


def judge(request: EvaluateRequest, model: Loaded | None, on_progress: OnProgress = silent) -> dict[str, Any]:
    """Computes and writes the report of `request`; `model` is that of `request.what`, None where this is pictures.

    `request.data` may be a `Dataset` that has been prepared already. Errors: `InputError`.
    """
    start_time = time.monotonic()
    names = select_metrics(request.metrics, model, request.features, request.importance)
    if request.fail_if is not None:
        parse_gate(request.fail_if).check_metrics(names)
    _check_request(request, model)
    on_progress(Progress("preparing the data"))
    with _open_input(request, model) as (pictures, dataset):
        latent_names = list(metrics_of(LatentMetric, names))
        if latent_names and len(latent_names) == len(names):
            report = score_latents(model, dataset, latent_names)
            return _write_report(report, request, model, start_time, file_name=DISENTANGLEMENT)
        split = held_out_split(dataset)
        real = ImageSubset(dataset.images, dataset.indices(split))
        examples = ImageSubset(dataset.images, shuffled_rows(dataset, split)[:PAGE_IMAGE_COUNT])
        report = _blank_report(request, model, dataset, names)
        of_model = _add_model_scores(report, request, model, real, on_progress)
        sample_names = list(metrics_of(SampleMetric, names))
        if not sample_names:
            report["metrics"] = of_model
            _add_latent_scores(report, model, dataset, latent_names)
            _add_remarks(report, pictures, dataset)
            return _write_report(report, request, model, start_time, examples)
        count = request.count
        if model is not None:
            conditions = conditions_for(model, dataset, split)
            count = count or DEFAULT_SAMPLE_COUNT
            pictures = open_samples(model, min(count, MAX_SAMPLE_COUNT), dataset.classes, conditions=conditions)
        with materialised(pictures, count, on_progress) as samples:
            trained_on = model is None or dataset.fingerprint == model.recipe.data.fingerprint
            required = bool(request.metrics)
            scoring = SampleScoring(dataset, split, request.features, sample_names, trained_on, required)
            scores = score_samples(samples, scoring, on_progress)
            report |= scores.to_dict()
            if absent := [name for name in NEIGHBOUR_SCORES if name in sample_names and name not in scores.metrics]:
                report["warnings"].append(f"{', '.join(absent)} need more than {COVERAGE_K} pictures on both sides: left out")
            all_metrics = report["metrics"] | of_model
            report["metrics"] = {name: all_metrics[name] for name in METRICS if name in all_metrics}
            _add_latent_scores(report, model, dataset, latent_names)
            _add_remarks(report, pictures, dataset)
            if request.metrics is None and request.features == VIEWS[0]:  # who asks for other features asks for no judge
                on_progress(Progress("looking at them in other features"))
                report["views"] = {name: view.to_dict() for name, view in views_of(scores, dataset, split, on_progress).items()}
                report["verdict"] = verdict(report, None if model is None else _training_progress(model))
            return _write_report(report, request, model, start_time, examples, scores)


def _training_progress(model: Loaded) -> TrainingProgress | None:
    """How the distance fell up to the checkpoint of `model`."""
    rows = [row for row in model.run.scores() if row["images"] <= model.checkpoint.images]
    return TrainingProgress.of(str(model.run.path), rows)


def _check_request(request: EvaluateRequest, model: Loaded | None) -> None:
    """Finds before the work what would stop it later. Errors: `InputError`."""
    if request.count is not None and not 2 <= request.count <= MAX_SAMPLE_COUNT:
        raise InputError(f"{option('count')} {request.count}: give 2 to {MAX_SAMPLE_COUNT:,} pictures to judge")
    if (folder := _report_folder(model, request.out)) is not None:
        what = request.what
        if model is None and isinstance(what, str) and Path(what).expanduser().resolve() == folder.resolve():
            raise InputError(
                f"{folder} holds what is judged, and a report's pictures would be judged next time; "
                f"give another {option('out')}"
            )
        check_writable(folder)


def _blank_report(request: EvaluateRequest, model: Loaded | None, dataset: Dataset, names: Sequence[str]) -> dict[str, Any]:
    """A report without scores: which metrics were requested, and what the pictures are compared with."""
    split = held_out_split(dataset)
    count = len(dataset.indices(split))
    report: dict[str, Any] = {
        "metrics": {},
        "asked": names,
        "count": count,
        "features": None,
        "reference": {"data": dataset.name, "fingerprint": dataset.fingerprint, "split": split, "count": count},
        "context": {"quantisation": QUANTISATION},
        "warnings": [],
    }
    if model is None and isinstance(request.what, str):
        report["pictures"] = str(request.what)
    return report


def _add_model_scores(
    report: dict[str, Any], request: EvaluateRequest, model: Loaded | None, real: ImageSubset, on_progress: OnProgress
) -> dict[str, dict[str, Any]]:
    """The requested scores of reconstructions and of likelihoods. `report` gets their block means, and how many draws bound a
    likelihood."""
    names, count = report["asked"], int(real.shape[0])
    values = dict[str, NDArray[np.float64]]()
    if metrics_of(PairMetric, names):
        on_progress(Progress(f"reconstructing {count:,} pictures"))
        values |= score_reconstructions(model, real, names)
    if metrics_of(LikelihoodMetric, names):
        on_progress(Progress(f"bounding the likelihoods of {count:,} pictures"))
        values |= score_likelihoods(model, real, request.importance, names)
        report["likelihood"] = {"draws": request.importance or 1, "of": GREY_VALUES}
    scores = {name: mean_score(each).to_dict() for name, each in values.items() if name in names}
    report["blocks"] = {name: block_means(values[name]) for name in scores}
    return scores


def block_means(values: NDArray[np.float64]) -> list[float]:
    """The means of at most `BLOCK_COUNT` blocks of consecutive `values` [N], whose lengths differ by one at most.

    >>> block_means(np.array([1.0, 3.0]))
    [1.0, 3.0]
    """
    return [float(part.mean()) for part in np.array_split(values, min(BLOCK_COUNT, len(values))) if len(part)]


def _add_latent_scores(report: dict[str, Any], model: Loaded | None, dataset: Dataset, names: Sequence[str]) -> None:
    """Adds the metrics of disentanglement `names`, where there are any, to a `report` of others."""
    if names:
        of_latents = score_latents(model, dataset, names)
        report["metrics"] |= of_latents["metrics"]
        report["factors"] = of_latents["factors"]


@contextmanager
def _open_input(request: EvaluateRequest, model: Loaded | None) -> Iterator[tuple[EvaluationInput, Dataset]]:
    """The pictures to be judged, and the data set that they are compared with. Of a run there are no pictures yet."""
    what, data = request.what, request.data
    dataset, source = (data, None) if isinstance(data, Dataset) else (None, data)
    if model is not None:
        no_pictures = EvaluationInput(np.empty((0, 1, 1, 1), np.uint8))
        yield no_pictures, dataset or parallel.main_process_first(lambda: model.dataset(source))
    elif isinstance(what, str):
        dataset = dataset or parallel.main_process_first(lambda: prepare_reference(what, source))
        yield open_images(Path(what).expanduser(), dataset), dataset
    elif data is None:
        raise InputError("say what the pictures are to be compared with: data=SRC")
    else:
        with images_from_arrays(what) as images:
            height, width, channels = images.shape[1:]
            make = lambda: prepare(source, size=(height, width), channels=channels)  # noqa: E731
            dataset = dataset or parallel.main_process_first(make)
            yield EvaluationInput(images, notes=(note_on_array_shape(dataset),)), dataset


def _add_remarks(report: dict[str, Any], pictures: EvaluationInput, dataset: Dataset) -> None:
    """Adds to `report` what was set aside of the pictures that are judged, and of those that they are compared with."""
    report["rejected"] = list(pictures.rejected)
    report["warnings"] += pictures.remarks
    report["context"].setdefault("notes", [])
    report["context"]["notes"] += remarks(dataset, f"the real pictures ({dataset.name})")


def select_metrics(metrics: Sequence[str] | None, model: Loaded | None, features: str, importance: int | None) -> list[str]:
    """The names of the metrics to measure: `metrics`, or where there are none the default ones that apply to `model` (None:
    pictures). A number of `importance` draws adds those of a bounded likelihood.

    Errors: `InputError` for a name that no metric has.
    """
    if metrics:
        names = resolve_names(metrics)
    else:
        inapplicable = _inapplicable_metrics(model)
        names = [name for name in default_names(detector_name(features)) if name not in inapplicable]
    return list(dict.fromkeys([*names, *(likelihood_metrics(exact=False) if importance is not None else ())]))


def _inapplicable_metrics(model: Loaded | None) -> set[str]:
    """The metrics that cannot be measured on `model`, or on pictures where it is None."""
    if model is None:
        return {*metrics_of(PairMetric), *metrics_of(LikelihoodMetric)}
    method, names = model.method, set[str]()
    if not method.generates:
        names |= set(metrics_of(SampleMetric))
    if not isinstance(method, Autoencoder):
        names |= set(metrics_of(PairMetric))
    if not isinstance(method, LikelihoodBound) or (method.needs_binary_images and not model.recipe.data.binary):
        names |= set(likelihood_metrics(exact=False))
    if not isinstance(method, LikelihoodBound) or not method.exact:
        names |= set(likelihood_metrics(exact=True))
    return names


def _report_folder(model: Loaded | None, out: Path | None) -> Path | None:
    """The folder that the report is written to: `out`, or one in the run; None for pictures without `out`."""
    own = None if model is None else model.run.path / "evaluations" / f"{model.checkpoint.images:09d}"
    return own if out is None else out


# Many parameters: a report is written from the request, the model, the time it began, and the pictures that its page shows.
def _write_report(
    report: dict[str, Any],
    request: EvaluateRequest,
    model: Loaded | None,
    start_time: float,
    examples: ImageSubset | None = None,
    scores: SampleScores | None = None,
    file_name: str = "report",
) -> dict[str, Any]:
    """Adds to `report` where it comes from and how long it took, and writes it with its page where it has a folder.

    `examples` are real pictures for the page; `file_name` has no ending, since the report and its page share it.
    """
    if model is not None:
        report["run"], report["images_seen"] = str(model.run.path), model.checkpoint.images
        report["checkpoint"] = model.checkpoint.digest()
        report["checkpoint_notes"] = list(model.checkpoint_notes())
    report["limner"] = METRICS_VERSION
    if versions := {name: METRICS[name].since for name in report.get("asked", ()) if name not in METRICS.own}:
        report["metric_versions"] = versions
    report["seconds"] = round(time.monotonic() - start_time, 2)
    report["report"] = report["page"] = None
    if (out := _report_folder(model, request.out)) is not None and parallel.is_main_process():
        report["report"], report["page"] = str(out / f"{file_name}.json"), str(out / f"{file_name}.html")
        pictures = _page_pictures(report, model, examples, scores)
        page, text = render_report(report, pictures, scores), json_text(with_checksum(report))
        _move_other_report(out, file_name, report)  # nothing is moved or written before all can be
        if scores is not None:
            save_sheet(out / "samples.png", grid(pictures["samples"]))
        write_text(out / f"{file_name}.html", page)
        write_text(out / f"{file_name}.json", text)
    return report


def _move_other_report(out: Path, file_name: str, report: dict[str, Any]) -> None:
    """Renames a report that is there already to ``<file_name>-1`` and so on, where it is not of the same subject as `report`.

    A report of the same subject is left where it is, and then replaced.
    """
    try:
        old = read_json(out / f"{file_name}.json")
        if _subject(old) == _subject(report):
            return
    except (InputError, LookupError, TypeError, AttributeError):  # there is no report, or none that can be read
        return
    number = next(n for n in itertools.count(1) if not (out / f"{file_name}-{n}.json").exists())
    old |= {"report": str(out / f"{file_name}-{number}.json"), "page": str(out / f"{file_name}-{number}.html")}
    write_json(out / f"{file_name}-{number}.json", with_checksum(old))
    for name, ending in ((file_name, "html"), ("samples", "png")):
        if (old_file := out / f"{name}.{ending}").is_file():
            old_file.replace(out / f"{name}-{number}.{ending}")


def _subject(report: dict[str, Any]) -> list[Any]:
    """What a report is about: two reports with equal subjects measure the same metrics on the same pictures in the same way."""
    values = [report.get(key) for key in ("asked", "count", "reference", "likelihood", "checkpoint", "pictures")]
    checkpoints = [row["images"] for row in report.get("checkpoints", ())]
    return [*values, (report.get("features") or {}).get("checksum"), checkpoints]


def _page_pictures(
    report: dict[str, Any], model: Loaded | None, examples: ImageSubset | None, scores: SampleScores | None
) -> dict[str, NDArray[np.uint8]]:
    """The pictures [n, H, W, C] that the page shows, by the heading of each group."""
    pictures = {} if scores is None else {"samples": take(scores.samples.images, slice(0, PAGE_IMAGE_COUNT))}
    if examples is not None:
        real = take(examples, slice(0, PAGE_IMAGE_COUNT))
        pictures[f"real pictures ({report['reference']['split']} split)"] = real
        if model is not None and metrics_of(PairMetric, report["metrics"]):
            pictures["the same pictures, reconstructed"] = model.reconstruct(real)
    return pictures

"""Compares runs, and pictures from elsewhere: by one detector, against one reference, at one number of pictures."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.core import parallel
from limner.core.documents import read_json
from limner.core.errors import InputError, require
from limner.core.files import checksum_fits, write_text
from limner.core.images import save_sheet
from limner.core.invocation import option
from limner.core.progress import OnProgress, Progress, named_progress
from limner.data.dataset import Dataset
from limner.data.remarks import remarks
from limner.evaluation.claims import Contender, compare_groups, compare_pairs, group_by_recipe
from limner.evaluation.compare import CompareRequest, CompareResult
from limner.evaluation.compare_page import render_comparison, sheet
from limner.evaluation.evaluate import EvaluateRequest
from limner.evaluation.gate import gate_of_comparison, parse_gate
from limner.evaluation.inputs import (
    SampledImages,
    common_reference,
    conditions_for,
    held_out_split,
    materialised,
    model_or_none,
    open_images,
    short_names,
)
from limner.evaluation.judging import DEFAULT_SAMPLE_COUNT, MAX_SAMPLE_COUNT, judge, select_metrics
from limner.evaluation.sample_scores import SEED, open_detector_for
from limner.metrics.features.pixels import take
from limner.metrics.measure import DISENTANGLEMENT, metrics_of
from limner.metrics.metric import LatentMetric, SampleMetric
from limner.metrics.scores import METRICS, METRICS_VERSION
from limner.runs.listing import differing_settings, flat_settings
from limner.runs.validation import ValidationScores

SHEET_SEED_COUNT = 36
"""Seeds whose samples stand side by side on the sheet and on the page."""
SINGLE_RUN_NOTE = (
    "another seed would have moved a single run's scores as well, so a difference of two single runs says nothing about their "
    "recipes; train each recipe with two seeds or more (three are better), and compare all of these runs"
)


def compare_pictures(request: CompareRequest, on_progress: OnProgress) -> CompareResult:
    """What `limner.evaluation.compare.compare` does; it stands here, since this file imports torch. Errors: `InputError`."""
    require("scipy", "scikit-learn")
    paths = request.what
    with parallel.processes():
        start_time = time.monotonic()
        _check_request(request)
        on_progress(Progress("opening what is compared"))
        models = [model_or_none(path, request.checkpoint) for path in paths]
        contenders = [Contender(*each) for each in zip(short_names(paths, models), paths, models, strict=True)]
        _check_weights_differ(contenders)
        dataset = parallel.main_process_first(lambda: common_reference(paths, models, request.data))
        gate = None if request.fail_if is None else parse_gate(request.fail_if, ends=True)
        if gate is not None:
            for model in models:
                gate.check_metrics(select_metrics(request.metrics, model, request.features, None))
        count, notes = _common_count(contenders, dataset, request.count)
        contenders = [_add_report(contender, dataset, count, request, on_progress) for contender in contenders]
        on_progress(Progress("comparing"))
        recipe_groups = group_by_recipe(contenders)
        run_count = sum(model is not None for model in models)
        if run_count > max(1, sum(len(group["runs"]) for group in recipe_groups)):
            notes.append(SINGLE_RUN_NOTE)
        real_count = contenders[0].report["reference"]["count"]
        if real_count < count and any(contender.report["features"] for contender in contenders):
            notes.append(
                f"what is claimed holds against these {real_count:,} real pictures; since they are fewer than the samples, "
                "other real pictures may move differences by more than other samples do"
            )
        answer: dict[str, Any] = {
            "table": _rows(contenders),
            "differences": compare_pairs(contenders),
            "groups": recipe_groups,
            "group_differences": compare_groups(recipe_groups),
            "count": count,
            "features": next((one.report["features"] for one in contenders if one.report["features"]), None),
            "reference": contenders[0].report["reference"],
            "notes": [
                *notes,
                *_checkpoint_hints(contenders, request.checkpoint),
                *_merge_warnings(contenders),
                *remarks(dataset, f"the real pictures ({dataset.name})"),
            ],
            "page": None,
            "sheet": None,
        }
        if (request.html or request.out is not None) and parallel.is_main_process():
            names = "-".join(contender.name.replace("/", "-") for contender in contenders)
            folder = request.out or Path("comparisons") / names[:100]
            on_progress(Progress("drawing pictures for the page"))
            _rename_earlier_page(folder)
            _write_page(folder, answer, contenders, dataset)
        if gate is not None:
            answer["gate"] = gate_of_comparison(gate, answer["table"])
        return CompareResult(**answer, seconds=round(time.monotonic() - start_time, 2))


def _check_request(request: CompareRequest) -> None:
    """Errors: `InputError`."""
    if len(request.what) < 2:
        raise InputError("compare takes two runs or more (or folders of pictures, or .npz files): limner compare RUN RUN")
    if request.count is not None and not 2 <= request.count <= MAX_SAMPLE_COUNT:
        raise InputError(f"{option('count')} {request.count}: give 2 to {MAX_SAMPLE_COUNT:,} pictures to judge")
    for name in request.metrics or ():
        if name == DISENTANGLEMENT or metrics_of(LatentMetric, [name]):
            raise InputError(f"'{name}' comes without an error, so that nothing could be claimed; evaluate each run for it")


def _check_weights_differ(contenders: Sequence[Contender]) -> None:
    """Errors: `InputError` where two runs have the same weights."""
    name_of_weights: dict[str, str] = {}
    for contender in contenders:
        if contender.model is not None:
            name = name_of_weights.setdefault(contender.model.checkpoint.digest(), contender.name)
            if name != contender.name:
                raise InputError(f"{name} and {contender.name} have the same weights, to the bit; leave one of them out")


def _common_count(contenders: Sequence[Contender], dataset: Dataset, count: int | None) -> tuple[int, list[str]]:
    """How many pictures of each contender are judged, and a note where this is less than `count`, or than the default.

    Errors: `InputError` for a folder or an .npz with fewer than two pictures.
    """
    available = {
        contender.name: int(open_images(Path(contender.path).expanduser(), dataset).images.shape[0])
        for contender in contenders
        if contender.model is None
    }
    smallest = min(available, key=lambda name: available[name], default=None)
    if smallest is not None and available[smallest] < 2:
        pictures = "1 picture" if available[smallest] == 1 else "no picture"
        raise InputError(f"{smallest} has {pictures}, which is too few to be compared; give 2 or more, or leave it out")
    desired = count or (DEFAULT_SAMPLE_COUNT if len(available) < len(contenders) else max(available.values()))
    if smallest is None or available[smallest] >= desired:
        return desired, []
    return available[smallest], [f"all are judged at {available[smallest]:,} pictures, since {smallest} has no more"]


def _checkpoint_hints(contenders: Sequence[Contender], which: str) -> list[str]:
    """A sentence for each run that is judged by its last checkpoint although its best one is clearly better."""
    if which != "last":
        return []
    scores = {one.name: ValidationScores.of_run(one.model.run) for one in contenders if one.model is not None}
    return [f"{name}: {hint}" for name, one in scores.items() if one is not None and (hint := one.hint()) is not None]


def _merge_warnings(contenders: Sequence[Contender]) -> list[str]:
    """The warnings of all reports, each once, with the names of those that it is about where it is not about all."""
    names_of_warning: dict[str, list[str]] = {}
    for contender in contenders:
        for text in contender.report["warnings"]:
            names_of_warning.setdefault(text, []).append(contender.name)
    return [
        text if len(names) == len(contenders) else f"{', '.join(names)}: {text}" for text, names in names_of_warning.items()
    ]


# ---- reports ------------------------------------------------------------------------------------------------------------


def _add_report(
    contender: Contender, dataset: Dataset, count: int, request: CompareRequest, on_progress: OnProgress
) -> Contender:
    """`contender` with its report: one that the run holds, where a new one would say the same, and otherwise a new one."""
    features, metrics, model = request.features, request.metrics, contender.model
    own_request = EvaluateRequest(what=contender.path, data=dataset, count=count, features=features, metrics=metrics)
    own_progress = named_progress(contender.name, on_progress)
    if model is None:
        return replace(contender, report=judge(own_request, None, own_progress))
    names = select_metrics(metrics, model, features, None)
    requirements: dict[str, Any] = {
        "limner": METRICS_VERSION,
        "checkpoint": model.checkpoint.digest(),
        "fingerprint": dataset.fingerprint,
        "split": held_out_split(dataset),
        "draws": 1,
        "metric_versions": {name: METRICS[name].since for name in names if name not in METRICS.own},
    }
    if metrics_of(SampleMetric, names):
        own_progress(Progress(f"preparing the features: {features}"))
        checksum = open_detector_for(dataset, features, own_progress).checksum  # it may be trained first
        requirements |= {"count": count, "seed": SEED, "features": checksum}
    folder = model.run.path / "evaluations" / f"{model.checkpoint.images:09d}"
    for place in (folder, folder / "compared"):
        stored = _read_report(place / "report.json", requirements, names, has_all=bool(metrics))
        report = parallel.broadcast_object(stored)
        if report is not None:
            return replace(contender, report=report, reused=True)
    own_request = own_request.model_copy(update={"out": folder / "compared"})
    return replace(contender, report=judge(own_request, model, own_progress))


def _read_report(path: Path, requirements: dict[str, Any], names: Sequence[str], has_all: bool) -> dict[str, Any] | None:
    """The report at `path`, without metrics that are not among `names`. None where there is no report that can be read, where
    it is damaged, or does not meet the `requirements`.

    `has_all`: it must hold a score of every name; otherwise it suffices that all were asked for, since a metric that could not
    be measured then cannot be measured now.
    """
    try:
        report = read_json(path)
        if not checksum_fits(report):
            return None
        versions = report.get("metric_versions", {})
        facts = {
            "limner": report["limner"],
            "checkpoint": report["checkpoint"],
            "fingerprint": report["reference"]["fingerprint"],
            "split": report["reference"]["split"],
            "draws": report.get("likelihood", {"draws": 1})["draws"],
            "count": report["count"],
            "seed": report.get("context", {}).get("seed"),
            "features": (report["features"] or {}).get("checksum"),
            "metric_versions": {name: versions[name] for name in requirements["metric_versions"] if name in versions},
        }
        available = report["metrics"] if has_all else report["asked"]
        if any(facts[key] != value for key, value in requirements.items()) or not set(names) <= set(available):
            return None
        report["metrics"] = {name: score for name, score in report["metrics"].items() if name in names}
    except (InputError, KeyError, TypeError, AttributeError):
        return None
    return report


def _rows(contenders: Sequence[Contender]) -> list[dict[str, Any]]:
    """The rows of the result's table, each with the values of the settings in which the runs differ."""
    settings = [
        {} if contender.model is None else flat_settings(contender.model.recipe.model_dump(mode="json"))
        for contender in contenders
    ]
    names = differing_settings(settings)
    return [
        _row(contender) | {"settings": {name: own[name] for name in names if name in own}}
        for contender, own in zip(contenders, settings, strict=True)
    ]


def _row(contender: Contender) -> dict[str, Any]:
    """The row of the result's table; what is unknown of pictures is None."""
    row: dict[str, Any] = {"name": contender.name, "path": str(contender.path), "preset": None, "images": None, "seed": None}
    row |= {"seconds": None, "metrics": contender.scores_with_intervals()}
    row |= {"report": contender.report["report"], "reused": contender.reused}
    row["verdict"] = list(contender.report.get("verdict") or ())
    if (model := contender.model) is not None:
        row |= {"path": str(model.run.path), "preset": model.recipe.preset, "images": model.checkpoint.images}
        row |= {"seed": model.recipe.seed, "seconds": model.checkpoint.state().get("seconds")}
    return row


# ---- files --------------------------------------------------------------------------------------------------------------


def _rename_earlier_page(folder: Path) -> None:
    """Renames the page and the sheet of an earlier comparison in `folder` to ``compare-1`` and so on, so that they stay."""
    earlier = [path for path in (folder / "compare.html", folder / "compare.png") if path.is_file()]
    if earlier:
        number = next(n for n in itertools.count(1) if not list(folder.glob(f"compare-{n}.*")))
        for path in earlier:
            path.replace(path.with_stem(f"compare-{number}"))


def _write_page(folder: Path, answer: dict[str, Any], contenders: Sequence[Contender], dataset: Dataset) -> None:
    """Writes the page and the sheet into `folder`, and their paths into `answer`."""
    grids = {one.name: pictures for one in contenders if (pictures := _example_pictures(one, dataset)) is not None}
    models = {one.name: one.model for one in contenders if one.model is not None}
    scores = {
        name: [row for row in model.run.scores() if row["images"] <= model.checkpoint.images] for name, model in models.items()
    }
    if len({model.recipe.data.fingerprint for model in models.values()}) != 1:
        scores = {}  # scores against different real pictures do not belong in one chart
    if grids:
        save_sheet(folder / "compare.png", sheet(grids))
        answer["sheet"] = str(folder / "compare.png")
    answer["page"] = str(folder / "compare.html")
    write_text(folder / "compare.html", render_comparison(answer, grids, scores))


def _example_pictures(contender: Contender, dataset: Dataset) -> NDArray[np.uint8] | None:
    """[n, H, W, C]: samples of the first seeds, or random pictures of a folder or file; None for a model that draws none."""
    model = contender.model
    if model is not None and not model.method.generates:
        return None
    if model is not None:
        samples = SampledImages(model, 0, SHEET_SEED_COUNT, conditions_for(model, dataset, held_out_split(dataset)))
        return samples.gather(np.arange(SHEET_SEED_COUNT))
    with materialised(open_images(Path(contender.path).expanduser(), dataset), SHEET_SEED_COUNT) as pictures:
        return take(pictures.images, slice(0, SHEET_SEED_COUNT))

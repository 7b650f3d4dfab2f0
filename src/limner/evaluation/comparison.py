"""Compares runs, and pictures of others: by one detector, against one reference, at one number of pictures.

What may be claimed. A score of samples has a standard error over other draws of as many samples, by a jackknife over blocks of
them. It is not bootstrapped: a bootstrap repeats pictures, and repeated pictures move Fréchet distances, and shares of covered
neighbourhoods, by more than chance does. Two models' samples know nothing of each other, so the squares of the errors add up
(`limner.metrics.stats.intervals.difference`). A score of held-out pictures (reconstructions, likelihoods) is a mean over
pictures that are the same for both models, so its difference is that of the pictures' own differences, in blocks. Runs of one
recipe that differ in their seed alone are a group, and only groups say anything about recipes: with Student's t over their
trainings.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.core import parallel
from limner.core.errors import InputError, require
from limner.core.files import write_text
from limner.core.images import save_png
from limner.core.progress import OnProgress, Progress, named_progress
from limner.data.dataset import Dataset
from limner.evaluation.compare import CompareRequest, CompareResult
from limner.evaluation.compare_page import page, sheet
from limner.evaluation.evaluate import EvaluateRequest
from limner.evaluation.inputs import common_reference, held_out, materialised, model_or_none, open_images, short_names
from limner.evaluation.judging import COUNT, MOST, judge, wanted
from limner.evaluation.sample_scores import SEED, detector_of
from limner.metrics.features.pixels import take
from limner.metrics.features.summary import jackknife_blocks
from limner.metrics.measure import DISENTANGLEMENT, metrics_of
from limner.metrics.metric import LatentMetric, SampleMetric
from limner.metrics.scores import METRICS, METRICS_VERSION
from limner.metrics.stats.intervals import CONFIDENCE_LEVEL, NO_DIFFERENCE, Estimate, difference, holm, mean
from limner.runs.model import Loaded

SHOWN = 36
"""Seeds that are shown side by side."""
SINGLE = (
    "another seed would have moved a single run's scores as well, so a difference of two single runs says nothing about their "
    "recipes; train each recipe with two seeds or more (three are better), and compare all of these runs"
)


@dataclass(frozen=True)
class Contender:
    """A run, or pictures; with its report once it was judged."""

    name: str
    word: str | Path
    model: Loaded | None
    report: dict[str, Any] = field(default_factory=dict)
    reused: bool = False

    def estimate(self, metric: str) -> Estimate | None:
        """None where it has no such score, or nobody knows how much chance moves it."""
        told = self.report["metrics"].get(metric)
        if told is None or told["error"] is None or METRICS[metric].error == "incomplete":
            return None
        blocks = self.report["blocks"].get(metric)
        fewest = min(self.report["count"], self.report["reference"]["count"])
        freedom = (len(jackknife_blocks(fewest)) if blocks is None else len(blocks)) - 1
        return Estimate(told["value"], told["error"], freedom) if freedom > 0 else None

    def metrics(self) -> dict[str, dict[str, Any]]:
        """Its scores with their 95 % intervals, where these say how it compares with others."""
        found = {}
        for metric, told in self.report["metrics"].items():
            known = None if metric in self.report["blocks"] else self.estimate(metric)
            low, high = (None, None) if known is None else known.interval()
            found[metric] = told | {"low": low, "high": high}
        return found


def compare_pictures(request: CompareRequest, on_progress: OnProgress) -> CompareResult:
    """What `limner.evaluation.compare.compare` does. Errors: `InputError`."""
    require("scipy", "scikit-learn")
    words, count = request.what, request.count
    with parallel.processes():
        began = time.monotonic()
        _check_request(request)
        models = [model_or_none(word, request.checkpoint) for word in words]
        contenders = [Contender(*each) for each in zip(short_names(words, models), words, models, strict=True)]
        _check_different(contenders)
        dataset = parallel.main_process_first(lambda: common_reference(words, models, request.data))
        at, notes = _count(contenders, dataset, count)
        contenders = [_judged(contender, dataset, at, request, on_progress) for contender in contenders]
        on_progress(Progress("comparing"))
        groups = _groups(contenders)
        runs = sum(model is not None for model in models)
        if runs > max(1, sum(len(group["runs"]) for group in groups)):
            notes.append(SINGLE)
        real = contenders[0].report["reference"]["count"]
        if real < at and any(contender.report["features"] for contender in contenders):
            notes.append(
                f"what is claimed holds against these {real:,} real pictures; others may move differences by more than other "
                "samples do, since there are fewer of them"
            )
        answer: dict[str, Any] = {
            "table": [_row(contender) for contender in contenders],
            "differences": _differences(contenders),
            "groups": groups,
            "group_differences": _group_differences(groups),
            "count": at,
            "features": next((one.report["features"] for one in contenders if one.report["features"]), None),
            "reference": contenders[0].report["reference"],
            "notes": notes + _warnings(contenders),
            "page": None,
            "sheet": None,
        }
        if (request.html or request.out is not None) and parallel.is_main_process():
            names = "-".join(contender.name.replace("/", "-") for contender in contenders)
            _write(request.out or Path("comparisons") / names[:100], answer, contenders, dataset)
        return CompareResult(**answer, seconds=round(time.monotonic() - began, 2))


def _check_request(request: CompareRequest) -> None:
    """Errors: `InputError`."""
    if len(request.what) < 2:
        raise InputError("compare takes two runs or more (or folders of pictures, or .npz files): limner compare RUN RUN")
    if request.count is not None and not 2 <= request.count <= MOST:
        raise InputError(f"--count {request.count}: give 2 to {MOST:,} pictures to judge")
    for name in request.metrics or ():
        if name == DISENTANGLEMENT or metrics_of(LatentMetric, [name]):
            raise InputError(f"'{name}' comes without an error, so that nothing could be claimed; evaluate each run for it")


def _check_different(things: Sequence[Contender]) -> None:
    """Errors: `InputError` where two runs have the same weights."""
    seen: dict[str, str] = {}
    for thing in things:
        if thing.model is not None:
            twin = seen.setdefault(thing.model.checkpoint.digest(), thing.name)
            if twin != thing.name:
                raise InputError(f"{twin} and {thing.name} have the same weights, to the bit; leave one of them out")


def _count(things: Sequence[Contender], dataset: Dataset, count: int | None) -> tuple[int, list[str]]:
    """At how many pictures all are judged, and why it is not what was asked for. Errors: `InputError` for fewer than two."""
    there = {
        thing.name: int(open_images(Path(thing.word).expanduser(), dataset).images.shape[0])
        for thing in things
        if thing.model is None
    }
    fewest = min(there, key=lambda name: there[name], default=None)
    if fewest is not None and there[fewest] < 2:
        pictures = "1 picture" if there[fewest] == 1 else "no picture"
        raise InputError(f"{fewest} has {pictures}, which is too few to be compared; give 2 or more, or leave it out")
    asked = count or (COUNT if len(there) < len(things) else max(there.values()))
    if fewest is None or there[fewest] >= asked:
        return asked, []
    return there[fewest], [f"all are judged at {there[fewest]:,} pictures, since {fewest} has no more"]


def _warnings(things: Sequence[Contender]) -> list[str]:
    """What the reports say before anybody believes them, each once, and about whom where it is not about all."""
    about: dict[str, list[str]] = {}
    for thing in things:
        for text in thing.report["warnings"]:
            about.setdefault(text, []).append(thing.name)
    return [text if len(names) == len(things) else f"{', '.join(names)}: {text}" for text, names in about.items()]


# ---- judging ------------------------------------------------------------------------------------------------------------


def _judged(thing: Contender, dataset: Dataset, count: int, request: CompareRequest, on_progress: OnProgress) -> Contender:
    """With its report: read, if there is one that says the same as a new one would; otherwise made."""
    features, metrics, model = request.features, request.metrics, thing.model
    own = EvaluateRequest(what=thing.word, data=dataset, count=count, features=features, metrics=metrics)
    heard = named_progress(thing.name, on_progress)
    if model is None:
        return Contender(thing.name, thing.word, None, judge(own, None, heard))
    names = wanted(metrics, model, features, None)
    needed: dict[str, Any] = {
        "limner": METRICS_VERSION,
        "checkpoint": model.checkpoint.digest(),
        "fingerprint": dataset.fingerprint,
        "split": held_out(dataset),
        "draws": 1,
        "metric_versions": {name: METRICS[name].since for name in names if name not in METRICS.own},
    }
    if metrics_of(SampleMetric, names):
        needed |= {"count": count, "seed": SEED, "features": detector_of(features, dataset).checksum}
    folder = model.run.path / "evaluations" / f"{model.checkpoint.images:09d}"
    for place in (folder, folder / "compared"):
        found = parallel.broadcast_object(_read(place / "report.json", needed, names, insist=bool(metrics)))
        if found is not None:
            return Contender(thing.name, thing.word, model, found, reused=True)
    return Contender(thing.name, thing.word, model, judge(own.model_copy(update={"out": folder / "compared"}), model, heard))


def _read(path: Path, needed: dict[str, Any], names: Sequence[str], insist: bool) -> dict[str, Any] | None:
    """The report at `path`, cut down to `names`; None where it is none, or not what is `needed`."""
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        told = {
            "limner": report["limner"],
            "checkpoint": report["checkpoint"],
            "fingerprint": report["reference"]["fingerprint"],
            "split": report["reference"]["split"],
            "draws": report.get("likelihood", {"draws": 1})["draws"],
            "count": report["count"],
            "seed": report.get("context", {}).get("seed"),
            "features": (report["features"] or {}).get("checksum"),
        }
        versions = report.get("metric_versions", {})
        told["metric_versions"] = {name: versions[name] for name in needed["metric_versions"] if name in versions}
        there = report["metrics"] if insist else report["asked"]
        if any(told[key] != value for key, value in needed.items()) or not set(names) <= set(there):
            return None
        report["metrics"] = {name: one for name, one in report["metrics"].items() if name in names}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return report


def _row(thing: Contender) -> dict[str, Any]:
    row: dict[str, Any] = {"name": thing.name, "path": str(thing.word), "preset": None, "images": None, "seed": None}
    row |= {"seconds": None, "metrics": thing.metrics(), "report": thing.report["report"], "reused": thing.reused}
    if (model := thing.model) is not None:
        row |= {"path": str(model.run.path), "preset": model.recipe.preset, "images": model.checkpoint.images}
        row |= {"seed": model.recipe.seed, "seconds": model.checkpoint.state().get("seconds")}
    return row


# ---- what may be claimed ------------------------------------------------------------------------------------------------


def _differences(things: Sequence[Contender]) -> list[dict[str, Any]]:
    found = []
    for metric in METRICS:
        pairs = []
        for a, b in combinations([thing for thing in things if metric in thing.report["metrics"]], 2):
            by = a.report["metrics"][metric]["value"] - b.report["metrics"][metric]["value"]
            one, other = a.estimate(metric), b.estimate(metric)
            if one is None or other is None:
                pairs.append(Pair(a.name, b.name, by, None))
            elif metric in a.report["blocks"]:  # how far each is known says nothing of a difference on the same pictures
                over = mean(np.subtract(a.report["blocks"][metric], b.report["blocks"][metric]).tolist())
                pairs.append(Pair(a.name, b.name, by, Estimate(by, over.error, over.freedom)))
            else:
                pairs.append(Pair(a.name, b.name, by, difference(one, other), one, other))
        found += claims(metric, pairs)
    return found


@dataclass(frozen=True)
class Pair:
    """Two that are compared by one score. `apart`: the difference, if it is known how far to trust it."""

    a: str
    b: str
    difference: float
    apart: Estimate | None
    one: Estimate | None = None
    other: Estimate | None = None

    @property
    def overlap(self) -> bool:
        """Whether the two own intervals, where there are such, do."""
        if self.one is None or self.other is None:
            return False
        (low, high), (least, most) = self.one.interval(), self.other.interval()
        return low <= most and least <= high


def claims(metric: str, pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """What may be said of all `pairs` that one `metric` compares, as one family.

    A difference is claimed where its p, after Holm's correction, is below 5 %, and the two own intervals do not overlap.
    """
    known = [pair for pair in pairs if pair.apart is not None]
    corrected = dict(zip(map(id, known), holm([pair.apart.p for pair in known if pair.apart is not None]), strict=True))
    found = []
    for pair in pairs:
        low, high = (None, None) if pair.apart is None else pair.apart.interval()
        p = corrected.get(id(pair))
        sure = p is not None and p < 1 - CONFIDENCE_LEVEL and not pair.overlap
        upper, lower = (pair.a, pair.b) if pair.difference > 0 else (pair.b, pair.a)
        better = {"higher": upper, "lower": lower, "as real": None}[METRICS[metric].better]
        worse = lower if better == upper else upper
        words = f"{pair.a} and {pair.b}: {NO_DIFFERENCE}"
        if sure:
            words = f"{upper} has more than {lower}" if better is None else f"{better} is better than {worse}"
        found.append(
            {
                "metric": metric,
                "a": pair.a,
                "b": pair.b,
                "difference": pair.difference,
                "low": low,
                "high": high,
                "p": p,
                "sure": sure,
                "claim": better if sure else None,
                "words": words,
            }
        )
    return found


def _groups(things: Sequence[Contender]) -> list[dict[str, Any]]:
    """Recipes that were trained with two seeds or more: each score's mean over trainings, with Student's t interval."""
    alike: dict[str, dict[int, Contender]] = {}
    for thing in things:
        if thing.model is not None:
            alike.setdefault(_but_seed(thing.model), {}).setdefault(thing.model.recipe.seed, thing)
    found: list[dict[str, Any]] = []
    for members in (list(one.values()) for one in alike.values() if len(one) > 1):
        metrics = dict[str, Any]()
        for metric in METRICS:
            if all(metric in thing.report["metrics"] for thing in members):
                metrics[metric] = _over_trainings(metric, members)
        found.append({"name": f"recipe of {members[0].name}", "runs": [thing.name for thing in members], "metrics": metrics})
    return found


def _but_seed(model: Loaded) -> str:
    """What two trainings have in common that are to differ in the seed alone."""
    tree = model.recipe.model_dump(mode="json")
    del tree["seed"], tree["data"]["source"]  # the fingerprint says what the pictures are, wherever they lie
    return json.dumps([tree, model.checkpoint.images if model.recipe.budget.images is not None else None])


def _over_trainings(metric: str, members: Sequence[Contender]) -> dict[str, Any]:
    """The spread between trainings holds that of sampling; few trainings may agree by chance, and then the latter stands."""
    over = mean([thing.report["metrics"][metric]["value"] for thing in members])
    if metric not in members[0].report["blocks"]:
        known = [one.error for thing in members if (one := thing.estimate(metric)) is not None]
        sampling = float(np.linalg.norm(known)) / len(members)
        over = Estimate(over.value, max(over.error, sampling), over.freedom)
    low, high = over.interval()
    return {"mean": over.value, "low": low, "high": high, "error": over.error, "freedom": over.freedom}


def _group_differences(groups: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for metric in METRICS:
        pairs = []
        for a, b in combinations([group for group in groups if metric in group["metrics"]], 2):
            one, other = (Estimate(g["mean"], g["error"], g["freedom"]) for g in (a["metrics"][metric], b["metrics"][metric]))
            pairs.append(Pair(a["name"], b["name"], one.value - other.value, difference(one, other), one, other))
        found += claims(metric, pairs)
    return found


# ---- files --------------------------------------------------------------------------------------------------------------


def _write(folder: Path, answer: dict[str, Any], things: Sequence[Contender], dataset: Dataset) -> None:
    grids = {thing.name: shown for thing in things if (shown := _shown(thing, dataset)) is not None}
    runs = {thing.name: thing.model for thing in things if thing.model is not None}
    same = len({model.recipe.data.fingerprint for model in runs.values()}) == 1
    scores = {name: [r for r in m.run.scores() if r["images"] <= m.checkpoint.images] for name, m in runs.items()}
    if grids:
        save_png(folder / "compare.png", sheet(grids))
        answer["sheet"] = str(folder / "compare.png")
    answer["page"] = str(folder / "compare.html")
    write_text(folder / "compare.html", page(answer, grids, scores if same else {}))


def _shown(thing: Contender, dataset: Dataset) -> NDArray[np.uint8] | None:
    """[n, H, W, C]: the first seeds of a model, the first pictures of files; None of a model that draws none."""
    if thing.model is not None:
        return thing.model.sample(range(SHOWN)) if thing.model.method.generates else None
    with materialised(open_images(Path(thing.word).expanduser(), dataset), SHOWN) as some:
        return take(some.images, slice(0, SHOWN))

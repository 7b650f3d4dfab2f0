"""Measures what the table of metrics declares: of samples, of reconstructions, of latents; and resolves names of metrics."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core.errors import InputError, PackageError, nearest
from limner.core.extensions import attribute_errors, is_own, module_of, result_error
from limner.core.progress import OnProgress, Progress, silent
from limner.metrics.distribution.coverage import NEIGHBOUR_SCORES
from limner.metrics.distribution.frechet import Null
from limner.metrics.features.detectors import DetectorOutput
from limner.metrics.features.summary import FeatureSummary
from limner.metrics.likelihood import Likelihood
from limner.metrics.metric import LatentMetric, LikelihoodMetric, Metric, PairMetric, SampleMetric
from limner.metrics.representation.disentanglement import TEST, TRAIN, Array, Codes, Latents, check
from limner.metrics.scores import METRICS
from limner.metrics.sides import NEEDS, Sides
from limner.metrics.stats.score import Measurement, Score, compare_with_null

DISENTANGLEMENT = "disentanglement"
"""A name that asks for all metrics of latents."""
MIN_JACKKNIFE_SAMPLES = 4
"""Samples below which no error is given: a jackknife of one block would say 0."""

FEATURE_METRICS = ("frechet", *NEIGHBOUR_SCORES, "class_distance")
"""What `score_outputs` measures: metrics that need nothing but a detector's output."""

M = TypeVar("M", bound=Metric)


def metrics_of(kind: type[M], names: Iterable[str] | None = None) -> dict[str, M]:
    """The metrics of a `kind` by name, in the order of the table: all, or those of `names` (others are passed over).

    >>> list(metrics_of(PairMetric))[:3]
    ['mse', 'psnr', 'ssim']
    """
    selection = set(METRICS if names is None else names)
    rows = {name: METRICS[name] for name in METRICS if name in selection}
    return {name: row for name, row in rows.items() if isinstance(row, kind)}


def resolve_names(names: Sequence[str]) -> list[str]:
    """`names` of metrics in their order, each once, with "disentanglement" replaced by the metrics of latents.

    Errors: `InputError` that names the nearest metric, or the one that is meant by an alias such as "fid".

    >>> resolve_names(["mmd", "mmd", "frechet"])
    ['mmd', 'frechet']
    """
    resolved: list[str] = []
    for name in names:
        if name == DISENTANGLEMENT:
            resolved += metrics_of(LatentMetric)
        elif name in METRICS:
            METRICS[name]  # an error here, and not after the samples are drawn, where its package cannot be loaded
            resolved.append(name)
        else:
            all_names = [*METRICS, DISENTANGLEMENT]
            by_alias = next((other for other, row in METRICS.items() if name.lower() in row.aliases), None)
            hint = f"; did you mean '{by_alias}'?" if by_alias else nearest(name, all_names)
            raise InputError(f"unknown metric '{name}'{hint} (there are: {', '.join(all_names)})")
    return list(dict.fromkeys(resolved))


def default_names(detector: str) -> list[str]:
    """The metrics that are measured where none are named, in the features of `detector` (a name of the table of detectors)."""
    return [name for name, row in METRICS.items() if row.default or detector in row.default_detectors]


def measure(sides: Sides, names: Collection[str], required: bool = False, on_progress: OnProgress = silent) -> dict[str, Score]:
    """The metrics of samples `names`, in the order of the table; those whose needs are not met are left out.

    Errors: `InputError` for a metric that is left out, if it is `required`; `KeyError` for a name that is none; `PackageError`
    for a metric that fails, or gives no score of its name.
    """
    rows = {name: METRICS[name] for name in names}
    groups: dict[object, list[str]] = {}
    for name, row in [(name, rows[name]) for name in METRICS if name in rows]:
        if not isinstance(row, SampleMetric):
            raise ValueError(f"'{name}' is no metric of samples")
        groups.setdefault((row.measure, row.needs), []).append(name)
    scores: dict[str, Score] = {}
    for group in groups.values():
        row = METRICS[group[0]]
        assert isinstance(row, SampleMetric)
        missing = [reason for need in row.needs for is_there, reason in [NEEDS[need]] if not is_there(sides)]
        if not missing:
            on_progress(Progress(f"measuring {', '.join(group)}", note="this takes minutes" if row.cost == "minutes" else ""))
            scores |= _measure_group(sides, row, group)
        elif required:
            raise InputError(f"{', '.join(group)}: {missing[0]}")
    return scores


def _measure_group(sides: Sides, row: SampleMetric, names: Sequence[str]) -> dict[str, Score]:
    """The scores `names` that one call of `row.measure` gives."""
    with attribute_errors(_label(names), row.measure):
        result = row.measure(sides)
    measurements = result if isinstance(result, Mapping) else dict.fromkeys(names[:1], result)
    if absent := [name for name in names if name not in measurements]:
        raise PackageError(
            f"{', '.join(absent)}: measured, but no score of that name came back from {module_of(row.measure)} (it gave: "
            f"{', '.join(map(str, measurements))})"
        )
    scores = {}
    for name in names:
        score = check_measurement(name, row, measurements[name])
        if isinstance(score, Measurement):
            score = compare_with_null(METRICS[name].better, score)
        scores[name] = score if sides.n >= MIN_JACKKNIFE_SAMPLES else replace(score, error=None)
    return scores


def _label(names: Sequence[str]) -> str:
    """The metrics `names` in a message."""
    return f"the {'metric' if len(names) == 1 else 'metrics'} {', '.join(map(repr, names))}"


def check_measurement(name: str, row: SampleMetric, measurement: object) -> Measurement | Score:
    """What the metric `name` measured, with Python's own numbers, which alone can be written into a report.

    Errors: `PackageError` for anything else than a measurement or a score, and for numbers that are not finite.
    """
    what, code = _label([name]), row.measure
    if not isinstance(measurement, Measurement | Score):
        raise result_error(what, code, measurement, "a Measurement or a Score (limner.metrics.stats.score)")
    if is_own(code):
        return measurement
    numbers: dict[str, Any] = {"value": _finite(what, code, measurement.value, "a finite number as its value")}
    if measurement.error is not None:
        numbers["error"] = _finite(what, code, measurement.error, "None or a finite number as its error")
    null = measurement.null
    if isinstance(measurement, Measurement) and null is not None:
        if not isinstance(null, Null):
            raise result_error(what, code, null, "None or a Null as its null")
        scores = tuple(_finite(what, code, score, "finite numbers as the scores of its null") for score in null.scores)
        numbers["null"] = replace(null, scores=scores)
    return replace(measurement, **numbers)


def _finite(what: str, code: object, value: object, expected: str) -> float:
    """A finite number of any type as Python's own. Errors: `PackageError`."""
    try:
        number = float(value)  # type: ignore[arg-type]  # what is no number is refused here
    except (TypeError, ValueError, RuntimeError):
        number = math.nan
    if not math.isfinite(number) or isinstance(value, str):
        raise result_error(what, code, value, expected)
    return number


def _values_of_pictures(name: str, values: Any, count: int, code: object) -> NDArray[np.float64]:
    """What a metric gave for `count` pictures, [count] float64. Errors: `PackageError` for anything else."""
    expected = f"{count} finite numbers, one for each picture"
    with attribute_errors(_label([name]), code):
        array = np.asarray(values, dtype=np.float64)
    if array.shape != (count,) or (not is_own(code) and not np.isfinite(array).all()):
        raise result_error(_label([name]), code, values, expected)
    return array


def score_outputs(samples: DetectorOutput, real: DetectorOutput, seed: int = 0) -> dict[str, Score]:
    """`FEATURE_METRICS` of what one detector gave for samples and for real pictures; those that need classes if it has any."""
    sides = [FeatureSummary.of(side.features, side.logits) for side in (samples, real)]
    return measure(Sides(sides[0], sides[1], seed=seed), FEATURE_METRICS)


def measure_pairs(pictures: NDArray[np.uint8], reconstructions: NDArray[np.uint8], names: Collection[str]) -> dict[str, Tensor]:
    """The metrics of reconstructions `names`, [N] float64 each, of two arrays [N, H, W, C]. Errors: `PackageError`."""
    scores = {}
    for name, row in metrics_of(PairMetric, names).items():
        with attribute_errors(_label([name]), row.measure):
            values = row.measure(pictures, reconstructions)
        scores[name] = torch.from_numpy(_values_of_pictures(name, values, len(pictures), row.measure))
    return scores


def measure_likelihood(likelihood: Likelihood, names: Collection[str] = ()) -> dict[str, NDArray[np.float64]]:
    """All metrics of a `likelihood` that are limner's own, and those of others among `names`, [N] float64 each; the exact ones
    only where it is known exactly. Errors: `PackageError`."""
    scores = {}
    for name, row in metrics_of(LikelihoodMetric).items():
        if is_own(row.measure) or name in names:
            with attribute_errors(_label([name]), row.measure):
                values = row.measure(likelihood)
            if values is not None:
                scores[name] = _values_of_pictures(name, values, len(likelihood.bound), row.measure)
    return scores


@dataclass(frozen=True)
class LatentScores:
    """Scores of latents by name; `null`: those of latents that belong to other pictures, where the metric has such a null;
    `of_factors`: [F] of every factor, where the score is a mean over factors."""

    scores: dict[str, float]
    null: dict[str, float]
    of_factors: dict[str, Array]


def measure_latents(
    representations: Array, factors: Codes, names: Collection[str] | None = None, seed: int = 0
) -> LatentScores:
    """Metrics of latents (those of `names`; all where None), from at least 15,000 pictures whose factors are independent.

    `representations` [N, d] float64, `factors` [N, F] int64. The first 10,000 are learned from, the next 5,000 are held out;
    the scores that fix a factor draw from all of them. Errors: `InputError` where there are fewer, or the arrays do not fit.
    """
    check(representations, factors)
    if len(factors) < TRAIN + TEST:
        raise InputError(f"disentanglement needs {TRAIN + TEST:,} pictures, and there are {len(factors):,}")
    rows = metrics_of(LatentMetric, names)
    latents = Latents.of(representations, factors, seed)
    values = {name: _measure_latents(name, row, latents) for name, row in rows.items()}
    shuffled = latents.shuffled()
    null = {name: float(np.mean(_measure_latents(name, row, shuffled))) for name, row in rows.items() if row.null == "shuffled"}
    of_factors = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    return LatentScores({name: float(np.mean(value)) for name, value in values.items()}, null, of_factors)


def _measure_latents(name: str, row: LatentMetric, latents: Latents) -> float | Array:
    """The score of the latents, or [F] that of each factor. Errors: `PackageError`."""
    with attribute_errors(_label([name]), row.measure):
        value = row.measure(latents)
    if is_own(row.measure):
        return value
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return _values_of_pictures(name, value, latents.factors.shape[1], row.measure)
    return _finite(_label([name]), row.measure, value, "a finite number, or one for each factor")

"""Scores of samples: gathers what the metrics of samples need, measures them, and warns where numbers say little."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from limner.core import parallel, precision
from limner.core.errors import InputError
from limner.core.progress import OnProgress, Progress, silent
from limner.data.dataset import Dataset
from limner.evaluation.inputs import EvaluationInput
from limner.judges.judge import judge_for
from limner.judges.references import MAX_SEARCHED_IMAGES, Reference, held_out_nearest, reference
from limner.metrics.distribution.classes import class_shares
from limner.metrics.distribution.coverage import narrowness
from limner.metrics.features.detectors import Detector
from limner.metrics.features.judge import Judge
from limner.metrics.features.pixels import ImageSubset
from limner.metrics.features.summary import FeatureSummary, summarise
from limner.metrics.features.table import open_detector
from limner.metrics.measure import measure, metrics_of
from limner.metrics.memorisation.nearest import nearest
from limner.metrics.metric import SampleMetric
from limner.metrics.sides import Copies, Labels, Sides
from limner.metrics.stats.score import Score

SEED = 0
"""Seeds everything random in the metrics of samples. Reports name it."""
QUANTISATION = "uint8, rounded"
"""How the values of samples are rounded. Reports name it, since rounding moves Fréchet distances (Parmar et al. 2022,
arXiv:2104.11222)."""
COPY_WARNING_P = 1e-4
"""A p of the copies below this is worth a warning."""
MIN_RELIABLE_IMAGES = 1_000
"""With fewer samples, or fewer real pictures, scores of distributions say little."""
MIN_HELD_OUT_IMAGES = 20
"""With fewer held-out pictures copies are not searched for: nothing would say how near pictures lie that are no copies."""


@dataclass(frozen=True)
class SampleScores:
    """The scores of samples, and what they were computed from."""

    metrics: dict[str, Score]
    sides: Sides
    reference: Reference
    samples: EvaluationInput

    @property
    def detector(self) -> Detector:
        """The network, or the function, whose features were compared."""
        return self.reference.detector

    def to_dict(self) -> dict[str, Any]:
        """The entries of a report that are about samples."""
        detector, real = self.detector, self.reference
        report: dict[str, Any] = {
            "metrics": {name: score.to_dict() for name, score in self.metrics.items()},
            "count": self.sides.n,
            "features": {
                "name": detector.name,
                "checksum": detector.checksum,
                "dimensions": detector.dim,
                "about": detector.preprocessing,
            },
            "context": {
                "quantisation": QUANTISATION,
                "seed": SEED,
                "features_kept": list(self.sides.feature_counts),
                "notes": list(self.samples.notes),
            },
            "warnings": list_warnings(self.metrics, self.sides, real.split),
        }
        if isinstance(detector, Judge):
            report["features"]["held_out_accuracy"] = detector.card.held_out_accuracy
            if self.sides.samples.logits is not None and real.summary.logits is not None:
                names = real.dataset.classes
                of_samples, of_real = self.sides.samples.logits, real.summary.logits
                report["classes"] = {"samples": class_shares(of_samples, names), "real": class_shares(of_real, names)}
        return report


@dataclass(frozen=True)
class SampleScoring:
    """Which metrics of samples are measured, and against which real pictures."""

    dataset: Dataset
    split: str
    """The split of `dataset` that samples are compared with."""
    features: str
    """A name of the table of detectors, or a file with weights."""
    metrics: Collection[str]
    """Names of the table `limner.metrics.scores`."""
    trained_on: bool
    """Whether the model may have been trained on the train split of `dataset`; copies are searched for only then."""
    required: bool
    """Whether a metric that cannot be measured is an error. Otherwise it is left out."""


def open_detector_for(dataset: Dataset, features: str, on_progress: OnProgress = silent) -> Detector:
    """The detector `features` for the pictures of `dataset`, on this machine's device. It is downloaded, or trained on the
    data, where it is not there yet.

    Errors: `InputError` for an unknown name, weights that cannot be read, or pictures that the detector does not take.
    """
    judge = partial(judge_for, dataset, on_progress)
    make = partial(open_detector, features, dataset.shape, judge, on_progress, partial(judge, labelled=False))
    return parallel.main_process_first(make).to(precision.device())


def score_samples(samples: EvaluationInput, scoring: SampleScoring, on_progress: OnProgress) -> SampleScores:
    """Measures the metrics that `scoring` names on `samples`.

    Errors: `InputError` for fewer than two samples, for a detector that cannot be opened, and for a required metric that
    cannot be measured.
    """
    dataset, split, count = scoring.dataset, scoring.split, int(samples.images.shape[0])
    if count < 2:
        raise InputError(f"scores need at least two pictures, and there are {count}")
    on_progress(Progress(f"preparing the features: {scoring.features}"))
    detector = open_detector_for(dataset, scoring.features, on_progress)
    on_progress(Progress(f"computing features of {len(dataset.indices(split)):,} real pictures"))
    real = reference(dataset, split, detector)
    on_progress(Progress(f"computing features of the {count:,} pictures to be judged"))
    summary = summarise(samples.images, detector)
    needs = {need for metric in metrics_of(SampleMetric, scoring.metrics).values() for need in metric.needs}
    copies = training_features = None
    if "copies" in needs and scoring.trained_on:
        on_progress(Progress("searching the training pictures for copies"))
        copies = _search_copies(samples, dataset, split)
    if "training features" in needs and scoring.trained_on:
        training_features = real.training_features()
    sides = Sides(
        samples=summary,
        real=real.summary,
        sample_images=samples.images,
        real_images=ImageSubset(dataset.images, real.rows),
        labels=_labels(samples, summary, real),
        copies=copies,
        training_features=training_features,
        cached_nulls=real.nulls(summary.count, SEED),
        real_radii=real.radii(),
        own_classes=detector.own_classes,
        seed=SEED,
    )
    return SampleScores(measure(sides, scoring.metrics, scoring.required, on_progress), sides, real, samples)


def _labels(samples: EvaluationInput, summary: FeatureSummary, real: Reference) -> Labels:
    """The classes of the samples and real pictures whose features are in memory."""
    labels = None if samples.labels is None else torch.from_numpy(samples.labels[: len(summary.features)])
    return Labels(labels, real.labels, len(real.dataset.classes))


def _search_copies(samples: EvaluationInput, dataset: Dataset, split: str) -> Copies | None:
    """The training pictures nearest to samples, and those nearest to held-out pictures.

    None where there are too few held-out or training pictures, and for pictures below 4×4, which `nearest` does not compare.
    """
    if split == "train" or len(dataset.splits[split]) < MIN_HELD_OUT_IMAGES or len(dataset.splits["train"]) < 3:
        return None
    if min(dataset.shape[:2]) < 4:
        return None
    count = min(MAX_SEARCHED_IMAGES, int(samples.images.shape[0]))
    first_samples = ImageSubset(samples.images, np.arange(count, dtype=np.int64))
    return Copies(nearest(first_samples, dataset.images, dataset.indices("train")), held_out_nearest(dataset, split))


def list_warnings(scores: Mapping[str, Score], sides: Sides, split: str) -> list[str]:
    """What a reader should know before trusting the `scores`, one text for each doubt; `split` is that of the real pictures."""
    warnings = []
    if split == "train":
        warnings.append(
            "too few real pictures, or none, were held out, so that a model may have been trained on those compared with"
        )
    n, m, dim = sides.n, sides.m, sides.real.features.shape[1]
    if min(n, m) < MIN_RELIABLE_IMAGES:
        pictures = f"{n:,} samples" if n <= m else f"{m:,} real pictures"
        warnings.append(
            f"{pictures} are few: scores of distributions are biased at such numbers; compare them with their null, and with "
            "scores of the same number of pictures only"
        )
    warnings += _copy_warnings(scores)
    if narrow := narrowness({name: score.to_dict() for name, score in scores.items()}):
        warnings.append(narrow)
    if "frechet" in scores and min(n, m) <= dim:
        warnings.append(
            f"the covariance of {dim:,} features cannot be estimated from {min(n, m):,} pictures, which biases frechet; mmd is "
            "free of this bias"
        )
    rows = metrics_of(SampleMetric, scores)
    if without_null := [name for name, score in scores.items() if score.null is None and rows[name].null == "real pictures"]:
        warnings.append(f"there are too few real pictures to say what they would score: {', '.join(without_null)}")
    indistinct = [name for name, score in scores.items() if _is_indistinct(name, score)]
    if indistinct and min(n, m) < MIN_RELIABLE_IMAGES:
        warnings.append(
            f"with so few pictures chance moves these scores too much to tell samples from real ones: {', '.join(indistinct)}"
        )
    return warnings


def _copy_warnings(scores: Mapping[str, Score]) -> list[str]:
    """One text where samples are nearer to training pictures than chance brings held-out ones; none otherwise."""
    copies = [scores[name] for name in ("copies", "copies_double") if name in scores]
    if not any(score.p is not None and score.p < COPY_WARNING_P for score in copies):
        return []
    largest = max(copies, key=lambda score: score.value)
    if largest.value <= 0:
        return []
    of_real = f"{largest.null or 0:.1%}"
    return [f"{largest.value:.1%} of the samples are as near to a training picture as copies are, of real pictures {of_real}"]


def _is_indistinct(name: str, score: Score) -> bool:
    """Whether the score lies so near to that of real pictures that chance explains the difference.

    Not of the scores of copies: those should be the same for samples as for real pictures.
    """
    if name.startswith("copies") or not score.error or score.null is None:
        return False
    return abs(score.value - score.null) < 2 * score.error and score.p is not None and score.p > 0.05

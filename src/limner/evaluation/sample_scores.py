"""Scores of samples: everything that the table of `limner.metrics.scores` needs, brought together."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
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
QUANTISED = "uint8, rounded"
SURE = 1e-4
"""p of copies below which a warning says so."""
FEWEST = 1_000
"""Samples, and real pictures, below which scores of distributions say little."""
LEAST_SOUGHT = 20
"""Held-out pictures below which nothing can be said of copies."""


@dataclass(frozen=True)
class Found:
    """What there is to say of samples, and to show of them."""

    metrics: dict[str, Score]
    sides: Sides
    reference: Reference
    judged: EvaluationInput

    @property
    def detector(self) -> Detector:
        return self.reference.detector

    def to_dict(self) -> dict[str, Any]:
        """The part of a report that is about samples."""
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
                "quantisation": QUANTISED,
                "seed": SEED,
                "features_kept": list(self.sides.feature_counts),
                "notes": list(self.judged.notes),
            },
            "warnings": warnings(self.metrics, self.sides, real.split),
        }
        if isinstance(detector, Judge):
            report["features"]["held_out_accuracy"] = detector.card.held_out_accuracy
            if self.sides.samples.logits is not None and real.summary.logits is not None:
                names = real.dataset.classes
                of_samples, of_real = self.sides.samples.logits, real.summary.logits
                report["classes"] = {"samples": class_shares(of_samples, names), "real": class_shares(of_real, names)}
        return report


def detector_of(features: str, dataset: Dataset, on_progress: OnProgress = silent) -> Detector:
    """The detector `features` for the pictures of `dataset`, on this machine's device; `on_progress` hears of downloads."""
    make = lambda: open_detector(features, dataset.shape, lambda: judge_for(dataset), on_progress)  # noqa: E731
    return parallel.main_process_first(make).to(precision.device())


@dataclass(frozen=True)
class SampleScoring:
    """Which scores of samples are to be had, and against which real pictures."""

    dataset: Dataset
    split: str
    """That of `dataset` with which the samples are compared."""
    features: str
    metrics: Collection[str]
    """Names of the table `limner.metrics.scores`."""
    trained_on: bool
    """Whether the samples' model may have learned from the train split of `dataset`: only then are copies sought there."""
    required: bool
    """Whether a score that cannot be had is an error. Otherwise it is left out."""


def score_samples(judged: EvaluationInput, scoring: SampleScoring, on_progress: OnProgress) -> Found:
    """The scores of `judged`. Errors: `InputError`, among others for a score that is required and cannot be had."""
    dataset, split, wanted, own = scoring.dataset, scoring.split, scoring.metrics, scoring.trained_on
    if judged.images.shape[0] < 2:
        raise InputError(f"scores need at least two pictures, and there are {judged.images.shape[0]}")
    on_progress(Progress(f"preparing the features: {scoring.features}"))
    detector = detector_of(scoring.features, dataset, on_progress)
    on_progress(Progress(f"looking at {len(dataset.indices(split)):,} real pictures"))
    real = reference(dataset, split, detector)
    on_progress(Progress(f"looking at the {judged.images.shape[0]:,} that are judged"))
    seen = summarise(judged.images, detector)
    needs = {need for row in metrics_of(SampleMetric, wanted).values() for need in row.needs}
    if "copies" in needs and own:
        on_progress(Progress("seeking copies among the training pictures"))
    copies = _copies(judged, dataset, split) if "copies" in needs and own else None
    sides = Sides(
        samples=seen,
        real=real.summary,
        sample_images=judged.images,
        real_images=ImageSubset(dataset.images, real.rows),
        labels=_labels(judged, seen, real),
        copies=copies,
        training_features=real.training_features() if "training features" in needs and own else None,
        remember=real.nulls(seen.count, SEED),
        real_radii=real.radii(),
        own_classes=detector.own_classes,
        seed=SEED,
    )
    return Found(measure(sides, wanted, scoring.required, on_progress), sides, real, judged)


def _labels(judged: EvaluationInput, seen: FeatureSummary, real: Reference) -> Labels:
    labels = None if judged.labels is None else torch.from_numpy(judged.labels[: len(seen.features)])
    return Labels(labels, real.labels, len(real.dataset.classes))


def _copies(judged: EvaluationInput, dataset: Dataset, split: str) -> Copies | None:
    """None where nothing was held out, or pictures are too small to be told apart."""
    few = split == "train" or len(dataset.splits[split]) < LEAST_SOUGHT or len(dataset.splits["train"]) < 3
    if few or min(dataset.shape[:2]) < 4:
        return None
    count = min(MAX_SEARCHED_IMAGES, int(judged.images.shape[0]))
    some = ImageSubset(judged.images, np.arange(count, dtype=np.int64))
    return Copies(nearest(some, dataset.images, dataset.indices("train")), held_out_nearest(dataset, split))


def warnings(metrics: dict[str, Score], sides: Sides, split: str) -> list[str]:
    """What somebody should know before believing the numbers, in whole sentences; `split` is that of the real pictures."""
    told = []
    if split == "train":
        told.append(
            "too few real pictures, or none, were held out, so that a model may have been trained on those compared with"
        )
    n, m, dim = sides.n, sides.m, sides.real.features.shape[1]
    if min(n, m) < FEWEST:
        which = f"{n:,} samples" if n <= m else f"{m:,} real pictures"
        told.append(
            f"{which} are few: scores of distributions are biased at such numbers, and say something only beside their null "
            "and beside scores at the same number"
        )
    copied = [metrics[name] for name in ("copies", "copies_double") if name in metrics]
    if copied and min(one.p or 1.0 for one in copied) < SURE and (most := max(copied, key=lambda one: one.value)).value > 0:
        real = f"of real pictures {most.null or 0:.1%}"
        told.append(f"{most.value:.1%} of the samples are as near to a training picture as copies are, {real}")
    if "frechet" in metrics and min(n, m) <= dim:
        told.append(f"a covariance of {dim:,} features cannot be known from {min(n, m):,} pictures; mmd is free of this bias")
    rows = metrics_of(SampleMetric, metrics)
    without = [name for name, score in metrics.items() if score.null is None and rows[name].null == "real pictures"]
    if without:
        told.append(f"there are too few real pictures to say what they would score: {', '.join(without)}")
    blurred = [
        name
        for name, score in metrics.items()
        if not name.startswith("copies")  # to be told from real pictures by these would be bad
        and score.error
        and score.null is not None
        and abs(score.value - score.null) < 2 * score.error
        and (score.p or 0) > 0.05
    ]
    if blurred and min(n, m) < FEWEST:
        told.append(f"with so few pictures chance moves these too much to tell samples from real ones: {', '.join(blurred)}")
    return told

"""Views: the same pictures, compared with real ones in the features of several detectors.

A learned detector is blind to what did not matter in its training, so a verdict does not rest on it alone: it speaks by the
view that sees most (docs/judging.md has what each sees and does not).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from limner.core.progress import OnProgress, silent
from limner.data.dataset import Dataset
from limner.evaluation.inputs import EvaluationInput
from limner.evaluation.sample_scores import SampleScores, SampleScoring, score_samples
from limner.judges.judge import has_classes

VIEWS = ("judge", "contrast", "random-conv", "pixels")
"""Names of detectors, the one that knows most about content first."""


@dataclass(frozen=True)
class View:
    """The Fréchet distance of pictures from real ones in the features of one detector."""

    value: float
    null: float | None
    """What as many real pictures score."""
    z: float | None
    relative: float
    """`value` less `null`, as a share of the total variance of real features: pictures that all have the mean features of real
    ones score 1. So views can be compared, whatever the unit of their features is."""
    noise: float | None = None
    """The standard deviation of the null, as a share of the same variance: how much chance moves `relative`. The fewer pictures
    there are, the larger it is. None without a z, or where the z is 0."""

    def to_dict(self) -> dict[str, Any]:
        """As reports hold it."""
        return asdict(self)


def view_of(samples: EvaluationInput, dataset: Dataset, split: str, detector: str, on_progress: OnProgress = silent) -> View:
    """How the pictures `samples` look to the `detector`, beside those of `split`. Errors: as `score_samples`."""
    scoring = SampleScoring(dataset, split, detector, ["frechet"], trained_on=False, required=True)
    return _view(score_samples(samples, scoring, on_progress))


def _view(scores: SampleScores) -> View:
    """The view in the features of the detector that `scores` were measured with, `frechet` among them."""
    score, covariance = scores.metrics["frechet"], scores.reference.summary.moments.covariance
    null = 0.0 if score.null is None else score.null
    excess, variance = score.value - null, float(covariance.trace())
    return View(score.value, score.null, score.z, max(0.0, excess) / variance, excess / score.z / variance if score.z else None)


def views_of(scores: SampleScores, dataset: Dataset, split: str, on_progress: OnProgress = silent) -> Mapping[str, View]:
    """All `VIEWS` of the pictures that `scores` were measured on; those have one of them.

    Of pictures without classes the judge is trained as `contrast` is, which is then left out.
    """
    names = [name for name in VIEWS if name != "contrast" or has_classes(dataset)]
    return {
        name: _view(scores) if name == scores.detector.name else view_of(scores.samples, dataset, split, name, on_progress)
        for name in names
    }

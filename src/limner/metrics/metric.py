"""What a row of the table of metrics declares: one class for each kind of thing that is measured.

A row is complete or it cannot be made: every field without a default has to be given by name, and a text that is empty or an
unknown word is refused. So nothing is left for a report, a comparison or a message to guess.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from limner.metrics.needs import Need
from limner.metrics.stats.score import Better, Measurement, Score

if TYPE_CHECKING:  # these import torch, which whoever asks what a metric means need not wait for
    from torch import Tensor

    from limner.metrics.likelihood import Likelihood
    from limner.metrics.representation.disentanglement import Latents
    from limner.metrics.sides import Sides

Pictures = NDArray[np.uint8]
Measurements = Measurement | Score | Mapping[str, Measurement | Score]
"""The measurement of one metric, or those of several that are computed together, by name. A `Score` is taken as it is; a
`Measurement` gets its z and p from its null."""

ErrorKind = Literal["over samples", "over pictures", "incomplete", "none"]
"""What the standard error of a metric is of. "over samples": other draws of as many samples. "over pictures": other held-out
pictures; two models are then compared on the same ones. "incomplete": it leaves out what moves the metric most, so that a
comparison claims nothing by it. "none": the metric has no error."""
NullKind = Literal["real pictures", "labelled pictures", "constant", "shuffled", "none"]
"""What stands in the null's place: scores of real pictures, the same where these have labels, a known constant (such as ½ for a
test by chance), the score of latents that belong to other pictures, or nothing."""
Cost = Literal["seconds", "minutes"]
"""How long a metric takes at 5,000 pictures on a CPU."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What all kinds of metrics declare. Errors: `ValueError` for a field that says nothing; `TypeError` for one left out."""

    better: Better
    meaning: str
    """What the value says, for a person, without the direction: a report puts that before it."""
    error: ErrorKind
    null: NullKind
    cost: Cost
    default: bool
    """Whether it is measured where no metrics are named: not what takes minutes, or misleads those who did not ask for it."""
    since: str
    """The version that last changed its values. Of a metric from another package it stands in every report, and a report with
    another one is not used again; of limner's own metrics `limner.metrics.scores.METRICS_VERSION` is compared."""
    aliases: tuple[str, ...] = ()
    """Names under which people look for it. They are answered with a hint and not accepted, since a published name such as FID
    also promises the published features."""
    published_names: Mapping[str, str] = field(default_factory=dict)
    """Detector -> the name that the literature gives the metric in the features of that detector, and in no others."""
    default_detectors: frozenset[str] = frozenset()
    """Detectors with which it is measured by default although `default` says no."""

    def __post_init__(self) -> None:
        if not isinstance(self, SampleMetric | PairMetric | LikelihoodMetric | LatentMetric):
            raise TypeError("a metric is a SampleMetric, PairMetric, LikelihoodMetric or LatentMetric")
        choices: list[tuple[str, Any]] = [("better", Better), ("error", ErrorKind), ("null", NullKind), ("cost", Cost)]
        for name, words in choices:
            if getattr(self, name) not in get_args(words):
                raise ValueError(f"{name}={getattr(self, name)!r} is none of {', '.join(map(repr, get_args(words)))}")
        for name in ("meaning", "since"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name} of a metric must not be empty")


@dataclass(frozen=True, kw_only=True)
class SampleMetric(Metric):
    """A metric of samples against real pictures.

    Metrics that share the same `measure` and `needs` are computed together, by one call. `needs` are keys of
    `limner.metrics.sides.NEEDS`: where one is not met, the metric is left out, or refused if it was asked for by name.
    """

    measure: Callable[[Sides], Measurements]
    needs: tuple[Need, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if unknown := [need for need in self.needs if need not in get_args(Need)]:
            raise ValueError(f"needs={unknown} are none of {', '.join(get_args(Need))}")


@dataclass(frozen=True, kw_only=True)
class PairMetric(Metric):
    """A metric of each picture and its reconstruction: `measure` takes both, [N, H, W, C] uint8, and gives [N] float64."""

    measure: Callable[[Pictures, Pictures], Tensor]


@dataclass(frozen=True, kw_only=True)
class LikelihoodMetric(Metric):
    """A metric of the likelihood that a model gives to pictures: `measure` gives [N] float64.

    `is_exact`: it takes a model whose likelihood is known exactly, and not only bounded.
    """

    measure: Callable[[Likelihood], NDArray[np.float64] | None]
    is_exact: bool


@dataclass(frozen=True, kw_only=True)
class LatentMetric(Metric):
    """A metric of latents whose pictures have known factors: `measure` gives the score, or that of each factor, [F] float64.

    Of the latter the mean is the score. Where `null` is "shuffled", it is measured again with latents of other pictures.
    """

    measure: Callable[[Latents], float | NDArray[np.float64]]

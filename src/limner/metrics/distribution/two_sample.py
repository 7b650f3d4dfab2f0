"""The classifier two-sample test: can a classifier distinguish samples from real pictures? (Lopez-Paz & Oquab 2017,
arXiv:1610.06545.)

A classifier is trained on half of both sets and tested on the other half. An accuracy of ½ means that this classifier finds no
difference in these features; another one might.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from limner.core.errors import InputError
from limner.core.seeds import fold
from limner.metrics.representation.probes import Scaling, Share, choose_probe, wilson
from limner.metrics.stats.exact_tests import hypergeometric_tail
from limner.metrics.stats.moments import finite_on_cpu

MIN_IMAGES = 8
"""On either side; fewer leave nothing to train or to test with."""


@dataclass(frozen=True)
class TwoSample:
    """How the classifier did on the held-out halves."""

    accuracy: Share
    """Share of right answers, with its 95 % interval; ½ where the sets do not differ."""
    z: float
    """Standard deviations of the accuracy above what equal sets would get."""
    p: float
    """The exact probability of as many right answers by chance: among all ways to exchange samples and real pictures in the
    held-out halves."""
    images: int
    """In both held-out halves together."""


def two_sample_test(samples: Tensor, real: Tensor, seed: int = 0) -> TwoSample:
    """Features `samples` [M, d] against `real` [N, d]; of the larger set a seeded choice as large as the smaller takes part.

    The classifier is a logistic regression on standardised features, its penalty chosen on a fifth of the training half.
    Errors: `InputError` where a set is smaller than `MIN_IMAGES`.
    """
    size = min(len(samples), len(real))
    if size < MIN_IMAGES:
        raise InputError(f"a two-sample test needs {MIN_IMAGES} images on either side, not {len(samples)} and {len(real)}")
    subsets = []
    for name, x in (("samples", samples), ("real", real)):
        rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(fold(seed, "two-sample", name)))[:size]
        subsets.append(finite_on_cpu(x[rows], torch.float32))
    half = size // 2
    train, labels = _interleave(*(x[:half] for x in subsets))
    test, truth = _interleave(*(x[half:] for x in subsets))
    return exchange_test(_predictions(train, labels, test), truth)


def exchange_test(predictions: Tensor, truth: Tensor) -> TwoSample:
    """From predictions [n] and truth [n] of the held-out pictures, both 1 for samples and 0 for real pictures.

    If samples and real pictures are exchangeable, then with the number of predicted and of true samples fixed, the number of
    right answers is hypergeometric: its mean and standard deviation give `z`, its tail gives `p`.
    """
    count, positives, ones = len(truth), int(predictions.sum()), int(truth.sum())
    hits = int((predictions * truth).sum())
    right = count - positives - ones + 2 * hits
    # This is 2·hits and a constant, so z and p are those of the hits.
    expected = positives * ones / count
    variance = expected * (1 - ones / count) * (count - positives) / max(1, count - 1)
    z = (hits - expected) / math.sqrt(variance) if variance > 0 else 0.0
    return TwoSample(wilson(right, count), z, hypergeometric_tail(count, ones, positives, hits), count)


def _interleave(samples: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of both in turn, and their labels, 1 for samples: any range of rows then holds equally many of both."""
    x = torch.stack((samples, real), 1).flatten(0, 1)
    return x, torch.tensor([1, 0]).repeat(len(samples))


def _predictions(train: Tensor, labels: Tensor, test: Tensor) -> Tensor:
    cut = 2 * max(1, len(train) // 10)  # a fifth, equally many of both
    scaling = Scaling.of(train[cut:])
    probe, _ = choose_probe(scaling(train[cut:]), labels[cut:], scaling(train[:cut]), labels[:cut], 2)
    return probe.logits(scaling(test)).argmax(1)

"""The classifier two-sample test: can samples be told from real pictures? (Lopez-Paz & Oquab 2017, arXiv:1610.06545.)

Half of both sets teaches a classifier to tell them apart, the other half examines it. An accuracy of ½ means that this
classifier sees no difference in these features; another one might.
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
from limner.metrics.stats.finite import on_cpu

FEWEST = 8
"""Images on either side below which there is nothing to learn from, or to examine with."""


@dataclass(frozen=True)
class TwoSample:
    """What the classifier got right of the held-out halves.

    `accuracy`: with its 95 % interval; ½ where nothing can be told. `z`: standard deviations above ½, as equal sets would
    scatter. `p`: how often so many would be right by chance, exactly: of all ways to exchange samples and real pictures in the
    held-out halves. `examined`: pictures in both halves.
    """

    accuracy: Share
    z: float
    p: float
    examined: int


def two_sample_test(samples: Tensor, real: Tensor, seed: int = 0) -> TwoSample:
    """Features `samples` [M, d] against `real` [N, d]; of the larger set a seeded choice as large as the smaller takes part.

    The classifier is a logistic regression in standardised units, its penalty chosen on a fifth of the training half. Errors:
    `InputError` where a set is smaller than `FEWEST`.
    """
    size = min(len(samples), len(real))
    if size < FEWEST:
        raise InputError(f"a two-sample test needs {FEWEST} images on either side, not {len(samples)} and {len(real)}")
    chosen = []
    for name, x in (("samples", samples), ("real", real)):
        rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(fold(seed, "two-sample", name)))[:size]
        chosen.append(on_cpu(x[rows], torch.float32))
    half = size // 2
    train, labels = _both(*(x[:half] for x in chosen))
    test, truth = _both(*(x[half:] for x in chosen))
    return examined(_answers(train, labels, test), truth)


def examined(said: Tensor, truth: Tensor) -> TwoSample:
    """From answers [n] and truth [n], both 0 or 1, of the held-out pictures.

    Given how many the classifier calls samples, and how many there are, the number it gets right is hypergeometric if they may
    be exchanged: the mean and deviation for `z`, and the tail for `p`.
    """
    count, called, ones = len(truth), int(said.sum()), int(truth.sum())
    hits = int((said * truth).sum())
    right = count - called - ones + 2 * hits
    # right is 2·hits and a constant, so its chance is that of the hits.
    expected = called * ones / count
    variance = expected * (1 - ones / count) * (count - called) / max(1, count - 1)
    z = (hits - expected) / math.sqrt(variance) if variance > 0 else 0.0
    return TwoSample(wilson(right, count), z, hypergeometric_tail(count, ones, called, hits), count)


def _both(samples: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """One set with labels: 1 for samples. In turn, so that every stretch of rows holds as many of both."""
    x = torch.stack((samples, real), 1).flatten(0, 1)
    return x, torch.tensor([1, 0]).repeat(len(samples))


def _answers(train: Tensor, labels: Tensor, test: Tensor) -> Tensor:
    cut = 2 * max(1, len(train) // 10)  # a fifth, as many of both
    scaling = Scaling.of(train[cut:])
    probe, _ = choose_probe(scaling(train[cut:]), labels[cut:], scaling(train[:cut]), labels[:cut], 2)
    return probe.logits(scaling(test)).argmax(1)

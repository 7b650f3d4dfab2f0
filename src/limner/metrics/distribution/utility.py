"""Are samples useful for training a classifier, do they show the requested class, and are they diverse?

GAN-train and GAN-test: Shmelkov et al. 2018, "How good is my GAN?". The first falls where samples are of low quality or of low
diversity, the second only where they are of low quality. Vendi score: Friedman & Dieng 2023 (arXiv:2210.02410).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core.errors import InputError
from limner.core.images import batches_of
from limner.core.seeds import fold
from limner.metrics.distribution.frechet import Null, jackknife
from limner.metrics.features.judge_training import accuracy, train_judge
from limner.metrics.features.pixels import Source
from limner.metrics.representation.probes import Scaling, Share, choose_probe, wilson
from limner.metrics.stats.moments import finite_on_cpu

_ROWS = 1024  # rows of a distance matrix held at a time


def label_accuracy(logits: Tensor, labels: Tensor) -> Share:
    """Share of samples for which the largest of the classifier's `logits` [M, K] is that of the requested label [M].

    By a classifier trained on real pictures this is GAN-test. −1 is "no label", and such samples are left out. Errors:
    `InputError` where labels do not fit the logits, or no sample has one.
    """
    if len(logits) != len(labels) or (len(labels) and int(labels.max()) >= logits.shape[1]):
        raise InputError(f"label accuracy needs one label below {logits.shape[1]} for each of the {len(logits)} images")
    has_label = labels >= 0
    if not bool(has_label.any()):
        raise InputError("label accuracy needs labelled images, and no image has a label")
    return wilson(int((logits.argmax(1) == labels)[has_label].sum()), int(has_label.sum()))


def probe_accuracy(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, classes: int, seed: int = 0
) -> Share:
    """Accuracy on `test` [M, d] of a linear probe that learned from `train` [N, d], with its 95 % interval.

    With samples as `train` this is GAN-train in these features, with real pictures GAN-test. The penalty is chosen on a fifth
    of `train`. Features that were learned from real labels separate the classes already and make GAN-train look better than it
    is; `gan_train` uses none.
    """
    train, train_labels = _labelled(train, train_labels, classes)
    test, test_labels = _labelled(test, test_labels, classes)
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(fold(seed, "taught")))
    cut = max(1, len(order) // 5)
    if len(order) < 2:
        raise InputError(f"a classifier cannot be trained on {len(order)} images; at least two are needed")
    validation, rest = order[:cut], order[cut:]
    scaling = Scaling.of(train[rest])
    x = scaling(train)
    probe, _ = choose_probe(x[rest], train_labels[rest], x[validation], train_labels[validation], classes)
    return wilson(int((probe.logits(scaling(test)).argmax(1) == test_labels).sum()), len(test))


# Many parameters: those of `probe_accuracy`, whose null it is, and how often and with how many pictures it is drawn.
def probe_accuracy_null(
    real: Tensor, labels: Tensor, n: int, classes: int, repeats: int = 5, seed: int = 0, tested: bool = False
) -> Null:
    """`probe_accuracy` with `n` of the real pictures [R, d] in the samples' place, `repeats` times.

    They train the probe, which is tested on the others (GAN-train); or they are `tested` by a probe that the others train
    (GAN-test). Of fewer than 2n real pictures one half takes the samples' place.
    """
    n = min(n, len(real) // 2)
    scores = []
    for repeat in range(repeats):
        rows = torch.randperm(len(real), generator=torch.Generator().manual_seed(fold(seed, "taught null", repeat)))
        in_samples_place, others = rows[:n], rows[n:]
        train, test = (others, in_samples_place) if tested else (in_samples_place, others)
        scores.append(probe_accuracy(real[train], labels[train], real[test], labels[test], classes, seed).value)
    return Null(tuple(scores), (n, len(real) - n))


def gan_train(
    samples: Source, sample_labels: NDArray[np.int64], real: Source, real_labels: NDArray[np.int64], classes: int, seed: int = 0
) -> Share:
    """GAN-train: accuracy on `real` [N, H, W, C] uint8 of a small network that was trained on `samples` [M, H, W, C] alone.

    Network and training are the judge's, and take as long. Errors: `InputError` for samples of fewer than two classes, or real
    pictures without labels.
    """
    count = int((real_labels >= 0).sum())
    network = train_judge(samples, None, sample_labels, classes, seed)
    if network.card.classes == 0 or count == 0:
        raise InputError("GAN-train needs samples of at least two classes, and labelled real images")
    return wilson(round(accuracy(network, real, real_labels) * count), count)


def vendi(features: Tensor) -> float:
    """The effective number of different pictures among `features` [N, d]: e to the entropy of the eigenvalues of K/N.

    K is the cosine similarity, as in the paper's experiments on images; its eigenvalues are those of the d×d matrix XᵀX of the
    normalised rows. Between 1 and min(N, d): pictures whose features have the same direction count as one. Errors: `InputError`
    where all features are zero.

    >>> round(vendi(torch.eye(3)), 6), round(vendi(torch.ones(3, 2)), 6)
    (3.0, 1.0)
    """
    gram = torch.zeros(features.shape[1], features.shape[1], dtype=torch.float64)
    for rows in batches_of(len(features), _ROWS):
        x = finite_on_cpu(features[rows])
        length = x.norm(dim=1, keepdim=True)
        x = torch.where(length > 0, x / length.clamp_min(1e-300), 0.0)
        gram += x.T @ x
    trace = gram.trace()
    if trace == 0:  # no picture, or none with features other than zero
        raise InputError("a Vendi score needs at least one image whose features are not all zero")
    shares = torch.linalg.eigvalsh(gram / trace).clamp_min(0)
    return float(torch.special.entr(shares).sum().exp())


def pairwise_distance(features: Tensor) -> float:
    """Mean Euclidean distance of two different pictures of `features` [N, d]: 0 where all are equal, unbounded above.

    >>> pairwise_distance(torch.tensor([[0.0], [3.0]]))
    3.0
    """
    return pairwise_distances(features, 1)[0]


def pairwise_distances(features: Tensor, blocks: int = 10) -> list[float]:
    """The mean distance of two different pictures of `features` [N, d], of all, and without each of the `blocks` of rows."""
    count = len(features)
    if count < 2:
        raise InputError(f"a mean distance needs two images, and there are {count}")
    x = finite_on_cpu(features)
    x = x - x.mean(0)
    cuts = batches_of(count, -(-count // blocks))
    sums = torch.zeros(len(cuts), len(cuts), dtype=torch.float64)
    for i, block in enumerate(cuts):
        for rows in batches_of(block.stop - block.start, _ROWS):
            # By a matrix product: its cancellation matters to near neighbours, and not to a mean.
            distances = torch.cdist(x[block][rows], x, compute_mode="use_mm_for_euclid_dist").sum(0)
            sums[i] += torch.stack([distances[columns].sum() for columns in cuts])
    sums_of_block = [sums.new_zeros(()), *(sums[i].sum() + sums[:, i].sum() - sums[i, i] for i in range(len(cuts)))]
    counts = [count, *(count - (block.stop - block.start) for block in cuts)]
    return [float(sums.sum() - part) / (n * (n - 1)) for part, n in zip(sums_of_block, counts, strict=True) if n >= 2]


def diversity_error(measure: Callable[[Tensor], float], features: Tensor, blocks: int = 10) -> float:
    """Standard error of `vendi` or `pairwise_distance` over other draws: a jackknife over blocks of consecutive rows."""
    cuts = batches_of(len(features), -(-len(features) // blocks))
    return jackknife([measure(torch.cat((features[: rows.start], features[rows.stop :]))) for rows in cuts])


def diversity_null(measure: Callable[[Tensor], float], real: Tensor, n: int, repeats: int = 10, seed: int = 0) -> Null:
    """`vendi` or `pairwise_distance` of `n` real pictures, or of half of them where there are fewer than 2n, `repeats` times.

    Both hardly depend on N. With more than half of the pictures the repeats would be nearly the same set.
    """
    n = min(n, len(real) // 2)
    scores = []
    for repeat in range(repeats):
        rows = torch.randperm(len(real), generator=torch.Generator().manual_seed(fold(seed, "diversity null", repeat)))
        scores.append(measure(real[rows[:n]]))
    return Null(tuple(scores), (n, n))


def _labelled(x: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    if len(x) != len(labels) or (len(labels) and int(labels.max()) >= classes):
        raise InputError(f"a classifier needs one label below {classes} for each of the {len(x)} images")
    has_label = labels >= 0
    if not bool(has_label.any()):
        raise InputError("a classifier needs labelled images, and no image has a label")
    return finite_on_cpu(x[has_label], torch.float32), labels[has_label]

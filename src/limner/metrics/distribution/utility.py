"""What samples are good for: do they teach, are they what was asked for, and are they varied?

GAN-train and GAN-test: Shmelkov et al. 2018, "How good is my GAN?". The first falls where samples are bad or few in kind, the
second only where they are bad. Vendi score: Friedman & Dieng 2023 (arXiv:2210.02410).
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
from limner.metrics.stats.finite import on_cpu

_ROWS = 1024  # rows of a distance matrix held at a time


def label_accuracy(logits: Tensor, labels: Tensor) -> Share:
    """Share of samples whose asked-for label [M] the classifier names first, of its `logits` [M, K].

    By a classifier trained on real pictures this is GAN-test. −1 is "no label", and such samples are left out.
    """
    if len(logits) != len(labels) or (len(labels) and int(labels.max()) >= logits.shape[1]):
        raise InputError(f"label accuracy needs one label below {logits.shape[1]} for each of the {len(logits)} images")
    known = labels >= 0
    if not bool(known.any()):
        raise InputError("label accuracy needs labelled images, and no image has a label")
    return wilson(int((logits.argmax(1) == labels)[known].sum()), int(known.sum()))


def taught(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, classes: int, seed: int = 0) -> Share:
    """Accuracy on `test` [M, d] of a linear probe that learned from `train` [N, d], with its interval.

    Samples first is GAN-train in these features, real pictures first GAN-test. The penalty is chosen on a fifth of `train`.
    Features that were learned from real labels know the classes already and flatter GAN-train: `gan_train` does without.
    """
    train, train_labels = _labelled(train, train_labels, classes)
    test, test_labels = _labelled(test, test_labels, classes)
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(fold(seed, "taught")))
    cut = max(1, len(order) // 5)
    if len(order) < 2:
        raise InputError(f"a classifier cannot be trained on {len(order)} images; at least two are needed")
    held, kept = order[:cut], order[cut:]
    scaling = Scaling.of(train[kept])
    x = scaling(train)
    probe, _ = choose_probe(x[kept], train_labels[kept], x[held], train_labels[held], classes)
    return wilson(int((probe.logits(scaling(test)).argmax(1) == test_labels).sum()), len(test))


# Many parameters: those of `taught`, whose null it is, and how often and with how many pictures it is drawn.
def taught_null(
    real: Tensor, labels: Tensor, n: int, classes: int, repeats: int = 5, seed: int = 0, examined: bool = False
) -> Null:
    """`taught` with `n` real pictures of [R, d] in the samples' place: what they teach, examined on the others (GAN-train), or
    how well they are known where they are `examined` by what the others taught (GAN-test).

    Of fewer than 2n pictures one half takes the samples' place.
    """
    n = min(n, len(real) // 2)
    scores = []
    for repeat in range(repeats):
        rows = torch.randperm(len(real), generator=torch.Generator().manual_seed(fold(seed, "taught null", repeat)))
        ours, others = rows[:n], rows[n:]
        left, right = (others, ours) if examined else (ours, others)
        scores.append(taught(real[left], labels[left], real[right], labels[right], classes, seed).value)
    return Null(tuple(scores), (n, len(real) - n))


def gan_train(
    samples: Source, sample_labels: NDArray[np.int64], real: Source, real_labels: NDArray[np.int64], classes: int, seed: int = 0
) -> Share:
    """GAN-train: accuracy on `real` [N, H, W, C] uint8 of a small network that learned from `samples` [M, H, W, C] alone.

    The network is the judge's, and its training; it takes as long as a judge does. Real pictures in the place of `samples` give
    what to compare with.
    """
    known = int((real_labels >= 0).sum())
    network = train_judge(samples, None, sample_labels, classes, seed)
    if network.card.classes == 0 or known == 0:
        raise InputError("GAN-train needs samples of at least two classes, and labelled real images")
    return wilson(round(accuracy(network, real, real_labels) * known), known)


def vendi(features: Tensor) -> float:
    """The effective number of different pictures among `features` [N, d]: e to the entropy of the eigenvalues of K/N.

    K is the cosine similarity, as in the paper's experiments on images; its eigenvalues are those of the d×d matrix XᵀX of the
    normalised rows. Between 1 and min(N, d): it counts directions, and two pictures in one direction as one.
    """
    gram = torch.zeros(features.shape[1], features.shape[1], dtype=torch.float64)
    for rows in batches_of(len(features), _ROWS):
        x = on_cpu(features[rows])
        length = x.norm(dim=1, keepdim=True)
        x = torch.where(length > 0, x / length.clamp_min(1e-300), 0.0)
        gram += x.T @ x
    trace = gram.trace()
    if trace == 0:  # no picture, or none that points anywhere
        raise InputError("a Vendi score needs at least one image whose features are not all zero")
    shares = torch.linalg.eigvalsh(gram / trace).clamp_min(0)
    return float(torch.special.entr(shares).sum().exp())


def pairwise_distance(features: Tensor) -> float:
    """Mean Euclidean distance of two different pictures of `features` [N, d]: 0 where all are equal, unbounded above."""
    return pairwise_distances(features, 1)[0]


def pairwise_distances(features: Tensor, blocks: int = 10) -> list[float]:
    """The mean distance of two different pictures of `features` [N, d], of all and without each of the blocks of rows."""
    count = len(features)
    if count < 2:
        raise InputError(f"a mean distance needs two images, and there are {count}")
    x = on_cpu(features)
    x = x - x.mean(0)
    cuts = batches_of(count, -(-count // blocks))
    sums = torch.zeros(len(cuts), len(cuts), dtype=torch.float64)
    for i, block in enumerate(cuts):
        for rows in batches_of(block.stop - block.start, _ROWS):
            # Cancellation of the matrix-product shortcut matters to near neighbours, not to a mean.
            apart = torch.cdist(x[block][rows], x, compute_mode="use_mm_for_euclid_dist").sum(0)
            sums[i] += torch.stack([apart[columns].sum() for columns in cuts])
    lost = [sums.new_zeros(()), *(sums[i].sum() + sums[:, i].sum() - sums[i, i] for i in range(len(cuts)))]
    left = [count, *(count - (block.stop - block.start) for block in cuts)]
    return [float(sums.sum() - less) / (n * (n - 1)) for less, n in zip(lost, left, strict=True) if n >= 2]


def diversity_error(measure: Callable[[Tensor], float], features: Tensor, blocks: int = 10) -> float:
    """Standard error of `vendi` or `pairwise_distance` over other draws: a jackknife over blocks of consecutive rows."""
    cuts = batches_of(len(features), -(-len(features) // blocks))
    return jackknife([measure(torch.cat((features[: rows.start], features[rows.stop :]))) for rows in cuts])


def diversity_null(measure: Callable[[Tensor], float], real: Tensor, n: int, repeats: int = 10, seed: int = 0) -> Null:
    """`vendi` or `pairwise_distance` of `n` real pictures, `repeats` times; of fewer than 2n, of halves.

    Both hardly depend on N; halves keep the repeats from being one and the same set.
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
    known = labels >= 0
    if not bool(known.any()):
        raise InputError("a classifier needs labelled images, and no image has a label")
    return on_cpu(x[known], torch.float32), labels[known]

"""What can be read off a representation: a linear probe and nearest neighbours, with the uncertainty of their accuracy.

A probe is a multinomial logistic regression (Alain & Bengio 2016, arXiv:1610.01644): what it gets right lies in the
representation linearly. Nearest neighbours show whether pictures of one class lie near each other. Hyper-parameters (the weight
of the penalty, the number of neighbours, the scaling of the dimensions) are chosen on validation pictures, never on those whose
accuracy is reported.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from limner.core.images import batches_of
from limner.core.process import ignore_warnings
from limner.metrics.stats.intervals import CONFIDENCE_LEVEL
from limner.metrics.stats.threads import one_library_thread

PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""Candidates for λ in mean cross-entropy + λ/2·|W|²."""
NEIGHBOURS = (1, 3, 5, 10, 20)
"""Candidates for the number of neighbours that vote."""


@dataclass(frozen=True)
class Share:
    """A share of successes with its 95 % confidence interval, `low` to `high`."""

    value: float
    low: float
    high: float


def wilson(successes: int, trials: int) -> Share:
    """Wilson's score interval (1927): unlike ±1.96 standard errors it stays in 0..1 and is right near 0 and 1.

    Errors: `ValueError` without trials, or for more successes than trials.

    >>> share = wilson(9, 10)
    >>> share.value, round(share.low, 3), round(share.high, 3)
    (0.9, 0.596, 0.982)
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"{successes} successes in {trials} trials are no share")
    from scipy import stats

    ends = stats.binomtest(successes, trials).proportion_ci(CONFIDENCE_LEVEL, method="wilson")
    return Share(successes / trials, float(ends.low), float(ends.high))


@dataclass(frozen=True)
class Scaling:
    """Brings each dimension to mean 0 and standard deviation 1 on the training rows; a constant one becomes 0."""

    mean: Tensor
    scale: Tensor
    """[d] each, float32."""

    @classmethod
    def of(cls, x: Tensor) -> Scaling:
        """The scaling for the rows of `x` [N, d]; sums are float64."""
        parts = [x[rows] for rows in batches_of(len(x), 4096)]
        mean = sum((part.double().sum(0) for part in parts), torch.zeros(x.shape[1], dtype=torch.float64)) / len(x)
        squares = sum(((part.double() - mean).square().sum(0) for part in parts), torch.zeros_like(mean))
        std = (squares / len(x)).sqrt()
        # Rounding gives a constant column a deviation of about 1e-8 of its size, which must not be scaled up to 1.
        varies = std > 1e-6 * torch.stack([part.abs().amax(0) for part in parts]).amax(0).clamp(min=1e-30)
        return cls(mean.float(), torch.where(varies, 1 / std, torch.zeros_like(std)).float())

    def __call__(self, x: Tensor) -> Tensor:
        return (x.float() - self.mean) * self.scale


@dataclass(frozen=True)
class Linear:
    """A fitted logistic regression: logits are x·weightᵀ + bias."""

    weight: Tensor
    """[K, d]"""
    bias: Tensor
    """[K]"""

    def logits(self, x: Tensor) -> Tensor:
        """[N, d] -> [N, K]"""
        return F.linear(x.to(self.weight), self.weight, self.bias)

    def accuracy(self, x: Tensor, labels: Tensor) -> float:
        """Share of rows of `x` [N, d] whose label [N] has the largest logit."""
        return float((self.logits(x).argmax(1) == labels).double().mean())


def logistic_regression(
    x: Tensor, labels: Tensor, classes: int, penalty: float, start: Linear | None = None, max_iterations: int = 200
) -> Linear:
    """Minimises mean cross-entropy + penalty/2·|W|² over rows `x` [N, d] with `labels` [N] in 0..classes-1; the bias is free.

    By scikit-learn's `LogisticRegression`: L-BFGS from `start` or from zero. The problem is convex, so the start only decides
    how long it takes. A class that no row has is never predicted: its bias is −∞.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    present = torch.from_numpy(np.unique(labels.numpy()))
    linear = Linear(x.new_zeros(classes, x.shape[1]), x.new_full((classes,), -torch.inf))
    linear.bias[present] = 0
    if len(present) < 2:
        return linear
    # For two classes scikit-learn fits one vector w. The two rows of W are then w/2 and −w/2, with |W|² = |w|²/2.
    is_binary = len(present) == 2
    tolerance = 1e-8 if x.dtype == torch.float64 else 1e-5
    model = LogisticRegression(
        C=(2 if is_binary else 1) / (len(x) * penalty), tol=tolerance, max_iter=max_iterations, warm_start=True
    )
    if start is not None:
        weight, bias = (part[present].to(x).numpy() for part in (start.weight, start.bias))
        model.coef_, model.intercept_ = (weight[1:] - weight[:1], bias[1:] - bias[:1]) if is_binary else (weight, bias)
    with ignore_warnings(ConvergenceWarning):  # after so many iterations it is near enough
        model.fit(x.numpy(), labels.numpy())
    for rows, solution in ((linear.weight, model.coef_), (linear.bias, model.intercept_)):
        values = torch.from_numpy(solution).to(x)
        rows[present] = torch.cat((-values, values)) / 2 if is_binary else values
    return linear


def choose_probe(
    train: Tensor, labels: Tensor, held_out: Tensor, held_out_labels: Tensor, classes: int
) -> tuple[Linear, float]:
    """The regression on `train` [N, d] whose penalty has the best accuracy on `held_out` [M, d], and that penalty; of equals
    the largest.

    `PENALTIES` are tried from the strongest to the weakest, each starting from the last solution, until one does worse than the
    best so far.
    """
    best: tuple[float, Linear, float] | None = None
    probe: Linear | None = None
    for penalty in sorted(PENALTIES, reverse=True):
        probe = logistic_regression(train, labels, classes, penalty, probe)
        accuracy = probe.accuracy(held_out, held_out_labels)
        if best is not None and accuracy < best[0]:
            break
        if best is None or accuracy > best[0]:
            best = accuracy, probe, penalty
    assert best is not None
    return best[1], best[2]


def neighbour_labels(train: Tensor, labels: Tensor, x: Tensor, count: int) -> Tensor:
    """[M, count]: the labels of the rows of `train` [N, d] that lie nearest to each row of `x` [M, d], the nearest first."""
    if len(x) == 0:
        return labels.new_empty(0, min(count, len(train)))
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=min(count, len(train)), algorithm="brute").fit(train.numpy())
    with one_library_thread():  # which of equally near rows comes first depends on the number of threads
        return labels[torch.from_numpy(index.kneighbors(x.numpy(), return_distance=False))]


def votes(neighbours: Tensor, classes: int, k: int) -> Tensor:
    """[M, K] float64: how many of the first `k` of `neighbours` [M, ≥k] are of each class, plus less than 1 for their nearness.

    The addition breaks ties: of two classes with equally many votes, the one with the nearer neighbours wins.

    >>> votes(torch.tensor([[0, 1]]), classes=2, k=2)
    tensor([[1.5000, 1.2500]], dtype=torch.float64)
    """
    k = min(k, neighbours.shape[1])
    # 2^-1, 2^-2 …: the nearest neighbour outweighs all later ones together, and all together stay below 1.
    nearness = torch.exp2(-torch.arange(1, k + 1, dtype=torch.float64))
    weights = (1 + nearness).expand(len(neighbours), k)
    return torch.zeros(len(neighbours), classes, dtype=torch.float64).scatter_add_(1, neighbours[:, :k].cpu(), weights)


def choose_k(neighbours: Tensor, labels: Tensor, classes: int) -> tuple[int, float]:
    """The best of `NEIGHBOURS` and its accuracy, from the labels [M, 20] of the neighbours of rows with `labels` [M]."""
    accuracies = {k: float((votes(neighbours, classes, k).argmax(1) == labels.cpu()).double().mean()) for k in NEIGHBOURS}
    best = max(NEIGHBOURS, key=lambda k: (accuracies[k], -k))
    return best, accuracies[best]


@dataclass(frozen=True)
class Readout:
    """A probe and a nearest-neighbour classifier on one representation, their hyper-parameters chosen on the validation
    rows."""

    scaling: Scaling
    """Standardises the probe's input; that of the neighbours too, where `scaled`."""
    linear: Linear
    penalty: float
    train: Tensor
    """[N, d] float32: the rows among which neighbours are searched."""
    labels: Tensor
    """[N] in 0..K-1"""
    k: int
    scaled: bool
    held_out: tuple[float, float]
    """Accuracy of the probe and of the neighbours on the validation rows: the better one is the one to use."""

    @classmethod
    def fit(cls, train: Tensor, labels: Tensor, held_out: Tensor, held_out_labels: Tensor, classes: int) -> Readout:
        """From `train` [N, d] with `labels` [N]; penalty, k and the neighbours' scaling are the best on `held_out` [M, d].

        With standardised dimensions neighbours weigh all alike, also those that hold nothing; otherwise large dimensions
        dominate. Which is better depends on the representation, so both are tried.
        """
        train, held_out = train.float(), held_out.float()
        scaling = Scaling.of(train)
        linear, penalty = choose_probe(scaling(train), labels, scaling(held_out), held_out_labels, classes)
        count, trials = max(NEIGHBOURS), []
        for scaled in (True, False):
            a, b = (scaling(train), scaling(held_out)) if scaled else (train, held_out)
            k, accuracy = choose_k(neighbour_labels(a, labels, b, count), held_out_labels, classes)
            trials.append((accuracy, scaled, k))
        accuracy, scaled, k = max(trials)
        accuracies = linear.accuracy(scaling(held_out), held_out_labels), accuracy
        return cls(scaling, linear, penalty, train, labels, k, scaled, accuracies)

    def probabilities(self, x: Tensor) -> Tensor:
        """[M, d] -> [M, K]: the probe's."""
        return self.linear.logits(self.scaling(x)).softmax(1)

    def shares(self, x: Tensor) -> Tensor:
        """[M, d] -> [M, K]: the share of the k nearest neighbours in each class, up to tie-breaking; rows sum to 1."""
        x = x.float()
        a, b = (self.scaling(self.train), self.scaling(x)) if self.scaled else (self.train, x)
        counts = votes(neighbour_labels(a, self.labels, b, self.k), self.linear.bias.numel(), self.k)
        return counts / counts.sum(1, keepdim=True)

    def accuracies(self, x: Tensor, labels: Tensor) -> tuple[Share, Share]:
        """Of probe and neighbours on rows `x` [M, d] with `labels` [M], each with its interval."""
        right = [int((predict(x).argmax(1).cpu() == labels.cpu()).sum()) for predict in (self.probabilities, self.shares)]
        return wilson(right[0], len(labels)), wilson(right[1], len(labels))

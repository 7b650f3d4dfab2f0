"""What can be read off a representation: a linear probe and nearest neighbours, with the uncertainty of their accuracy.

A probe is a multinomial logistic regression (Alain & Bengio 2016, arXiv:1610.01644): what it gets right lies in the
representation in plain sight. Neighbours ask whether like lies near like. What either may choose (the weight of the penalty,
the number of neighbours, the units of the dimensions) is chosen on validation pictures, never on those that are reported.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from limner.core.images import batches_of
from limner.metrics.stats.intervals import LEVEL
from limner.metrics.stats.threads import one_library_thread

PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""λ of mean cross-entropy + λ/2·|W|², as tried on the validation pictures."""
NEIGHBOURS = (1, 3, 5, 10, 20)


@dataclass(frozen=True)
class Share:
    """A share of successes, with the interval that holds the true one 95 times in 100."""

    value: float
    low: float
    high: float


def wilson(successes: int, trials: int) -> Share:
    """Wilson's score interval (1927): unlike ±1.96 standard errors it stays in 0..1 and holds near the ends."""
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"{successes} successes in {trials} trials are no share")
    from scipy import stats

    ends = stats.binomtest(successes, trials).proportion_ci(LEVEL, method="wilson")
    return Share(successes / trials, float(ends.low), float(ends.high))


@dataclass(frozen=True)
class Scaling:
    """Each dimension brought to mean 0 and standard deviation 1, as the training rows say; a constant one becomes 0."""

    mean: Tensor
    scale: Tensor
    """[d] each, float32."""

    @classmethod
    def of(cls, x: Tensor) -> Scaling:
        """By the rows of `x` [N, d]; sums are float64."""
        parts = [x[rows] for rows in batches_of(len(x), 4096)]
        mean = sum((part.double().sum(0) for part in parts), torch.zeros(x.shape[1], dtype=torch.float64)) / len(x)
        squares = sum(((part.double() - mean).square().sum(0) for part in parts), torch.zeros_like(mean))
        std = (squares / len(x)).sqrt()
        # Rounding gives a constant column a deviation of some 1e-8 of its size; it must not be blown up to 1.
        known = std > 1e-6 * torch.stack([part.abs().amax(0) for part in parts]).amax(0).clamp(min=1e-30)
        return cls(mean.float(), torch.where(known, 1 / std, torch.zeros_like(std)).float())

    def __call__(self, x: Tensor) -> Tensor:
        return (x.float() - self.mean) * self.scale


@dataclass(frozen=True)
class Linear:
    """A fitted logistic regression: logits are x·weightᵀ + bias."""

    weight: Tensor
    """[K, d]: in this order the gradient is a product that reads x once along its rows, five times as fast."""
    bias: Tensor
    """[K]"""

    def logits(self, x: Tensor) -> Tensor:
        """[N, d] -> [N, K]"""
        return F.linear(x.to(self.weight), self.weight, self.bias)

    def accuracy(self, x: Tensor, labels: Tensor) -> float:
        return float((self.logits(x).argmax(1) == labels).double().mean())


def logistic_regression(
    x: Tensor, labels: Tensor, classes: int, penalty: float, start: Linear | None = None, rounds: int = 200
) -> Linear:
    """Minimises mean cross-entropy + penalty/2·|W|² over rows `x` [N, d] with `labels` [N] in 0..classes-1; the bias is free.

    scikit-learn's `LogisticRegression`: L-BFGS from `start` or from zero, at most `rounds` steps. The problem is convex, so the
    start only decides how long it takes. A class that no row has is never named: its bias is −∞.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    present = torch.from_numpy(np.unique(labels.numpy()))
    found = Linear(x.new_zeros(classes, x.shape[1]), x.new_full((classes,), -torch.inf))
    found.bias[present] = 0
    if len(present) < 2:
        return found
    # Of two classes one vector w is fitted. Halves of it, w/2 and −w/2, are the two rows of W with |W|² = |w|²/2.
    two = len(present) == 2
    tolerance = 1e-8 if x.dtype == torch.float64 else 1e-5
    model = LogisticRegression(C=(2 if two else 1) / (len(x) * penalty), tol=tolerance, max_iter=rounds, warm_start=True)
    if start is not None:
        weight, bias = (part[present].to(x).numpy() for part in (start.weight, start.bias))
        model.coef_, model.intercept_ = (weight[1:] - weight[:1], bias[1:] - bias[:1]) if two else (weight, bias)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what was not finished after so many rounds is near enough
        model.fit(x.numpy(), labels.numpy())
    for rows, fitted in ((found.weight, model.coef_), (found.bias, model.intercept_)):
        values = torch.from_numpy(fitted).to(x)
        rows[present] = torch.cat((-values, values)) / 2 if two else values
    return found


def choose_probe(
    train: Tensor, labels: Tensor, held_out: Tensor, held_out_labels: Tensor, classes: int
) -> tuple[Linear, float]:
    """The regression on `train` [N, d] whose penalty does best on `held_out` [M, d], and that penalty; of equals the larger.

    From the strongest of `PENALTIES` towards the weakest, each from where the last one ended, until one does worse than the
    best so far.
    """
    best: tuple[float, Linear, float] | None = None
    fitted: Linear | None = None
    for penalty in sorted(PENALTIES, reverse=True):
        fitted = logistic_regression(train, labels, classes, penalty, fitted)
        right = fitted.accuracy(held_out, held_out_labels)
        if best is not None and right < best[0]:
            break
        if best is None or right > best[0]:
            best = right, fitted, penalty
    assert best is not None
    return best[1], best[2]


def neighbour_labels(train: Tensor, labels: Tensor, x: Tensor, most: int) -> Tensor:
    """[M, most]: the labels of the rows of `train` [N, d] that lie nearest to each row of `x` [M, d], the nearest first."""
    if len(x) == 0:
        return labels.new_empty(0, min(most, len(train)))
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=min(most, len(train)), algorithm="brute").fit(train.numpy())
    with one_library_thread():  # which of equally near rows comes first depends on the number of threads
        return labels[torch.from_numpy(index.kneighbors(x.numpy(), return_distance=False))]


def votes(neighbours: Tensor, classes: int, k: int) -> Tensor:
    """[M, K] float: how many of the first `k` of `neighbours` [M, ≥k] are of each class, less than 1 added by nearness.

    The addition breaks ties: of two classes with equally many votes, the one with the nearer neighbours wins.
    """
    k = min(k, neighbours.shape[1])
    # 2^-1, 2^-2 …: the nearest neighbour outweighs all later ones together, and all together stay below 1.
    nearness = torch.exp2(-torch.arange(1, k + 1, dtype=torch.float64))
    weights = (1 + nearness).expand(len(neighbours), k)
    return torch.zeros(len(neighbours), classes, dtype=torch.float64).scatter_add_(1, neighbours[:, :k].cpu(), weights)


def choose_k(neighbours: Tensor, labels: Tensor, classes: int) -> tuple[int, float]:
    """Which of `NEIGHBOURS` does best, and its accuracy: from the labels [M, 20] of neighbours of rows with `labels` [M]."""
    right = {k: float((votes(neighbours, classes, k).argmax(1) == labels.cpu()).double().mean()) for k in NEIGHBOURS}
    best = max(NEIGHBOURS, key=lambda k: (right[k], -k))
    return best, right[best]


@dataclass(frozen=True)
class Readout:
    """A probe and neighbours fitted to one representation, with all that was chosen on the validation rows."""

    scaling: Scaling
    """What the probe sees is standardised; the neighbours too, where `scaled`."""
    linear: Linear
    penalty: float
    train: Tensor
    """[N, d] float32: where the neighbours lie."""
    labels: Tensor
    """[N] in 0..K-1"""
    k: int
    scaled: bool
    held_out: tuple[float, float]
    """Accuracy of probe and neighbours on the validation rows: which of the two to believe."""

    @classmethod
    def fit(cls, train: Tensor, labels: Tensor, held_out: Tensor, held_out_labels: Tensor, classes: int) -> Readout:
        """From `train` [N, d] with `labels` [N]; penalty, k and the neighbours' units are what does best on `held_out` [M, d].

        Neighbours in standardised units see all dimensions alike, also those in which nothing is; in units as they are, the
        large ones count. Which is better depends on the representation, so it is asked.
        """
        train, held_out = train.float(), held_out.float()
        scaling = Scaling.of(train)
        linear, penalty = choose_probe(scaling(train), labels, scaling(held_out), held_out_labels, classes)
        most, tried = max(NEIGHBOURS), []
        for scaled in (True, False):
            a, b = (scaling(train), scaling(held_out)) if scaled else (train, held_out)
            k, right = choose_k(neighbour_labels(a, labels, b, most), held_out_labels, classes)
            tried.append((right, scaled, k))
        right, scaled, k = max(tried)
        return cls(
            scaling, linear, penalty, train, labels, k, scaled, (linear.accuracy(scaling(held_out), held_out_labels), right)
        )

    def probabilities(self, x: Tensor) -> Tensor:
        """[M, d] -> [M, K]: the probe's."""
        return self.linear.logits(self.scaling(x)).softmax(1)

    def shares(self, x: Tensor) -> Tensor:
        """[M, d] -> [M, K]: how much of the neighbourhood is of each class, about votes/k; rows sum to 1."""
        x = x.float()
        a, b = (self.scaling(self.train), self.scaling(x)) if self.scaled else (self.train, x)
        counts = votes(neighbour_labels(a, self.labels, b, self.k), self.linear.bias.numel(), self.k)
        return counts / counts.sum(1, keepdim=True)

    def accuracies(self, x: Tensor, labels: Tensor) -> tuple[Share, Share]:
        """Of probe and neighbours on rows `x` [M, d] with `labels` [M], each with its interval."""
        right = [int((said(x).argmax(1).cpu() == labels.cpu()).sum()) for said in (self.probabilities, self.shares)]
        return wilson(right[0], len(labels)), wilson(right[1], len(labels))

"""What can be read off a representation: a linear probe and nearest neighbours, with the uncertainty of their accuracy.

A probe is a multinomial logistic regression (Alain & Bengio 2016, arXiv:1610.01644): what it gets right lies in the
representation in plain sight. Neighbours ask whether like lies near like. What either may choose (the weight of the penalty,
the number of neighbours, the units of the dimensions) is chosen on validation pictures, never on those that are reported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from limner.core.images import batches_of

PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""λ of mean cross-entropy + λ/2·|W|², as tried on the validation pictures."""
NEIGHBOURS = (1, 3, 5, 10, 20)
CONFIDENT = 1.959963984540054
"""Standard deviations on either side that hold 95 % of a normal distribution."""
_ROWS = 256  # rows of a distance matrix held at a time


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
    share, spread = successes / trials, CONFIDENT**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = CONFIDENT / (1 + spread) * math.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    # At the ends the interval begins exactly there; rounding must not put it a hair outside.
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Share(share, low if successes else 0.0, high if successes < trials else 1.0)


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

    At most `rounds` steps of L-BFGS with a strong-Wolfe line search, from `start` or from zero; in the precision of `x`. The
    problem is convex, so the start only decides how long it takes. scikit-learn's C is 1/(N·penalty).
    """
    zero = Linear(x.new_zeros(classes, x.shape[1]), x.new_zeros(classes))
    begin = zero if start is None else start
    weight, bias = (part.to(x).clone().requires_grad_(True) for part in (begin.weight, begin.bias))
    fine = x.dtype == torch.float64
    descent = torch.optim.LBFGS(
        [weight, bias], max_iter=rounds, history_size=20, line_search_fn="strong_wolfe",
        tolerance_grad=1e-8 if fine else 1e-5, tolerance_change=1e-12 if fine else 1e-8,
    )  # fmt: skip

    def loss() -> Tensor:
        descent.zero_grad()
        value = F.cross_entropy(F.linear(x, weight, bias), labels) + 0.5 * penalty * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach()

    with torch.enable_grad():
        descent.step(loss)  # type: ignore[no-untyped-call]
    return Linear(weight.detach(), bias.detach())


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
    most = min(most, len(train))
    centre = train.mean(0)  # a common shift changes no distance, and keeps float32 from cancelling
    near = train - centre
    squares = near.square().sum(1)
    found = []
    for rows in batches_of(len(x), _ROWS):
        # |a − b|² without |a|², which is the same for all b.
        distance = torch.addmm(squares, x[rows] - centre, near.T, alpha=-2)
        found.append(labels[distance.topk(most, largest=False).indices])
    return torch.cat(found) if found else labels.new_empty(0, most)


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

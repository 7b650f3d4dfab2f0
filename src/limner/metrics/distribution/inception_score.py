"""The Inception Score: are the classes of single pictures clear, and are there many? (Salimans et al. 2016, equation 3.1.)

    exp E KL(p(y|x) ‖ p(y)), between 1 and the number of classes; also 1 where the network predicts the same for all.

It never compares with real pictures: a generator of one perfect picture of each class gets the best possible score. The
published name is for Inception's 1,000 (or 1,008) classes; with another classifier, say which.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from limner.core.errors import InputError
from limner.core.seeds import fold
from limner.metrics.distribution.frechet import Null
from limner.metrics.stats.moments import finite_on_cpu

SPLITS = 10
"""Parts that are scored separately, as published."""


@dataclass(frozen=True)
class InceptionScore:
    """Mean and standard deviation over consecutive `splits`, each scored by itself; the variance is divided by their number, as
    published."""

    mean: float
    std: float
    splits: tuple[float, ...]

    @property
    def error(self) -> float | None:
        """Standard error of the mean (the splits share no pictures); None of one split."""
        count = len(self.splits)
        return self.std / (count - 1) ** 0.5 if count > 1 else None


def inception_score(logits: Tensor, splits: int = SPLITS) -> InceptionScore:
    """Of the classifier's `logits` [N, K]. The score falls with the pictures in a split, so N/splits must be reported with it.

    Errors: `InputError` where there are fewer pictures than splits.
    """
    if len(logits) < splits:
        raise InputError(f"an Inception Score in {splits} splits needs as many images, and there are {len(logits)}")
    log_p = finite_on_cpu(logits).log_softmax(1)
    scores = torch.stack([_score(log_p[i * len(log_p) // splits : (i + 1) * len(log_p) // splits]) for i in range(splits)])
    return InceptionScore(float(scores.mean()), float(scores.std(correction=0)), tuple(scores.tolist()))


def inception_score_null(real_logits: Tensor, n: int, repeats: int = 100, seed: int = 0, splits: int = SPLITS) -> Null:
    """The score of `n` real pictures, drawn `repeats` times from [R, K] logits with replacement.

    Replacement is harmless here: the score is made of two means, and a picture that comes twice biases neither.
    """
    if len(real_logits) == 0:
        raise InputError("an Inception Score of real images needs at least one of them")
    random = torch.Generator().manual_seed(fold(seed, "inception score null"))
    scores = []
    for _ in range(repeats):
        rows = torch.randint(len(real_logits), (n,), generator=random)
        scores.append(inception_score(real_logits[rows], splits).mean)
    return Null(tuple(scores), (n, n))


def _score(log_p: Tensor) -> Tensor:
    """[n, K] log probabilities -> exp(H(mean p) − mean H(p)), which is the same as exp of the mean divergence."""
    p = log_p.exp()
    mean_entropy = torch.special.entr(p).sum(1).mean()
    entropy_of_mean = torch.special.entr(p.mean(0)).sum()
    score: Tensor = (entropy_of_mean - mean_entropy).exp()
    return score

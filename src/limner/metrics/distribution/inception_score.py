"""The Inception Score: are the classes of single pictures clear, and are there many? (Salimans et al. 2016, equation 3.1.)

    exp E KL(p(y|x) ‖ p(y)), between 1 and the number of classes; 1 as well where the network cannot tell.

It never looks at real pictures, and a generator that shows one perfect picture of each class gets the best score there is. The
name belongs to Inception's 1,000 (or 1,008) classes; of another classifier, say which.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from limner.core.errors import InputError
from limner.core.seeds import fold
from limner.metrics.distribution.frechet import Null
from limner.metrics.stats.finite import on_cpu

SPLITS = 10


@dataclass(frozen=True)
class InceptionScore:
    """Mean and standard deviation (÷ number of splits, as published) over consecutive `splits`, scored each by itself."""

    mean: float
    std: float
    splits: tuple[float, ...]

    @property
    def error(self) -> float | None:
        """Standard error of the mean; the splits share no pictures. None of one split."""
        count = len(self.splits)
        return self.std / (count - 1) ** 0.5 if count > 1 else None


def inception_score(logits: Tensor, splits: int = SPLITS) -> InceptionScore:
    """Of the classifier's `logits` [N, K]. The fewer pictures a split holds, the lower the score: N/splits belongs to it.

    Errors: `InputError` where there are fewer pictures than splits.
    """
    if len(logits) < splits:
        raise InputError(f"an Inception Score in {splits} splits needs as many images, and there are {len(logits)}")
    log_p = on_cpu(logits).log_softmax(1)
    scores = torch.stack([_score(log_p[i * len(log_p) // splits : (i + 1) * len(log_p) // splits]) for i in range(splits)])
    return InceptionScore(float(scores.mean()), float(scores.std(correction=0)), tuple(scores.tolist()))


def inception_score_null(real_logits: Tensor, n: int, repeats: int = 100, seed: int = 0, splits: int = SPLITS) -> Null:
    """The score of `n` real pictures, drawn `repeats` times from [R, K] logits with replacement.

    With replacement, since the score is made of two means: a picture that comes twice does no harm, as it would to a distance.
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
    clear = torch.special.entr(p).sum(1).mean()
    varied = torch.special.entr(p.mean(0)).sum()
    score: Tensor = (varied - clear).exp()
    return score

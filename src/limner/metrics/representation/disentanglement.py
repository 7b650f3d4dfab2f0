"""Disentanglement: does each latent hold one factor of the pictures, and each factor lie in one latent? Five published scores.

The protocols, sample counts and settings are those of disentanglement_lib (Locatello et al. 2019, arXiv:1811.12359), so that
numbers can be compared with the literature; the classifiers are scikit-learn's with the settings that it gives them. MIG, DCI
and the FactorVAE score do not depend on the unit of a latent; the β-VAE score and SAP do, as published, through the penalty on
their weights.

Representations are [N, d] float64, factors [N, F] int64 codes from 0; of a continuous factor, the number of its bin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from limner.core.errors import InputError
from limner.core.seeds import fold
from limner.metrics.stats.threads import one_library_thread

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

BATCH = 64
"""Pictures that share a factor, in one example of the β-VAE and FactorVAE scores."""
TRAIN, TEST = 10_000, 5_000
"""Examples, or pictures, to learn from and to score."""
BINS = 20
"""Of each latent's histogram, for MIG."""
SVM_C = 0.01

Draw = Callable[[int, Codes], Array]
"""``draw(factor, values)``: [n] codes -> [n, d], representations of n pictures that have these values of that one factor, all
other factors being drawn independently."""


@dataclass(frozen=True)
class FactorSampler:
    """Draws pictures with a given value of one factor, as representations."""

    sizes: tuple[int, ...]
    """How many values each factor has."""
    draw: Draw
    variances: Array
    """[d]: of the representations of all pictures."""


def factor_sampler(representations: Array, factors: Codes, seed: int = 0) -> FactorSampler:
    """Draws with replacement from N pictures, `representations` [N, d] with `factors` [N, F].

    Where the factors are independent of each other, the rows that share one value of a factor are draws of all the others, so
    this is the published sampling, except that a picture may come twice. Errors: `InputError` where the arrays do not fit, or a
    factor has only one value, or lacks one in between.
    """
    check(representations, factors)
    random = np.random.default_rng(fold("bank", seed))
    sizes = tuple(int(column.max()) + 1 for column in factors.T)
    order = [np.argsort(column, kind="stable") for column in factors.T]
    counts = [np.bincount(column, minlength=size) for column, size in zip(factors.T, sizes, strict=True)]
    if any(size < 2 or not count.all() for size, count in zip(sizes, counts, strict=True)):
        raise InputError("every factor needs two values or more, numbered from 0, and pictures of each of them")
    starts = [np.concatenate([[0], np.cumsum(count)[:-1]]) for count in counts]

    def draw(factor: int, values: Codes) -> Array:
        places = starts[factor][values] + (random.random(values.shape) * counts[factor][values]).astype(np.int64)
        rows: Array = representations[order[factor][places]]
        return rows

    return FactorSampler(sizes, draw, representations.var(axis=0, ddof=1))


def check(representations: Array, factors: Codes) -> None:
    """Errors: `InputError` unless the arrays are [N, d] of finite numbers and [N, F] of whole numbers from 0, with N ≥ 2."""
    if representations.ndim != 2 or factors.ndim != 2 or len(representations) != len(factors) or len(factors) < 2:
        raise InputError(
            f"disentanglement takes representations [N, d] and factors [N, F] of as many pictures, not "
            f"{list(representations.shape)} and {list(factors.shape)}"
        )
    if not np.isfinite(representations).all():
        raise InputError("a latent is not a finite number: the model is damaged")
    if not np.issubdtype(factors.dtype, np.integer) or factors.min() < 0:
        raise InputError("factors must be whole numbers from 0; give the bins of continuous ones")


# ---- scores from pictures that share one factor --------------------------------------------------------------------------


def beta_vae_score(sampler: FactorSampler, seed: int = 0, train: int = TRAIN, test: int = TEST, batch: int = BATCH) -> float:
    """Accuracy in 1/F..1 of a linear classifier that tells which factor two sets of pictures share (Higgins et al. 2017).

    One example: `batch` pairs of pictures that agree in one factor, as the mean absolute difference of their latents. The
    classifier is scikit-learn's `LogisticRegression` with C = 1, its default, and enough iterations to converge.
    """
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(fold("beta-vae score", seed))

    def examples(count: int) -> tuple[Array, Codes]:
        labels = random.integers(0, len(sampler.sizes), count)
        rows = np.empty((count, len(sampler.variances)))
        for factor, size in enumerate(sampler.sizes):
            examples_of_factor = np.flatnonzero(labels == factor)
            parts = max(1, len(examples_of_factor) * batch // 65_536)
            for part in np.array_split(examples_of_factor, parts):
                values = random.integers(0, size, (len(part), batch))
                differences = np.abs(sampler.draw(factor, values) - sampler.draw(factor, values))
                rows[part] = differences.mean(axis=1)
        return rows, labels

    with one_library_thread():
        classifier = LogisticRegression(max_iter=1000).fit(*examples(train))
        return float(classifier.score(*examples(test)))


def factor_vae_score(sampler: FactorSampler, seed: int = 0, train: int = TRAIN, test: int = TEST, batch: int = BATCH) -> float:
    """Accuracy in about 1/F..1 of a majority vote (Kim & Mnih 2018, arXiv:1802.05983, section 4).

    One example: the latent that varies least, in units of its own variance, among `batch` pictures that share one value of one
    factor. Each latent votes for the factor for which it varied least in most of the training examples. Latents that never vary
    have no vote; where all are such, the score is 0.
    """
    active = np.flatnonzero(sampler.variances > 0)
    if not len(active):
        return 0.0
    random = np.random.default_rng(fold("factor-vae score", seed))

    def count_least_varying(count: int) -> Codes:
        """[F, d]: how often each latent varied least while each factor was fixed."""
        counts = np.zeros((len(sampler.sizes), len(active)), np.int64)
        factors = np.bincount(random.integers(0, len(sampler.sizes), count), minlength=len(sampler.sizes))
        for factor, (size, number) in enumerate(zip(sampler.sizes, factors, strict=True)):
            for part in _parts(int(number), 65_536 // batch):
                values = np.repeat(random.integers(0, size, (part, 1)), batch, axis=1)
                spread = sampler.draw(factor, values)[..., active].var(axis=1, ddof=1)
                counts[factor] += np.bincount((spread / sampler.variances[active]).argmin(axis=1), minlength=len(active))
        return counts

    votes = count_least_varying(train).argmax(axis=0)
    counts = count_least_varying(test)
    return float(counts[votes, np.arange(len(active))].sum() / counts.sum())


def _parts(count: int, size: int) -> list[int]:
    """`count` in parts of at most `size`."""
    return [min(size, count - start) for start in range(0, count, size)]


# ---- scores of plain samples --------------------------------------------------------------------------------------------


def mutual_information(representations: Array, factors: Codes, bins: int = BINS) -> tuple[Array, Array]:
    """[d, F] nats between each latent, in `bins` equal bins from its least to its greatest value, and each factor; and the
    factors' entropies [F]. Plug-in estimates: biased upwards by about (bins−1)(values−1)/2N."""
    check(representations, factors)
    shared = np.zeros((representations.shape[1], factors.shape[1]))
    entropies = np.array([_entropy(np.bincount(column)) for column in factors.T])
    for row, column in enumerate(representations.T):
        edges = np.histogram_bin_edges(column, bins)[:-1]
        codes = np.clip(np.digitize(column, edges) - 1, 0, bins - 1)
        own = _entropy(np.bincount(codes))
        for place, factor in enumerate(factors.T):
            joint = np.bincount(codes * (int(factor.max()) + 1) + factor)
            shared[row, place] = own + entropies[place] - _entropy(joint)
    return np.maximum(shared, 0.0), entropies


def _entropy(counts: Codes) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def mig(representations: Array, factors: Codes) -> Array:
    """[F] in 0..1: the mutual information gap (Chen et al. 2018, arXiv:1802.04942, eq. 6) of each factor; MIG is their mean.

    The factor's mutual information with the best latent less that with the second best, as a share of the factor's entropy.
    Published on 10,000 pictures.
    """
    shared, entropies = mutual_information(representations, factors)
    return _gap(shared) / np.maximum(entropies, 1e-12)


def _gap(scores: Array) -> Array:
    """[d, F] -> [F]: the best latent's score less the second best's, which counts as 0 where there is only one latent."""
    ordered = np.sort(np.vstack([scores, np.zeros((1, scores.shape[1]))]) if len(scores) < 2 else scores, axis=0)
    gap: Array = ordered[-1] - ordered[-2]
    return gap


@dataclass(frozen=True)
class Dci:
    """Disentanglement, completeness and informativeness (Eastwood & Williams 2018), each in 0..1.

    `importances` [d, F] are what the first two are made of. `informativeness` is the accuracy with which the factors are read
    off the latents, as disentanglement_lib has it (the paper reports an error), and `accuracies` [F] that of each factor.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importances: Array
    accuracies: Array


def dci(
    representations: Array, factors: Codes, held_out: Array, held_out_factors: Codes, rounds: int = 100, seed: int = 0
) -> Dci:
    """DCI by gradient boosted trees, one ensemble per factor; published on 10,000 pictures and 5,000 held out.

    scikit-learn's `GradientBoostingClassifier` with its defaults: 100 `rounds`, depth 3, learning rate .1. It takes about 2 s
    for each value of each factor. `seed` chooses among latents that split equally well.
    """
    from sklearn.ensemble import GradientBoostingClassifier

    check(representations, factors)
    check(held_out, held_out_factors)
    importances = np.zeros((representations.shape[1], factors.shape[1]))
    accuracies = np.zeros(factors.shape[1])
    random_state = fold("boosted trees", seed) % 2**32
    for place, (column, other) in enumerate(zip(factors.T, held_out_factors.T, strict=True)):
        if len(np.unique(column)) < 2:  # a constant: nothing to learn, and no latent matters
            accuracies[place] = (other == column[0]).mean()
            continue
        trees = GradientBoostingClassifier(n_estimators=rounds, random_state=random_state).fit(representations, column)
        importances[:, place], accuracies[place] = trees.feature_importances_, trees.score(held_out, other)
    return Dci(disentanglement(importances), completeness(importances), float(accuracies.mean()), importances, accuracies)


def disentanglement(importances: Array) -> float:
    """Σ ρᵢ(1 − H_F(Pᵢ)) over latents: each one's importances [F] as shares, their entropy to the base F; ρ by importance."""
    return _concentration(importances)


def completeness(importances: Array) -> float:
    """The same over factors: how few latents each of them needs. Entropies are to the base d."""
    return _concentration(importances.T)


def _concentration(importances: Array) -> float:
    rows, columns = importances.shape
    if columns < 2:
        return 1.0
    shares = importances + 1e-11
    shares = shares / shares.sum(1, keepdims=True)
    each = 1 + (shares * np.log(shares)).sum(1) / np.log(columns)
    total = importances.sum()
    return float(each @ importances.sum(1) / total if total > 0 else each.mean())


def sap(representations: Array, factors: Codes, held_out: Array, held_out_factors: Codes) -> Array:
    """[F]: separated attribute predictability (Kumar et al. 2018, arXiv:1711.00848, section 3); SAP is their mean.

    The accuracy of the best single latent less that of the second best: on the held-out pictures, by scikit-learn's `LinearSVC`
    on one latent with C = .01 and balanced class weights, as in disentanglement_lib for discrete factors.
    """
    from sklearn.svm import LinearSVC

    check(representations, factors)
    check(held_out, held_out_factors)
    scores = np.zeros((representations.shape[1], factors.shape[1]))
    for latent, factor in np.ndindex(*scores.shape):
        codes, x, other = factors[:, factor], representations[:, [latent]], held_out[:, [latent]]
        if len(np.unique(codes)) > 1:  # a constant is predicted equally well by every latent
            machine = LinearSVC(C=SVM_C, class_weight="balanced", random_state=0).fit(x, codes)
            scores[latent, factor] = machine.score(other, held_out_factors[:, factor])
    return _gap(scores)


# ---- what the scores are computed from ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Latents:
    """Representations [N, d] of pictures whose factors [N, F] are known and independent; made by `Latents.of`."""

    representations: Array
    factors: Codes
    sampler: FactorSampler
    """Draws from all of them. It holds a random stream, so that scores depend on the order in which they are measured."""
    seed: int

    @classmethod
    def of(cls, representations: Array, factors: Codes, seed: int = 0) -> Latents:
        """Errors: `InputError` where the arrays do not fit, or a factor has but one value."""
        return cls(representations, factors, factor_sampler(representations, factors, seed), seed)

    @property
    def train(self) -> tuple[Array, Codes]:
        """The first 10,000 pictures, to learn from."""
        return self.representations[:TRAIN], self.factors[:TRAIN]

    @property
    def test(self) -> tuple[Array, Codes]:
        """The 5,000 after these."""
        return self.representations[TRAIN : TRAIN + TEST], self.factors[TRAIN : TRAIN + TEST]

    @cached_property
    def dci(self) -> Dci:
        """Computed once for the three scores that it holds."""
        return dci(*self.train, *self.test, seed=self.seed)

    def shuffled(self) -> Latents:
        """The same representations, each with the factors of another picture: what latents without any factor would get."""
        order = np.random.default_rng(fold("shuffled", self.seed)).permutation(len(self.representations))
        return Latents.of(self.representations[order], self.factors, self.seed)

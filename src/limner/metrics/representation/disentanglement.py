"""Does each latent hold one factor of the pictures, and each factor lie in one latent? Five published scores.

The protocols, sample counts and settings are those of disentanglement_lib (Locatello et al. 2019, arXiv:1811.12359), so that
numbers can be compared with the literature; the classifiers are scikit-learn's with the settings that it gives them. MIG, DCI
and the FactorVAE score do not depend on the unit of a latent; the β-VAE score and SAP do, as published, through the penalty on
their weights.

Representations are [N, d] float64, factors [N, F] int64 codes from 0; of a continuous factor, the number of its bin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
class World:
    """What can be drawn: how many values each factor has, and pictures with a given value, as representations."""

    sizes: tuple[int, ...]
    draw: Draw
    variances: Array
    """[d]: of the representations of all pictures."""


def bank(representations: Array, factors: Codes, seed: int = 0) -> World:
    """A world that draws from N pictures with known factors, with replacement.

    Where factors were drawn independently, the rows that share one value of a factor are draws of all the others, so this is
    the published sampling but for pictures that come again. Errors: `InputError` where arrays do not fit, or a factor has but
    one value, or lacks one in between.
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
        drawn: Array = representations[order[factor][places]]
        return drawn

    return World(sizes, draw, representations.var(axis=0, ddof=1))


def check(representations: Array, factors: Codes) -> None:
    """Errors: `InputError` where the arrays are no [N, d] of finite numbers and [N, F] of whole ones."""
    if representations.ndim != 2 or factors.ndim != 2 or len(representations) != len(factors) or len(factors) < 2:
        raise InputError(
            f"disentanglement takes representations [N, d] and factors [N, F] of as many pictures, not "
            f"{list(representations.shape)} and {list(factors.shape)}"
        )
    if not np.isfinite(representations).all():
        raise InputError("a latent is not a finite number: the model is damaged")
    if not np.issubdtype(factors.dtype, np.integer) or factors.min() < 0:
        raise InputError("factors must be whole numbers from 0; give the bins of continuous ones")


# ---- scores that hold one factor fixed ----------------------------------------------------------------------------------


def beta_vae_score(world: World, seed: int = 0, train: int = TRAIN, test: int = TEST, batch: int = BATCH) -> float:
    """Accuracy in 1/F..1 of a linear classifier that tells which factor two sets of pictures share (Higgins et al. 2017).

    One example: `batch` pairs of pictures that agree in one factor, as the mean absolute difference of their latents. The
    classifier is `LogisticRegression` as scikit-learn has it by default (C = 1), with enough rounds to reach its optimum.
    """
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(fold("beta-vae score", seed))

    def examples(count: int) -> tuple[Array, Codes]:
        labels = random.integers(0, len(world.sizes), count)
        rows = np.empty((count, len(world.variances)))
        for factor, size in enumerate(world.sizes):
            mine = np.flatnonzero(labels == factor)
            for part in np.array_split(mine, max(1, len(mine) * batch // 65_536)):
                values = random.integers(0, size, (len(part), batch))
                apart = np.abs(world.draw(factor, values) - world.draw(factor, values))
                rows[part] = apart.mean(axis=1)
        return rows, labels

    with one_library_thread():
        classifier = LogisticRegression(max_iter=1000).fit(*examples(train))
        return float(classifier.score(*examples(test)))


def factor_vae_score(world: World, seed: int = 0, train: int = TRAIN, test: int = TEST, batch: int = BATCH) -> float:
    """Accuracy in about 1/F..1 of a majority vote (Kim & Mnih 2018, arXiv:1802.05983, section 4).

    One example: the latent that varies least, in units of its own variance, among `batch` pictures that share one value of one
    factor. Each latent votes for the factor that it stood out for most often in training examples. Latents that never vary
    have no vote; 0 where none does.
    """
    active = np.flatnonzero(world.variances > 0)
    if not len(active):
        return 0.0
    random = np.random.default_rng(fold("factor-vae score", seed))

    def stand_out(count: int) -> Codes:
        """[F, d]: how often each latent varied least while each factor was fixed."""
        found = np.zeros((len(world.sizes), len(active)), np.int64)
        factors = np.bincount(random.integers(0, len(world.sizes), count), minlength=len(world.sizes))
        for factor, (size, number) in enumerate(zip(world.sizes, factors, strict=True)):
            for part in _parts(int(number), 65_536 // batch):
                values = np.repeat(random.integers(0, size, (part, 1)), batch, axis=1)
                spread = world.draw(factor, values)[..., active].var(axis=1, ddof=1)
                found[factor] += np.bincount((spread / world.variances[active]).argmin(axis=1), minlength=len(active))
        return found

    vote = stand_out(train).argmax(axis=0)
    tested = stand_out(test)
    return float(tested[vote, np.arange(len(active))].sum() / tested.sum())


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

    By how much more the best latent knows of the factor than the second best, as a share of the factor's entropy. Published on
    10,000 pictures.
    """
    shared, entropies = mutual_information(representations, factors)
    return _gap(shared) / np.maximum(entropies, 1e-12)


def _gap(scores: Array) -> Array:
    """[d, F] -> [F]: the best latent's score less the second best's, which is 0 where there is but one latent."""
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
    """By gradient boosted trees, one ensemble per factor; published on 10,000 pictures and 5,000 held out.

    `GradientBoostingClassifier` as scikit-learn has it by default: 100 rounds, depth 3, learning rate .1. It takes some 2 s for
    each value of each factor; latents that split equally well are chosen from by `seed`.
    """
    from sklearn.ensemble import GradientBoostingClassifier

    check(representations, factors)
    check(held_out, held_out_factors)
    importances = np.zeros((representations.shape[1], factors.shape[1]))
    accuracies = np.zeros(factors.shape[1])
    random_state = fold("boosted trees", seed) % 2**32
    for place, (column, other) in enumerate(zip(factors.T, held_out_factors.T, strict=True)):
        if len(np.unique(column)) < 2:  # nothing to learn, and no latent matters
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

    By how much better the best single latent tells the factor than the second best: accuracy on the held-out pictures of
    `LinearSVC` on one latent, with C = .01 and classes weighed alike, as in disentanglement_lib for factors that are codes.
    """
    from sklearn.svm import LinearSVC

    check(representations, factors)
    check(held_out, held_out_factors)
    scores = np.zeros((representations.shape[1], factors.shape[1]))
    for latent, factor in np.ndindex(*scores.shape):
        codes, x, other = factors[:, factor], representations[:, [latent]], held_out[:, [latent]]
        if len(np.unique(codes)) > 1:  # where there is but one value, every latent tells it equally well
            machine = LinearSVC(C=SVM_C, class_weight="balanced", random_state=0).fit(x, codes)
            scores[latent, factor] = machine.score(other, held_out_factors[:, factor])
    return _gap(scores)


# ---- all of them --------------------------------------------------------------------------------------------------------

SCORES = ("beta_vae", "factor_vae", "mig", "dci_disentanglement", "dci_completeness", "dci_informativeness", "sap")


@dataclass(frozen=True)
class Disentangled:
    """`scores` by name; `null`, what the same latents get when they belong to other pictures (not of DCI, whose trees take most
    of the time); `of_factors`, [F] each: `mig`, `sap` and `dci_informativeness` of every factor."""

    scores: dict[str, float]
    null: dict[str, float]
    of_factors: dict[str, Array]


def disentangled(representations: Array, factors: Codes, names: Sequence[str] = SCORES, seed: int = 0) -> Disentangled:
    """Those of `SCORES` that are named, from at least 15,000 pictures whose factors were drawn independently.

    The first 10,000 are learned from, the next 5,000 are held out; the scores that fix a factor draw from all of them. Errors:
    `InputError` where there are fewer, or the arrays do not fit.
    """
    check(representations, factors)
    if len(factors) < TRAIN + TEST:
        raise InputError(f"disentanglement needs {TRAIN + TEST:,} pictures, and there are {len(factors):,}")
    shuffled = representations[np.random.default_rng(fold("shuffled", seed)).permutation(len(representations))]
    scores, of_factors = _scores(representations, factors, names, seed)
    null, _ = _scores(shuffled, factors, [name for name in names if not name.startswith("dci")], seed)
    return Disentangled(scores, null, of_factors)


def _scores(
    representations: Array, factors: Codes, names: Sequence[str], seed: int
) -> tuple[dict[str, float], dict[str, Array]]:
    here, there = slice(TRAIN), slice(TRAIN, TRAIN + TEST)
    learn, test = (representations[here], factors[here]), (representations[there], factors[there])
    found: dict[str, float] = {}
    of_factors: dict[str, Array] = {}
    world = bank(representations, factors, seed)
    if "beta_vae" in names:
        found["beta_vae"] = beta_vae_score(world, seed)
    if "factor_vae" in names:
        found["factor_vae"] = factor_vae_score(world, seed)
    if "mig" in names:
        of_factors["mig"] = mig(*learn)
    if "sap" in names:
        of_factors["sap"] = sap(*learn, *test)
    if any(name.startswith("dci") for name in names):
        three = dci(*learn, *test, seed=seed)
        found["dci_disentanglement"], found["dci_completeness"] = three.disentanglement, three.completeness
        of_factors["dci_informativeness"] = three.accuracies
    found |= {name: float(values.mean()) for name, values in of_factors.items()}
    return {name: found[name] for name in SCORES if name in names}, of_factors

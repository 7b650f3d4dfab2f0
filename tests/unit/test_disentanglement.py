"""Scores of disentanglement on representations whose scores are known, and against scikit-learn on the same arrays."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mutual_info_score
from sklearn.svm import LinearSVC

from limner.core.errors import InputError
from limner.metrics.representation import disentanglement as scores
from limner.metrics.representation.disentanglement import World, bank, beta_vae_score, disentangled, factor_vae_score
from limner.metrics.representation.trees import boosted_trees

SIZES = (3, 6, 10, 8, 4)
COUNT = 20_000
Array = NDArray[np.float64]


def drawn(count: int = COUNT, seed: int = 0) -> NDArray[np.int64]:
    """[count, 5] codes, independent and even."""
    random = np.random.default_rng(seed)
    return np.stack([random.integers(0, size, count) for size in SIZES], axis=1)


FACTORS = drawn()
STANDARD: Array = (FACTORS - FACTORS.mean(0)) / FACTORS.std(0)


def rotation(dim: int, seed: int = 1) -> Array:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))[0]


def noise(dim: int, seed: int = 2) -> Array:
    return np.random.default_rng(seed).normal(size=(COUNT, dim))


SPLIT = (slice(0, 10_000), slice(10_000, 15_000))


def learn_and_test(x: Array) -> tuple[Array, NDArray[np.int64], Array, NDArray[np.int64]]:
    return x[SPLIT[0]], FACTORS[SPLIT[0]], x[SPLIT[1]], FACTORS[SPLIT[1]]


def quick_dci(x: Array) -> scores.Dci:
    """On fewer pictures and with fewer rounds than published."""
    return scores.dci(x[:3000], FACTORS[:3000], x[3000:5000], FACTORS[3000:5000], rounds=20)


# ---- representations whose scores are known -----------------------------------------------------------------------------


def liblinear_sap(x: Array) -> Array:
    """[F]: SAP by scikit-learn's machines."""
    learn, labels, test, others = learn_and_test(x)
    found = np.zeros((x.shape[1], len(SIZES)))
    for latent, factor in np.ndindex(*found.shape):
        machine = LinearSVC(C=0.01, class_weight="balanced").fit(learn[:, latent : latent + 1], labels[:, factor])
        found[latent, factor] = machine.score(test[:, latent : latent + 1], others[:, factor])
    ordered = np.sort(found, axis=0)
    return ordered[-1] - ordered[-2]


def test_one_latent_for_each_factor() -> None:
    """1 by every score, but by SAP, whose linear machine on one input cannot single out a middle class."""
    world = bank(STANDARD, FACTORS)
    assert beta_vae_score(world) == pytest.approx(1.0, abs=1e-3)
    assert factor_vae_score(world) == 1.0
    np.testing.assert_allclose(scores.mig(STANDARD, FACTORS), 1.0, atol=0.01)
    found = quick_dci(STANDARD)
    assert found.disentanglement == pytest.approx(1.0, abs=0.01)
    assert found.completeness == pytest.approx(1.0, abs=0.01)
    assert found.informativeness > 0.99
    np.testing.assert_allclose(scores.sap(*learn_and_test(STANDARD)), liblinear_sap(STANDARD), atol=0.005)


def test_every_factor_twice() -> None:
    """Modular, but not compact: the gaps between the two best latents close, and completeness falls to 1 − log 2 / log 10,
    since each factor is read off two latents alike. The other scores do not mind."""
    twice = np.concatenate([STANDARD, STANDARD], axis=1)
    world = bank(twice, FACTORS)
    assert factor_vae_score(world) == 1.0
    assert beta_vae_score(world) == pytest.approx(1.0, abs=1e-3)
    assert np.abs(scores.mig(twice, FACTORS)).max() < 1e-9
    assert np.abs(scores.sap(*learn_and_test(twice))).max() < 1e-9
    found = quick_dci(twice)
    assert found.disentanglement > 0.99
    assert found.completeness == pytest.approx(1 - np.log(2) / np.log(10), abs=1e-3)
    np.testing.assert_allclose(found.importances[:5], found.importances[5:], atol=1e-6)


def test_two_latents_that_share_each_factor_are_complete_by_half() -> None:
    """Importances of ½ and ½: entropy log 2, so completeness is 1 − log 2 / log d, and each latent still has one factor."""
    importances = np.kron(np.eye(4), [[0.5], [0.5]])
    assert scores.disentanglement(importances) == pytest.approx(1.0, abs=1e-6)
    assert scores.completeness(importances) == pytest.approx(1 - np.log(2) / np.log(8), abs=1e-6)
    assert scores.completeness(np.ones((5, 3))) == pytest.approx(0.0, abs=1e-9)
    mixed = np.array([[1.0, 0.0], [0.25, 0.75]])  # the second latent weighs as much as the first
    second = 1 + (0.25 * np.log2(0.25) + 0.75 * np.log2(0.75))
    assert scores.disentanglement(mixed) == pytest.approx((1 + second) / 2, abs=1e-6)


def test_noise() -> None:
    random = noise(8)
    world = bank(random, FACTORS)
    assert factor_vae_score(world) == pytest.approx(1 / len(SIZES), abs=0.03)
    assert beta_vae_score(world) == pytest.approx(1 / len(SIZES), abs=0.03)
    assert scores.mig(random, FACTORS).mean() < 0.003
    assert scores.sap(*learn_and_test(random)).mean() < 0.01
    found = quick_dci(random)
    assert found.disentanglement < 0.05
    assert found.completeness < 0.05
    assert found.informativeness == pytest.approx(np.mean([1 / size for size in SIZES]), abs=0.03)


@pytest.mark.parametrize("kept", [0.9, 0.6])
def test_one_noisy_latent_for_each_factor(kept: float) -> None:
    """Each latent tells its factor's value with probability `kept`, and else any value: a symmetric channel, whose information
    is log n − H in closed form. No latent knows another factor: modular still, though less is told."""
    random = np.random.default_rng(9)
    noisy = np.where(random.random(FACTORS.shape) < kept, FACTORS, drawn(seed=11)).astype(np.float64)
    size = np.array(SIZES)
    right, wrong = kept + (1 - kept) / size, (1 - kept) / size
    known = np.log(size) + right * np.log(right) + (size - 1) * wrong * np.log(wrong)
    np.testing.assert_allclose(scores.mig(noisy, FACTORS), known / np.log(size), atol=0.015)
    standing_out = factor_vae_score(bank(noisy, FACTORS))  # of 64 pictures: by chance, where much is noise
    assert standing_out == pytest.approx(1.0, abs=0.01) if kept == 0.9 else 0.7 < standing_out < 0.95
    found = quick_dci(noisy)
    assert found.disentanglement > 0.85
    assert found.informativeness == pytest.approx(right.mean(), abs=0.02)


def test_a_rotation_entangles() -> None:
    """Everything is still there, but no latent has a factor to itself. The numbers are nobody's but ours, of this rotation and
    this seed, held so that a change is seen: MIG falls most, the FactorVAE score hardly."""
    turned = STANDARD @ rotation(len(SIZES))
    assert scores.mig(turned, FACTORS).mean() == pytest.approx(0.1284, abs=1e-3)
    assert factor_vae_score(bank(turned, FACTORS)) == pytest.approx(0.935, abs=0.02)
    np.testing.assert_allclose(scores.sap(*learn_and_test(turned)), liblinear_sap(turned), atol=0.005)
    found = quick_dci(turned)
    assert found.disentanglement < 0.4
    assert found.informativeness > 0.6


COINS = np.random.default_rng(6).integers(0, 2, (COUNT, 2))
"""Two factors of two values."""


def sap_of_coins(x: Array) -> Array:
    return scores.sap(x[SPLIT[0]], COINS[SPLIT[0]], x[SPLIT[1]], COINS[SPLIT[1]])


def test_two_factors_turned_by_45_degrees() -> None:
    """Each latent knows each factor equally well, (a ± b)/√2. So the gaps close, and two pictures that share a factor differ
    as much in one latent as in the other: the β-VAE score is that of a guess. Each latent matters for both factors."""
    signs = 2.0 * COINS - 1
    turned = np.stack([signs[:, 0] + signs[:, 1], signs[:, 0] - signs[:, 1]], axis=1) / np.sqrt(2)
    assert beta_vae_score(bank(turned, COINS)) == pytest.approx(0.5, abs=0.03)
    assert factor_vae_score(bank(turned, COINS)) == pytest.approx(0.5, abs=0.03)
    assert scores.mig(turned, COINS).max() < 0.01
    assert sap_of_coins(turned).max() < 0.03
    found = scores.dci(turned[:3000], COINS[:3000], turned[3000:5000], COINS[3000:5000], rounds=20)
    assert found.informativeness == 1.0, "nothing is lost"
    assert max(found.disentanglement, found.completeness) < 0.1, "by greed, the latent asked first gets 2/3: 1 − H(⅓) = .08"


@pytest.mark.parametrize("kept", [0.9, 0.5])
def test_two_factors_each_in_a_noisy_latent(kept: float) -> None:
    """Right with probability p = (1 + kept)/2. SAP is what the best single latent is better than a guess, p − ½.

    In the β-VAE score the latents of two pictures differ with probability 2p(1 − p) where the factor is shared, ½ where it is
    not. Of 64 pairs, the likelier guess is the latent that differed more seldom; so it is right as often as one binomial number
    is less than the other, and by half of the ties.
    """
    right = (1 + kept) / 2
    noisy = np.where(np.random.default_rng(8).random(COINS.shape) < right, COINS, 1 - COINS).astype(np.float64)
    np.testing.assert_allclose(sap_of_coins(noisy), right - 0.5, atol=0.02)
    shared, other = (binom(64, share).pmf(np.arange(65)) for share in (2 * right * (1 - right), 0.5))
    expected = float(shared @ (1 - np.cumsum(other)) + 0.5 * shared @ other)
    assert beta_vae_score(bank(noisy, COINS)) == pytest.approx(expected, abs=0.015)
    assert expected == pytest.approx(1.0, abs=1e-3) if kept == 0.9 else 0.9 < expected < 0.95


def test_latents_that_never_vary_have_no_vote() -> None:
    padded = np.concatenate([STANDARD, np.full((COUNT, 2), 0.7)], axis=1)
    assert factor_vae_score(bank(padded, FACTORS)) == 1.0
    assert factor_vae_score(bank(np.zeros((COUNT, 3)), FACTORS)) == 0.0
    np.testing.assert_allclose(scores.mig(padded, FACTORS), scores.mig(STANDARD, FACTORS))
    # A latent that never varies puts all pictures into one class, as good a guess as another factor's latent makes.
    np.testing.assert_allclose(scores.sap(*learn_and_test(padded)), scores.sap(*learn_and_test(STANDARD)), atol=0.01)
    assert quick_dci(padded).disentanglement > 0.99


def test_order_and_unit_of_latents() -> None:
    soft = np.concatenate([STANDARD + 0.3 * noise(5), noise(2, seed=5)], axis=1)
    order = np.random.default_rng(3).permutation(7)
    other = soft[:, order] * 2.0 ** np.arange(-3, 4)
    np.testing.assert_allclose(scores.mig(other, FACTORS), scores.mig(soft, FACTORS), atol=1e-9)
    assert factor_vae_score(bank(other, FACTORS)) == pytest.approx(factor_vae_score(bank(soft, FACTORS)), abs=1e-9)
    one, two = quick_dci(soft), quick_dci(other)
    np.testing.assert_allclose(two.importances, one.importances[order], atol=1e-6)
    assert two.informativeness == pytest.approx(one.informativeness, abs=1e-9)
    # These two weigh their weights, as published, so they heed the unit but not the order.
    moved = soft[:, order]
    assert beta_vae_score(bank(moved, FACTORS)) == pytest.approx(beta_vae_score(bank(soft, FACTORS)), abs=1e-3)
    np.testing.assert_allclose(scores.sap(*learn_and_test(moved)), scores.sap(*learn_and_test(soft)), atol=1e-9)


def test_a_bank_scores_as_fresh_draws_do() -> None:
    """Pictures drawn anew for every example, as published, against pictures that come again."""
    mixing = np.random.default_rng(4).normal(size=(len(SIZES), 3))  # too few latents for the factors
    random = np.random.default_rng(7)

    def encode(factors: NDArray[np.int64]) -> Array:
        clean = (factors - FACTORS.mean(0)) / FACTORS.std(0)
        mixed = clean @ mixing
        return mixed + 0.5 * random.normal(size=mixed.shape)

    def draw(factor: int, values: NDArray[np.int64]) -> Array:
        factors = np.stack([random.integers(0, size, values.shape) for size in SIZES], axis=-1)
        factors[..., factor] = values
        return encode(factors)

    representations = encode(FACTORS)
    fresh, again = World(SIZES, draw, representations.var(axis=0, ddof=1)), bank(representations, FACTORS)
    assert 0.3 < factor_vae_score(fresh) < 0.9
    assert factor_vae_score(again) == pytest.approx(factor_vae_score(fresh), abs=0.02)
    assert beta_vae_score(again) == pytest.approx(beta_vae_score(fresh), abs=0.02)


def test_all_of_them_with_their_null() -> None:
    found = disentangled(STANDARD[:, :4], FACTORS[:, :4], ("mig", "factor_vae", "sap"))
    assert list(found.scores) == ["factor_vae", "mig", "sap"]
    assert found.scores["mig"] > 0.99
    assert found.null["mig"] < 0.01
    assert found.null["factor_vae"] == pytest.approx(1 / 4, abs=0.03)
    assert found.of_factors["mig"].shape == (4,)
    again = disentangled(STANDARD[:, :4], FACTORS[:, :4], ("factor_vae",))
    assert again.scores["factor_vae"] == found.scores["factor_vae"], "seeded"


# ---- scikit-learn on the same arrays ------------------------------------------------------------------------------------


def test_mutual_information_against_scikit_learn() -> None:
    x = (STANDARD @ rotation(5))[:3000]
    shared, entropies = scores.mutual_information(x, FACTORS[:3000])
    for latent in range(5):
        codes = np.digitize(x[:, latent], np.histogram(x[:, latent], 20)[1][:-1])
        for factor in range(5):
            assert shared[latent, factor] == pytest.approx(mutual_info_score(FACTORS[:3000, factor], codes), abs=1e-9)
    for factor, entropy in enumerate(entropies):
        assert entropy == pytest.approx(mutual_info_score(FACTORS[:3000, factor], FACTORS[:3000, factor]), abs=1e-9)


def test_support_vectors_are_liblinear_s() -> None:
    x, labels = (STANDARD + 0.3 * noise(5))[:4000], FACTORS[:4000]
    for latent, factor in ((0, 0), (1, 1), (2, 2), (0, 2)):
        weight, bias = scores._support_vectors(x[:, latent], labels[:, factor], SIZES[factor])
        oracle = LinearSVC(C=0.01, class_weight="balanced", tol=1e-9, max_iter=100_000)
        oracle.fit(x[:, latent : latent + 1], labels[:, factor])
        np.testing.assert_allclose(weight, oracle.coef_[:, 0], atol=1e-5)
        np.testing.assert_allclose(bias, oracle.intercept_, atol=1e-5)


def test_the_beta_vae_score_s_classifier_is_scikit_learn_s() -> None:
    """Same examples, same penalty: same accuracy."""
    from limner.metrics.representation.probes import logistic_regression

    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    labels = random.integers(0, 5, 3000)
    x = np.abs(random.normal(size=(3000, 6))) * (1 - 0.4 * np.eye(5, 6)[labels])
    ours = logistic_regression(torch.from_numpy(x), torch.from_numpy(labels), 5, penalty=1 / 3000, rounds=1000)
    oracle = LogisticRegression(C=1.0, tol=1e-8, max_iter=10_000).fit(x, labels)
    shift = ours.weight.numpy() - oracle.coef_
    np.testing.assert_allclose(shift - shift.mean(0), 0.0, atol=1e-3)
    assert ours.accuracy(torch.from_numpy(x), torch.from_numpy(labels)) == pytest.approx(oracle.score(x, labels), abs=1e-3)


@pytest.mark.parametrize(("factor", "apart"), [(0, 0.01), (1, 0.01), (2, 0.03)])
def test_trees_are_scikit_learn_s(factor: int, apart: float) -> None:
    """Of 3, 6 and 10 values."""
    soft = np.concatenate([STANDARD + 0.5 * noise(5), noise(2, seed=5)], axis=1) @ (np.eye(7) + 0.3 * rotation(7))
    here, there, column = slice(0, 2000), slice(2000, 4000), FACTORS[:, factor]
    ours = boosted_trees(soft[here], column[here], soft[there], column[there], rounds=30)
    oracle = GradientBoostingClassifier(n_estimators=30, random_state=0).fit(soft[here], column[here])
    np.testing.assert_allclose(ours.importances, oracle.feature_importances_, atol=apart)
    assert ours.accuracy == pytest.approx(oracle.score(soft[there], column[there]), abs=0.015)
    assert ours.importances.sum() == pytest.approx(1.0)


def test_trees_on_two_classes_on_one_and_on_few_values() -> None:
    random = np.random.default_rng(0)
    x = random.integers(0, 4, (1000, 3)).astype(np.float64)
    two = (x[:, 1] > 1).astype(np.int64)
    found = boosted_trees(x, two, x, two, rounds=5)
    np.testing.assert_allclose(found.importances, [0, 1, 0], atol=1e-9)
    assert found.accuracy == 1.0
    oracle = GradientBoostingClassifier(n_estimators=5, random_state=0)
    odd = np.where(random.random(1000) < 0.2, 1 - two, two)
    ours, theirs = boosted_trees(x, odd, x, odd, rounds=5), oracle.fit(x, odd)
    np.testing.assert_allclose(ours.importances, theirs.feature_importances_, atol=1e-3)
    assert ours.accuracy == pytest.approx(oracle.score(x, odd), abs=1e-9)
    same = boosted_trees(x, np.zeros(1000, np.int64), x, np.zeros(1000, np.int64))
    assert (same.importances.tolist(), same.accuracy) == ([0.0, 0.0, 0.0], 1.0)


# ---- what is no representation ------------------------------------------------------------------------------------------


def test_bad_arrays_are_named() -> None:
    with pytest.raises(InputError, match="as many pictures"):
        bank(STANDARD[:10], FACTORS[:9])
    with pytest.raises(InputError, match="whole numbers"):
        bank(STANDARD, FACTORS - 1)
    with pytest.raises(InputError, match="not a finite number"):
        bank(np.full_like(STANDARD, np.nan), FACTORS)
    with pytest.raises(InputError, match="two values or more"):
        bank(STANDARD, FACTORS * 0)
    with pytest.raises(InputError, match="two values or more"):
        bank(STANDARD, FACTORS * 2)
    with pytest.raises(InputError, match="15,000"):
        disentangled(STANDARD[:5000], FACTORS[:5000])

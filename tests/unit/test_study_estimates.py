"""What a study concludes: closed forms, other people's code, and simulated raters whose parameters are known."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from scipy import optimize, special, stats

from limner.evaluation.human.preference import fit_strengths
from limner.evaluation.human.resampling import (
    bootstrap_estimate,
    bootstrap_interval,
    bootstrap_weights,
    normal_cdf,
    normal_quantile,
)
from limner.evaluation.human.signal import bivariate_normal_cdf, corrected_share, detection_measures, mean_z, solve_correlation
from raters import chances

Z = NormalDist().inv_cdf


def raters(rng, people, trials, d_primes, criterion, spread):
    """[people, 1 + runs] answers "generated", of `trials` per run and as many real ones as all runs together have."""
    runs = len(d_primes)
    own = spread[0] * rng.standard_normal((people, 1)) + np.asarray(d_primes)
    lean = criterion + spread[1] * rng.standard_normal((people, 1))
    mean = own.mean(1, keepdims=True)  # the criterion stands half-way between the real ones and the middle of the runs
    shown = np.tile(np.array([trials * runs, *[trials] * runs]), (people, 1))
    chance = special.ndtr(np.concatenate([-mean / 2 - lean, own - mean / 2 - lean], 1))
    return rng.binomial(shown, chance), shown


# ---- closed forms


def test_d_prime_and_criterion_of_identical_people_are_the_textbooks():
    """H = .8 and F = .3 (Macmillan & Creelman): d′ = .8416 + .5244, c = −(.8416 − .5244)/2; accuracy (.8 + .7)/2."""
    called, shown = np.tile([3000, 8000], (40, 1)), np.full((40, 2), 10_000)
    found = detection_measures(called, shown, np.ones((1, 40)))
    assert found.d_prime.item() == pytest.approx(Z(0.8) - Z(0.3), abs=1e-3)
    assert found.criterion.item() == pytest.approx(-(Z(0.8) + Z(0.3)) / 2, abs=1e-3)
    assert found.accuracy.item() == pytest.approx(0.75, abs=1e-12)


def test_shares_of_0_and_1_are_drawn_in_by_half_an_answer():
    """Hautus 1995: (k + .5)/(n + 1); one person, 10 of 10 and 0 of 10."""
    assert corrected_share(np.array([10.0, 0.0]), np.array([10.0, 10.0])) == pytest.approx([10.5 / 11, 0.5 / 11], abs=0)
    found = detection_measures(np.array([[0, 10]]), np.array([[10, 10]]), np.ones((1, 1)))
    assert found.d_prime.item() == pytest.approx(2 * Z(10.5 / 11), abs=1e-12)
    assert found.criterion.item() == pytest.approx(0, abs=1e-12)


def test_an_all_generated_rater_has_no_d_prime_but_a_criterion():
    found = detection_measures(np.array([[20, 20]]), np.array([[20, 20]]), np.ones((1, 1)))
    assert found.d_prime.item() == 0
    assert found.criterion.item() == pytest.approx(-Z(20.5 / 21))
    assert found.accuracy.item() == 0.5


@pytest.mark.parametrize("rho", [-0.4, 0.0, 0.3, 0.79])
@pytest.mark.parametrize("a", [-2.5, -0.3, 0.0, 1.7])
def test_both_below_a_is_scipys(a, rho):
    expected = stats.multivariate_normal([0, 0], [[1, rho], [rho, 1]]).cdf([a, a])
    assert bivariate_normal_cdf(np.array([a]), np.array([rho])).item() == pytest.approx(expected, abs=2e-7)
    assert solve_correlation(special.ndtr(np.array([a])), np.array([expected])).item() == pytest.approx(rho, abs=1e-4)


def test_a_crowd_is_not_one_person():
    """People of mean z = 1.2 and spread .8, so many that nothing is left to chance: the crowd's own share says z = .94."""
    rng = np.random.default_rng(0)
    people = rng.normal(1.2, 0.8, 200_000)
    called, shown = rng.binomial(12, special.ndtr(people))[:, None].astype(float), np.full((200_000, 1), 12.0)
    crowd = special.ndtri(called.sum() / shown.sum())
    assert crowd == pytest.approx(1.2 / np.sqrt(1 + 0.8**2), abs=0.01)
    assert mean_z(called, shown, np.ones((1, 200_000))).item() == pytest.approx(1.2, abs=0.01)


def test_normal_and_quantile_are_as_tabulated():
    """Abramowitz & Stegun 1964, tables 26.1 and 26.5; far out the standard library's, and one is the other's inverse."""
    x, tabulated = np.array([0.0, 1.0, 2.0, -3.0]), [0.5, 0.841344746068543, 0.977249868051821, 0.001349898031630]
    assert normal_cdf(x) == pytest.approx(tabulated, abs=1e-15)
    assert normal_quantile(np.array([0.975, 0.9, 0.5])) == pytest.approx([1.959963984540054, 1.281551565544600, 0.0], abs=1e-14)
    far = np.linspace(-6, 6, 25)
    assert normal_cdf(far) == pytest.approx([NormalDist().cdf(one) for one in far], rel=1e-8)
    assert normal_quantile(np.array([1e-9])).item() == pytest.approx(Z(1e-9), rel=1e-9)
    assert normal_quantile(normal_cdf(far)) == pytest.approx(far, abs=1e-7)


def test_an_interval_of_a_mean_is_students():
    """Of means of few people the bootstrap's interval has Student's width, which plain percentiles miss by a fifth at 8."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal(8)
    low, high = bootstrap_interval(bootstrap_weights(8, 40_000) @ values / 8, 8)
    wide = 2 * stats.t.ppf(0.975, 7) * values.std(ddof=1) / np.sqrt(8)
    assert (high - low) == pytest.approx(wide, rel=0.06)
    assert bootstrap_estimate(bootstrap_weights(8, 40_000) @ values / 8, 8).error == pytest.approx(
        values.std() / np.sqrt(8), rel=0.02
    )


def test_fewer_than_eight_people_have_no_interval():
    found = bootstrap_estimate(bootstrap_weights(7, 100) @ np.arange(7.0), 7)
    assert (found.value, found.error, found.low, found.high) == (21.0, None, None, None)
    assert bootstrap_estimate(bootstrap_weights(8, 100) @ np.arange(8.0), 8).low is not None


# ---- Davidson's model


TRUE = (np.array([0.7, -0.1, -0.6]), -0.4, 0.25)  # log π, log ν, log γ


def test_davidsons_chances_are_his_formula():
    """√γ π_i, ν √(π_i π_j), π_j / √γ over their sum, and with γ = 1 and ν = 0 Bradley and Terry's."""
    found = chances(*TRUE)
    pi, nu, gamma = np.exp(TRUE[0]), np.exp(TRUE[1]), np.exp(TRUE[2])
    parts = np.array([np.sqrt(gamma) * pi[0], nu * np.sqrt(pi[0] * pi[2]), pi[2] / np.sqrt(gamma)])
    assert found[0, 2] == pytest.approx(parts / parts.sum(), rel=1e-12)
    plain = chances(TRUE[0], -60.0, 0.0)
    assert plain[0, 1] == pytest.approx([pi[0] / (pi[0] + pi[1]), 0, pi[1] / (pi[0] + pi[1])], abs=1e-12)


def test_expected_counts_give_the_parameters_back():
    counts = 1e6 * chances(*TRUE) * (1 - np.eye(3))[..., None]
    found = fit_strengths(counts[None])
    assert found.log_strength[0] == pytest.approx(TRUE[0], abs=1e-6)
    assert found.log_ties.item() == pytest.approx(TRUE[1], abs=1e-6)
    assert found.log_left.item() == pytest.approx(TRUE[2], abs=1e-6)


def random_counts(rng, runs=3, each=40):
    counts = np.zeros((runs, runs, 3))
    for i in range(runs):
        for j in range(runs):
            if i != j:
                counts[i, j] = rng.multinomial(each, chances(*TRUE)[i, j])
    return counts


def test_the_fit_is_scipys_maximum_of_davidsons_likelihood():
    rng = np.random.default_rng(1)
    for _ in range(5):
        counts = random_counts(rng)

        def loss(x, counts=counts):
            pi = np.exp(np.array([x[0], x[1], -x[0] - x[1]]))
            left, right = np.exp(x[3] / 2) * pi[:, None], np.exp(-x[3] / 2) * pi
            tie = np.exp(x[2]) * np.sqrt(pi[:, None] * pi)
            total = left + tie + right
            return -sum((counts[..., k] * np.log(part / total)).sum() for k, part in enumerate((left, tie, right)))

        best = optimize.minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-9})
        found = fit_strengths(counts[None], penalty=1e-9)
        assert found.log_strength[0] == pytest.approx([best.x[0], best.x[1], -best.x[0] - best.x[1]], abs=1e-5)
        assert (found.log_ties.item(), found.log_left.item()) == pytest.approx(tuple(best.x[2:]), abs=1e-5)
        usual = fit_strengths(counts[None])
        assert usual.log_strength[0] == pytest.approx(found.log_strength[0], abs=2e-3), "the usual penalty is not seen"


def test_many_fits_at_once_are_the_same_as_one_by_one():
    rng = np.random.default_rng(2)
    many = np.stack([random_counts(rng) for _ in range(4)])
    together = fit_strengths(many)
    for number, counts in enumerate(many):
        assert together.log_strength[number] == pytest.approx(fit_strengths(counts[None]).log_strength[0], abs=1e-9)


def test_a_run_that_always_wins_and_ties_that_never_come_stay_finite():
    counts = np.zeros((2, 2, 3))
    counts[0, 1, 0] = counts[1, 0, 2] = 50
    found = fit_strengths(counts[None])
    assert 2 < found.log_strength[0, 0] < 10
    assert found.log_strength[0].sum() == pytest.approx(0, abs=1e-9)
    assert -20 < found.log_ties.item() < -2
    assert abs(found.log_left.item()) < 1e-6


# ---- simulated people: are 95 % intervals right 95 % of the time?

STUDIES, REPEATS = 250, 300
NEAR = (0.91, 0.99)  # of 250 studies; the spread of that share is .014


@pytest.mark.parametrize(("people", "d_prime"), [(8, 1.0), (40, 0.0), (40, 1.0), (40, 2.5)])
def test_d_prime_criterion_and_bias_are_recovered(people, d_prime):
    """People differ in ability and lean to "generated"; 15 pictures of the run each, and 15 real ones."""
    rng = np.random.default_rng(people)
    hit = {"d_prime": 0, "criterion": 0}
    errors = []
    for study in range(STUDIES):
        called, shown = raters(rng, people, 15, [d_prime], -0.3, (0.3, 0.5))
        found = detection_measures(called, shown, bootstrap_weights(people, REPEATS, seed=study))
        errors.append(found.d_prime[0, 0] - d_prime)
        for name, truth in (("d_prime", d_prime), ("criterion", -0.3)):
            low, high = bootstrap_interval(getattr(found, name)[:, 0], people)
            hit[name] += low <= truth <= high
    for name, count in hit.items():
        assert NEAR[0] <= count / STUDIES <= NEAR[1], name
    assert abs(np.mean(errors)) < 0.05, "no bias worth a name"


def test_the_mean_of_everybodys_own_d_prime_would_not_do():
    """Why `mean_z` is there: at d′ = 2.5 and 15 pictures the usual way misses the truth more often than not."""
    rng = np.random.default_rng(3)
    hit = 0
    for study in range(STUDIES):
        called, shown = raters(rng, 40, 15, [2.5], -0.3, (0.3, 0.5))
        each = special.ndtri(corrected_share(called.astype(float), shown.astype(float)))
        low, high = bootstrap_interval(bootstrap_weights(40, REPEATS, seed=study) @ (each[:, 1] - each[:, 0]) / 40, 40)
        hit += low <= 2.5 <= high
    assert hit / STUDIES < 0.5


def test_an_interval_that_takes_every_answer_for_a_person_is_too_narrow():
    """Of a criterion that differs between people: nominally 95 %, in truth far less; clustered by person, as promised."""
    rng = np.random.default_rng(4)
    hit, naive_hit, ratios = 0, 0, []
    for study in range(150):
        called, shown = raters(rng, 20, 30, [1.0], 0.0, (0.3, 0.6))
        found = detection_measures(called, shown, bootstrap_weights(20, 300, seed=study))
        low, high = bootstrap_interval(found.criterion[:, 0], 20)
        # the same answers, each a person's only one of its kind: 1,200 people who saw one real and one generated picture
        singles = [np.repeat([1, 0], [called[:, k].sum(), (shown - called)[:, k].sum()]) for k in (0, 1)]
        alone = np.stack([rng.permutation(column) for column in singles], 1)
        found = detection_measures(alone, np.ones_like(alone), bootstrap_weights(len(alone), 300, seed=study))
        naive = bootstrap_interval(found.criterion[:, 0], len(alone))
        hit += low <= 0 <= high
        naive_hit += naive[0] <= 0 <= naive[1]
        ratios.append((high - low) / (naive[1] - naive[0]))
    assert hit / 150 > 0.9
    assert naive_hit / 150 < 0.7
    assert 3 < np.mean(ratios) < 5


def test_strengths_ties_and_side_bias_are_recovered():
    """Everybody compares 10 pairs on either side; nobody differs from anybody, so that the truth is what was put in."""
    rng = np.random.default_rng(5)
    truth = np.array([*TRUE[0], TRUE[1], TRUE[2]])
    chance = chances(*TRUE)
    hits = np.zeros(5)
    studies = 200
    for study in range(studies):
        counts = np.zeros((25, 3, 3, 3))
        for i, j in ((0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)):
            counts[:, i, j] = rng.multinomial(10, chance[i, j], size=25)
        found = fit_strengths(np.tensordot(bootstrap_weights(25, 300, seed=study), counts, 1))
        values = np.concatenate([found.log_strength, found.log_ties[:, None], found.log_left[:, None]], 1)
        low, high = bootstrap_interval(values, 25)
        hits += (low <= truth) & (truth <= high)
    assert ((hits / studies >= 0.91) & (hits / studies <= 0.99)).all(), hits / studies


def test_people_who_differ_are_covered_only_by_clustering():
    """Half prefer the first run strongly, half the second: on the whole equal, which 10 people may well hide."""
    rng = np.random.default_rng(6)
    studies, hit, naive_hit = 200, 0, 0
    for study in range(studies):
        taste = rng.choice([-1.0, 1.0], 16)
        counts = np.zeros((16, 2, 2, 3))
        for person, lean in enumerate(taste):
            chance = chances(np.array([lean, -lean]), -1.0, 0.0)
            for i, j in ((0, 1), (1, 0)):
                counts[person, i, j] = rng.multinomial(10, chance[i, j])
        found = fit_strengths(np.tensordot(bootstrap_weights(16, 300, seed=study), counts, 1))
        low, high = bootstrap_interval(found.log_strength[:, 0], 16)
        hit += low <= 0 <= high
        flat = counts.sum(0).reshape(-1)
        many = rng.multinomial(int(flat.sum()), flat / flat.sum(), size=300).reshape(300, 2, 2, 3)
        naive = np.quantile(fit_strengths(many).log_strength[:, 0], [0.025, 0.975])
        naive_hit += naive[0] <= 0 <= naive[1]
    assert 0.91 <= hit / studies <= 0.99
    assert naive_hit / studies < 0.75

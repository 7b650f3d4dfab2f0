"""KID, sliced Wasserstein, the two-sample test and the Inception Score, where the answer is known."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from limner.core.errors import InputError
from limner.metrics.distribution import mmd, sliced
from limner.metrics.distribution.inception_score import inception_score, inception_score_null
from limner.metrics.distribution.mmd import mmd2, mmd2_error, mmd2_null
from limner.metrics.distribution.sliced import directions, project, wasserstein2_squared
from limner.metrics.distribution.two_sample import exchange_test, two_sample_test
from limner.metrics.features.detectors import RandomConv
from limner.metrics.stats.exact_tests import MIN_P, hypergeometric_tail

stats = pytest.importorskip("scipy.stats")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sliced_wasserstein(a: Tensor, b: Tensor, projections: int = 512) -> float:
    """Along directions of seed 0."""
    theta = directions(int(a.shape[1]), projections, seed=0)
    return sliced.distance(project(a, theta), project(b, theta))


# exact tests


def fraction_of_choices(population: int, marked: int, drawn: int, least: int) -> Fraction:
    """The same tail in whole numbers: choices of `drawn` with `least` marked or more, of all choices."""
    counts = range(max(least, drawn - (population - marked)), min(marked, drawn) + 1)
    choices = sum(math.comb(marked, count) * math.comb(population - marked, drawn - count) for count in counts)
    return Fraction(choices, math.comb(population, drawn))


@pytest.mark.parametrize(
    ("population", "marked", "drawn", "least"),
    [(10, 5, 5, 3), (12_000, 2000, 30, 20), (12_000, 10_000, 11_000, 9170), (1_000_000, 50_000, 1000, 100), (7, 0, 3, 0)],
)
def test_the_tail_counts_choices(population: int, marked: int, drawn: int, least: int) -> None:
    expected = float(fraction_of_choices(population, marked, drawn, least))
    assert hypergeometric_tail(population, marked, drawn, least) == pytest.approx(expected, rel=1e-8)


def test_the_tail_s_ends() -> None:
    assert hypergeometric_tail(10, 5, 5, 0) == 1.0
    assert hypergeometric_tail(10, 9, 5, 4) == 1.0  # five draws cannot miss more than one
    assert hypergeometric_tail(10, 5, 5, 6) == 0.0
    assert hypergeometric_tail(10, 5, 5, 5) == pytest.approx(1 / 252, rel=1e-12)
    assert hypergeometric_tail(4000, 2000, 2000, 2000) == MIN_P
    with pytest.raises(ValueError, match="impossible"):
        hypergeometric_tail(5, 6, 2, 1)


# KID


def slow_mmd2(a: Tensor, b: Tensor) -> float:
    """Equation 4, pair by pair."""

    def k(x: Tensor, y: Tensor) -> float:
        return float((x @ y / len(x) + 1) ** 3)

    n, m = len(a), len(b)
    aa = sum(k(a[i], a[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    bb = sum(k(b[i], b[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return aa + bb - 2 * sum(k(x, y) for x in a for y in b) / (n * m)


def test_mmd2_pair_by_pair() -> None:
    a, b = normal(9, 4), normal(7, 4, seed=1) * 1.3 + 0.4
    assert mmd2(a, b) == pytest.approx(slow_mmd2(a, b), rel=1e-12)
    assert mmd2(b, a) == pytest.approx(mmd2(a, b), rel=1e-12)
    # Three numbers, by hand: k(0, 1) = 1, k(2, 2) = 5³, k(0, 2) = 1, k(1, 2) = 3³.
    assert mmd2(torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [2.0]])) == pytest.approx(1 + 125 - 2 * (1 + 27) / 2)


def test_kid_is_torch_fidelity_s() -> None:
    """Features by a formula; values by torch-fidelity 0.4.0, `kid_features_to_metric`, one subset of all 60."""
    i, j = np.mgrid[0:60, 0:12]
    a, b = np.sin(i * 1.7 + j * j * 0.3), np.cos(i * 0.9 + j * 0.7) * 1.2 + 0.1
    assert mmd2(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(0.9401191780589868, abs=1e-9)


def test_mmd2_of_known_distributions() -> None:
    """N(0, 1) against N(μ, 1) in one dimension: with k = (xy + 1)³, MMD² = Σ C(3, p)·(E xᵖ − E yᵖ)² over p = 1, 2, 3."""
    shift = 0.5
    moments = [shift, (1 + shift**2) - 1, shift**3 + 3 * shift]
    expected = sum(math.comb(3, p) * moment**2 for p, moment in zip((1, 2, 3), moments, strict=True))
    draws = [mmd2(normal(1000, 1, seed=2 * seed), normal(1000, 1, seed=2 * seed + 1) + shift) for seed in range(30)]
    assert np.mean(draws) == pytest.approx(expected, abs=4 * np.std(draws) / 30**0.5)
    assert np.std(draws) / 30**0.5 < 0.1 * expected


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = normal(500, 16).float(), normal(333, 16, seed=1).float()
    whole = mmd2(a, b), mmd2_error(a, b), mmd2_null(a, 100, repeats=5).scores
    monkeypatch.setattr(mmd, "_ROWS", 37)
    assert mmd2(a, b) == pytest.approx(whole[0], rel=1e-10)
    assert mmd2_error(a, b) == pytest.approx(whole[1], rel=1e-10)
    assert mmd2_null(a, 100, repeats=5).scores == pytest.approx(whole[2], rel=1e-9)
    order = torch.randperm(500, generator=torch.Generator().manual_seed(0))
    assert mmd2(a[order], b) == pytest.approx(whole[0], rel=1e-10)


def test_the_null_is_centred_at_nothing() -> None:
    real = normal(1000, 8)
    null = mmd2_null(real, 200, repeats=400)
    assert null.sizes == (200, 200)
    assert abs(null.mean) < 3.5 * null.std / 400**0.5
    kernel = (real[:400] @ real[:400].T / 8 + 1) ** 3
    biased = kernel[:200, :200].mean() + kernel[200:, 200:].mean() - 2 * kernel[:200, 200:].mean()
    assert float(biased) > 3 * null.std, "with pairs of equals, as in the biased estimator, it would not be"
    assert abs(mmd2(real[:200], real[200:400])) < 3 * null.std


def test_the_null_s_repeats_are_mmd2_of_its_splits() -> None:
    from limner.metrics.distribution.frechet import split

    real = normal(90, 5)
    null = mmd2_null(real, 20, repeats=4, seed=3, m=50)
    sizes = split(90, 20, 50)
    assert sizes is not None
    for repeat, score in enumerate(null.scores):
        left, right = sizes.rows(90, repeat, 3)
        assert mmd2(real[left], real[right]) == pytest.approx(score, rel=1e-9)


def test_a_small_null_is_corrected_in_its_spread() -> None:
    real = normal(2000, 6)
    wide = mmd2_null(real, 500, repeats=150)
    narrow = mmd2_null(real[:200], 500, repeats=150)
    assert narrow.sizes == (100, 100)
    assert narrow.size_correction == pytest.approx(0.2)
    assert narrow.std == pytest.approx(wide.std, rel=0.35)  # five times as wide without the correction
    with pytest.raises(InputError, match="too few"):
        mmd2_null(real[:3], 10)


def test_mmd2_error_is_the_spread_over_other_draws() -> None:
    real = normal(1500, 4)
    draws = [normal(200, 4, seed=seed) + 0.3 for seed in range(1, 31)]
    spread = np.std([mmd2(draw, real) for draw in draws])
    assert np.mean([mmd2_error(draw, real) for draw in draws]) == pytest.approx(spread, rel=0.3)


def test_mmd2_refuses() -> None:
    with pytest.raises(InputError, match="two images"):
        mmd2(normal(1, 3), normal(5, 3))
    with pytest.raises(InputError, match="not a finite"):
        mmd2(torch.full((3, 2), torch.nan), normal(3, 2))
    with pytest.raises(ValueError, match="dimensions"):
        mmd2(normal(3, 2), normal(3, 3))


# Sliced Wasserstein


@pytest.mark.parametrize(("n", "m"), [(6, 4), (5, 7), (12, 1), (8, 8)])
def test_one_line_of_unequal_numbers(n: int, m: int) -> None:
    """Every number repeated until both sets are as long: there, sorted matching is the definition."""
    x, y = normal(n, 3), normal(m, 3, seed=1) * 2 + 1
    long_x, long_y = x.repeat_interleave(m, 0).sort(0).values, y.repeat_interleave(n, 0).sort(0).values
    torch.testing.assert_close(wasserstein2_squared(x, y), (long_x - long_y).square().mean(0), rtol=1e-12, atol=0)


def test_one_line_by_a_linear_program() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    x, y = normal(4, 1), normal(6, 1, seed=1)
    cost = (x - y.T).square().numpy()
    supply = np.concatenate((np.kron(np.eye(4), np.ones(6)), np.kron(np.ones(4), np.eye(6))))
    plan = optimize.linprog(cost.ravel(), A_eq=supply, b_eq=np.r_[np.full(4, 1 / 4), np.full(6, 1 / 6)])
    assert float(wasserstein2_squared(x, y)) == pytest.approx(plan.fun, rel=1e-9)


def test_sliced_wasserstein_in_closed_form() -> None:
    x = normal(700, 5)
    delta = torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0]).double()
    # A translation moves each line by θ·δ, exactly; its mean square over the sphere is |δ|²/d.
    theta = directions(5, 4000, seed=0)
    exact = float((theta.T @ delta).square().mean().sqrt())
    assert sliced_wasserstein(x, x + delta, 4000) == pytest.approx(exact, rel=1e-12)
    assert exact == pytest.approx(float(delta.norm()) / 5**0.5, rel=0.03)
    # A dilation about 0 stretches all quantiles: SW₂² = (s − 1)²·mean over θ of mean (θ·x)².
    assert sliced_wasserstein(x, 3 * x, 64) == pytest.approx(2 * float(project(x, directions(5, 64, 0)).square().mean().sqrt()))
    assert sliced_wasserstein(x, x[torch.randperm(700)]) == 0
    assert sliced_wasserstein(x, x.repeat(3, 1)) == pytest.approx(0, abs=1e-12)  # three times as many of the same


def test_directions_are_seeded_unit_vectors() -> None:
    theta = directions(7, 4000, seed=1)
    torch.testing.assert_close(theta.norm(dim=0), torch.ones(4000, dtype=torch.float64))
    torch.testing.assert_close(theta @ theta.T / 4000, torch.eye(7, dtype=torch.float64) / 7, atol=0.01, rtol=0)
    assert torch.equal(theta, directions(7, 4000, seed=1))
    assert not torch.equal(theta, directions(7, 4000, seed=2))


def test_pixels_are_read_as_they_are() -> None:
    images = torch.randint(0, 256, (50, 30), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    other = torch.randint(0, 256, (31, 30), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    assert sliced_wasserstein(images, other) == pytest.approx(sliced_wasserstein(images / 255.0, other / 255.0), rel=1e-6)
    with pytest.raises(InputError, match="at least one"):
        sliced_wasserstein(images[:0], other)
    with pytest.raises(InputError, match="not a finite"):
        sliced_wasserstein(torch.full((3, 2), torch.nan), torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"\[n, 30\]"):
        sliced_wasserstein(images, other[:, :29])


def test_sliced_null_and_error() -> None:
    real, theta = normal(4000, 6), directions(6, 32, seed=0)
    null = sliced.null(project(real, theta), 1000, 1000, repeats=8)
    assert null.sizes == (1000, 1000)
    narrow = [sliced.null(project(part, theta), 1000, 1000, repeats=2) for part in real.split(500)]
    assert narrow[0].sizes == (250, 250)
    mean = np.mean([one.mean for one in narrow])
    assert mean == pytest.approx(null.mean, rel=0.15)  # twice as high without the correction
    draws = [normal(300, 6, seed=seed) + 0.4 for seed in range(1, 25)]
    spread = np.std([sliced_wasserstein(draw, real, 32) for draw in draws])
    told = np.mean([sliced.error(project(draw, theta), project(real, theta)) for draw in draws])
    assert told == pytest.approx(spread, rel=0.3)
    assert sliced.error(project(real[:1], theta), project(real, theta)) == 0.0
    with pytest.raises(InputError, match="too few"):
        sliced.null(project(real[:3], theta), 10, 10)


# The classifier two-sample test


def test_what_was_examined_is_fisher_s_exact_test() -> None:
    truth = torch.tensor([1] * 30 + [0] * 30)
    said = torch.tensor([1] * 22 + [0] * 8 + [1] * 12 + [0] * 18)
    found = exchange_test(said, truth)
    assert found.accuracy.value == pytest.approx(40 / 60)
    assert found.p == pytest.approx(stats.fisher_exact([[22, 8], [12, 18]], alternative="greater").pvalue, rel=1e-9)
    shuffled = [int((said * truth[torch.randperm(60, generator=torch.Generator().manual_seed(i))]).sum()) for i in range(4000)]
    assert found.z == pytest.approx((22 - np.mean(shuffled)) / np.std(shuffled), abs=0.15)
    assert found.p == pytest.approx(np.mean(np.array(shuffled) >= 22), abs=0.01)
    same = exchange_test(torch.ones(60, dtype=torch.int64), truth)  # whoever calls everything a sample has said nothing
    assert (same.accuracy.value, same.z, same.p) == (0.5, 0.0, 1.0)


def test_equal_sets_are_called_different_as_often_as_chance_would() -> None:
    found = [two_sample_test(normal(60, 3, seed=2 * seed), normal(90, 3, seed=2 * seed + 1)) for seed in range(120)]
    assert {one.images for one in found} == {60}
    p = np.array([one.p for one in found])
    assert np.mean(p <= 0.05) <= 0.11  # two and a half deviations above 5 %
    assert np.mean(p <= 0.5) == pytest.approx(0.4, abs=0.2)  # exact tests of few pictures say less than they might
    assert np.mean([one.z for one in found]) == pytest.approx(0, abs=0.35)


def test_shifted_and_squeezed_sets_are_told_apart() -> None:
    a, b = normal(400, 5), normal(700, 5, seed=1)
    shifted = two_sample_test(a + 0.8, b)
    # The best possible accuracy for means |δ| apart is Φ(|δ|/2).
    assert shifted.accuracy.value == pytest.approx(stats.norm.cdf(0.8 * 5**0.5 / 2), abs=0.06)
    assert shifted.p < 1e-10
    assert shifted.z > 6
    assert two_sample_test(a * 0.5, b).p > 1e-3  # no straight cut parts a ball from a ball around it
    assert two_sample_test(a + 0.8, b) == shifted
    # Twenty pictures again and again: in 40 dimensions their mean lies √2 away by chance, and a straight cut can use more.
    many = normal(700, 40, seed=1)
    few = two_sample_test(normal(20, 40).repeat(20, 1), many)
    assert stats.norm.cdf(2**0.5 / 2) < few.accuracy.value < 0.95
    assert few.p < 1e-10
    assert two_sample_test(normal(400, 40), many).p > 1e-3
    with pytest.raises(InputError, match="8 images"):
        two_sample_test(a[:7], b)


# The Inception Score


def test_inception_score_in_closed_form() -> None:
    sure = 1e4 * torch.eye(8).repeat(10, 1)
    assert inception_score(sure, splits=1).mean == pytest.approx(8, rel=1e-9)
    assert inception_score(torch.zeros(40, 8)).mean == pytest.approx(1, rel=1e-12)
    assert inception_score(sure[:1].repeat(50, 1)).mean == pytest.approx(1, rel=1e-12)  # sure, and always of the same
    # One of two classes with probability .9: exp(H(½) − H(.9)).
    half = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).log().repeat(20, 1)
    expected = math.exp(math.log(2) + 0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    found = inception_score(half, splits=4)
    assert found.splits == pytest.approx([expected] * 4, rel=1e-6)
    assert (found.std, found.error) == (pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-9))
    assert inception_score(half, splits=1).error is None


def test_inception_score_s_splits_are_consecutive() -> None:
    logits = 3 * normal(203, 6)
    found = inception_score(logits)
    p = stats.entropy  # KL in nats
    parts = [logits[i * 203 // 10 : (i + 1) * 203 // 10].softmax(1).numpy() for i in range(10)]
    expected = [math.exp(np.mean([p(row, part.mean(0)) for row in part])) for part in parts]
    assert found.splits == pytest.approx(expected, rel=1e-9)
    assert (found.mean, found.std) == (pytest.approx(np.mean(expected)), pytest.approx(np.std(expected)))
    assert found.error == pytest.approx(np.std(expected, ddof=1) / 10**0.5)
    with pytest.raises(InputError, match="as many images"):
        inception_score(logits[:9])
    with pytest.raises(InputError, match="not a finite"):
        inception_score(torch.full((20, 3), torch.nan))


def test_inception_score_is_torch_fidelity_s() -> None:
    """torch-fidelity 0.4.0, `isc_features_to_metric` in ten splits without shuffling."""
    logits = torch.from_numpy(3 * np.sin(np.arange(203 * 6).reshape(203, 6) ** 1.3))
    found = inception_score(logits)
    assert (found.mean, found.std) == (pytest.approx(2.000986028185846), pytest.approx(0.22956983851917084))


def test_inception_score_null_holds_other_real_pictures() -> None:
    with pytest.raises(InputError, match="at least one"):
        inception_score_null(torch.empty(0, 5), 10)
    logits = 3 * normal(2000, 6)
    null = inception_score_null(logits, 300, repeats=200)
    fresh = [inception_score(3 * normal(300, 6, seed=seed)).mean for seed in range(1, 41)]
    assert null.sizes == (300, 300)
    assert np.mean(fresh) == pytest.approx(null.mean, abs=4 * null.std / 40**0.5 + 0.01 * null.mean)
    assert np.std(fresh) == pytest.approx(null.std, rel=0.4)


# Faults planted in digits; the same in MNIST is tests/slow/test_planted_faults.py


def test_faults_planted_in_digits() -> None:
    """600 of the UCI digits against the other 1,197; random convolutions and pixels, nothing learned."""
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    images, labels = np.round(found.images * (255 / 16)).astype(np.uint8)[order, :, :, None], found.target[order]
    fine, real = images[:600], images[600:]
    smooth = (fine.astype(int) + np.roll(fine, 1, 1) + np.roll(fine, 1, 2) + np.roll(fine, (1, 1), (1, 2))) // 4
    faults = {
        "none": fine,
        "missing": fine[labels[:600] != 0],
        "blur": smooth.astype(np.uint8),
        "noise": (fine + np.random.default_rng(1).normal(0, 40, fine.shape)).clip(0, 255).astype(np.uint8),
        "repeated": fine[np.arange(600) % 20],
    }
    kid: dict[str, float] = {}
    moved: dict[str, float] = {}
    told: dict[str, float] = {}
    see, pixels = RandomConv((8, 8, 1)).features, torch.from_numpy(images).flatten(1)
    real_features, features = see(real), see(images)
    # Scaled so that a typical feature is about 1: the kernel's constant is 1.
    scale = float(features.std())
    kid_null = mmd2_null(features / scale, 600, m=1197)
    sliced_null = sliced.null(project(pixels, directions(64, 128, seed=0)), 600, 1197)
    for name, pictures in faults.items():
        seen, flat = see(pictures), torch.from_numpy(pictures).flatten(1)
        kid[name] = (mmd2(seen / scale, real_features / scale) - kid_null.mean) / kid_null.std
        distance = sliced_wasserstein(flat, pixels[600:], 128)
        moved[name] = (distance - sliced_null.mean) / sliced_null.std
        told[name] = two_sample_test(flat / 255.0, pixels[600:] / 255.0).z
    assert abs(kid["none"]) < 4
    assert abs(moved["none"]) < 4
    assert abs(told["none"]) < 3
    for name in ("blur", "noise", "repeated"):
        assert kid[name] > 6, (name, kid)
    for name in ("missing", "blur", "noise", "repeated"):
        assert moved[name] > 4, (name, moved)
    for name in ("blur", "repeated"):
        assert told[name] > 4, (name, told)

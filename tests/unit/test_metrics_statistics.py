"""Moments and the Fréchet distance, where the answer is known in closed form."""

from __future__ import annotations

import pytest
import torch

from limner.core.errors import InputError
from limner.metrics.distribution.frechet import Split, covariance_factor, frechet_distance, frechet_null, jackknife, split
from limner.metrics.features.summary import FeatureSummary
from limner.metrics.measure import measure
from limner.metrics.sides import Sides
from limner.metrics.stats.moments import Moments


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exactly(mean: torch.Tensor, covariance: torch.Tensor, n: int = 1001) -> Moments:
    """Moments that have precisely this mean and covariance."""
    return Moments(len(mean), n, mean * n, covariance * (n - 1) + n * torch.outer(mean, mean))


def test_moments_of_parts_are_those_of_the_whole() -> None:
    x = normal(10_000, 7) * 3 + 5
    whole = Moments.of(x)
    parts = Moments(7)
    for part in (x[:1], x[1:4097], x[4097:9000]):
        parts.update(part)
    parts = parts.merge(Moments.of(x[9000:]))
    assert parts.n == whole.n == 10_000
    torch.testing.assert_close(parts.mean, x.mean(0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(parts.covariance, torch.cov(x.T), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(whole.covariance, parts.covariance, rtol=1e-12, atol=1e-12)
    rest = whole.without(Moments.of(x[:4000]))
    torch.testing.assert_close(rest.covariance, torch.cov(x[4000:].T), rtol=1e-12, atol=1e-12)


def test_moments_are_saved_exactly() -> None:
    moments = Moments.of(normal(50, 4))
    again = Moments.from_state(moments.state())
    assert again.n == 50
    assert torch.equal(again.total, moments.total)
    assert torch.equal(again.outer, moments.outer)


def test_moments_refuse_what_is_not_a_number() -> None:
    with pytest.raises(InputError, match="not a finite number"):
        Moments.of(torch.tensor([[0.0, float("nan")]]))
    with pytest.raises(InputError, match="at least two"):
        _ = Moments.of(normal(1, 3)).covariance


def test_frechet_of_diagonal_gaussians() -> None:
    # d² = Σ (μa − μb)² + Σ (σa − σb)²
    mean_a, mean_b = torch.tensor([0.0, 1, 2]).double(), torch.tensor([1.0, 1, -1]).double()
    sd_a, sd_b = torch.tensor([1.0, 2, 3]).double(), torch.tensor([2.0, 0, 1]).double()
    distance = frechet_distance(exactly(mean_a, (sd_a**2).diag()), exactly(mean_b, (sd_b**2).diag()))
    assert distance == pytest.approx(10 + 1 + 4 + 4, abs=1e-9)


def test_frechet_of_equals_is_nothing_and_of_a_multiple_is_known() -> None:
    x = normal(4000, 64) @ normal(64, 64, seed=1)
    a = Moments.of(x)
    trace = float(a.covariance.trace())
    assert frechet_distance(a, a) <= 1e-9 * trace
    # N(0, Σ) against N(0, s²Σ): (s − 1)² tr Σ
    zero = torch.zeros(64, dtype=torch.float64)
    b, c = exactly(zero, a.covariance), exactly(zero, 9 * a.covariance)
    assert frechet_distance(b, c) == pytest.approx(4 * trace, rel=1e-9)
    assert frechet_distance(a, c) == pytest.approx(frechet_distance(c, a), rel=1e-9)


def test_frechet_of_singular_and_constant_features() -> None:
    flat = normal(500, 3) @ normal(3, 20, seed=1)  # rank 3 in 20 dimensions
    a, b = Moments.of(flat), Moments.of(normal(500, 20, seed=2))
    assert frechet_distance(a, a) <= 1e-6 * float(a.covariance.trace())
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-6)
    constant = Moments.of(torch.ones(10, 20))
    expected = float((b.mean - 1).square().sum() + b.covariance.trace())
    assert frechet_distance(constant, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(b, constant) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("n", "m", "d"), [(30, 50, 200), (300, 200, 20)])
def test_the_distance_by_another_formula(n: int, m: int, d: int) -> None:
    """With centred rows X and Y the trace term is the nuclear norm of XYᵀ / √((N−1)(M−1)): no d × d matrix is ever formed."""
    a, b = normal(n, d).double(), normal(m, d, seed=1).double() * 1.5 + 0.2
    x, y = (a - a.mean(0)) / (n - 1) ** 0.5, (b - b.mean(0)) / (m - 1) ** 0.5
    spread = x.square().sum() + y.square().sum() - 2 * torch.linalg.svdvals(x @ y.T).sum()
    expected = float((a.mean(0) - b.mean(0)).square().sum() + spread)
    assert frechet_distance(Moments.of(a), Moments.of(b)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("n", "d"), [(300, 40), (41, 40), (30, 40)])
def test_the_quick_factor_gives_the_distance_of_the_eigendecomposition(n: int, d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scale = torch.logspace(0, -3, d)
    a, b = Moments.of(normal(n, d) * scale), Moments.of((normal(n, d, seed=1) + 0.2) * scale)
    quick, shape = frechet_distance(a, b), covariance_factor(b.covariance).shape
    monkeypatch.setattr(torch.linalg, "cholesky_ex", lambda covariance: (covariance, torch.tensor(1)))
    assert quick == pytest.approx(frechet_distance(a, b), rel=1e-7)
    assert shape == (d, min(d, n - 1))


def test_the_null_splits_into_disjoint_sets() -> None:
    assert split(100, 30, 60) == Split(30, 60, 1.0)
    assert split(50, 30, 70) == Split(15, 35, 0.5)
    few = split(30, 2000, 30)  # many samples, a small reference
    assert few is not None
    assert (few.n, few.m) == (23, 7)
    assert few.size_correction == pytest.approx((1 / 2000 + 1 / 30) / (1 / 23 + 1 / 7))
    lopsided = split(500, 10, 1000)
    assert lopsided is not None
    assert (lopsided.n, lopsided.m) == (10, 490)
    assert split(3, 100, 100) is None
    left, right = few.rows(30, repeat=0, seed=1)
    assert (len(left), len(right)) == (23, 7)
    assert not set(left.tolist()) & set(right.tolist())
    with pytest.raises(InputError, match="too few"):
        frechet_null(normal(3, 2), 100)


def test_a_null_of_too_few_images_is_corrected_to_the_size_asked_for() -> None:
    x = normal(8000, 16)
    wide = frechet_null(x, 2000, repeats=6, seed=0)
    assert wide.sizes == (2000, 2000)
    narrow = frechet_null(x[:1000], 2000, repeats=6, seed=0)
    assert narrow.sizes == (500, 500)
    assert narrow.size_correction == 0.25
    assert narrow.mean == pytest.approx(wide.mean, rel=0.15)  # four times as high without the correction
    assert frechet_null(x, 2000, repeats=2, seed=0).scores == wide.scores[:2]


def test_the_error_is_the_spread_over_other_draws() -> None:
    reference = FeatureSummary.of(normal(20_000, 4), None)
    draws = [normal(1000, 4, seed=seed) + 0.3 for seed in range(1, 41)]
    spread = torch.tensor([frechet_distance(Moments.of(draw), reference.moments) for draw in draws]).std()
    sides = [Sides(FeatureSummary.of(draw, None), reference, cached_nulls=lambda *_: {}) for draw in draws]
    told = torch.tensor([measure(side, ["frechet"])["frechet"].error for side in sides]).mean()
    assert 0.8 < float(told / spread) < 1.25
    assert jackknife([1.0, 1.0, 1.0]) == 0.0
    assert jackknife([0.0, 2.0]) == pytest.approx(1.0)  # √(½ · 2)

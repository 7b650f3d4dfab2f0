"""Losses against golden values, closed forms and torch.distributions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from limner.methods.vae import elbo, likelihoods


def kl_to_standard(mean: Tensor, log_variance: Tensor) -> Tensor:
    return elbo.kl_to_standard(mean, log_variance).sum(1)


def gaussian_nll(images: Tensor, means: Tensor, log_sigma: Tensor) -> Tensor:
    return likelihoods.nll("gaussian", images, means, log_sigma)


def optimal_log_sigma(images: Tensor, means: Tensor) -> Tensor:
    return likelihoods.optimal_log_scale("gaussian", likelihoods.spread("gaussian", images, means))


def test_kl_against_torch_distributions() -> None:
    torch.manual_seed(0)
    mean, log_variance = torch.randn(9, 5), torch.randn(9, 5)
    expected = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl_to_standard(mean, log_variance), expected)
    assert float(kl_to_standard(torch.zeros(1, 3), torch.zeros(1, 3))) == 0.0


def test_gaussian_nll_against_torch_distributions() -> None:
    torch.manual_seed(0)
    images, means, log_sigma = torch.randn(6, 3, 4, 5), torch.randn(6, 3, 4, 5), torch.tensor(-0.7)
    expected = -Normal(means, log_sigma.exp()).log_prob(images).flatten(1).sum(1)
    torch.testing.assert_close(gaussian_nll(images, means, log_sigma), expected)


@pytest.mark.parametrize("spread", [0.05, 0.3, 2.0])
def test_calibrated_sigma_is_where_the_derivative_vanishes(spread: float) -> None:
    """The softened bound at −6 leaves what is above it alone to within its own small shift."""
    torch.manual_seed(0)
    images = torch.randn(8, 1, 6, 6, dtype=torch.float64)
    means = images + spread * torch.randn_like(images)
    best = optimal_log_sigma(images, means)
    exact = 0.5 * (images - means).square().mean().log()
    assert float(best - exact) == pytest.approx(math.log1p(math.exp(-(float(exact) + 6))), abs=1e-9)
    at = exact.clone().requires_grad_()
    (slope,) = torch.autograd.grad(gaussian_nll(images, means, at).mean(), at)
    assert float(slope) == pytest.approx(0.0, abs=1e-9)
    around = [float(gaussian_nll(images, means, best + shift).mean()) for shift in (-0.2, 0.0, 0.2)]
    assert around[1] < around[0]
    assert around[1] < around[2]


def test_calibrated_sigma_stays_above_its_floor() -> None:
    images = torch.ones(2, 1, 4, 4)
    assert float(optimal_log_sigma(images, images)) == pytest.approx(-6.0, abs=1e-2)
    assert math.isfinite(float(gaussian_nll(images, images, optimal_log_sigma(images, images)).sum()))


def test_elbo_of_a_linear_gaussian_model_is_exact_with_the_true_posterior() -> None:
    """x = Wz + b + σε: with the true posterior, E[nll] + KL equals −log p(x), a multivariate normal in closed form."""
    torch.manual_seed(0)
    size, latent, sigma = 6, 2, 0.4
    w, b = torch.randn(size, latent, dtype=torch.float64), torch.randn(size, dtype=torch.float64)
    images = torch.randn(5, size, dtype=torch.float64)
    precision = torch.eye(latent, dtype=torch.float64) + w.T @ w / sigma**2
    # An orthogonal change of latents makes the true posterior diagonal, as an encoder's is.
    values, rotation = torch.linalg.eigh(precision)
    w = w @ rotation
    variance = 1 / values
    means = (images - b) @ w * variance / sigma**2
    kl = kl_to_standard(means, variance.log().expand_as(means))
    at_mean = gaussian_nll(images, means @ w.T + b, torch.tensor(math.log(sigma), dtype=torch.float64))
    expected_nll = at_mean + 0.5 * (w.square().sum(0) * variance).sum() / sigma**2
    truth = MultivariateNormal(b, w @ w.T + sigma**2 * torch.eye(size, dtype=torch.float64)).log_prob(images)
    torch.testing.assert_close(expected_nll + kl, -truth, rtol=1e-10, atol=1e-10)
    off = kl_to_standard(means + 0.3, variance.log().expand_as(means))
    moved = gaussian_nll(images, (means + 0.3) @ w.T + b, torch.tensor(math.log(sigma), dtype=torch.float64))
    worse = moved + 0.5 * (w.square().sum(0) * variance).sum() / sigma**2 + off
    assert bool((worse > -truth).all()), "it is a bound"
    assert Independent(Normal(means, variance.sqrt()), 1).event_shape == (latent,)

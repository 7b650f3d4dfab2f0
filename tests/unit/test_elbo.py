"""The evidence bound and its parts: against closed forms, exact enumeration and torch.distributions."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from limner.core.cond import Cond
from limner.core.method import Bounded, Pixels
from limner.methods import elbo
from limner.methods.vae import Vae, VaeConfig


def posteriors(count: int, latents: int, spread: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(3)
    return spread * torch.randn(count, latents).double(), torch.randn(count, latents).double() * 0.3 - 1.0


def true_parts(z: torch.Tensor, mean: torch.Tensor, log_variance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """log q(z) and Σ_j log q(z_j) by enumeration of all training images, [len(z)] each."""
    each = Normal(mean[None], (0.5 * log_variance).exp()[None]).log_prob(z[:, None])
    count = math.log(len(mean))
    return torch.logsumexp(each.sum(2), 1) - count, (torch.logsumexp(each, 1) - count).sum(1)


@pytest.mark.parametrize("estimator", ["weighted", "stratified"])
def test_the_parts_telescope_to_the_sampled_kl(estimator: elbo.Estimator) -> None:
    mean, log_variance = posteriors(16, 5)
    z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
    parts = elbo.decomposition(z, mean, log_variance, 1000, estimator)
    sampled = Normal(mean, (0.5 * log_variance).exp()).log_prob(z) - Normal(0.0, 1.0).log_prob(z)
    torch.testing.assert_close(sum(parts), sampled.sum(1), rtol=1e-12, atol=1e-10)


def test_with_the_whole_population_in_the_batch_the_stratified_estimate_is_exact() -> None:
    """N = B: every weight is 1/N or 1/M. Enumerated, the total correlation is the truth but for that last correction."""
    mean, log_variance = posteriors(64, 3, spread=2.0)
    z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
    _, tc, _ = elbo.decomposition(z, mean, log_variance, 64, "weighted")
    joint, marginals = true_parts(z, mean, log_variance)
    # The weighted estimate divides by N·B where the truth divides by N: a constant that joint and marginals share unevenly.
    offset = math.log(64)
    torch.testing.assert_close(tc, (joint - offset) - (marginals - 3 * offset), rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("latents", [2, 4])
def test_stratified_weights_are_unbiased_for_q_of_z(latents: int) -> None:
    """In the mean over minibatches Σ_j w_ij q(z_i|x_j) is q(z_i) of the whole set; with 1/N in column 0 it is not."""
    population, size = 40, 8
    mean, log_variance = posteriors(population, latents, spread=1.5)
    z = mean[:1] + 0.3
    density = Normal(mean, (0.5 * log_variance).exp()).log_prob(z).sum(1)
    truth = density.exp().mean()
    generator = torch.Generator().manual_seed(0)
    right, wrong = [], []
    for _ in range(6000):
        others = 1 + torch.randperm(population - 1, generator=generator)[: size - 1]
        rows = torch.cat([torch.zeros(1, dtype=torch.int64), others])  # z comes from image 0, which stands first
        table = density[rows].expand(size, size)
        right.append(elbo.log_aggregate(table, population, "stratified")[0].exp())
        rolled = density[rows.roll(3)].expand(size, size)  # as if the own image stood elsewhere than on the diagonal
        wrong.append(elbo.log_aggregate(rolled, population, "stratified")[0].exp())
    assert torch.stack(right).mean().item() == pytest.approx(truth.item(), rel=0.02)
    assert abs(torch.stack(wrong).mean().item() / truth.item() - 1) > 0.1


def test_total_correlation_against_enumeration() -> None:
    """Minibatches of 128 out of 512: the stratified estimate is nearer to the truth than the weighted one."""
    population = 512
    torch.manual_seed(0)
    shared = torch.randn(population, 1).double()
    mean = torch.cat([shared + 0.3 * torch.randn(population, 1).double() for _ in range(4)], 1)
    log_variance = torch.full_like(mean, -3.0)
    z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
    joint, marginals = true_parts(z, mean, log_variance)
    truth = (joint - marginals).mean().item()
    found = {}
    for estimator in ("weighted", "stratified"):
        rows = torch.randperm(population).view(4, 128)
        tcs = [elbo.decomposition(z[r], mean[r], log_variance[r], population, estimator)[1].mean() for r in rows]  # type: ignore[arg-type]
        found[estimator] = torch.stack(tcs).mean().item()
    assert found["stratified"] == pytest.approx(truth, rel=0.12)
    assert abs(found["stratified"] - truth) < 0.2 * abs(found["weighted"] - truth)


def test_free_bits_cost_what_is_free_and_push_no_further() -> None:
    kl = torch.tensor([[0.1, 2.0], [0.3, 4.0]], requires_grad=True)
    loss = elbo.free_bits(kl, 0.5)
    torch.testing.assert_close(loss.detach(), torch.tensor([2.5, 4.5]))
    (slope,) = torch.autograd.grad(loss.mean(), kl)
    torch.testing.assert_close(slope, torch.tensor([[0.0, 0.5], [0.0, 0.5]]))


@pytest.mark.parametrize(("target", "mean"), [(2.0, 1.2), (5.0, 1.8)])
def test_capacity_is_the_distance_of_the_mean(target: float, mean: float) -> None:
    kl = torch.tensor([[0.1, 2.0], [0.3, 4.0]])
    assert elbo.capacity(kl, target).mean().item() == pytest.approx(mean, abs=1e-6)


def test_shuffling_keeps_every_column_and_breaks_the_rows() -> None:
    torch.manual_seed(0)
    z = torch.randn(500, 1).expand(500, 3).contiguous()
    mixed = elbo.permuted(z, torch.randn(500, 3))
    for column in range(3):
        torch.testing.assert_close(mixed[:, column].sort().values, z[:, 0].sort().values)
    assert torch.corrcoef(mixed.T).fill_diagonal_(0).abs().max() < 0.15


def test_the_importance_bound_is_log_mean_exp_and_rises() -> None:
    torch.manual_seed(0)
    draws = 3 * torch.randn(64, 200) - 500
    lower, bound = elbo.importance_bound(iter(draws))
    torch.testing.assert_close(lower, draws.double().mean(0))
    torch.testing.assert_close(bound, torch.logsumexp(draws.double(), 0) - math.log(64))
    means = [elbo.importance_bound(iter(draws[:k]))[1].mean().item() for k in (1, 4, 16, 64)]
    assert all(a < b for a, b in pairwise(means))
    once, same = elbo.importance_bound([draws[0]])
    torch.testing.assert_close(once, same)


class Linear(torch.nn.Module):
    """The coder of x = Wz + b + σε, with the exact posterior, or one that is `off` it."""

    def __init__(self, w: torch.Tensor, b: torch.Tensor, sigma: float, off: float) -> None:
        super().__init__()
        self.w, self.b, self.sigma, self.off = w, b, sigma, off
        self.variance = 1 / (1 + w.square().sum(0) / sigma**2)  # W has orthogonal columns
        self.shape: tuple[int, ...] = ()

    def encoder(self, x: torch.Tensor) -> torch.Tensor:
        self.shape = tuple(x.shape[1:])
        mean = (x.flatten(1) - self.b) @ self.w * self.variance / self.sigma**2 + self.off
        # `posterior` squashes log variances: undo it here
        return torch.cat([mean, (10 * torch.atanh(self.variance.log() / 10)).expand_as(mean)], 1)

    def decoder(self, z: torch.Tensor) -> torch.Tensor:
        return (z @ self.w.T + self.b).unflatten(1, self.shape)


@pytest.mark.parametrize(("off", "draws"), [(0.0, 1), (0.3, 1), (0.3, 64)])
def test_log_weights_of_a_linear_gaussian_model(off: float, draws: int) -> None:
    """At the true posterior every draw is log p(x), to 1e-4; beside it the ELBO is below, and 64 draws come nearer."""
    torch.manual_seed(0)
    side, latents, sigma = 8, 3, 0.5
    w = torch.linalg.qr(torch.randn(side * side, latents)).Q * torch.tensor([3.0, 2.0, 1.0])
    b = 0.1 * torch.randn(side * side)
    images = (torch.randn(20, latents) @ w.T + b + sigma * torch.randn(20, side * side)).clamp(-0.9, 0.9)
    grey = ((images + 1) * 127.5).round() / 127.5 - 1
    config = VaeConfig(latent=latents, prior="normal", decoder="fixed", sigma=sigma, networks="mlp", widths=(4,))
    method = Vae(config, Pixels((1, side, side)))
    method.coder = Linear(w, b, sigma, off)  # type: ignore[assignment]
    assert isinstance(method, Bounded)
    x = grey.view(20, 1, side, side)
    # The probability of a grey value is its density times its bin, where σ is wide beside the bin: within 1e-5 nats a pixel.
    law = MultivariateNormal(b.double(), (w @ w.T + sigma**2 * torch.eye(side * side)).double())
    truth = law.log_prob(grey.double()) + side * side * math.log(2 / 255)
    noise = torch.randn(draws, 20, latents)
    lower, bound = elbo.importance_bound(method.log_weight(x, n) for n in noise)
    if off == 0:
        torch.testing.assert_close(lower, truth, rtol=0, atol=64 * 1e-5 + 2e-3)
        density = torch.stack([_density_weight(method, x, n) for n in noise]).mean(0)
        torch.testing.assert_close(density, law.log_prob(grey.double()), rtol=0, atol=1e-3)
    else:
        assert bool((lower.mean() < truth.mean() - 0.5).all())
        if draws > 1:
            assert lower.mean() < bound.mean() < truth.mean() + 0.1
            assert (truth - bound).abs().mean() < 0.4 * (truth - lower).abs().mean()
    assert method.picture(torch.zeros(2, latents), Cond()).shape == (2, 1, side, side)


def _density_weight(method: Vae, x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """`log_weight` with the density in the place of the mass, in float64."""
    from limner.methods import likelihoods

    mean, log_variance = (part.double() for part in method.posterior(x))
    z = mean + (0.5 * log_variance).exp() * noise.double()
    coder: Linear = method.coder  # type: ignore[assignment]
    out = (z @ coder.w.T.double() + coder.b.double()).view_as(x)
    seen = -likelihoods.nll("gaussian", x.double(), out, method.log_scale.double())
    return seen + method.log_prior(z) - elbo.log_normal(z, mean, log_variance).sum(1)

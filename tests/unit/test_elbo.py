"""The evidence bound and its parts: against closed forms, exact enumeration and torch.distributions."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from contract.helpers import resolved
from limner.core.capabilities import LikelihoodBound, Pixels
from limner.core.config import DataSpec
from limner.methods.vae import elbo
from limner.methods.vae.config import VaeConfig
from limner.methods.vae.vae import Vae
from limner.nets.mixture import GaussianMixture


def posteriors(count: int, latents: int, spread: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(3)
    return spread * torch.randn(count, latents).double(), torch.randn(count, latents).double() * 0.3 - 1.0


def true_parts(z: torch.Tensor, mean: torch.Tensor, log_variance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """log q(z) and Σ_j log q(z_j) by enumeration of all training images, [len(z)] each."""
    each = Normal(mean[None], (0.5 * log_variance).exp()[None]).log_prob(z[:, None])
    count = math.log(len(mean))
    return torch.logsumexp(each.sum(2), 1) - count, (torch.logsumexp(each, 1) - count).sum(1)


def test_the_kl_is_torchs() -> None:
    """Value and gradient, against `torch.distributions.kl_divergence`, from wide posteriors to very narrow ones."""
    mean, log_variance = posteriors(50, 7, spread=3.0)
    log_variance = 5 * log_variance
    assert log_variance.min() < -8
    found = []
    for way in (elbo.kl_to_standard, lambda m, v: kl_divergence(Normal(m, (0.5 * v).exp()), Normal(0.0, 1.0))):
        inputs = [mean.clone().requires_grad_(), log_variance.clone().requires_grad_()]
        kl = way(*inputs)
        found.append([kl, *torch.autograd.grad(kl.sum(), inputs)])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_log_densities_are_torchs() -> None:
    mean, log_variance = posteriors(9, 4, spread=2.0)
    z = torch.randn_like(mean)
    law = Normal(mean, (0.5 * log_variance).exp())
    torch.testing.assert_close(elbo.log_normal(z, mean, log_variance), law.log_prob(z), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("estimator", ["weighted", "stratified"])
def test_the_parts_telescope_to_the_closed_form_in_the_mean(estimator: elbo.Estimator) -> None:
    """Over many draws of z, mutual information + total correlation + dimension-wise KL is the KL of `kl_to_standard`."""
    mean, log_variance = posteriors(16, 3)
    sums = []
    for _ in range(4000):
        z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        sums.append(torch.stack(elbo.decomposition(z, mean, log_variance, 1000, estimator)).sum(0).mean())
    drawn = torch.stack(sums)
    error = float(drawn.std()) / len(sums) ** 0.5
    closed = elbo.kl_to_standard(mean, log_variance).sum(1).mean().item()
    assert drawn.mean().item() == pytest.approx(closed, abs=4 * error)
    assert error < 0.01 * closed


@pytest.mark.parametrize("estimator", ["weighted", "stratified"])
def test_the_parts_telescope_to_the_sampled_kl(estimator: elbo.Estimator) -> None:
    mean, log_variance = posteriors(16, 5)
    z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
    parts = elbo.decomposition(z, mean, log_variance, 1000, estimator)
    sampled = Normal(mean, (0.5 * log_variance).exp()).log_prob(z) - Normal(0.0, 1.0).log_prob(z)
    torch.testing.assert_close(sum(parts), sampled.sum(1), rtol=1e-12, atol=1e-10)


def test_with_the_whole_population_in_the_batch_the_weighted_estimate_is_exact_but_for_a_constant() -> None:
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


@pytest.mark.parametrize(("target", "mean"), [(2.0, 1.2), (3.0, 0.2), (5.0, 1.8)])
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


SIDE, LATENTS = 4, 3
SHAPE = (1, SIDE, SIDE)
SIGMA = 1.0
"""So wide beside a grey value's bin that its mass is density times width: within 4e-5 nats in a picture."""


def linear_gaussian(prior: str = "normal", off: float = 0.0) -> tuple[Vae, torch.Tensor]:
    """x = Wz + b + σε with its exact posterior (or one `off` it), and 20 pictures in [-.9, .9], where no bin is open."""
    torch.manual_seed(0)
    w = torch.linalg.qr(torch.randn(SIDE * SIDE, LATENTS).double()).Q * torch.tensor([6.0, 4.0, 2.0])
    b = 0.1 * torch.randn(SIDE * SIDE).double()
    images = (torch.randn(20, LATENTS).double() @ w.T / 6 + b + 0.3 * torch.randn(20, SIDE * SIDE)).clamp(-0.9, 0.9)
    sizes = {"latent": LATENTS, "components": 2, "networks": "mlp", "widths": ()}
    method = Vae(resolved(VaeConfig(prior=prior, decoder="fixed", sigma=SIGMA, **sizes), SHAPE), Pixels(SHAPE), DataSpec(SHAPE))  # type: ignore[arg-type]
    encoder, decoder = linear_of(method, "encoder"), linear_of(method, "decoder")
    variance = true_variance(w)
    with torch.no_grad():
        decoder.weight.copy_(w)
        decoder.bias.copy_(b)
        back = variance[:, None] * w.T / SIGMA**2
        # `posterior` squashes log variances: undo it here
        encoder.weight.copy_(torch.cat([back, torch.zeros_like(back)]))
        encoder.bias.copy_(torch.cat([off - back @ b, 10 * torch.atanh(variance.log() / 10)]))
    assert isinstance(method, LikelihoodBound)
    grey = ((images + 1) * 127.5).round() / 127.5 - 1
    return method.requires_grad_(False), grey.view(20, 1, SIDE, SIDE).float()


def linear_of(method: Vae, part: str) -> torch.nn.Linear:
    (layer,) = (one for one in getattr(method.coder, part).modules() if isinstance(one, torch.nn.Linear))
    return layer


def true_variance(w: torch.Tensor) -> torch.Tensor:
    """[L] of the posterior, where the columns of `w` are orthogonal."""
    return 1 / (1 + w.square().sum(0) / SIGMA**2)


def exact(method: Vae, x: torch.Tensor, means: torch.Tensor, covariances: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """[20] log p(x) of the grey values, where z is a mixture of Gaussians: x then is one as well."""
    layer = linear_of(method, "decoder")
    w, means, covariances = layer.weight.double(), means.double(), covariances.double()
    of_x = w @ covariances @ w.T + SIGMA**2 * torch.eye(len(w)).double()
    each = MultivariateNormal(means @ w.T + layer.bias.double(), of_x).log_prob(x.double().flatten(1)[:, None])
    return torch.logsumexp(each + shares.log(), 1) + x[0].numel() * math.log(2 / 255)


def normal(method: Vae, x: torch.Tensor) -> torch.Tensor:
    nothing = torch.zeros(1, LATENTS).double()
    return exact(method, x, nothing, torch.eye(LATENTS).double()[None], torch.ones(1).double())


def bounds(method: Vae, x: torch.Tensor, draws: int, density: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    noise = (torch.randn(len(x), LATENTS, generator=generator) for _ in range(draws))
    return elbo.importance_bound(method.log_weight(x, one, density) for one in noise)


@pytest.mark.parametrize("draws", [1, 7, 200])
@pytest.mark.parametrize("density", [False, True])
def test_at_the_true_posterior_every_bound_is_the_likelihood(draws: int, density: bool) -> None:
    """Of a linear-Gaussian model with float32 networks, to 1e-4 nats of about 100, by one draw as by seven: of the bins of the
    grey values, and of their density."""
    method, x = linear_gaussian()
    truth = normal(method, x)
    assert truth.std() > 0.2
    for bound in bounds(method, x, draws, density):
        assert bound.dtype == torch.float64
        torch.testing.assert_close(bound, truth, rtol=0, atol=1e-4)


@pytest.mark.parametrize("sigma", [1.0, 0.02])
def test_the_exact_density_is_that_of_the_marginal(sigma: float) -> None:
    """Against `MultivariateNormal` with the whole covariance; at a σ below a bin's width too, where it is far from the mass."""
    method, x = linear_gaussian()
    method.log_scale.fill_(math.log(sigma))
    layer = linear_of(method, "decoder")
    w = layer.weight.double()
    law = MultivariateNormal(layer.bias.double(), w @ w.T + float(method.log_scale.exp()) ** 2 * torch.eye(len(w)))
    truth = law.log_prob(x.double().flatten(1)) + x[0].numel() * math.log(2 / 255)
    assert method.exact
    torch.testing.assert_close(method.log_density(x), truth, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("prior", ["normal", "mixture"])
def test_bounds_of_the_density_stay_below_it(prior: str) -> None:
    """In the mean over draws, and nearer with every further one, where the posterior is not the true one."""
    method, x = linear_gaussian(prior, off=0.12)
    if method.prior is not None:
        apart(method.prior)
    truth = method.log_density(x).mean().item()
    means = [bounds(method, x.repeat(200, 1, 1, 1), draws, density=True)[1].mean().item() for draws in (1, 4, 32)]
    assert means[0] < means[1] < means[2] < truth + 0.01
    assert means[0] < truth - 0.3


@pytest.mark.parametrize(
    ("settings", "exact"),
    [
        ({"networks": "mlp", "widths": ()}, True),
        ({"networks": "mlp", "widths": (), "decoder": "fixed"}, True),
        ({"networks": "mlp", "widths": (), "decoder": "laplace"}, False),
        ({"networks": "mlp", "widths": (4,)}, False),
        ({"widths": ()}, False),
    ],
)
def test_only_a_linear_gaussian_model_is_exact(settings: dict[str, Any], exact: bool) -> None:
    assert Vae(resolved(VaeConfig(**settings), (1, 8, 8)), Pixels((1, 8, 8)), DataSpec((1, 8, 8))).exact == exact


def test_beside_the_true_posterior_the_elbo_lacks_its_divergence() -> None:
    """KL(q ‖ p(z|x)) = ½ Σ off²/variance nats are missing in the mean, and come back with the draws."""
    method, x = linear_gaussian(off=0.12)
    truth = normal(method, x)
    missing = (0.5 * 0.12**2 / true_variance(linear_of(method, "decoder").weight.double())).sum().item()
    assert missing > 0.4
    lower, bound = bounds(method, x.repeat(400, 1, 1, 1), 4)
    assert (truth.repeat(400) - lower).mean().item() == pytest.approx(missing, rel=0.03)
    assert 0.05 * missing < (truth.repeat(400) - bound).mean().item() < 0.5 * missing
    torch.testing.assert_close(bounds(method, x, 400)[1], truth, rtol=0, atol=0.3)


def test_a_mixture_as_the_prior_is_what_is_bounded() -> None:
    method, x = linear_gaussian(prior="mixture")
    assert method.prior is not None
    apart(method.prior)
    factors = method.prior.factors
    truth = exact(method, x, method.prior.means, factors @ factors.mT, method.prior.shares)
    assert (truth - normal(method, x)).abs().mean() > 0.2, "it matters which"
    torch.testing.assert_close(bounds(method, x, 400)[1], truth, rtol=0, atol=0.1)
    torch.testing.assert_close(method.log_density(x), truth, rtol=1e-6, atol=1e-6)


def apart(prior: GaussianMixture) -> None:
    """Two Gaussians of different places, shapes and shares."""
    prior.shares.copy_(torch.tensor([0.7, 0.3]))
    prior.means.copy_(torch.tensor([[0.3, 0.0, 0.1], [-0.5, 0.2, 0.0]]))
    factor = torch.tensor([[0.9, 0.0, 0.0], [0.2, 0.7, 0.0], [0.0, 0.1, 1.1]])
    prior.factors.copy_(torch.stack([factor, 0.8 * factor]))


def test_any_number_of_draws_takes_the_memory_of_one() -> None:
    """What was drawn is let go before the next is: of weights never more than two are there."""
    there: list[weakref.ref[torch.Tensor]] = []
    most = 0

    def drawn(count: int) -> Iterator[torch.Tensor]:
        nonlocal most
        for _ in range(count):
            weights = torch.randn(10)
            there.append(weakref.ref(weights))
            most = max(most, sum(one() is not None for one in there))
            yield weights
            del weights

    elbo.importance_bound(drawn(50))
    assert most <= 2

"""The Gaussian mixture against torch.distributions, against scikit-learn, and against data from a known one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture as Oracle
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from limner.nets.mixture import GaussianMixture


def known(seed: int = 0) -> GaussianMixture:
    """Three well-separated components in two dimensions."""
    mixture = GaussianMixture(3, 2)
    mixture.shares.copy_(torch.tensor([0.5, 0.3, 0.2]))
    mixture.means.copy_(torch.tensor([[0.0, 0.0], [8.0, 0.0], [0.0, 9.0]]))
    mixture.factors.copy_(torch.tensor([[[1.0, 0.0], [0.5, 0.7]], [[0.4, 0.0], [-0.3, 1.2]], [[1.5, 0.0], [0.0, 0.3]]]))
    return mixture


def twin(mixture: GaussianMixture) -> MixtureSameFamily:
    return MixtureSameFamily(Categorical(mixture.shares), MultivariateNormal(mixture.means, scale_tril=mixture.factors))


def test_log_densities_against_torch_distributions() -> None:
    mixture, x = known(), 4 * torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    joint = mixture.log_densities(x)
    assert joint.shape == (50, 3)
    torch.testing.assert_close(joint.logsumexp(1), twin(mixture).log_prob(x), rtol=1e-4, atol=1e-4)
    first = MultivariateNormal(mixture.means[1], scale_tril=mixture.factors[1]).log_prob(x) + torch.tensor(0.3).log()
    torch.testing.assert_close(joint[:, 1], first, rtol=1e-4, atol=1e-4)


def test_before_it_is_fitted_it_is_standard_normal() -> None:
    uniform, normal = torch.rand(40), torch.randn(40, 5)
    assert torch.equal(GaussianMixture(7, 5).sample(uniform, normal), normal)


def test_fit_recovers_a_known_mixture() -> None:
    truth = known()
    torch.manual_seed(0)
    x = twin(truth).sample((6000,))
    found = GaussianMixture(3, 2)
    found.fit(x, seed=1)
    assert found.means.dtype == torch.float32
    order = torch.cdist(truth.means, found.means).argmin(1)
    assert sorted(order.tolist()) == [0, 1, 2]
    torch.testing.assert_close(found.means[order], truth.means, rtol=0, atol=0.12)
    torch.testing.assert_close(found.shares[order], truth.shares, rtol=0, atol=0.02)
    mine, theirs = found.factors[order] @ found.factors[order].mT, truth.factors @ truth.factors.mT
    torch.testing.assert_close(mine, theirs, rtol=0, atol=0.2)
    held_out = twin(truth).sample((4000,))
    gap = twin(truth).log_prob(held_out).mean() - found.log_densities(held_out).logsumexp(1).mean()
    assert float(gap) == pytest.approx(0.0, abs=0.03)


def touching(count: int) -> torch.Tensor:
    """[count, 3] of three components that touch each other."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0.0, 0.0], [5.0, 0.0, 2.0], [0.0, 6.0, -2.0]])
    which = torch.multinomial(torch.tensor([0.5, 0.3, 0.2]), count, replacement=True, generator=generator)
    spread = torch.tensor([[1.0, 0.3, 0.0], [0.0, 0.8, -0.4], [0.2, 0.0, 0.6]])
    return centres[which] + (torch.randn(count, 3, generator=generator) * (1 + 0.3 * which[:, None])) @ spread


def test_expectation_maximisation_ends_where_scikit_learns_does() -> None:
    """From where ours came to rest theirs has nowhere to go, and from centres of its own it is no likelier. (The prior that
    keeps ours from collapsing is worth .3 of the 12,000 points.)"""
    x = touching(12_000)
    mine = GaussianMixture(3, 3)
    mine.fit(x, seed=0, iterations=500)
    covariances = (mine.factors @ mine.factors.mT).double()
    given = {
        "weights_init": mine.shares.double().numpy() / float(mine.shares.double().sum()),
        "means_init": mine.means.double().numpy(),
        "precisions_init": torch.linalg.inv(covariances).numpy(),
    }
    theirs = Oracle(3, max_iter=1, reg_covar=0.0, **given)
    with pytest.warns(UserWarning, match="did not converge"):
        theirs.fit(x.double().numpy())
    np.testing.assert_allclose(theirs.weights_, given["weights_init"], atol=0.001)
    np.testing.assert_allclose(theirs.means_, given["means_init"], atol=0.005)
    np.testing.assert_allclose(theirs.covariances_, covariances.numpy(), atol=0.02)
    best = Oracle(3, max_iter=500, tol=1e-6, random_state=0).fit(x.double().numpy())
    evidence = float(mine.log_densities(x).logsumexp(1).mean())
    assert evidence == pytest.approx(float(best.score(x.double().numpy())), abs=5e-4)


def test_one_round_of_expectation_maximisation_is_scikit_learns() -> None:
    """From the same start, which is far from the end: shares, means and covariances."""
    x = touching(12_000)
    start, mine = GaussianMixture(3, 3), GaussianMixture(3, 3)
    start.fit(x, seed=0, iterations=0)
    mine.fit(x, seed=0, iterations=1)
    theirs = Oracle(
        3,
        max_iter=1,
        reg_covar=0.0,
        weights_init=np.full(3, 1 / 3),
        means_init=start.means.double().numpy(),
        precisions_init=torch.linalg.inv((start.factors @ start.factors.mT).double()).numpy(),
    )
    with pytest.warns(UserWarning, match="did not converge"):
        theirs.fit(x.double().numpy())
    assert float((mine.means - start.means).abs().max()) > 0.3
    np.testing.assert_allclose(mine.shares.numpy(), theirs.weights_, atol=1e-4)
    np.testing.assert_allclose(mine.means.numpy(), theirs.means_, atol=1e-4)
    floor = 1e-3 * torch.cov(x.T).diagonal().mean() * torch.eye(3)  # theirs has none, and no prior
    covariances = (mine.factors @ mine.factors.mT - floor).numpy()
    np.testing.assert_allclose(covariances, theirs.covariances_, atol=1.5e-3)


def test_fit_is_a_function_of_data_and_seed_alone() -> None:
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(1))
    fits = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        mixture = GaussianMixture(4, 3)
        if noise == 2:  # whatever it held before
            mixture.fit(x + 5, seed=9)
        mixture.fit(x, seed=0)
        fits.append(mixture.state_dict())
    assert all(torch.equal(fits[0][name], fits[1][name]) for name in fits[0])


def test_samples_have_its_moments() -> None:
    mixture = known()
    generator = torch.Generator().manual_seed(0)
    x = mixture.sample(torch.rand(40_000, generator=generator), torch.randn(40_000, 2, generator=generator))
    nearest = torch.cdist(x, mixture.means).argmin(1)
    assert (nearest == 1).float().mean() == pytest.approx(0.3, abs=0.015)
    torch.testing.assert_close(x.mean(0), (mixture.shares[:, None] * mixture.means).sum(0), rtol=0, atol=0.08)
    assert torch.cov(x[nearest == 1].T) == pytest.approx((mixture.factors[1] @ mixture.factors[1].T).numpy(), abs=0.06)


def test_the_ends_of_the_uniform_choose_components_that_exist() -> None:
    mixture = known()
    edge = mixture.sample(torch.tensor([0.0, 1.0]), torch.zeros(2, 2))
    assert torch.equal(edge, mixture.means[[0, 2]])


@pytest.mark.parametrize(
    "x", [torch.randn(5, 4), torch.zeros(20, 4), torch.randn(3, 1).expand(3, 4)], ids=["few", "none", "flat"]
)
def test_fit_survives_few_and_degenerate_points(x: torch.Tensor) -> None:
    mixture = GaussianMixture(8, 4)
    mixture.fit(x, seed=0)
    drawn = mixture.sample(torch.rand(100), torch.randn(100, 4))
    assert bool(drawn.isfinite().all())
    assert float(mixture.shares.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float((drawn.mean(0) - x.mean(0)).abs().max()) < 3

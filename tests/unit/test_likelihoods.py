"""Decoders' likelihoods: against torch.distributions, and masses that sum to one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import distributions as dist

from limner.methods.vae import likelihoods
from limner.methods.vae.likelihoods import Kind

GREYS = torch.arange(256, dtype=torch.float64) / 127.5 - 1


def batch_of(values: torch.Tensor, colours: int = 1) -> torch.Tensor:
    """[N, colours, 1, 1], each value in every channel."""
    return values.view(-1, 1, 1, 1).expand(-1, colours, 1, 1)


@pytest.mark.parametrize("kind", ["gaussian", "laplace"])
def test_densities_are_those_of_torch(kind: Kind) -> None:
    torch.manual_seed(0)
    images, out, log_scale = (
        torch.rand(5, 3, 4, 6).double() * 2 - 1,
        torch.randn(5, 3, 4, 6).double(),
        torch.tensor(-0.7).double(),
    )
    law = {"gaussian": dist.Normal, "laplace": dist.Laplace}[kind](out, log_scale.exp())
    torch.testing.assert_close(likelihoods.nll(kind, images, out, log_scale), -law.log_prob(images).flatten(1).sum(1))


@pytest.mark.parametrize("kind", ["gaussian", "laplace"])
@pytest.mark.parametrize("mean", [0.0, 0.93, -1.4])
@pytest.mark.parametrize("log_scale", [-5.0, -2.0, 1.0])
def test_masses_of_the_grey_values_sum_to_one(kind: Kind, mean: float, log_scale: float) -> None:
    out = torch.full((256, 1, 1, 1), mean, dtype=torch.float64)
    masses = likelihoods.log_mass(kind, batch_of(GREYS), out, torch.tensor(log_scale, dtype=torch.float64)).exp()
    assert masses.sum().item() == pytest.approx(1, abs=1e-9)
    law = {"gaussian": dist.Normal, "laplace": dist.Laplace}[kind](
        torch.tensor(mean, dtype=torch.float64), torch.tensor(log_scale, dtype=torch.float64).exp()
    )
    inside = law.cdf(GREYS[1:-1] + 1 / 255) - law.cdf(GREYS[1:-1] - 1 / 255)
    torch.testing.assert_close(masses[1:-1], inside, rtol=1e-6, atol=1e-12)


def test_far_tails_stay_finite_in_float32() -> None:
    """A pixel a hundred standard deviations away costs much, but not infinity, on either side."""
    out = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
    images = torch.tensor([-0.5, 0.5]).view(2, 1, 1, 1)
    for kind in ("gaussian", "laplace"):
        mass = likelihoods.log_mass(kind, images, out, torch.tensor(math.log(0.015)))
        assert torch.isfinite(mass).all()
        assert mass[0] == pytest.approx(mass[1].item(), rel=1e-5)
        assert mass[0] < -90


def test_bernoulli_is_torchs() -> None:
    torch.manual_seed(0)
    black_and_white = (torch.rand(4, 1, 5, 5) > 0.5).double() * 2 - 1
    out = torch.randn(4, 1, 5, 5).double()
    law = dist.Bernoulli(logits=out).log_prob((black_and_white + 1) / 2).flatten(1).sum(1)
    torch.testing.assert_close(likelihoods.nll("bernoulli", black_and_white, out, torch.zeros(())), -law)
    torch.testing.assert_close(likelihoods.mean("bernoulli", out, 1), 2 * out.sigmoid() - 1)


@pytest.mark.parametrize("mixtures", [1, 3])
@pytest.mark.parametrize("colours", [1, 3, 4])
def test_the_logistic_mixture_of_all_colours_sums_to_one(colours: int, mixtures: int) -> None:
    """Over all 256^C colours, by induction: summed over the last channel it is the mixture of the channels before, whatever
    these are, and that of the first alone sums to one."""
    torch.manual_seed(colours)
    shape = (1, mixtures, 1, 1)
    shares, means, log_scales = (
        torch.randn(shape),
        0.5 * torch.randn(1, mixtures, colours, 1),
        torch.randn(1, mixtures, colours, 1),
    )
    pulls = torch.randn(1, mixtures, colours * (colours - 1) // 2, 1)

    def masses(images: torch.Tensor) -> torch.Tensor:
        """[N, c] grey values of the first c channels -> [N]."""
        count = images.shape[1]
        parts = [shares, means[:, :, :count], log_scales[:, :, :count], pulls[:, :, : count * (count - 1) // 2]]
        out = torch.cat(parts, 2).double().flatten(1)[..., None, None].expand(len(images), -1, -1, -1)
        assert out.shape[1] == likelihoods.channels("logistic", count, mixtures)
        return likelihoods.log_mass("logistic", images[..., None, None], out, torch.zeros(())).exp()

    assert masses(GREYS[:, None]).sum().item() == pytest.approx(1, abs=1e-9)
    for count in range(2, colours + 1):
        befores = GREYS[torch.randint(256, (6, count - 1))]
        befores[0], befores[1] = -1, 1
        for before in befores:
            every = torch.cat([before.expand(256, -1), GREYS[:, None]], 1)
            assert masses(every).sum().item() == pytest.approx(masses(before[None]).item(), rel=1e-9)
        tilted = masses(torch.stack([torch.full((256,), 0.4), *[GREYS] * (count - 1)], 1).double())
        assert tilted.std() > 0, "channels hang together"


@pytest.mark.parametrize("kind", ["gaussian", "laplace"])
def test_the_optimal_scale_is_a_minimum(kind: Kind) -> None:
    torch.manual_seed(0)
    images, out = torch.rand(8, 1, 6, 6) * 2 - 1, torch.rand(8, 1, 6, 6) * 2 - 1
    best = likelihoods.optimal_log_scale(kind, likelihoods.spread(kind, images, out))
    losses = [likelihoods.nll(kind, images, out, best + step).sum() for step in (-0.05, 0.0, 0.05)]
    assert losses[1] < min(losses[0], losses[2])


@pytest.mark.parametrize(("kind", "mixtures"), [("gaussian", 1), ("laplace", 1), ("bernoulli", 1), ("logistic", 4)])
@pytest.mark.parametrize("colours", [1, 3, 4])
def test_means_are_pictures_and_losses_are_per_image(kind: Kind, mixtures: int, colours: int) -> None:
    torch.manual_seed(0)
    out = torch.randn(4, likelihoods.channels(kind, colours, mixtures), 5, 7) * 2
    picture = likelihoods.mean(kind, out, colours)
    assert picture.shape == (4, colours, 5, 7)
    assert picture.abs().max() <= 1
    images = (
        ((torch.rand(4, colours, 5, 7) * 255).round() / 127.5 - 1)
        if kind != "bernoulli"
        else torch.rand(4, colours, 5, 7).round() * 2 - 1
    )
    each = likelihoods.nll(kind, images, out, torch.tensor(-1.0))
    alone = torch.cat([likelihoods.nll(kind, images[i : i + 1], out[i : i + 1], torch.tensor(-1.0)) for i in range(4)])
    torch.testing.assert_close(each, alone)


def test_the_mean_of_two_channels_is_that_of_their_draws() -> None:
    """The second channel is drawn along by the first: Σ grey·mass over all pairs of greys."""
    out = torch.tensor([[0.3, -0.2, 0.3, -3.0, -2.8, 0.8], [0.5, 0.35, -0.1, -2.5, -3.0, -0.6]]).double()
    pairs = torch.cartesian_prod(GREYS, GREYS)
    masses = likelihoods.log_mass(
        "logistic", pairs[:, :, None, None], out.flatten().view(1, 12, 1, 1).expand(len(pairs), -1, -1, -1), torch.zeros(())
    ).exp()
    assert masses.sum().item() == pytest.approx(1, abs=1e-9)
    mean = likelihoods.mean("logistic", out.flatten().view(1, 12, 1, 1), 2)
    torch.testing.assert_close(mean.flatten(), (masses[:, None] * pairs).sum(0), rtol=0, atol=2e-3)


def test_a_channel_is_drawn_along_by_what_drew_the_one_before() -> None:
    """r pulls g by .9 and g pulls b by .9, but r leaves b alone: .5, .45, .405. With four, the last one is led to an end."""
    pulls = torch.atanh(torch.tensor([0.9, 0.0, 0.9]))
    out = torch.cat([torch.tensor([0.0, 0.5, 0.0, 0.0, -7.0, -7.0, -7.0]), pulls]).view(1, 10, 1, 1)
    torch.testing.assert_close(likelihoods.mean("logistic", out, 3).flatten(), torch.tensor([0.5, 0.45, 0.405]))
    pulls = torch.atanh(torch.tensor([0.8, 0.0, 0.5, 0.0, 0.0, -0.5]))
    out = torch.cat([torch.tensor([0.0, 0.5, 0.7, 0.5, -0.9]), torch.full((4,), -7.0), pulls]).view(1, 15, 1, 1)
    # .7 + .8·.5 is beyond white and drawn as 1, so that the third is .5 + .5·1 = 1 as well, and the fourth is below black.
    torch.testing.assert_close(likelihoods.mean("logistic", out, 4).flatten(), torch.tensor([0.5, 1.0, 1.0, -1.0]))


@pytest.mark.parametrize("colours", [3, 4])
def test_the_mean_of_all_channels_is_that_of_many_draws(colours: int) -> None:
    """Drawn as one would from the paper: a component, then channel by channel a logistic, kept within the range."""
    torch.manual_seed(colours)
    pairs, mixtures, count = colours * (colours - 1) // 2, 2, 200_000
    shares, means, log_scales = torch.tensor([0.4, -0.3]), 0.4 * torch.randn(mixtures, colours), torch.full((2, colours), -4.0)
    pulls = torch.randn(mixtures, pairs)
    which = torch.multinomial(shares.softmax(0), count, replacement=True)
    drawn = torch.zeros(count, colours)
    place = 0
    for channel in range(colours):
        centre = means[which, channel]
        for before in range(channel):
            centre = centre + pulls[which, place].tanh() * drawn[:, before]
            place += 1
        noise = torch.logit(torch.rand(count).clamp(1e-6, 1 - 1e-6))
        drawn[:, channel] = (centre + log_scales[which, channel].exp() * noise).clamp(-1, 1)
    out = torch.cat([shares[:, None], means, log_scales, pulls], 1).view(1, -1, 1, 1)
    torch.testing.assert_close(likelihoods.mean("logistic", out, colours).flatten(), drawn.mean(0), rtol=0, atol=0.01)


def test_the_mean_of_a_mixture_is_that_of_its_draws() -> None:
    """One channel, narrow components well inside the range: Σ grey·mass."""
    out = torch.tensor([0.3, -0.4, -2.5, 0.9, 0.5, -3.0]).double().view(1, 6, 1, 1)
    masses = likelihoods.log_mass("logistic", batch_of(GREYS), out.expand(256, -1, -1, -1), torch.zeros(())).exp()
    assert likelihoods.mean("logistic", out, 1).item() == pytest.approx((masses * GREYS).sum().item(), abs=2e-3)

"""The losses of the autoencoder family, term by term, against a second way of writing them: torch.distributions, loops, sums.

In float64, value and gradient; the schedules are met half-way, so that a loss that overlooks one differs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Laplace, Normal, kl_divergence

from contract.helpers import method_of, without_dropout
from limner.core.cond import Batch, Cond
from limner.core.method import Losses, Method, StepContext
from limner.methods.vae.autoencoder import PlainAutoencoder
from limner.methods.vae.vae import Vae
from limner.methods.vq.prior import Prior
from limner.methods.vq.vqvae import VqVae

COUNT = 5
EARLY = StepContext(500, 0.1)
"""Where a warm-up over the first fifth is half done."""


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """The methods' float32 islands are float64 here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "float", lambda tensor: tensor if tensor.is_floating_point() else tensor.double())
        yield


def built(preset: str, channels: int, *settings: str, stage: int | None = None) -> Method:
    """With weights large enough for every term to matter, those that start at zero among them."""
    method = without_dropout(method_of(preset, (8, 8, channels), *settings, stage=stage).cpu().double())
    with torch.no_grad():
        for weight in method.parameters():
            weight.copy_(1.5 * weight if bool(weight.any()) else 0.05 * torch.randn_like(weight))
    return method


def pictures(channels: int, seed: int = 0, binary: bool = False) -> Tensor:
    """Grey values, the ends among them."""
    grey = torch.rand(COUNT, channels, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values = (320 * grey - 32).clamp(0, 255).round() / 127.5 - 1
    return values.sign() if binary else values


def drawing(seed: int) -> Callable[[tuple[int, ...], torch.device], Tensor]:
    """The same noise for whoever asks in the same order."""
    turn = itertools.count(1000 * seed)

    def draw(shape: tuple[int, ...], device: torch.device) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(next(turn)), dtype=torch.float64)

    return draw


def batch_of(images: Tensor, seed: int) -> Batch:
    return Batch(images, Cond(torch.arange(COUNT) % 3), drawing(seed))


def assert_same(method: Method, found: Losses, expected: Mapping[str, Tensor], phase: str) -> None:
    """Losses per image, and what each player's weights are moved by."""
    assert found.of.keys() == expected.keys()
    for player, loss in expected.items():
        torch.testing.assert_close(found.of[player], loss, rtol=1e-9, atol=1e-9)
        weights = list(method.get_submodule(method.players()[player].module).parameters())
        mine, theirs = (
            torch.autograd.grad(one.mean(), weights, retain_graph=True, materialize_grads=True)
            for one in (found.of[player], loss)
        )
        assert any(bool(gradient.any()) for gradient in mine)
        for a, b in zip(mine, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-8)


# ---- the variational ones -----------------------------------------------------------------------------------------------


def logistic_mixture(x: Tensor, out: Tensor, components: int) -> Tensor:
    """[B] log P by plain differences of sigmoids, component by component, channel by channel (PixelCNN++, eq. 2 and 3)."""
    colours, each = x.shape[1], 1 + 2 * x.shape[1] + x.shape[1] * (x.shape[1] - 1) // 2
    shares = torch.stack([out[:, m * each] for m in range(components)], 1).softmax(1)
    total = torch.zeros_like(x[:, 0])
    for m in range(components):
        part = out[:, m * each : (m + 1) * each]
        means, scales, pulls = part[:, 1 : 1 + colours], part[:, 1 + colours : 1 + 2 * colours], part[:, 1 + 2 * colours :]
        product, pull = shares[:, m], iter(pulls.tanh().unbind(1))
        for c in range(colours):
            mean = means[:, c] + sum(next(pull) * x[:, before] for before in range(c))
            s = scales[:, c].clamp(min=-7).exp()
            above, below = ((x[:, c] + step - mean) / s for step in (1 / 255, -1 / 255))
            upper = torch.where(x[:, c] > 0.999, torch.ones_like(above), above.sigmoid())
            lower = torch.where(x[:, c] < -0.999, torch.zeros_like(below), below.sigmoid())
            product = product * (upper - lower)
        total = total + product
    return total.log().flatten(1).sum(1)


def kept(scale: Tensor) -> Tensor:
    """Softly above e⁻⁶: log(1 + e^{log scale + 6}) − 6 in the place of the logarithm."""
    return math.exp(-6) + scale


def distortion(decoder: str, x: Tensor, out: Tensor) -> Tensor:
    """[B] −log p(x|z)."""
    if decoder == "logistic":
        return -logistic_mixture(x, out, 5)
    law: Distribution
    if decoder == "bernoulli":
        law, x = Bernoulli(logits=out), (x + 1) / 2
    elif decoder == "laplace":
        law = Laplace(out, kept((x - out).abs().mean()))
    else:
        law = Normal(out, kept((x - out).square().mean().sqrt()) if decoder == "calibrated" else 0.3)
    return -law.log_prob(x).flatten(1).sum(1)


def parts_of(method: Vae, x: Tensor, noise: Tensor) -> tuple[Normal, Tensor, Tensor]:
    """q(z|x), one z of it, and the decoder's output there."""
    mean, raw = method.coder.encoder(x).chunk(2, 1)
    law = Normal(mean, (5 * (raw / 10).tanh()).exp())
    z = law.loc + law.scale * noise
    return law, z, method.coder.decoder(z)


def check(
    preset: str, channels: int, settings: tuple[str, ...], rest: Callable[[Tensor, Tensor, Normal, Tensor], Tensor]
) -> None:
    """`rest` makes the loss of distortion, rate, q(z|x) and z."""
    method = built(preset, channels, *settings)
    assert isinstance(method, Vae)
    method.log_scale.fill_(math.log(0.3))
    decoder = method.config.decoder
    x = pictures(channels, binary=decoder == "bernoulli")
    found = method.losses("elbo", (batch_of(x, 1),), EARLY)
    law, z, out = parts_of(method, x, drawing(1)((COUNT, *method.shape), x.device))
    nats = distortion(decoder, x, out)
    rate = kl_divergence(law, Normal(torch.zeros_like(z), torch.ones_like(z))).flatten(1).sum(1)
    assert_same(method, found, {"vae": rest(nats, rate, law, z)}, "elbo")
    torch.testing.assert_close(found.logs["distortion"], nats)
    torch.testing.assert_close(found.logs["rate"], rate)
    width = 2 / 255 if decoder in ("calibrated", "fixed", "laplace") else 1.0  # a density is a mass by its bin
    dims = x[0].numel() * math.log(2)
    torch.testing.assert_close(found.logs["rate_bits_per_dim"], rate / dims)
    torch.testing.assert_close(found.logs["distortion_bits_per_dim"], nats / dims - math.log2(width))
    torch.testing.assert_close(found.logs["bits_per_dim"], (nats + rate) / dims - math.log2(width))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("decoder", ["calibrated", "fixed", "laplace", "bernoulli", "logistic"])
def test_a_vae_minimises_the_negative_elbo(decoder: str, channels: int) -> None:
    settings = (f"method.decoder={decoder}", "method.sigma=0.3")
    check("vae", channels, settings, lambda nats, rate, law, z: nats + rate)


def test_a_latent_map_has_one_rate() -> None:
    check("vae", 3, ("method.map=true", "method.latent=2"), lambda nats, rate, law, z: nats + rate)


def test_beta_weighs_the_rate_and_warms_up() -> None:
    check("beta-vae", 1, (), lambda nats, rate, law, z: nats + 2.0 * rate)


def test_capacity_holds_the_mean_rate_and_warms_up() -> None:
    settings = ("method.capacity={value: 4.0, warmup: 0.2}", "method.capacity_weight=30")
    check("beta-vae", 1, settings, lambda nats, rate, law, z: nats + 30 * (rate - 2.0) * (rate.mean() - 2.0).sign())


def test_free_bits_are_free_in_the_mean_over_the_batch() -> None:
    """Latents that carry less than .02 nats in the mean pay that; the others what they carry, picture by picture."""

    def loss(nats: Tensor, rate: Tensor, law: Normal, z: Tensor) -> Tensor:
        kl = kl_divergence(law, Normal(torch.zeros_like(z), torch.ones_like(z)))
        carried = kl.mean(0)
        assert 0 < int((carried > 0.02).sum()) < len(carried), "both kinds are there"
        return nats + 2.0 * sum(kl[:, j] if carried[j] > 0.02 else 0.02 + 0 * kl[:, j] for j in range(len(carried)))

    check("beta-vae", 1, ("method.free_bits=0.02",), loss)


@pytest.mark.parametrize("estimator", ["weighted", "stratified"])
def test_tc_vae_weighs_the_total_correlation_and_warms_up(estimator: str) -> None:
    """log q(z) and Σ_j log q(z_j) by loops over 5 of 1,000 pictures (Chen et al. 2018, eq. 5 and appendix C)."""
    population, rest = 1000, COUNT - 1

    def weight(i: int, j: int) -> float:
        if estimator == "weighted":
            return 1 / (population * COUNT)
        if i == j:
            return 1 / population
        return (population - rest) / (population * rest) if j == (i + 1) % COUNT else 1 / rest

    def loss(nats: Tensor, rate: Tensor, law: Normal, z: Tensor) -> Tensor:
        found = []
        for i in range(COUNT):
            each = law.log_prob(z[i]).exp()
            joint = sum(weight(i, j) * each[j].prod() for j in range(COUNT))
            alone = sum(weight(i, j) * each[j] for j in range(COUNT))
            assert isinstance(joint, Tensor)
            assert isinstance(alone, Tensor)
            found.append(joint.log() - alone.log().sum())
        return nats + rate + 2.5 * torch.stack(found)

    check("tc-vae", 1, (f"method.total_correlation={estimator}",), loss)


def test_factor_vae_is_a_game_of_two() -> None:
    """Kim & Mnih 2018, algorithm 2: the critic's logit is the log ratio of densities; shuffled are other pictures' latents."""
    method = built("factor-vae", 1, "method.tc_weight={value: 10.0, warmup: 0.2}")
    assert isinstance(method, Vae)
    method.log_scale.fill_(math.log(0.3))
    x, other = pictures(1), pictures(1, seed=1)
    found = method.losses("elbo", (batch_of(x, 1), batch_of(other, 2)), EARLY)
    law, z, out = parts_of(method, x, drawing(1)((COUNT, 8), x.device))
    nats, rate = distortion("fixed", x, out), kl_divergence(law, Normal(torch.zeros_like(z), torch.ones_like(z))).sum(1)
    draw = drawing(2)
    with torch.no_grad():
        _, strange, _ = parts_of(method, other, draw((COUNT, 8), x.device))
        order = draw((COUNT, 8), x.device).argsort(0)
        mixed = torch.stack([strange[order[:, j], j] for j in range(8)], 1)
    joint, apart = method.critic(z).squeeze(1), method.critic(mixed).squeeze(1)
    told = 0.5 * (-torch.log(joint.sigmoid()) - torch.log(1 - apart.sigmoid()).mean())
    assert_same(method, found, {"vae": nats + rate + 5.0 * joint, "critic": told}, "elbo")
    assert {player.module for player in method.players().values()} == {"coder", "critic"}
    torch.testing.assert_close(found.logs["total_correlation"], joint)


# ---- the deterministic one ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("noise", "hide"), [(0.0, 0.0), (0.4, 0.0), (0.0, 0.3), (0.4, 0.3)])
def test_an_autoencoder_is_shown_damage_and_asked_for_the_whole(noise: float, hide: float, channels: int) -> None:
    method = built("autoencoder", channels, f"method.noise={noise}", f"method.hide={hide}", "method.latent_penalty=0.1")
    assert isinstance(method, PlainAutoencoder)
    x = pictures(channels)
    found = method.losses("reconstruction", (batch_of(x, 1),), EARLY)
    draw, seen = drawing(1), x
    if noise:
        seen = seen + noise * draw(tuple(x.shape), x.device)
    if hide:
        kept = Normal(0.0, 1.0).cdf(draw((COUNT, 1, 8, 8), x.device)) > hide  # a pixel is hidden in all its channels
        assert 0.5 < float(kept.double().mean()) < 0.9
        seen = torch.where(kept, seen, torch.zeros_like(seen))
    z = method.coder.encoder(seen)
    squares = (x - method.coder.decoder(z)).square().flatten(1).sum(1)
    assert_same(method, found, {"autoencoder": 0.5 * squares + 0.05 * z.square().sum(1)}, "reconstruction")
    torch.testing.assert_close(found.logs["squared_error"], squares / x[0].numel())


# ---- codes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["codes", "adversarial"])
@pytest.mark.parametrize("preset", ["vq-vae", "fsq", "vqgan"])
def test_a_codec_weighs_error_commitment_and_verdict(preset: str, phase: str) -> None:
    """van den Oord et al. 2017, eq. 3, over the data's variance; Esser et al. 2021 with hinge losses."""
    if phase == "adversarial" and preset != "vqgan":
        pytest.skip("no second player")
    settings = ("commitment=0.4", *(("absolute=0.3", "adversarial=0.2", "features=0.6") if preset == "vqgan" else ()))
    method = built(preset, 3, *(f"stages.codec.method.{setting}" for setting in settings), stage=0)
    assert isinstance(method, VqVae)
    method.variance.fill_(0.37)
    x = pictures(3)
    found = method.losses(phase, (batch_of(x, 1),), EARLY)
    z = method.coder.encoder(x)
    if preset == "fsq":
        codes = method.coder.quantiser.lookup(method.coder.quantiser(z).indices).double()
        through = method.coder.quantiser(z).values  # its own slope: see test_quantise.py
        commitment = torch.zeros(COUNT, dtype=torch.float64)
    else:
        rows, book = z.permute(0, 2, 3, 1), method.coder.quantiser.codes
        codes = book[(rows[..., None, :] - book).square().sum(-1).argmin(-1)].permute(0, 3, 1, 2)  # type: ignore[index]
        through = z + (codes - z).detach()
        commitment = (z - codes).square().mean((1, 2, 3))
    torch.testing.assert_close(through, codes)
    decoded = method.coder.decoder(through)
    squares = (x - decoded).square().mean((1, 2, 3))
    expected = {"codec": squares / 0.37 + 0.4 * commitment}
    if preset == "vqgan":
        expected["codec"] = expected["codec"] + 0.3 * (x - decoded).abs().mean((1, 2, 3)) / 0.37**0.5
    if phase == "adversarial":
        discriminate = method.discriminator.logits_and_features
        (real, of_real), (fake, of_fake) = discriminate(x), discriminate(decoded)  # type: ignore[operator]
        apart = sum((a.detach() - b).abs().mean((1, 2, 3)) for a, b in zip(of_real, of_fake, strict=True)) / len(of_real)
        expected["codec"] = expected["codec"] - 0.2 * fake.mean((1, 2)) + 0.6 * apart
        expected["discriminator"] = F.relu(1 - real).mean((1, 2)) + F.relu(1 + fake).mean((1, 2))
    assert_same(method, found, expected, phase)
    torch.testing.assert_close(found.logs["squared_error"], squares)


@pytest.mark.parametrize("labels", [True, False])
def test_a_prior_minimises_nats_of_the_codes(labels: bool) -> None:
    method = built("vq-vae", 1, f"method.labels={str(labels).lower()}")
    assert isinstance(method, Prior)
    x = pictures(1)
    found = method.losses("likelihood", (batch_of(x, 1),), EARLY)
    codes = method.codec.encode(x).flatten(1)
    logits = method.transformer(codes, torch.arange(COUNT) % 3 if labels else None)
    nats = -torch.stack([Categorical(logits=logits[:, place]).log_prob(codes[:, place]) for place in range(16)]).sum(0)
    assert_same(method, found, {"prior": nats}, "likelihood")
    torch.testing.assert_close(found.logs["code_bits_per_dim"], nats / (64 * math.log(2)))

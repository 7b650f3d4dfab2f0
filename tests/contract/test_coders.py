"""What each choice of an autoencoder does to it, on small sets where that can be seen."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import limner
from contract.helpers import drawer, method_of, pictures_like, run_of, stepper_of
from limner import load
from limner.core.cond import Batch
from limner.core.method import StepContext
from limner.data.prepare import prepare
from limner.methods.vae import elbo
from limner.methods.vae.base import AutoencoderBase
from limner.methods.vae.config import AutoencoderSampling
from limner.methods.vae.vae import Vae
from limner.methods.vq.vqvae import VqVae


def last(run: limner.Run, name: str) -> float:
    """The mean of a log over the last quarter of a run."""
    rows = run.metrics()
    return float(np.mean([row["losses"][name] for row in rows[-max(1, len(rows) // 4) :]]))


def test_the_rate_is_held_at_its_capacity(tmp_path: Path) -> None:
    settings = ("method.capacity=6", "method.capacity_weight=30", "method.decoder=fixed", "method.sigma=0.3")
    run = run_of("vae", tmp_path, *settings, images=12_800)
    assert last(run, "rate") == pytest.approx(6, abs=1.0)


def test_free_bits_keep_every_latent_in_use(tmp_path: Path) -> None:
    """With β = 20 all but a few latents go silent; each keeps about what is free."""
    common = ("method.decoder=fixed", "method.sigma=1.0", "method.beta=20")
    rates = {}
    for least in (0.0, 0.5):
        run = run_of("vae", tmp_path / str(least), *common, f"method.free_bits={least}", images=9_600)
        method, dataset = load(run.path).method, prepare("digits")
        assert isinstance(method, Vae)
        images = torch.from_numpy(dataset.images.gather(np.arange(500))).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.no_grad():
            rates[least] = elbo.kl_to_standard(*method.posterior(images.to(method.device))).mean(0)
    assert float(rates[0.0].max()) < 0.3
    assert float(rates[0.5].min()) > 0.3


def test_the_critic_finds_the_total_correlation_of_a_gaussian() -> None:
    """Two latents of correlation .8, the others apart: −½·log(1 − .64) = .51 nats."""
    method = method_of("factor-vae", (8, 8, 1), "method.latent=4", "method.critic.widths=[64,64]").to("cpu")
    assert isinstance(method, Vae)
    optimiser = torch.optim.Adam(method.critic.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)

    def latents(count: int) -> torch.Tensor:
        z = torch.randn(count, 4, generator=generator)
        z[:, 1] = 0.8 * z[:, 0] + 0.6 * z[:, 1]
        return z

    for _ in range(600):
        z, other = latents(512), elbo.permuted(latents(512), torch.randn(512, 4, generator=generator))
        real, fake = method.critic(z).squeeze(1), method.critic(other).squeeze(1)
        loss = (torch.nn.functional.softplus(-real) + torch.nn.functional.softplus(fake)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        found = method.critic(latents(20_000)).mean().item()
    assert found == pytest.approx(-0.5 * math.log(1 - 0.64), abs=0.08)


def test_a_denoising_autoencoder_takes_noise_away(tmp_path: Path) -> None:
    """One that was shown noise gives back a picture nearer to the clean one than what it was given."""
    run = run_of("autoencoder", tmp_path, "method.noise=0.5", "method.width=16", "method.latent=16", images=19_200)
    method, dataset = load(run.path).method, prepare("digits")
    clean = torch.from_numpy(dataset.images.gather(dataset.indices("val")[:100])).permute(0, 3, 1, 2).float() / 127.5 - 1
    noisy = clean + 0.5 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        back = method.decode(method.encode(noisy.to(method.device))).cpu()  # type: ignore[operator]
    assert float((back - clean).square().mean()) < 0.6 * float((noisy - clean).square().mean())


@pytest.mark.parametrize("settings", [("method.map=true", "method.latent=2"), ("method.networks=mlp", "method.widths=[32]")])
def test_latents_of_every_form_are_encoded_drawn_and_decoded(settings: tuple[str, ...]) -> None:
    method = method_of("vae", (12, 20, 3), *settings).eval()
    assert isinstance(method, Vae)
    images = pictures_like(3, (12, 20, 3), device=method.device)
    latents = method.encode(images)
    assert latents.shape[1:] == method.shape
    assert method.shape == ((2, 6, 10) if "method.map=true" in settings else (8,))
    assert torch.equal(method.decode(latents), method.picture(latents.flatten(1), limner.core.cond.Cond()))
    assert method.latents(range(5)).shape == (5, math.prod(method.shape))


NETWORKS = [
    ("vae", ("method.block=residual",)),
    ("vae", ("method.block=dense", "method.blocks=2")),
    ("vae", ("method.blocks=0",)),
    ("autoencoder", ("method.block=dense", "method.map=true", "method.latent=2", "method.down=1")),
    ("vae", ("method.networks=mlp", "method.widths=[20]")),
    ("vae", ("method.map=true", "method.latent=2")),
    ("vae", ("method.decoder=logistic", "method.mixtures=2")),
    ("vq-vae", ()),
    ("fsq", ()),
    ("vqgan", ("stages.codec.method.down=1",)),
]


@pytest.mark.parametrize("shape", [(9, 13, 1), (17, 8, 3), (11, 30, 4)], ids=str)
@pytest.mark.parametrize(("preset", "settings"), NETWORKS, ids=str)
def test_every_network_serves_any_size_and_loses_no_pixel(
    preset: str, settings: tuple[str, ...], shape: tuple[int, int, int]
) -> None:
    """Of odd sizes and of 1, 3 and 4 channels: each pixel moves the latents, each is moved by them, and training moves all."""
    method = method_of(preset, shape, *settings, stage=0)
    assert isinstance(method, AutoencoderBase | VqVae)
    with torch.no_grad():  # residual blocks start as nothing, and small scalars all round to the middle
        for weight in method.parameters():
            if not bool(weight.any()):
                weight.normal_(0, 0.1)
        if preset == "fsq":
            method.coder.encoder.head.weight.mul_(8.0)  # type: ignore[union-attr,operator]
    images = pictures_like(4, shape, device=method.device)
    found = method.coder.encoder(images.requires_grad_())
    (gradient,) = torch.autograd.grad(found.square().sum(), images)
    assert bool((gradient != 0).all()), "a pixel that is not seen"
    latents = method.encode(images.detach())
    assert latents.shape[1:] == method.shape
    decoded = method.decode(latents)
    assert decoded.shape == images.shape
    assert float(decoded.detach().abs().max()) <= 1
    other = latents + 1 if latents.is_floating_point() else (latents + 1) % (method.vocabulary or 0)
    assert bool((method.decode(other) != decoded).any(0).all()), "a pixel that no latent reaches"
    before = {name: weight.clone() for name, weight in method.coder.named_parameters()}
    stepper_of(method, 4).step(drawer(images.detach()), StepContext(0, 0.7), 0)
    still = [name for name, weight in method.coder.named_parameters() if torch.equal(weight, before[name])]
    assert not still


def test_truncation_leads_to_the_mean_of_the_prior() -> None:
    """Of a mixture that is not the mean of its components' means, but each by its share."""
    method = method_of("vae", (8, 8, 1), "method.components=2").eval()
    assert isinstance(method, Vae)
    assert method.prior is not None
    method.prior.shares.copy_(torch.tensor([0.9, 0.1]))
    method.prior.means[0], method.prior.means[1] = 1.0, -4.0
    cond = limner.core.cond.Cond()
    middle = method.picture(torch.full((1, 8), 0.5, device=method.device), cond)
    for seed in (1, 2):
        torch.testing.assert_close(method.sample([seed], cond, AutoencoderSampling.model_construct(truncation=0.0)), middle)
    half = method.picture(0.5 * method.latents([1]) + 0.25, cond)
    torch.testing.assert_close(method.sample([1], cond, AutoencoderSampling(truncation=0.5)), half)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("method.map=true", "method.latent=64", "data.size=48"), "set method.prior=normal"),
        (("method.map=true", "method.networks=mlp"), "needs method.networks=conv"),
        (("method.capacity=3", "method.free_bits=0.1"), "choose one of them"),
    ],
)
def test_choices_that_do_not_go_together_are_refused(settings: tuple[str, ...], words: str, tmp_path: Path) -> None:
    with pytest.raises(limner.InputError, match=words) as error:
        run_of("vae", tmp_path, *settings)
    assert "\n" not in str(error.value)


def test_rate_and_distortion_are_logged_apart_and_in_bits() -> None:
    """A Gaussian of σ = 1: the density at the mean, times a bin of 2/255."""
    method = method_of("vae", (8, 8, 1), "method.decoder=fixed", "method.sigma=1.0", "method.beta=0")
    logs = stepper_of(method, 8).step(drawer(pictures_like(16, (8, 8, 1), device=method.device)), StepContext(0, 0.5), 0)
    nats = float(logs["distortion"] + logs["rate"])
    parts = float(logs["distortion_bits_per_dim"] + logs["rate_bits_per_dim"])
    assert parts == pytest.approx(float(logs["bits_per_dim"]), rel=1e-5)
    assert float(logs["bits_per_dim"]) == pytest.approx((nats - 64 * math.log(2 / 255)) / (64 * math.log(2)), rel=1e-5)
    assert float(logs["vae"]) == pytest.approx(float(logs["distortion"]), rel=1e-6)


@pytest.mark.parametrize("preset", ["vae", "autoencoder"])
def test_a_fit_keeps_latents_and_no_pictures(preset: str) -> None:
    """5,000 pictures of 480x640 in float32 would be 18 GB, taken at the first checkpoint of a run that had memory enough."""
    method = method_of(preset, (8, 8, 1))
    pictures: list[weakref.ref[torch.Tensor]] = []

    def batches() -> Iterator[Batch]:
        while True:
            images = pictures_like(64, (8, 8, 1), len(pictures), method.device)
            pictures.append(weakref.ref(images))
            assert sum(one() is not None for one in pictures) <= 4
            yield Batch(images)

    method.fit_at_checkpoint(batches())
    assert 64 * len(pictures) == method.fit_images // 64 * 64 > 4_900


def test_where_nothing_is_fitted_no_picture_is_read() -> None:
    """A prior that is normal, and a decoder of a fixed scale: 5,000 pictures were encoded for nothing at each checkpoint."""
    method = method_of("vae", (8, 8, 1), "method.prior=normal", "method.decoder=fixed")
    assert method.fit_images == 0
    method.fit_at_checkpoint(pytest.fail("a picture was read") for _ in [0])

"""encode and decode of a loaded model are tensors with gradients, for whoever builds on a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from contract.helpers import run_of
from limner import load
from limner.core.errors import InputError
from limner.core.images import to_tensor, to_uint8
from limner.runs.model import Loaded

SMALL = ("method.width=8", "method.widest=16", "method.blocks=0", "method.latent=4", "score.points=0")


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(run_of("vae", tmp_path_factory.mktemp("vae"), *SMALL, images=320).path)


@pytest.fixture(scope="module")
def gan(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(run_of("dcgan", tmp_path_factory.mktemp("gan"), "score.points=0", images=320).path)


def pictures(model: Loaded, count: int = 3) -> np.ndarray:
    return model.dataset().images.gather(np.arange(count))


def test_tensors_and_arrays_encode_alike(vae: Loaded) -> None:
    images = pictures(vae)
    latents = vae.encode(images)
    assert latents.dtype == torch.float32
    assert not latents.requires_grad
    assert torch.equal(latents, vae.encode(to_tensor(images)))
    assert np.array_equal(latents.numpy(), vae.encode_pictures(images))
    assert np.array_equal(to_uint8(vae.decode(latents)), vae.reconstruct(images))


def test_gradients_through_encoder_and_decoder_are_the_slopes(vae: Loaded) -> None:
    """Against finite differences along the gradient itself, in float32."""
    images = to_tensor(pictures(vae, 1)).requires_grad_(True)

    def value(images: torch.Tensor) -> torch.Tensor:
        return vae.decode(vae.encode(images)).square().sum()

    (slope,) = torch.autograd.grad(value(images), images)
    direction = slope / slope.norm()
    with torch.no_grad():
        step = 1e-2
        rise = float(value(images + step * direction) - value(images - step * direction)) / (2 * step)
    assert float(slope.norm()) > 0
    assert rise == pytest.approx(float(slope.norm()), rel=0.02)


def test_the_latents_of_a_generator_decode_to_its_samples(gan: Loaded) -> None:
    latents = gan.latents(range(5))
    assert np.array_equal(to_uint8(gan.decode(latents)), gan.sample(range(5)))
    moved = latents.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(gan.decode(moved).square().sum(), moved)
    assert bool((slope.norm(dim=1) > 0).all())


def test_what_a_model_can_do(vae: Loaded, gan: Loaded) -> None:
    assert vae.capabilities == {"autoencoder", "latent decoder", "likelihood bound"}
    assert gan.capabilities == {"latent decoder"}


def test_what_cannot_be_encoded_or_asked_for_is_said(vae: Loaded, gan: Loaded, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no encoder"):
        gan.encode(pictures(gan))
    with pytest.raises(InputError, match=r"\[N, 1, 8, 8\]"):
        vae.encode(torch.zeros(2, 1, 9, 9))
    with pytest.raises(InputError, match=r"without captions.*leave text out"):
        vae.sample([0], text="a cat")
    with pytest.raises(InputError, match=r"without given pictures.*leave given out"):
        vae.sample([0], given=pictures(vae, 1)[0])

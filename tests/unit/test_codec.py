"""A frozen copy and a scaled codec, by themselves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from contract.helpers import ALONE, method_of, pictures_like, untrained
from limner.core.capabilities import Codec, Pixels, ScaledCodec
from limner.core.method import averaged
from limner.methods.gan.gan import Gan
from limner.recipes.recipe import Recipe
from limner.recipes.registry import DEFAULT_PRESET, METHODS, PRESETS
from limner.recipes.settings import compose, parse_recipe


@pytest.mark.parametrize("preset", ALONE)
def test_a_frozen_copy_shares_nothing_and_leaves_the_original_alone(preset: str) -> None:
    method = method_of(preset, (8, 8, 1))
    before = {name: value.clone() for name, value in method.state_dict().items()}
    modules = dict(method.named_modules())
    frozen = method.frozen_copy()
    assert frozen is not method
    assert method.training
    assert dict(method.named_modules()) == modules
    assert any(weight.requires_grad for weight in method.parameters())
    assert not any(module.training for module in frozen.modules())
    assert not any(weight.requires_grad for weight in frozen.parameters())
    held = {value.data_ptr() for value in method.state_dict().values() if value.numel()}
    assert not held & {value.data_ptr() for value in frozen.state_dict().values() if value.numel()}
    with torch.no_grad():
        for value in frozen.state_dict().values():
            value.zero_()
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


@pytest.mark.parametrize("preset", ALONE)
def test_a_frozen_copy_holds_what_is_averaged_and_no_teacher(preset: str) -> None:
    """A codec is loaded from averaged weights alone, so those must be all that is left."""
    method = method_of(preset, (8, 8, 1), stage=0)
    teachers = [player for player in method.players().values() if player.teaches]
    assert list(method.frozen_copy().state_dict()) == averaged(method)
    for player in method.players().values():
        assert player.teaches == (not player.averaged)
    assert bool(teachers) == (PRESETS[preset].family == "gan" or preset in ("factor-vae", "vqgan"))
    for player in teachers:
        assert isinstance(method.frozen_copy().get_submodule(player.module), nn.Identity)


class Doubled:
    """A codec whose latents [B, 2] are the mean of a picture and twice that mean, plus one."""

    kind = "continuous"
    shape = (2,)
    vocabulary = None

    def encode(self, images: Tensor) -> Tensor:
        mean = images.flatten(1).mean(1, keepdim=True)
        return torch.cat([mean, 2 * mean + 1], 1)

    def decode(self, latents: Tensor) -> Tensor:
        return latents[:, :1, None, None].expand(-1, 1, 2, 2)


def scaled(codec: Codec) -> ScaledCodec:
    return ScaledCodec(codec, torch.zeros(codec.shape), torch.ones(codec.shape))


def test_latents_are_scaled_to_their_own_mean_and_spread() -> None:
    codec = scaled(Doubled())  # type: ignore[arg-type]
    images = torch.randn(500, 1, 2, 2, generator=torch.Generator().manual_seed(0)) + 3
    assert torch.equal(codec.encode(images), codec.codec.encode(images)), "as they are, until it is fitted"
    centre, spread = codec.centre, codec.spread
    codec.fit(images.split(64), deviations=3)
    assert codec.centre is centre, "in place: the buffers are the method's"
    assert codec.spread is spread
    latents = codec.encode(images)
    torch.testing.assert_close(latents.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(3 * latents.std(0), torch.ones(2))
    torch.testing.assert_close(codec.decode(latents)[:, 0, 0, 0], images.flatten(1).mean(1))
    assert (codec.kind, codec.shape, codec.vocabulary) == ("continuous", (2,), None)


def test_a_latent_that_never_moves_is_not_divided_by_nothing() -> None:
    codec = scaled(Doubled())  # type: ignore[arg-type]
    images = torch.full((8, 1, 2, 2), 0.5)
    codec.fit([images], deviations=1)
    assert bool(codec.encode(images).isfinite().all())


def test_pixels_stay_as_they_are() -> None:
    codec = scaled(Pixels((1, 2, 2)))

    def never() -> Tensor:
        raise AssertionError("pixels are not measured")

    codec.fit((never() for _ in range(1)), deviations=3)
    images = pictures_like(4, (2, 2, 1))
    assert torch.equal(codec.encode(images), images)
    assert torch.equal(codec.decode(images), images)


def test_the_scale_of_a_gan_keeps_its_names_in_checkpoints() -> None:
    vae = {"kind": "vae", "latent": 3, "width": 8, "widest": 8}
    gan = {"kind": "gan", "networks": "mlp", "generator": {"widths": [8]}, "discriminator": {"widths": [8]}}
    recipe = parse_recipe({"stages": [{"name": "codec", "share": 0.25, "method": vae}], "method": gan}, "test")
    method = untrained(recipe, (16, 16, 1))
    assert isinstance(method, Gan)
    assert {"centre", "spread"} <= set(method.state_dict())
    method.double()  # whoever moves a module gives it other buffers
    assert method.scaled_codec.centre is method.centre
    assert method.scaled_codec.spread is method.spread


def test_measuring_a_codec_takes_no_draws() -> None:
    """What is built to know its shape must not change what is built to be trained."""
    from contract.helpers import composed, settled

    torch.manual_seed(5)
    settled(composed("vq-vae"), (8, 8, 1))
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), drawn)


def test_a_recipe_that_names_no_method_trains_that_of_the_default_preset() -> None:
    family = METHODS[PRESETS[DEFAULT_PRESET].family]
    assert Recipe().preset == DEFAULT_PRESET
    assert Recipe().method == family.config()
    assert type(Recipe().method) is type(compose(DEFAULT_PRESET).method)
    assert Recipe.model_validate(Recipe().model_dump(mode="json")) == Recipe()

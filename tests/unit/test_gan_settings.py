"""Settings of GANs that cannot be, each told in one line."""

from __future__ import annotations

import pytest
import torch

from contract.helpers import untrained
from limner.core.cond import Batch
from limner.core.config import DataSpec
from limner.core.method import StepContext
from limner.recipes.build import build_method
from limner.recipes.recipe import InputError
from limner.recipes.settings import compose


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["method.discriminator.norm=batch"], "batch norm in the discriminator couples"),
        (["method.updates=shared", "method.critic_steps=2"], "method.critic_steps=1"),
        (["method.loss=hinge", "method.smooth=0.1"], "has none"),
        (["method.labels=true"], "have no classes"),
        (["method.networks=r3", "method.labels=true", "method.generator.labels=norm"], "method.generator.labels=concat"),
    ],
)
def test_choices_that_contradict_each_other(settings: list[str], words: str) -> None:
    classes = ("a", "b") if "r3" in settings[0] else ()
    with pytest.raises(InputError, match=words) as error:
        build_method(compose("dcgan", settings), DataSpec.of_images((16, 16, 1), classes))
    assert "\n" not in str(error.value)


def test_too_small_an_image_names_the_way_out() -> None:
    for preset, settings in (("dcgan", []), ("sngan", []), ("densegan", []), ("r3gan", ["method.networks=r3"])):
        with pytest.raises(InputError, match=r"at least 8x8, not 6x9.*data\.size"):
            untrained(compose(preset, settings), (6, 9, 3))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["method.r1_gamma=-1"], "r1_gamma cannot be negative"),
        (["method.instance_noise=-0.1"], "instance_noise cannot be negative"),
        (["method.r1_gamma=foo"], "method.r1_gamma: "),
        (["method.discriminator.widths=[]"], "method.discriminator.widths"),
        (["method.generator.widths=[0]"], "method.generator.widths.0"),
        (["method.generator.optimiser.betas=[1.5,0.9]"], "method.generator.optimiser.betas.0"),
        (["method.generator.optimiser.betas=[0.5,1.9]"], "betas lie from 0"),
    ],
)
def test_numbers_out_of_bounds_are_one_line_that_names_the_key(settings: list[str], words: str) -> None:
    with pytest.raises(InputError) as error:
        compose("gan", settings)
    assert words in str(error.value)
    assert "function-" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("preset", "settings", "words"),
    [
        ("sngan", ["method.discriminator.norm=batch"], "is for method.networks=dcgan"),
        ("sngan", ["method.discriminator.dropout=0.5"], "is for dcgan and mlp"),
        ("r3gan", ["method.networks=r3", "method.discriminator.spectral=true"], "leave spectral out"),
        ("dcgan", ["method.discriminator.normalise=gradient"], "method.r1_gamma=0"),
    ],
)
def test_what_a_network_cannot_heed_is_refused(preset: str, settings: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        untrained(compose(preset, settings), (16, 16, 1))


def test_one_image_has_no_spread_for_batch_norm() -> None:
    method = build_method(compose("gan", []), DataSpec.of_images((8, 8, 1))).train()
    with pytest.raises(InputError, match=r"two images or more in a chunk"):
        method.losses("both", (Batch(torch.zeros(1, 1, 8, 8)),), StepContext(0, 0.0))

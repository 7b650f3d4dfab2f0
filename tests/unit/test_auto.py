"""The preset for somebody who does not know: by pictures, size and budget, and always with a reason."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from limner.core.config import RunContext
from limner.methods.gan.config import COLOUR_NETWORKS, GREY_NETWORKS
from limner.recipes.build import resolve_recipe, resolved_values
from limner.recipes.settings import compose
from limner.training.auto import choose


def facts(size: int = 32, *, images: int | None = None, minutes: float | None = None, card: bool = False) -> RunContext:
    return RunContext((3, size, size), 64, images, minutes, card)


@pytest.mark.parametrize(
    ("pictures", "known", "preset", "settings", "words"),
    [
        (60_000, facts(28, minutes=10), "r3gan", (), "enough"),
        (60_000, facts(28, images=900_000), "r3gan", (), "900,000"),
        (500, facts(64, minutes=30), "r3gan", ("method.augment.kind=diff",), "500 pictures by heart"),
        (10_000, facts(32, minutes=60), "r3gan", ("method.augment.kind=adaptive",), "10,000"),
        (10_000, facts(32, minutes=2), "r3gan", (), "enough"),
        (3_000, facts(128, minutes=1), "vae", (), "too few for a GAN"),
        (3_000, facts(128, minutes=1, card=True), "r3gan", ("method.augment.kind=diff",), "DiffAugment"),
        (60_000, facts(28, images=5_000), "vae", (), "trains steadily"),
        (500, facts(6, minutes=10), "gan", (), "6x6"),
    ],
)
def test_the_choice_and_its_reason(
    pictures: int, known: RunContext, preset: str, settings: tuple[str, ...], words: str
) -> None:
    choice = choose(pictures, known)
    assert (choice.preset, choice.settings) == (preset, settings)
    assert words in choice.why
    resolve_recipe(compose(choice.preset, (), choice.settings), known)  # and the settings are settings of that preset


def test_who_sets_a_gans_keys_gets_a_gan() -> None:
    assert choose(3_000, facts(128, minutes=1)).preset == "vae"
    assert choose(3_000, facts(128, minutes=1), adversarial=True).preset == "r3gan"


def test_networks_by_budget() -> None:
    """Literal rows, in rising order, the last without a bound; what somebody chose stands."""
    for channels, table in ((1, GREY_NETWORKS), (3, COLOUR_NETWORKS)):
        bounds = [choice.max_budget for choice in table]
        assert bounds == sorted(bounds)
        assert math.isinf(bounds[-1])
        for choice in table:
            just_below = RunContext((channels, 32, 32), 64, int(min(choice.max_budget, 1e12)) - 1, None, False)
            method = resolve_recipe(compose("r3gan", []), just_below).method
            g, d = method.generator, method.discriminator  # type: ignore[union-attr]
            assert (method.networks, g.width, d.width) == (choice.networks, choice.generator_width, choice.discriminator_width)  # type: ignore[union-attr]
            assert g.widest == d.widest == choice.widest
    chosen = compose("r3gan", ["method.generator.width=24", "method.networks=auto"])
    method = resolve_recipe(chosen, facts(32, images=10)).method
    assert (method.generator.width, method.discriminator.width) == (24, COLOUR_NETWORKS[0].discriminator_width)  # type: ignore[union-attr]
    fixed = compose("r3gan", ["method.networks=r3"])
    assert resolve_recipe(fixed, facts(32, images=10)).method.networks == "r3"  # type: ignore[union-attr]


@pytest.mark.parametrize(("classes", "rarest", "labels"), [(0, 0, False), (1, 900, False), (10, 499, False), (10, 500, True)])
def test_classes_are_learned_where_none_is_rare(classes: int, rarest: int, labels: bool) -> None:
    known = RunContext((1, 28, 28), 64, 1000, None, False, classes, rarest)
    assert resolve_recipe(compose("r3gan", ["method.labels=auto"]), known).method.labels is labels  # type: ignore[union-attr]
    asked = compose("r3gan", ["method.labels=true"])
    assert resolve_recipe(asked, known).method.labels is True, "what somebody chose stands"  # type: ignore[union-attr]


def test_what_was_settled_is_told() -> None:
    before = compose("r3gan", ["method.r1_gamma=auto", "method.generator.width=7"])
    told = dict(resolved_values(before.method, resolve_recipe(before, facts(28, images=10)).method))
    assert told == {
        "method.networks": COLOUR_NETWORKS[0].networks,
        "method.labels": False,
        "method.drift": 0.01,
        "method.r1_gamma": pytest.approx(0.0002 * 28 * 28 / 64),
        "method.generator.widest": COLOUR_NETWORKS[0].widest,
        "method.discriminator.width": COLOUR_NETWORKS[0].discriminator_width,
        "method.discriminator.widest": COLOUR_NETWORKS[0].widest,
    }
    assert list(resolved_values(before.method, before.method)) == []


def test_the_environment_chooses_as_the_command_line_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A GAN's key in LIMNER_SETTINGS does not break the look at the pictures, and chooses a GAN."""
    from limner.training.dry_run import estimate_training
    from limner.training.train import TrainRequest

    monkeypatch.setenv("LIMNER_SETTINGS", "method.discriminator.extra=0 batch.size=16")
    found = estimate_training(TrainRequest(source="digits", images=640, out=tmp_path), steps=3)
    assert found["recipe"]["method"]["kind"] == "gan"
    assert found["recipe"]["method"]["discriminator"]["extra"] == 0
    assert found["recipe"]["batch"]["size"] == 16


def test_drift_goes_by_the_networks() -> None:
    for channels, drift in ((1, 0.1), (3, 0.01)):
        known = RunContext((channels, 32, 32), 64, 1000, None, False)
        assert resolve_recipe(compose("r3gan"), known).method.drift == drift  # type: ignore[union-attr]
    asked = compose("r3gan", ["method.drift=0.3"])
    assert resolve_recipe(asked, known).method.drift == 0.3  # type: ignore[union-attr]

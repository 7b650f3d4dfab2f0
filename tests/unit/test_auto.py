"""The preset for somebody who does not know: by pictures, size and budget, and always with a reason."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from limner.core.config import RunContext
from limner.core.progress import silent
from limner.data.dataset import Dataset
from limner.methods.gan.config import COLOUR_NETWORKS, GREY_NETWORKS
from limner.recipes.build import resolve_recipe, resolved_values
from limner.recipes.recipe import Recipe
from limner.recipes.settings import compose
from limner.training.auto import Choice, choose
from limner.training.resolve import resolve_request
from limner.training.train import TrainRequest


def facts(size: int = 32, *, images: int | None = None, minutes: float | None = None, card: bool = False) -> RunContext:
    return RunContext((3, size, size), 64, images, minutes, card)


@pytest.mark.parametrize(
    ("pictures", "known", "preset", "settings", "words"),
    [
        (60_000, facts(28, minutes=10), "r3gan", (), "enough"),
        (60_000, facts(28, images=900_000), "r3gan", (), "900,000"),
        (500, facts(64, minutes=30), "flow", (), "learns most from few pictures"),
        (1_500, facts(32, images=20_000), "flow", (), "about 20,000 pictures of 32x32"),
        (1_500, facts(32, images=15_000), "r3gan", ("method.augment.kind=diff",), "1,500 pictures by heart"),
        (10_000, facts(32, minutes=60), "r3gan", ("method.augment.kind=adaptive",), "10,000"),
        (10_000, facts(32, minutes=2), "r3gan", (), "enough"),
        (3_000, facts(128, minutes=0.7), "vae", (), "too few for a GAN"),
        (3_000, facts(128, minutes=1, card=True), "flow", (), "learns most from few pictures"),
        (60_000, facts(28, images=4_000), "vae", (), "trains steadily"),
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


@pytest.mark.parametrize(
    ("minutes", "speeds", "preset", "words"),
    [
        (4, {"r3gan": 95, "dcgan": 330}, "dcgan", "about 79,000 pictures of 32x32 in 4 minutes, as measured; r3gan"),
        (10, {"r3gan": 95}, "r3gan", "about 57,000 pictures of 32x32 in 10 minutes, as measured"),
        (2, {"r3gan": 95, "dcgan": 180}, "r3gan", "about 11,000 pictures"),
        (0.75, {"r3gan": 95, "dcgan": 330}, "vae", "about 4,300 pictures"),
        (1, {"r3gan": 95, "dcgan": 450}, "dcgan", "images/s measured here: r3gan 95, dcgan 450"),
        (0.01, {}, "vae", "0.01 minutes are too few for a GAN at 32x32"),
    ],
)
def test_a_budget_in_minutes_goes_by_measured_speeds(minutes: float, speeds: dict[str, float], preset: str, words: str) -> None:
    """By the guess of 1,500 images a second, four minutes were 360,000 images, and r3gan, which saw 22,912, was chosen."""
    measured: list[str] = []

    def measure_speed(choice: Choice) -> float:
        measured.append(choice.preset)
        return speeds[choice.preset]

    choice = choose(8_000, facts(32, minutes=minutes), measure_speed=measure_speed)
    assert choice.preset == preset
    assert words in choice.why
    assert list(dict.fromkeys(measured)) == list(speeds), "no more than what decides"
    for candidate, speed in speeds.items():
        assert f"{candidate} {speed}" in choice.why, "the measured speeds are named"
    if preset == "vae" and speeds:
        assert choose(8_000, facts(32, minutes=minutes), True, measure_speed).preset == "r3gan"


@pytest.mark.parametrize(
    ("speeds", "preset", "counts"),
    [
        ({"r3gan": [30, 95, 90], "dcgan": [210, 450]}, "dcgan", (1, 2)),  # 30 is far from any limit; dcgan sees 25,000
        ({"r3gan": [60, 130], "dcgan": [90]}, "r3gan", (2, 1)),
        ({"r3gan": [60, 70, 65], "dcgan": [90]}, "vae", (3, 1)),
        ({"r3gan": [450, 900]}, "r3gan", (2,)),
        ({"r3gan": [850]}, "r3gan", (1,)),
    ],
)
def test_one_slow_moment_of_the_machine_decides_nothing(
    speeds: dict[str, list[float]], preset: str, counts: tuple[int, ...]
) -> None:
    """vae was chosen for dcgan since something else took the machine while dcgan was measured."""
    rest = {candidate: iter(values) for candidate, values in speeds.items()}
    measured: list[str] = []

    def measure_speed(choice: Choice) -> float:
        measured.append(choice.preset)
        return next(rest[choice.preset])

    choice = choose(8_000, facts(32, minutes=1), measure_speed=measure_speed)
    assert choice.preset == preset
    assert tuple(measured.count(candidate) for candidate in speeds) == counts
    for candidate, count in zip(speeds, counts, strict=True):
        assert f"{candidate} {max(speeds[candidate][:count]):g}" in choice.why


@pytest.mark.parametrize(
    ("speeds", "preset", "words"),
    [
        ({"flow": 400}, "flow", "sees about 24,000 of 32x32 in 1 minute, as measured (400 images/s)"),
        ({"flow": 100, "r3gan": 150, "dcgan": 450}, "dcgan", "flow 100, r3gan 150, dcgan 450"),
        ({"flow": 20, "r3gan": 30, "dcgan": 90}, "vae", "too few for a GAN"),
    ],
)
def test_few_pictures_are_for_a_flow_where_it_sees_enough_of_them(speeds: dict[str, float], preset: str, words: str) -> None:
    choice = choose(1_500, facts(32, minutes=1), measure_speed=lambda one: speeds[one.preset])
    assert choice.preset == preset
    assert words in choice.why
    asked_for_a_gan = choose(1_500, facts(32, minutes=1), True, lambda one: {"r3gan": 150.0}[one.preset])
    assert asked_for_a_gan.preset == "r3gan"


def test_a_slow_moment_does_not_choose_the_networks() -> None:
    """The widths of networks=auto go by the measured speed too."""
    small, large = GREY_NETWORKS[0], GREY_NETWORKS[1]
    just_too_slow = 0.9 * small.max_budget / (600 * 60)
    speeds = [just_too_slow, 1.2 * just_too_slow]
    request = TrainRequest(source="digits", preset="r3gan", settings=("data.size=32",), minutes=600)
    recipe, _, _ = resolve_request(request, silent, lambda recipe, dataset: speeds.pop(0))
    assert recipe.method.generator.width == large.generator_width != small.generator_width  # type: ignore[attr-defined]


def test_only_a_choice_in_doubt_is_measured(tmp_path: Path) -> None:
    """Widths of networks=auto go by the budget: at a guess, hours are enough for wide ones."""
    measured: list[str] = []

    def widths(speed: float, *settings: str, **budget: Any) -> tuple[int, int]:
        def measure_speed(recipe: Recipe, dataset: Dataset) -> float:
            measured.append(recipe.preset)
            return speed

        request = TrainRequest(source="digits", preset="r3gan", settings=("data.size=32", *settings), **budget)
        method = resolve_request(request, silent, measure_speed)[0].method
        return method.generator.width, method.discriminator.width  # type: ignore[attr-defined]

    small, wide = ((one.generator_width, one.discriminator_width) for one in GREY_NETWORKS)
    assert widths(95, minutes=10) == small
    assert widths(95, images=50_000_000) == wide
    assert not measured
    assert widths(95, minutes=600) == small
    assert widths(5_000, minutes=600) == wide
    assert measured == ["r3gan", "r3gan"]


def test_who_sets_a_gans_keys_gets_a_gan() -> None:
    assert choose(3_000, facts(128, minutes=0.7)).preset == "vae"
    assert choose(3_000, facts(128, minutes=0.7), adversarial=True).preset == "r3gan"


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

"""Variety by closed forms, and every rule on histories made to break it, or not to."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.helpers import ALONE, method_of
from limner.core import diagnosis
from limner.core.diagnosis import Trace, Warning, diversity, setting_of
from limner.methods.flow.diagnosis import RULES as FLOW_RULES
from limner.methods.gan.diagnosis import RULES as GAN_RULES
from limner.methods.vae.diagnosis import RULES as VAE_RULES
from limner.methods.vq.diagnosis import CODEC_RULES, PRIOR_RULES
from limner.recipes.build import stage_configs
from limner.recipes.settings import compose

Row = dict[str, Any]
GAME = compose("dcgan").model_dump(mode="json")
CODER = compose("vae").model_dump(mode="json")
RULES = {
    "flow": FLOW_RULES,
    "gan": GAN_RULES,
    "vae": VAE_RULES,
    "autoencoder": VAE_RULES,
    "vqvae": CODEC_RULES,
    "prior": PRIOR_RULES,
}
EVENTS = 20
"""Points where pictures are shown; five rows of losses lead to each."""


def warnings(history: list[Row], recipe: Row) -> list[Warning]:
    """By the rules of the recipe's own method."""
    return diagnosis.warnings(history, recipe, RULES[recipe["method"]["kind"]])


def grey(*levels: int, side: int = 16) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.stack([np.full((side, side, 1), level, np.uint8) for level in levels])


@pytest.mark.parametrize(
    ("made", "real", "expected", "twins"),
    [
        (grey(7, 7, 7), grey(0, 255), 0.0, 1.0),
        (grey(0, 255), grey(0, 255), 1.0, 0.0),
        (grey(0, 255), grey(100, 200, 100, 200), 255 / (100 * 4 / 6), 0.0),  # 4 of the 6 pairs differ
        (grey(50, 150), grey(0, 200), 0.5, 0.0),
        (grey(0, 0, 255), grey(0, 255), 2 / 3, 2 / 3),
        (grey(0, 20, 255), grey(0, 255), (20 + 235 + 255) / 3 / 255, 2 / 3),  # a tenth of the distance is a twin still
        (grey(0, 30, 255), grey(0, 255), (30 + 225 + 255) / 3 / 255, 0.0),
    ],
)
def test_variety_in_closed_form(made: Any, real: Any, expected: float, twins: float) -> None:
    found = diversity(made, real)
    assert found["diversity"] == pytest.approx(expected, rel=1e-5, abs=1e-12)
    assert found["twins"] == pytest.approx(twins)


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 48, 3), (96, 64, 4), (5, 7, 3)])
def test_real_against_real_is_one_and_noise_is_no_variety(shape: tuple[int, int, int]) -> None:
    draw = np.random.default_rng(0)
    height, width, channels = shape
    coarse = draw.integers(0, 256, (200, 4, 4, channels), dtype=np.uint8)
    soft = coarse.repeat(-(-height // 4), 1).repeat(-(-width // 4), 2)[:, :height, :width]
    assert diversity(soft[:64], soft[64:])["diversity"] == pytest.approx(1, abs=0.05)
    if min(height, width) > 5:
        noisy = (128 + draw.normal(0, 20, (64, *shape))).clip(0, 255).astype(np.uint8)
        assert diversity(noisy, soft)["diversity"] < 0.15
        assert diversity(noisy, soft)["twins"] > 0.9


def test_where_nothing_can_be_said_nothing_is() -> None:
    assert diversity(grey(3), grey(0, 255)) == diversity(grey(0, 255), grey(3)) == diversity(grey(0, 255), grey(9, 9)) == {}


def history(change: Callable[[float, Row, Row], None] = lambda at, losses, seen: None, game: bool = True) -> list[Row]:
    """Rows of a healthy run; `change` (share of the run, losses, what was seen) makes it another one."""
    rows: list[Row] = []
    flicker = np.random.default_rng(1)
    for number in range(1, 5 * EVENTS + 1):
        at, event = number / (5 * EVENTS), number % 5 == 0
        if game:
            losses = {"generator": 0.8, "discriminator": 1.3, "right_on_real": 0.7, "right_on_fake": 0.7}
            losses = {name: value + float(flicker.normal(0, 0.05)) for name, value in losses.items()}
            seen: Row = {"gradient_norm/generator": float(flicker.lognormal()), "gradient_norm/discriminator": 3.0}
        else:
            losses = {"vae": 100 - 150 * at, "nll": 60 - 150 * at}
            seen = {"gradient_norm/vae": 30.0}
        if event:
            seen |= {f"held_out_{name}": value for name, value in losses.items()} | {f"gap_{name}": 0.0 for name in losses}
            seen |= {"diversity": 0.9 if at > 0.06 else 0.02, "twins": 0.0 if at > 0.06 else 1.0, "pictures_held_out": 256}
        change(at, losses, seen)
        lr = {"generator": 1e-3, "discriminator": 1e-3} if game else {"vae": 1e-3}
        rows.append({"images": 1000 * number, "losses": losses, "lr": lr, "watch": seen})
    return rows


def collapsed(at: float, losses: Row, seen: Row) -> None:
    if "diversity" in seen:
        seen |= {"diversity": 0.02, "twins": 1.0}


def collapsing(at: float, losses: Row, seen: Row) -> None:
    if "diversity" in seen and at > 0.6:
        seen["diversity"] = 0.5


def repeating(at: float, losses: Row, seen: Row) -> None:
    if "diversity" in seen and at > 0.5:
        seen |= {"diversity": 0.9, "twins": 0.75}


def saturated(at: float, losses: Row, seen: Row) -> None:
    losses |= {"generator": 9.0, "discriminator": 0.01, "right_on_real": 0.99, "right_on_fake": 1.0}


def relativistic(at: float, losses: Row, seen: Row) -> None:
    losses |= {"generator": 3.5, "discriminator": 0.05, "right_on_real": 0.99, "right_on_fake": 0.98}


def smoothed(at: float, losses: Row, seen: Row) -> None:
    """One-sided label smoothing: the discriminator's loss cannot come down to zero."""
    losses |= {"generator": 9.0, "discriminator": 0.34, "right_on_real": 1.0, "right_on_fake": 1.0}


def memorised(at: float, losses: Row, seen: Row) -> None:
    if "gap_right_on_real" in seen and at > 0.4:
        seen |= {"held_out_right_on_real": 0.5, "gap_right_on_real": -0.4}


def exploded(at: float, losses: Row, seen: Row) -> None:
    if at > 0.7:
        seen["gradient_norm/discriminator"] = 900.0


def tossed(at: float, losses: Row, seen: Row) -> None:
    if at > 0.3:
        losses["discriminator"] = 60.0 * max(0.1, at)


MADE = {
    "collapsed": (collapsed, "collapse", ["2% as varied", "generator.optimiser.lr (now 0.0008)", "method.r1_gamma (now 1)"]),
    "collapsing": (collapsing, "collapse", ["were 90%", "now 50%", "set method.loss=relativistic (now non-saturating)"]),
    "repeating": (repeating, "collapse", ["75%", "twin"]),
    "saturated": (saturated, "saturation", ["99.0% of real", "100.0% of generated", "10,000 images", "raise method.r1_gamma"]),
    "relativistic": (relativistic, "saturation", ["98.0% of generated", "method.discriminator.optimiser.lr (now 0.0008)"]),
    "smoothed": (smoothed, "saturation", ["0.34", "method.instance_noise (now 0)"]),
    "memorised": (memorised, "overfitting", ["90%", "50% of held-out", "augment.kind=adaptive (now none)", "mirror=true."]),
    "exploded": (exploded, "explosion", ["900", "300 times", "method.discriminator.clip={by: norm, limit: 6}"]),
    "tossed": (tossed, "explosion", ["guessing", "lower method.discriminator.optimiser.lr (now 0.0008)"]),
}


@pytest.mark.parametrize("name", MADE)
def test_each_failure_is_said_in_one_sentence_with_its_knob(name: str) -> None:
    change, kind, words = MADE[name]
    found = warnings(history(change), GAME)
    assert [warning.kind for warning in found] == [kind], found
    for word in words:
        assert word in found[0].text, found[0].text
    assert found[0].text.endswith(".")
    assert len(re.findall(r"[.:!?] [A-Z]", found[0].text)) == 0, "one sentence"


@pytest.mark.parametrize("end", range(1, 5 * EVENTS + 1, 7))
def test_a_healthy_run_hears_nothing_at_any_time(end: int) -> None:
    assert warnings(history()[:end], GAME) == []
    assert warnings(history(game=False)[:end], CODER) == []


@pytest.mark.parametrize("name", MADE)
def test_the_first_stretch_of_a_run_is_left_alone(name: str) -> None:
    assert warnings(history(MADE[name][0])[:15], GAME) == []
    assert warnings([], GAME) == []


def test_critics_without_a_floor_are_not_saturated() -> None:
    """Wasserstein: the loss is minus a distance, wherever the logits lie."""

    def far(at: float, losses: Row, seen: Row) -> None:
        losses |= {"generator": 50.0, "discriminator": -8.0, "right_on_real": 1.0, "right_on_fake": 1.0}

    assert warnings(history(far), GAME) == []


@pytest.mark.parametrize("name", MADE)
def test_a_young_game_is_left_alone(name: str) -> None:
    """A collapse was reported after 320 of 640 images, when every generator still draws one grey picture."""
    change, kind, _ = MADE[name]
    rows = history(change)
    for images_of_a_row, expected in ((40, []), (200, [kind])):
        scaled = [row | {"images": images_of_a_row * number} for number, row in enumerate(rows, start=1)]
        if name == "exploded":
            expected = [kind]  # that its gradients explode is true at any age
        assert [warning.kind for warning in warnings(scaled, GAME)] == expected


def test_being_right_is_no_harm_while_there_is_something_to_learn() -> None:
    def sharp(at: float, losses: Row, seen: Row) -> None:
        losses |= {"generator": 2.5, "discriminator": 0.25, "right_on_real": 0.99, "right_on_fake": 0.99}

    assert warnings(history(sharp), GAME) == []


def test_a_gap_of_few_pictures_is_chance() -> None:
    def few(at: float, losses: Row, seen: Row) -> None:
        if "gap_right_on_real" in seen:
            seen |= {"gap_right_on_real": -0.3, "pictures_held_out": 9}

    assert warnings(history(few), GAME) == []


def test_a_warning_stands_until_it_clearly_clears() -> None:
    """At the bound it neither comes and goes nor is said anew."""
    heights = iter([0.9] * 8 + [0.3] * 3 + [0.45] * 3 + [0.3] + [0.7] * 5)

    def wavering(at: float, losses: Row, seen: Row) -> None:
        if "diversity" in seen:
            seen["diversity"] = next(heights)

    rows = history(wavering)
    stands = [bool(warnings(rows[: 5 * event], GAME)) for event in range(1, EVENTS + 1)]
    assert stands == [False] * 9 + [True] * 6 + [False] * 5


def test_one_loss_that_outruns_the_held_out_one() -> None:
    def by_heart(at: float, losses: Row, seen: Row) -> None:
        if "held_out_vae" in seen:
            seen["held_out_vae"] = 100 - 150 * at + 260 * max(0.0, at - 0.5)
            seen["gap_vae"] = seen["held_out_vae"] - losses["vae"]

    rows = history(by_heart, game=False)
    (found,) = warnings(rows, CODER)
    assert found.kind == "overfitting"
    assert "50,000 images" in found.text
    assert "method.width (now 32)" in found.text
    assert warnings(rows[:55], CODER) == []

    def plateau(at: float, losses: Row, seen: Row) -> None:
        by_heart(min(at, 0.52), losses, seen)

    assert warnings(history(plateau, game=False), CODER) == []


def test_a_flow_whose_rate_is_too_high_is_told_from_one_that_learns() -> None:
    """Losses of `digits` after 128, 256, … images at five times the usual rate and at the usual one."""
    recipe = compose("flow", ["method.optimiser.lr.value=0.01"]).model_dump(mode="json")

    def history_of(*losses: float) -> list[Row]:
        return [
            {"images": 128 * n, "losses": {"flow": loss}, "lr": {"flow": 0.01}, "watch": {"diversity": 0.9, "twins": 0.0}}
            for n, loss in enumerate(losses, 1)
        ]

    (said,) = warnings(history_of(0.773, 0.90, 0.95, 0.86, 0.88, 0.89), recipe)
    assert said.kind == "stagnation"
    assert said.text.endswith(
        "loss was 0.773 at the start and is 0.885 now; its learning rate may be too high: lower method.optimiser.lr (now 0.01)."
    )
    assert warnings(history_of(0.73, 0.70, 0.68, 0.67, 0.65, 0.65), recipe) == []
    assert warnings(history_of(0.773, 0.90, 0.95), recipe) == [], "too early"
    # It stays while the loss is only a little lower, and clears once it falls.
    assert warnings(history_of(0.773, 0.90, 0.95, 0.86, 0.74, 0.74, 0.74), recipe) != []
    assert warnings(history_of(0.773, 0.90, 0.95, 0.86, 0.60, 0.55, 0.50), recipe) == []


def test_other_rules_are_for_games() -> None:
    def odd(at: float, losses: Row, seen: Row) -> None:
        collapsed(at, losses, seen)

    assert warnings(history(odd, game=False), CODER) == []


def test_rows_without_anything_to_see_are_no_events() -> None:
    rows = [{"images": 10 * i, "losses": {"generator": math.pi}, "lr": {"generator": 1.0}} for i in range(50)]
    assert warnings(rows, GAME) == []


@pytest.mark.parametrize("preset", ALONE)
def test_every_setting_that_a_rule_advises_exists(preset: str) -> None:
    """In the recipe of every stage: a key that is renamed must be renamed in the rules of its family as well."""
    recipe = compose(preset)
    for stage, (_, _, config) in enumerate(stage_configs(recipe)):
        rules = method_of(preset, (8, 8, 1), stage=stage).diagnosis()
        assert rules == RULES[config.kind]
        tree = recipe.model_dump(mode="json") | {"method": config.model_dump(mode="json")}
        advised = {key for rule in rules for _, key, _ in rule.advice}
        assert "data.mirror" in advised
        for key in advised:
            assert setting_of(tree, key)[0], key


@pytest.mark.parametrize("family", ["gan", "vae", "vq"])
def test_every_key_in_the_source_of_a_rule_exists(family: str) -> None:
    """Also one that a rule asks about without advising it."""
    module = Path(diagnosis.__file__).parents[1] / "methods" / family / "diagnosis.py"
    keys = set(re.findall(r'"((?:method|data)\.[a-z0-9_.]+)"', module.read_text()))
    assert len(keys) >= (7 if family == "gan" else 1)
    for key in keys:
        assert setting_of(GAME if family == "gan" else CODER, key)[0], key
    for name in ("norm", "normalise"):
        assert setting_of(GAME, f"method.discriminator.{name}")[0]
    for key in ("method.generator.clip", "method.discriminator.optimiser.lr"):
        assert setting_of(GAME, key)[0]
    for key in ("method.clip", "method.optimiser.lr"):
        assert setting_of(CODER, key)[0]


def test_no_family_is_spelt_in_what_all_share() -> None:
    assert set(re.findall(r'"((?:method|data)\.[a-z0-9_.]+)"', Path(diagnosis.__file__).read_text())) == {"data.mirror"}


def test_a_method_without_rules_of_its_own_has_the_general_ones() -> None:
    def by_heart(at: float, losses: Row, seen: Row) -> None:
        if "held_out_vae" in seen:
            seen["held_out_vae"] = 100 - 150 * at + 260 * max(0.0, at - 0.5)
            seen["gap_vae"] = seen["held_out_vae"] - losses["vae"]
        if at > 0.7:
            seen["gradient_norm/vae"] = 9000.0

    found = diagnosis.warnings(history(by_heart, game=False), CODER, diagnosis.GENERAL_RULES)
    assert {warning.kind for warning in found} == {"overfitting", "explosion"}
    assert all(": " in warning.text for warning in found)


def test_advice_is_about_the_stage_that_trains() -> None:
    """Once it named the learning rate and the width of the prior that comes after the codec."""
    recipe = compose("vq-vae")
    tree = recipe.model_dump(mode="json") | {"method": recipe.stages[0].method.model_dump(mode="json")}

    def exploding(at: float, losses: Row, seen: Row) -> None:
        if at > 0.7:
            seen["gradient_norm/vae"] = 9000.0

    rows = history(exploding, game=False)
    (found,) = diagnosis.warnings(rows, tree, CODEC_RULES, "stages.codec.method")
    assert "lower stages.codec.method.optimiser.lr (now 0.002)" in found.text
    assert " method." not in found.text


def played(at: float, losses: Row, seen: Row) -> None:
    """A codec whose discriminator begins halfway and is thrown about."""
    if at > 0.5:
        losses |= {"discriminator": 60.0 if at > 0.8 else 1.4, "right_on_real": 0.7, "right_on_fake": 0.7}
        if "diversity" in seen:
            seen |= {"diversity": 0.1, "held_out_right_on_real": 0.4, "gap_right_on_real": -0.5}
    elif "diversity" in seen:
        seen["diversity"] = 0.1


def test_a_codec_is_judged_as_a_game_once_its_discriminator_plays() -> None:
    rows, codec = history(played, game=False), compose("vqgan").stages[0].method.model_dump(mode="json")
    tree = compose("vqgan").model_dump(mode="json") | {"method": codec}
    assert warnings(rows[:50], tree) == []
    found = {warning.kind: warning.text for warning in warnings(rows, tree)}
    assert set(found) == {"collapse", "overfitting", "explosion"}
    assert "method.width" not in found["overfitting"], "it is the discriminator's heart"
    assert "data.mirror=true" in found["overfitting"]
    assert "thrown about" in found["explosion"]
    assert warnings(rows, CODER) == []


def test_a_trace_says_where_its_recent_stretch_begins() -> None:
    row = {"losses": {}, "lr": {"a": 1.0}}
    assert Trace({}, [10, 20], row, {}).recent == 0
    assert Trace({}, [100, 200, 300, 400], row, {}).recent == 200
    assert Trace({}, [980, 990, 1000], row, {}).recent == 900

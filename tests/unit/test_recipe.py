"""Recipes: where settings come from, what they accept, and how a mistake is told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from contract.helpers import untrained
from limner.core.config import DataSpec, unused_reason
from limner.core.documents import parse_yaml
from limner.core.errors import InputError
from limner.core.progress import silent
from limner.methods.gan.config import GanConfig
from limner.methods.gan.gan import Gan
from limner.methods.vae.config import VaeConfig
from limner.recipes.build import build_method, stage_configs
from limner.recipes.recipe import Recipe
from limner.recipes.registry import METHODS, PRESETS, methods_table
from limner.recipes.settings import compose, known_keys, parse_recipe, put_setting, read_recipe
from limner.training.resolve import resolve_request
from limner.training.train import TrainRequest


def resolved(preset: str, *settings: str) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe for the built-in digits with nothing left open, and the reasons for what was chosen."""
    recipe, _, why = resolve_request(TrainRequest(source="digits", preset=preset, images=64, settings=settings), silent)
    return recipe, why


def test_every_preset_is_of_a_family_and_names_its_paper() -> None:
    assert {row["name"] for row in methods_table()} == set(PRESETS)
    for name, preset in PRESETS.items():
        recipe = compose(name)
        assert recipe.preset == name
        assert recipe.method.kind == preset.family
        assert isinstance(recipe.method, METHODS[preset.family].config)
        assert "arXiv:" in preset.paper


def test_command_line_over_environment_over_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    base = compose("vae")
    assert isinstance(base.method, VaeConfig)
    monkeypatch.setenv("LIMNER_SETTINGS", "batch.size=48 method.latent=9 data.background='#ff0000'")
    recipe = compose("vae", ["method.latent=7"], seed=5, budget__images=100, data__source=None)
    assert (recipe.batch.size, recipe.method.latent, recipe.seed, recipe.budget.images) == (48, 7, 5, 100)  # type: ignore[union-attr]
    assert recipe.data.background == "#ff0000"
    assert recipe.method.optimiser == base.method.optimiser  # type: ignore[union-attr]


def test_a_recipe_file_is_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(compose("vae", ["method.latent=5"]).to_yaml())
    recipe = compose(str(path), ["seed=3"])
    assert (recipe.preset, recipe.method.latent, recipe.seed) == ("vae", 5, 3)  # type: ignore[union-attr]
    with pytest.raises(InputError, match="no recipe at"):
        compose(str(tmp_path / "none.yaml"))
    path.write_text("- a\n- b\n")
    with pytest.raises(InputError, match="holds no keys"):
        compose(str(path))
    path.write_text("a: [")
    with pytest.raises(InputError, match="not readable as YAML"):
        read_recipe(path)


@pytest.mark.parametrize(
    ("setting", "dotted", "value"),
    [
        ("method.generator.optimiser.lr=1e-4", "method.generator.optimiser.lr.value", 1e-4),
        ("method.generator.optimiser.lr.warmup=0.1", "method.generator.optimiser.lr.warmup", 0.1),
        ("method.generator.optimiser.betas=[0.0, 0.9]", "method.generator.optimiser.betas", [0.0, 0.9]),
        ("data.size=64x96", "data.size", "64x96"),
        ("data.size=64", "data.size", 64),
        ("data.split=0.1", "data.split", "0.1"),
        ("data.split=0.1,0.2", "data.split", "0.1,0.2"),
        ("data.split=none", "data.split", "none"),
        ("data.source=2024", "data.source", "2024"),
        ("data.background=#ffeedd", "data.background", "#ffeedd"),
        ("data.mirror=true", "data.mirror", True),
        ("method.generator.clip.limit=2", "method.generator.clip.limit", 2.0),
        ("method.generator.clip=", "method.generator.clip", None),
        ("score.points=0", "score.points", 0),
    ],
)
def test_settings_mean_what_a_person_would_think(setting: str, dotted: str, value: object) -> None:
    recipe = compose("dcgan", [setting])
    assert recipe != compose("dcgan") or value == 0 or value is None
    found: object = json.loads(json.dumps(recipe.model_dump(mode="json")))
    for part in dotted.split("."):
        found = found if not isinstance(found, dict) else found[part]
    assert found == value


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("bacth.size=3", "did you mean 'batch.size'"),
        ("method.generatr.width=3", "did you mean 'method.generator.width'"),
        ("method.beta=3", "unknown setting 'method.beta' for this method"),
        ("batch.size", "write key=value"),
        ("batch.size=0", "batch.size"),
        ("batch.size=many", "not 'many'"),
        ("batch.chunks=7", "does not divide batch.size"),
        ("method.kind=gann", "did you mean 'gan'"),
        ("data.fit=squash", "data.fit"),
        ("seed=-1", "seed"),
        ("budget.images=1.5", "budget.images"),
    ],
)
def test_a_mistake_is_one_line_that_helps(setting: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        compose("dcgan", [setting])
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(InputError, match=r"^settings: method.capacity.value is missing; give it as well$"):
        compose("vae", ["method.capacity.warmup=0.5"])


def test_an_unknown_preset_names_its_nearest_neighbour() -> None:
    with pytest.raises(InputError, match="did you mean 'dcgan'"):
        compose("dcagn")


def test_known_keys_hold_every_family() -> None:
    assert {
        "batch.size",
        "method.beta",
        "method.generator.optimiser.lr.warmup",
        "method.optimiser.lr",
        "stages",
    } <= known_keys()


def test_a_recipe_cannot_be_changed_in_place() -> None:
    with pytest.raises(Exception, match="frozen"):
        compose("gan").seed = 4  # type: ignore[misc]


def test_put_turns_a_bare_schedule_into_a_tree() -> None:
    tree: dict[str, object] = {"method": {"generator": {"optimiser": {"lr": 0.5}}}}
    put_setting(tree, "method.generator.optimiser.lr.warmup=0.2")
    assert tree == {"method": {"generator": {"optimiser": {"lr": {"value": 0.5, "warmup": 0.2}}}}}


def test_precision_is_resolved_before_use() -> None:
    assert compose("gan", ["precision=bf16"]).number_format() == "bf16"
    with pytest.raises(InputError, match="precision"):
        compose("gan").number_format()


def test_stages_share_the_budget_and_hand_their_codec_on() -> None:
    vae = {"kind": "vae", "latent": 3, "width": 8, "widest": 8}
    gan = {"kind": "gan", "networks": "mlp", "generator": {"widths": [8]}, "discriminator": {"widths": [8]}}
    recipe = parse_recipe({"stages": [{"name": "codec", "share": 0.25, "method": vae}], "method": gan}, "test")
    assert [(name, share) for name, share, _ in stage_configs(recipe)] == [("codec", 0.25), ("main", 0.75)]
    first, last = untrained(recipe, (16, 16, 1), stage=0), untrained(recipe, (16, 16, 1))
    assert first.codec.shape == (1, 16, 16)
    assert isinstance(last, Gan)
    assert last.codec.shape == (3,)
    assert not any(weight.requires_grad for weight in last.codec.parameters())  # type: ignore[attr-defined]
    assert all(weight.requires_grad for weight in last.generator.parameters())
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"networks": "dcgan", "updates": "shared", "discriminator": {"norm": "batch"}}, "method.updates=auto"),
        ({"networks": "dcgan", "discriminator": {"norm": "batch"}}, None),
        ({"networks": "mlp"}, None),
        ({"networks": "dcgan"}, "at least 8x8"),
    ],
)
def test_what_does_not_fit_says_so_when_it_is_built(tree: dict[str, object], words: str | None) -> None:
    recipe = parse_recipe({"method": {"kind": "gan"} | tree}, "test")
    assert isinstance(recipe.method, GanConfig)
    shape = (6, 16, 1) if tree == {"networks": "dcgan"} or tree["networks"] == "mlp" else (16, 16, 1)
    if words is None:
        build_method(recipe, DataSpec.of_images(shape))
        return
    with pytest.raises(InputError, match=words):
        build_method(recipe, DataSpec.of_images(shape))


def test_updates_are_shared_where_they_can_be() -> None:
    def phases(*settings: str) -> list[str]:
        return [
            phase.name
            for phase in build_method(compose("gan", settings), DataSpec.of_images((16, 16, 1))).phases()
            if not phase.joins
        ]

    apart = ["discriminator", "generator"]
    assert phases("method.updates=auto") == phases("method.updates=shared") == ["both"]
    assert phases("method.updates=alternating") == apart
    assert (
        phases("method.updates=auto", "method.networks=dcgan", "method.discriminator.norm=batch", "method.r1_gamma=0") == apart
    )


@pytest.mark.parametrize(
    ("preset", "setting", "words"),
    [
        ("r3gan", "method.labels=maybe", ["method.labels: 'maybe'", "true, false", "'auto'"]),
        ("vae", "method.prior=some", ["method.prior: ", "'mixture'", "'normal'", "'some'"]),  # a family is called prior as well
        ("dcgan", "method.r1_gamma=foo", ["method.r1_gamma: 'foo'", "a number", "'auto'"]),
        ("dcgan", "method.generator.labels=x", ["method.generator.labels: 'x'", "'concat'", "'norm'", "'auto'"]),
        ("dcgan", "method.augment=diff", ["method.augment: 'diff'", "method.augment.kind=diff"]),
        ("dcgan", "method.generator.clip=5", ["method.generator.clip: 5", "method.generator.clip.by=…"]),
        ("dcgan", "method.generator.optimiser.lr=-1", ["a learning rate is 0 or more"]),
        ("dcgan", "method.discriminator.dropout=0.999", ["method.discriminator.dropout", "0.95"]),
    ],
)
def test_a_wrong_value_says_what_may_stand_there(preset: str, setting: str, words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        compose(preset, [setting])
    text = str(error.value)
    assert all(word in text for word in words), text
    assert not any(word in text for word in ("instance of", "function-", ".bool", "\n")), text


@pytest.mark.parametrize(
    ("preset", "key", "idle"),
    [
        ("gan", "generator.width", True),
        ("gan", "generator.widths", False),
        ("dcgan", "discriminator.widths", True),
        ("dcgan", "discriminator.extra", False),
        ("sngan", "generator.blocks", True),
        ("sngan", "discriminator.blocks", False),
        ("dcgan", "augment.policy", True),
        ("dcgan", "generator.optimiser.lr", False),
        ("vae", "width", False),
        ("vae", "widths", True),
        ("vae", "components", False),
        ("vae", "hidden", True),
        ("tc-vae", "hidden", False),
        ("vae", "block", False),
        ("tc-vae", "block", True),
        ("vae", "sigma", True),
        ("tc-vae", "sigma", False),
        ("vae", "tc_weight", True),
        ("tc-vae", "critic.widths", True),
        ("factor-vae", "critic.widths", False),
        ("factor-vae", "population", True),
        ("autoencoder", "noise", False),
    ],
)
def test_what_would_do_nothing_is_told(preset: str, key: str, idle: bool) -> None:
    told = unused_reason(compose(preset).method, key)
    assert (told is not None) == idle, told
    assert not idle or "method." in str(told)


@pytest.mark.parametrize(
    ("preset", "key", "idle"),
    [
        ("vq-vae", "levels", True),
        ("fsq", "levels", False),
        *(("fsq", key, True) for key in ("codes", "dim", "normalised", "commitment")),
        *(("vq-vae", key, False) for key in ("codes", "dim", "normalised", "commitment", "half_life", "adversarial")),
        *(("vq-vae", key, True) for key in ("features", "start", "discriminator_width", "discriminator_optimiser.lr.value")),
        *(("vqgan", key, False) for key in ("features", "start", "discriminator_width", "discriminator_optimiser.lr.value")),
        ("fsq", "half_life", False),
    ],
)
def test_what_would_do_nothing_in_a_codec_is_told(preset: str, key: str, idle: bool) -> None:
    told = unused_reason(compose(preset).stages[0].method, key)
    assert (told is not None) == idle, told


@pytest.mark.parametrize(
    ("preset", "settings", "words"),
    [
        ("vq-vae", ("stages.codec.method.levels=[4,4]",), "stages.codec.method.levels would do nothing here: it belongs to"),
        ("vq-vae", ("stages.codec.method.levels=[4,4]",), "stages.codec.method.quantiser=fsq; leave it out"),
        ("fsq", ("stages.codec.method.codes=64",), "it belongs to stages.codec.method.quantiser=vq"),
        ("fsq", ("stages.codec.method.start=.2",), "it belongs to stages.codec.method.adversarial above 0"),
        ("vae", ("method.sigma=2",), "method.sigma would do nothing here: it belongs to method.decoder=fixed"),
    ],
)
def test_what_would_do_nothing_is_refused_in_every_stage(preset: str, settings: tuple[str, ...], words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        resolved(preset, *settings)


def test_what_does_something_in_a_stage_is_not_refused() -> None:
    recipe, _ = resolved("fsq", "stages.codec.method.levels=[4,4]", "method.width=64")
    assert recipe.stages[0].method.levels == (4, 4)  # type: ignore[union-attr]


@pytest.mark.parametrize(("binary", "chosen"), [("false", "calibrated"), ("true", "bernoulli")])
def test_the_decoder_goes_by_the_pictures(binary: str, chosen: str) -> None:
    """And the run says so; what somebody chose stands."""
    recipe, why = resolved("vae", f"data.binary={binary}")
    assert recipe.method.decoder == chosen  # type: ignore[union-attr]
    assert f"method.decoder={chosen}" in " ".join(why)
    chosen_by_person, _ = resolved("vae", f"data.binary={binary}", "method.decoder=laplace")
    assert chosen_by_person.method.decoder == "laplace"  # type: ignore[union-attr]


@pytest.mark.parametrize("settings", [("data.limit=60",), ("method.population=20",)])
def test_a_batch_larger_than_the_population_is_no_draw_without_replacement(settings: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=r"64 are more than the \d+ training pictures; set batch.size=\d+ or less, or"):
        resolved("tc-vae", *settings)
    resolved("tc-vae", *settings, "batch.size=16")
    resolved("tc-vae", *settings, "method.total_correlation=weighted")


@pytest.mark.parametrize("segments", ["null", "3", "[a]", "{a: 1}"])
def test_segments_of_another_form_are_one_line(segments: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"segments: {segments}\n")
    for read in (lambda: compose(str(path)), lambda: read_recipe(path)):
        with pytest.raises(InputError, match=r"mine\.yaml: segments") as error:
            read()
        assert "\n" not in str(error.value)


def test_stages_of_another_form_are_one_line(tmp_path: Path) -> None:
    for stages in ("null", "3", "[a]", "[{share: 1}]"):
        (tmp_path / "mine.yaml").write_text(f"stages: {stages}\n")
        with pytest.raises(InputError, match="stage"):
            compose(str(tmp_path / "mine.yaml"), ["stages.codec.method.width=8"])


@pytest.mark.parametrize(
    "setting", ["seed=2001-13-45", "seed=0x_", "seed=!!int abc", "seed=" + "9" * 5000, "seed=" + "[" * 1000]
)
def test_a_value_that_yaml_cannot_make_is_one_line(setting: str) -> None:
    with pytest.raises(InputError) as error:
        compose("vae", [setting])
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_a_date_is_a_name_and_a_huge_value_is_cut_short() -> None:
    assert compose("vae", ["data.source=2001-01-01"]).data.source == "2001-01-01"
    with pytest.raises(InputError) as error:
        compose("vae", [f"method.kind={'x' * 100_000}"])
    assert len(str(error.value)) < 1100


def test_a_setting_changes_one_of_two_branches_that_an_alias_shares() -> None:
    tree = parse_yaml("method: {generator: &net {width: 8}, discriminator: *net}", "here")
    put_setting(tree, "method.generator.width=16")
    assert tree == {"method": {"generator": {"width": 16}, "discriminator": {"width": 8}}}


def test_settings_of_the_environment_without_an_end_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMNER_SETTINGS", "data.background='#ff0000")
    with pytest.raises(InputError, match="LIMNER_SETTINGS cannot be read"):
        compose("vae")


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (
            {"method": {"kind": "vae", "widht": 8}},
            "unknown setting 'method.widht' for this method; did you mean 'method.width'?",
        ),
        (
            {"method": {"kind": "gan", "generator": {"optimiser": {"bettas": [0, 0.9]}}}},
            (
                "unknown setting 'method.generator.optimiser.bettas' for this method; did you mean "
                "'method.generator.optimiser.betas'?"
            ),
        ),
        ({"data": {"siez": 9}}, "unknown setting 'data.siez'; did you mean 'data.size'?"),
        ({"budgett": {"images": 9}}, "unknown setting 'budgett'; did you mean 'budget'?"),
        (
            {"stages": [{"name": "a", "share": 0.5, "method": {"kind": "vqvae", "widht": 8}}]},
            "unknown setting 'stages.0.method.widht' for this method; did you mean 'stages.0.method.width'?",
        ),
        ({"stages": [{"nme": "a", "share": 0.5}]}, "unknown setting 'stages.0.nme'; did you mean 'stages.0.name'?"),
    ],
)
def test_an_unknown_setting_in_a_recipe_file_is_named_itself(tree: dict[str, Any], words: str) -> None:
    """Its parent was named: "unknown setting 'method'"."""
    with pytest.raises(InputError) as error:
        parse_recipe(tree, "mine.yaml")
    assert str(error.value) == f"mine.yaml: {words}"

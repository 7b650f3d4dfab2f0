"""What a family declares before it is built: settings without effect, sampling settings, resolved types; without torch."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel, Field

from contract.helpers import ALONE, settled
from limner.core.config import (
    DataSpec,
    MethodConfig,
    RunContext,
    Sampling,
    Settings,
    all_of,
    check_sampling_used,
    field_descriptions,
    only_if,
    parse_sampling,
    unused_reason,
)
from limner.core.errors import InputError
from limner.recipes.build import build_method, stage_configs
from limner.recipes.recipe import Recipe
from limner.recipes.registry import METHODS
from limner.recipes.settings import compose


class Inner(Settings):
    size: int = Field(1, json_schema_extra=only_if("mode", "large", "huge"))
    """Of the inside."""
    depth: int = Field(1, json_schema_extra=only_if("size", above=1))
    """Of the inside."""


class Outer(MethodConfig):
    kind: str = "outer"
    """The family."""
    mode: str = "small"
    """How."""
    switch: bool = False
    """Whether."""
    extra: float | None = None
    """Beside it."""
    weight: float = Field(1.0, json_schema_extra=only_if("extra"))
    """Of `extra`."""
    other: float = Field(1.0, json_schema_extra=only_if("extra", None))
    """In the place of `extra`."""
    hidden: int = Field(1, json_schema_extra=all_of(only_if("switch", True), only_if("mode", other_than=["small"])))
    """Needs both."""
    inner: Inner = Inner()
    """The inside."""


@pytest.mark.parametrize(
    ("settings", "key", "reason"),
    [
        ({}, "mode", None),
        ({}, "nothing", None),
        ({}, "nothing.at.all", None),
        ({}, "weight", "it belongs to method.extra"),
        ({"extra": 2.0}, "weight", None),
        ({}, "other", None),
        ({"extra": 2.0}, "other", "method.extra is in its place"),
        ({}, "hidden", "it belongs to method.switch=true"),
        ({"switch": True}, "hidden", "it belongs to method.mode other than small"),
        ({"switch": True, "mode": "large"}, "hidden", None),
        ({}, "inner.size", "it belongs to method.mode=large or huge"),
        ({"mode": "huge"}, "inner.size", None),
        ({}, "inner.depth", "it belongs to method.inner.size above 1"),
        ({"inner": {"size": 2}}, "inner.depth", None),
    ],
)
def test_why_a_setting_has_no_effect(settings: dict[str, Any], key: str, reason: str | None) -> None:
    config = Outer.model_validate(settings)
    assert unused_reason(config, key) == reason
    if reason is not None:
        assert unused_reason(config, key, "stages.a.method.") == reason.replace("method.", "stages.a.method.")


def test_a_form_sees_when_a_setting_has_an_effect() -> None:
    properties = Outer.model_json_schema()["properties"]
    assert properties["weight"]["only_if"] == [{"key": "extra", "is_not": [None]}]
    assert [one["key"] for one in properties["hidden"]["only_if"]] == ["switch", "mode"]
    assert properties["hidden"]["description"] == "Needs both."
    schema = Recipe.model_json_schema()["$defs"]
    assert schema["GeneratorConfig"]["properties"]["widths"]["only_if"] == [{"key": "networks", "is": ["mlp"]}]
    assert schema["AugmentConfig"]["properties"]["policy"]["only_if"] == [{"key": "kind", "is": ["diff"]}]
    kinds = [one["$ref"].rpartition("/")[2] for one in Recipe.model_json_schema()["properties"]["method"]["oneOf"]]
    assert kinds == [family.config.__name__ for family in METHODS.values()]


def models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """`model` and every model inside it."""
    yield model
    for info in model.model_fields.values():
        for part in (info.annotation, *get_args(info.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from models(part)


@pytest.mark.parametrize("name", METHODS)
def test_every_condition_names_a_field_and_values_that_it_may_have(name: str) -> None:
    """A misspelt one would leave a setting without effect for good."""
    config = METHODS[name].config.model_validate({})
    checked = 0
    for prefix, model in (("", config), *((f"{key}.", value) for key, value in config if isinstance(value, BaseModel))):
        for key, info in type(model).model_fields.items():
            for condition in (info.json_schema_extra or {}).get("only_if", ()):  # type: ignore[union-attr]
                unused_reason(config, prefix + key)  # an unknown key would raise here
                owner = model if condition["key"] in type(model).model_fields else config
                annotation = type(owner).model_fields[condition["key"]].annotation
                choices = {value for part in (annotation, *get_args(annotation)) for value in get_args(part)} | {
                    True,
                    False,
                    None,
                }
                choices |= set(get_args(annotation))
                assert set(condition.get("is", ())) <= choices, (key, condition)
                checked += 1
    assert checked or name == "prior"


@pytest.mark.parametrize("name", METHODS)
def test_every_setting_of_a_family_says_what_it_is(name: str) -> None:
    family = METHODS[name]
    for model in (*models(family.config), *models(family.sampling)):
        texts = field_descriptions(model)
        assert texts.keys() == model.model_fields.keys(), model.__name__
        assert all(text.endswith((".", ")")) for text in texts.values()), model.__name__


@pytest.mark.parametrize("name", METHODS)
def test_a_familys_sampling_is_frozen_and_has_defaults(name: str) -> None:
    sampling = METHODS[name].sampling()
    assert isinstance(sampling, Sampling)
    with pytest.raises(InputError, match="a run has no sampling setting 'nothing'"):
        parse_sampling(type(sampling), {"nothing": 1}, "a run")


@pytest.mark.parametrize("name", METHODS)
def test_a_sampling_setting_without_effect_is_refused_and_its_default_is_not(name: str) -> None:
    """One line that names both settings. Only what a person gave counts."""
    kind = METHODS[name].sampling
    check_sampling_used(kind())
    for setting, info in kind.model_fields.items():
        for condition in (info.json_schema_extra or {}).get("only_if", ()):  # type: ignore[union-attr]
            other = kind.model_fields[condition["key"]]
            choices = [value for value in get_args(other.annotation) if value not in condition.get("is", ())]
            value = choices[0] if "is" in condition else condition["above"] if "above" in condition else condition["is_not"][0]
            check_sampling_used(kind.model_validate({condition["key"]: value}))
            sampling = kind.model_validate({condition["key"]: value, setting: info.default})
            with pytest.raises(InputError, match=f"^{setting}={info.default} would do nothing here: it belongs to ") as caught:
                check_sampling_used(sampling)
            assert str(caught.value).endswith("; leave it out")
            assert re.search(rf"belongs to {condition['key']}\b", str(caught.value))
            assert setting not in sampling.in_force()


def test_conditions_of_sampling_settings_are_those_that_are_known() -> None:
    """Which other setting each one needs; the test above would pass where a condition is missing."""
    conditions = {
        (name, setting): [condition["key"] for condition in (info.json_schema_extra or {}).get("only_if", ())]  # type: ignore[union-attr]
        for name, family in METHODS.items()
        for setting, info in family.sampling.model_fields.items()
    }
    assert {place: keys for place, keys in conditions.items() if keys} == {
        ("flow", "steps"): ["solver"],
        ("flow", "shift"): ["solver", "steps"],
        ("flow", "tolerance"): ["solver"],
        ("flow", "guide"): ["guidance"],
        ("flow", "guidance_from"): ["guidance"],
        ("flow", "guidance_to"): ["guidance"],
        ("prior", "temperature"): ["top_k"],
        ("prior", "top_p"): ["top_k"],
    }


@pytest.mark.parametrize(
    ("name", "misspelt", "setting"),
    [(name, setting[1:], setting) for name, family in METHODS.items() for setting in family.sampling.model_fields]
    + [("flow", "step", "steps"), ("gan", "cuont", "count"), ("flow", "lable", "label"), ("flow", "step_s", "steps")],
)
def test_a_message_about_a_sampling_setting_has_one_guess(name: str, misspelt: str, setting: str) -> None:
    """`step` got two: `steps` of the family, and a keyword of `sample` that it is not."""
    with pytest.raises(InputError) as caught:
        parse_sampling(METHODS[name].sampling, {misspelt: 1}, "a run", ("seeds", "count", "label", "text", "given", "sampling"))
    message = str(caught.value)
    names, hint = f"(there are: {', '.join(METHODS[name].sampling.model_fields)})", f"; did you mean '{setting}'?"
    start, end = f"a run has no sampling setting '{misspelt}'", "sample also takes seeds, count, label, text, given, sampling"
    own = setting in METHODS[name].sampling.model_fields
    assert message == (f"{start}{hint} {names}; {end}" if own else f"{start} {names}{hint} {end}")
    assert message.count("did you mean") == 1


@pytest.mark.parametrize("preset", ALONE)
def test_no_auto_is_left_in_what_a_method_is_built_from(preset: str) -> None:
    """Nor in its type; and the method's sampling settings are those of its row."""
    recipe = settled(compose(preset), (16, 16, 1))
    for place, (_, _, config) in enumerate(stage_configs(recipe)):
        built = config.without_auto()
        assert built.without_auto() == built
        for model in models(type(built)):
            for key, info in model.model_fields.items():
                choices = [info.annotation, *get_args(info.annotation)]
                assert "auto" not in [value for part in choices for value in (*get_args(part), part)], f"{model.__name__}.{key}"
        method = build_method(recipe, DataSpec((1, 16, 16), ("a", "b")), place)
        assert method.config == built
        assert method.sampling_type is METHODS[config.kind].sampling


@pytest.mark.parametrize(
    ("preset", "key"), [("r3gan", "networks"), ("vae", "population"), ("tc-vae", "decoder"), ("vq-vae", "down")]
)
def test_an_auto_that_only_a_run_decides_is_refused_by_the_builder(preset: str, key: str) -> None:
    recipe = compose(preset, ["method.decoder=auto"] if key == "decoder" else [])
    if key == "decoder":
        recipe = recipe.model_copy(update={"method": recipe.method.model_copy(update={"population": 10})})
    with pytest.raises(InputError, match=rf"method\.{key}=auto is decided when a run starts"):
        build_method(recipe, DataSpec((1, 16, 16)))


def test_what_follows_from_other_settings_alone_needs_no_run() -> None:
    """So that changing one of them in a recipe file changes the other along with it."""
    updates = {
        ("method.critic_steps=2",): "alternating",
        ("method.discriminator.norm=batch", "method.r1_gamma=0"): "alternating",
        (): "shared",
    }
    for settings, expected in updates.items():
        config: Any = compose("dcgan", settings).method
        assert config.updates == "auto"
        assert config.without_auto().updates == expected
    for settings, expected in (((), "norm"), (("method.generator.norm=none",), "concat"), (("method.networks=mlp",), "concat")):
        config = compose("dcgan", ("method.generator.labels=auto", *settings)).method
        assert config.without_auto().generator.labels == expected


def test_automatic_values_need_no_torch() -> None:
    """The numbers that a run is resolved to, and every model of settings, in a process that has no torch."""
    program = """
import sys
sys.modules["torch"] = None
from limner.core.config import RunContext
from limner.methods.gan.config import GanConfig
from limner.methods.vae.config import AutoencoderConfig, VaeConfig
from limner.methods.vq.config import PriorConfig, VqVaeConfig
context = RunContext((1, 28, 28), 16, 1000, None, False, 10, 500, 60000)
gan = GanConfig(r1_gamma="auto", networks="auto", labels="auto", drift="auto").resolve(context).without_auto()
print(gan.r1_gamma.value, gan.networks, gan.labels, gan.drift, gan.updates)
print(VaeConfig().resolve(context).without_auto().decoder, VqVaeConfig().resolve(context).without_auto().down)
print(PriorConfig().resolve(context).without_auto().labels)
"""
    lines = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines == ["0.0098 dcgan True 0.1 shared", "calibrated 2", "True"]


def loaded_by(statement: str) -> tuple[set[str], float]:
    """The top-level modules that a fresh process has after `statement`, and the CPU seconds that it took beyond pydantic's."""
    program = (
        "import sys, time\nfrom pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator\n"
        f"began = time.process_time()\n{statement}\n"
        "print(time.process_time() - began)\nprint(*{name.split('.')[0] for name in sys.modules})"
    )
    seconds, names = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return set(names.split()), float(seconds)


@pytest.mark.parametrize("module", ["recipes.recipe", "recipes.registry", "recipes.settings"])
def test_recipes_are_read_without_torch(module: str) -> None:
    names, _ = loaded_by(f"import limner.{module}")
    assert not names & {"torch", "numpy", "PIL", "yaml", "safetensors"}
    # The best of three: other processes may compete for the processor.
    assert min(loaded_by(f"import limner.{module}")[1] for _ in range(3)) < 0.15


def test_the_spec_of_recorded_data() -> None:
    recipe = compose("dcgan", ["data.size=32x48", "data.channels=3", "data.classes=[a,b]"])
    assert recipe.data.spec() == DataSpec((3, 32, 48), ("a", "b"))
    with pytest.raises(InputError, match=r"data\.size is not known"):
        compose("dcgan").data.spec()


def test_a_budget_in_images() -> None:
    minutes = RunContext((3, 64, 64), 64, None, 2.0, True)
    assert minutes.relative_area == 4
    assert minutes.image_budget == 2 * 60 * 30_000 / 4
    assert RunContext((3, 64, 64), 64, 77, 2.0, True).image_budget == 77

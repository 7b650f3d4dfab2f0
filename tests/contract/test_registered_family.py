"""A family that is registered while the program runs is trained, resumed, loaded and sampled from like those of the package."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from pydantic import Field, create_model
from torch import Tensor, nn

import limner
from contract.helpers import QUIET, ask_to_stop, assert_same_weights, at_images, run_of
from limner.core.capabilities import Codec
from limner.core.cond import Batch, Cond
from limner.core.config import DataSpec, MethodConfig, RunContext, Sampling, only_if
from limner.core.errors import InputError
from limner.core.method import Losses, Method, Phase, Player, StepContext
from limner.core.optimiser_settings import Optimiser
from limner.core.schedule import Schedule
from limner.core.seeds import noise
from limner.recipes.registry import METHODS, PRESETS, RESERVED_NAMES, Family, Preset, sampling_fields
from limner.recipes.settings import compose, known_keys, parse_recipe
from limner.runs.run import Run
from limner.tasks.sample import SampleRequest, SampleResult


class PlainSampling(Sampling):
    """How `Plain` draws."""

    strength: float = Field(0.5, ge=0, le=2)
    """Factor of the learned deviation."""


class PlainConfig(MethodConfig):
    """A Gaussian for every pixel by itself."""

    kind: Literal["plain"] = "plain"
    """The family."""
    deviation: Literal["auto", "one", "learned"] = "auto"
    """Of the pixels; `auto`: learned where there are 100 pictures or more."""
    floor: float = Field(0.1, gt=0, json_schema_extra=only_if("deviation", "learned"))
    """Smallest deviation."""
    optimiser: Optimiser = Optimiser(lr=Schedule(value=0.05))
    """Of the means."""

    def resolve(self, context: RunContext) -> PlainConfig:
        if self.deviation != "auto":
            return self
        return self.model_copy(update={"deviation": "learned" if context.training_images >= 100 else "one"})

    @classmethod
    def resolved_type(cls) -> type[MethodConfig]:
        return ResolvedPlainConfig


class ResolvedPlainConfig(PlainConfig):
    deviation: Literal["one", "learned"]


class Mean(nn.Module):
    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(*shape))


class Plain(Method):
    sampling_type = PlainSampling
    deviation: Tensor

    def __init__(self, config: ResolvedPlainConfig, codec: Codec, spec: DataSpec) -> None:
        super().__init__(codec)
        self.config, self.mean = config, Mean(spec.shape)
        self.register_buffer("deviation", torch.ones(spec.shape))

    def players(self) -> Mapping[str, Player]:
        return {"mean": Player("mean", self.config.optimiser)}

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("squares", ("mean",)),)

    def losses(self, phase: str, batches: tuple[Batch, ...], at: StepContext) -> Losses:
        return Losses({"mean": (batches[0].images - self.mean.values).square().flatten(1).mean(1)})

    def fit_at_start(self, batches: Any) -> None:
        if self.config.deviation == "learned":
            self.deviation.copy_(next(iter(batches)).images.std(0).clamp(min=self.config.floor))

    @torch.no_grad()
    def sample(self, seeds: Sequence[int], cond: Cond, sampling: Sampling) -> Tensor:
        assert isinstance(sampling, PlainSampling)
        z = noise(seeds, self.mean.values.numel()).to(self.device).view(len(seeds), *self.mean.values.shape)
        return (self.mean.values + sampling.strength * self.deviation * z).clamp(-1, 1)


RECIPE = "method: {kind: plain, optimiser: {lr: 0.1}}\nbatch: {size: 16}\n"


@pytest.fixture
def plain() -> Iterator[None]:
    METHODS.register("plain", Family(PlainConfig, PlainSampling, Plain, "a Gaussian for every pixel", "nobody"))
    PRESETS.register("plain-fast", Preset("plain", "a Gaussian for every pixel, quickly", "nobody", RECIPE))
    yield
    METHODS.forget("plain")
    PRESETS.forget("plain-fast")


@pytest.fixture
def run(plain: None, tmp_path: Path) -> Run:
    path = tmp_path / "mine.yaml"
    path.write_text(RECIPE)
    return Run(limner.train("digits", preset=str(path), out=tmp_path / "whole", images=96, seed=3, settings=QUIET).run)


def test_it_trains_from_a_recipe_file_and_is_loaded(run: Run) -> None:
    recipe = run.recipe()
    assert isinstance(recipe.method, PlainConfig)
    assert recipe.method.deviation == "learned", "resolved when the run started, and recorded"
    assert recipe.method.optimiser.lr.value == 0.1
    model = limner.load(run.path)
    assert isinstance(model.method, Plain)
    assert type(model.method.config) is ResolvedPlainConfig
    assert float(model.method.mean.values.detach().abs().max()) > 0.1, "it learned something"
    images = model.sample(range(5))
    assert np.array_equal(model.sample([3])[0], images[3])
    still = model.sample(range(2), strength=0)
    assert np.array_equal(still[0], still[1])
    assert np.array_equal(model.sample(range(5), sampling={"strength": 0.5}), images)
    assert np.array_equal(model.sample(range(5), sampling=PlainSampling(strength=0.5)), images)
    assert np.array_equal(model.sample(range(2), sampling={"strength": 2}, strength=0), still), "single settings win"


def test_it_resumes_to_the_bit(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    with at_images(48, ask_to_stop):
        half = limner.train("digits", preset=str(path), out=tmp_path / "half", images=96, seed=3, settings=QUIET)
    limner.resume(half.run)
    assert_same_weights(run, Run(half.run))


def test_its_preset_is_one_like_others(plain: None, tmp_path: Path) -> None:
    recipe = compose("plain-fast", ["method.floor=0.2"])
    assert (recipe.preset, recipe.batch.size) == ("plain-fast", 16)
    assert isinstance(recipe.method, PlainConfig)
    assert run_of("plain-fast", tmp_path, images=32).recipe().preset == "plain-fast"
    file = tmp_path / "p.yaml"
    file.write_text(RECIPE)
    PRESETS.register("plain-file", Preset("plain", "the same from a file", "nobody", file))
    try:
        assert compose("plain-file").method == compose("plain-fast").method
    finally:
        PRESETS.forget("plain-file")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("method.flor=1",), "did you mean 'method.floor'"),
        (("method.width=8",), "unknown setting 'method.width' for this method"),
        (("method.floor=0",), "method.floor"),
        (("method.deviation=some",), "method.deviation"),
        (("method.deviation=one", "method.floor=0.3"), "it belongs to method.deviation=learned; leave it out"),
    ],
)
def test_mistakes_in_its_settings_are_one_line(settings: Sequence[str], words: str, plain: None, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        limner.train("digits", preset="plain-fast", out=tmp_path, images=32, settings=(*QUIET, *settings))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"strenght": 1.0}, "no sampling setting 'strenght'; did you mean 'strength'? (there are: strength)"),
        ({"truncation": 1.0}, "no sampling setting 'truncation'"),
        ({"strength": 3}, "strength 3 is out of range; give a number of 0 or more and of at most 2 (0.5 is the default)"),
        ({"strength": float("nan")}, "strength nan is out of range"),
        ({"strength": "high"}, "strength 'high' cannot be used; give a valid number"),
    ],
)
def test_mistakes_in_sampling_are_one_line(settings: dict[str, Any], words: str, run: Run) -> None:
    with pytest.raises(InputError) as error:
        limner.load(run.path).sample([1], **settings)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_its_keys_are_known_as_long_as_it_is_registered(plain: None) -> None:
    assert "method.floor" in known_keys()
    METHODS.forget("plain")
    try:
        assert "method.floor" not in known_keys()
        with pytest.raises(InputError, match=r"unknown method.kind 'plain'.*\(there are: "):
            compose("plain-fast")
    finally:
        METHODS.register("plain", Family(PlainConfig, PlainSampling, Plain, "a Gaussian for every pixel", "nobody"))


def test_a_method_whose_sampling_is_not_that_of_its_row_is_refused(tmp_path: Path) -> None:
    """Otherwise every setting of it would be refused when somebody samples, long after training."""
    METHODS.register("plain", Family(PlainConfig, Sampling, Plain, "a Gaussian for every pixel", "nobody"))
    try:
        path = tmp_path / "mine.yaml"
        path.write_text(RECIPE)
        with pytest.raises(InputError, match="'plain' takes PlainSampling for drawing and its row of the table says Sampling"):
            limner.train("digits", preset=str(path), out=tmp_path / "runs", images=32, settings=QUIET)
    finally:
        METHODS.forget("plain")


def test_a_family_under_another_name_than_its_kind_is_refused() -> None:
    """It was taken, and no recipe could name it."""
    row = Family(PlainConfig, PlainSampling, Plain, "a Gaussian for every pixel", "nobody")
    expected = (
        "'plane' of what was registered cannot be used in limner.methods: the kind of PlainConfig is 'plain'; write kind: "
        "Literal['plane'] = 'plane', or name it 'plain'"
    )
    with pytest.raises(InputError, match=f"^{re.escape(expected)}$"):
        METHODS.register("plane", row)
    assert "plane" not in METHODS


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((Plain, PlainSampling, Plain), f"config={Plain!r} of a family is no subclass of MethodConfig"),
        ((PlainConfig, PlainConfig, Plain), f"sampling={PlainConfig!r} of a family is no subclass of Sampling"),
        ((PlainConfig, PlainSampling, None), "build=None of a family is no function that builds the method"),
    ],
)
def test_a_family_with_a_field_of_another_type_is_refused(values: tuple[Any, Any, Any], words: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(words)}$"):
        Family(*values, "a Gaussian for every pixel", "nobody")


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("method: {kind: gan}", "its recipe has method.kind=gan and its row the family 'plain'; give the same in both"),
        ("batch: {size: 16}", "its recipe names no method; begin it with method: {kind: plain}"),
        (
            "preset: dcgan\nmethod: {kind: plain}",
            "its recipe says preset: dcgan; leave that out, or register it under that name",
        ),
        ("mine.yaml", "preset 'mine' holds no keys; write Path('mine.yaml') for a file"),
        (Path("nowhere/mine.yaml"), f"no recipe at {Path('nowhere/mine.yaml')}"),
        (None, "it has no recipe; give recipe='method: {kind: plain}', or the Path of a YAML file"),
    ],
)
def test_a_preset_that_is_not_what_its_row_says_is_refused_when_it_is_registered(
    recipe: str | Path | None, words: str, plain: None
) -> None:
    """It failed when somebody trained it; a recipe under another name was taken in silence."""
    with pytest.raises(InputError) as error:
        PRESETS.register("mine", Preset("plain", "for a test", "nobody", recipe))
    assert str(error.value) == f"'mine' of what was registered cannot be used in limner.presets: {words}"
    assert "mine" not in PRESETS


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (
            "method: {kind: plain, flor: 1}",
            "unknown setting 'method.flor' for this method; did you mean 'method.floor'?",
        ),
        (
            "method: {kind: plain, optimiser: {lrr: 1}}",
            "unknown setting 'method.optimiser.lrr' for this method; did you mean 'method.optimiser.lr'?",
        ),
        ("method: {kind: plain}\ndata: {siez: 9}", "unknown setting 'data.siez'; did you mean 'data.size'?"),
        ("method: {kind: plain, floor: 0}", "method.floor: Input should be greater than 0, not 0"),
    ],
)
def test_a_mistake_in_the_recipe_of_a_preset_names_the_setting_and_the_preset(recipe: str, words: str, plain: None) -> None:
    """It was "settings: unknown setting 'method'"."""
    PRESETS.register("mine", Preset("plain", "for a test", "nobody", recipe))
    try:
        with pytest.raises(InputError) as error:
            compose("mine", ["batch.size=16"])
    finally:
        PRESETS.forget("mine")
    assert str(error.value) == f"preset 'mine': {words}"


def test_a_dict_is_no_recipe_of_a_preset() -> None:
    wrong: Any = {"method": {"kind": "plain"}}
    with pytest.raises(InputError) as error:
        Preset("plain", "for a test", "nobody", wrong)
    assert str(error.value) == (
        "recipe={'method': {'kind': 'plain'}} of a preset is a dict; give YAML, such as recipe='method: {kind: plain}', or the "
        "Path of a YAML file"
    )


def test_a_preset_may_be_registered_before_its_family() -> None:
    PRESETS.register("early", Preset("plane", "for a test", "nobody", "method: {kind: plane}"))
    try:
        with pytest.raises(InputError, match=r"unknown method.kind 'plane'.*\(there are: "):
            compose("early")
    finally:
        PRESETS.forget("early")


def test_no_sampling_setting_takes_a_name_that_sample_needs() -> None:
    """It would be two options of one name, or two keys of the result."""
    names = {*SampleRequest.model_fields, *SampleResult.model_fields, "on_progress", "as_json"}
    assert names == RESERVED_NAMES
    for name in ("label", "files", "on_progress"):
        kind = create_model("Colliding", __base__=Sampling, **{name: (float, 1.0)})
        with pytest.raises(InputError, match=f"'{name}' has the name of an option or result of `limner sample`; rename it"):
            Family(PlainConfig, kind, Plain, "a Gaussian for every pixel", "nobody")


def test_a_recipe_of_a_method_that_is_not_here_says_so() -> None:
    with pytest.raises(InputError, match=r"unknown method.kind 'plain'.*another package needs that package installed"):
        parse_recipe({"method": {"kind": "plain"}}, "recipe.yaml")


def test_a_sampling_setting_of_two_families_is_described_by_both() -> None:
    class Warm(Sampling):
        """How a family of the test draws."""

        temperature: float = Field(1.0, description="Heat of the noise.")

    class WarmConfig(PlainConfig):
        kind: Literal["warm"] = "warm"  # type: ignore[assignment]

    METHODS.register("warm", Family(WarmConfig, Warm, METHODS["gan"].build, "for a test", "-"))
    try:
        text = sampling_fields()["temperature"].description or ""
    finally:
        METHODS.forget("warm")
    own = sampling_fields()["temperature"].description or ""
    assert own
    assert text == f"{own} Of warm: Heat of the noise."

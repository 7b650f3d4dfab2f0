"""The whole description of a training run: a frozen, validated tree.

Settings come from, in falling order: the command line, the environment (`LIMNER_SETTINGS`), a recipe file, the preset, the
defaults. An unknown key is an error that names its nearest neighbour.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from limner.core.errors import InputError, nearest
from limner.core.method import Codec, Facts, Method, Pixels
from limner.core.precision import Precision
from limner.methods.gan_config import GanConfig
from limner.table import METHODS, PRESETS, MethodConfig

SCHEMA_VERSION = 1


class _Tree(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(_Tree):
    """What is trained on; the arguments of `limner.prepare`."""

    # On the command line, data.split=0.1 and a folder called 2024 look like numbers.
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    source: str = ""
    size: int | str | None = None
    """Side, or "HxW"; none keeps the pictures' own size where they share one."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    channels: Literal[1, 3, 4] | None = None
    background: str = "white"
    split: str | None = None
    limit: int | None = Field(None, ge=2)
    labels: Literal["auto", "none"] = "auto"
    binary: bool = False
    """Draw each pixel of grey pictures once, white with probability grey/255, for likelihoods of black and white."""
    mirror: bool = False
    """Show every picture mirrored half of the time (not for letters or digits)."""
    fingerprint: str | None = None
    """Of the prepared set; filled in when the run starts, and checked when it resumes."""
    classes: tuple[str, ...] = ()
    """Their names, in the order of the labels; filled in when the run starts."""


class BatchConfig(_Tree):
    size: int = Field(64, ge=1)
    chunks: int = Field(1, ge=1)
    """Equal parts in which a batch is worked through: less memory, and what several processes share."""

    @model_validator(mode="after")
    def _divides(self) -> BatchConfig:
        if self.size % self.chunks:
            raise ValueError(f"batch.chunks={self.chunks} does not divide batch.size={self.size}")
        return self


class BudgetConfig(_Tree):
    """One of the two; images where both are given."""

    images: int | None = Field(None, ge=1)
    minutes: float | None = Field(None, gt=0)


class EmaConfig(_Tree):
    half_life: float = Field(0.01, ge=0, lt=1)
    """Of the moving average, as a fraction of the budget."""
    ramp: float = Field(0.05, gt=0)
    """The half-life is at most this share of the images seen so far, so that a young average does not remember the start."""


class CheckpointConfig(_Tree):
    every: float = Field(0.1, gt=0, le=1)
    """Fraction of the budget between two checkpoints."""
    minutes: float = Field(10.0, gt=0)
    """And at least this often by the clock."""
    keep: int = Field(0, ge=0)
    """How many are kept beside the last and the best; the newest ones."""


class PreviewConfig(_Tree):
    first: int = Field(1000, ge=1)
    """Images before the first preview."""
    every: float = Field(0.05, gt=0, le=1)
    count: int = Field(64, ge=1, le=1024)


class ScoreConfig(_Tree):
    """How *best* is found: Fréchet distance of EMA samples to the validation split, in the judge's features."""

    points: int = Field(20, ge=0)
    """At about so many points of the budget; 0 is never."""
    count: int = Field(2000, ge=16)
    share: float = Field(0.03, gt=0, le=1)
    """At most this share of the time; points that would cost more are left out."""


class Segment(_Tree):
    """A later change of the run's plan, written down by `resume`."""

    start: int
    images: int | None = None
    minutes: float | None = None
    chunks: int | None = None


class Stage(_Tree):
    """A part of the budget that trains a method of its own, which then serves the next stage as its frozen codec."""

    name: str
    share: float = Field(ge=0, lt=1)
    """0: it comes trained, from the run that `codec` names."""
    method: MethodConfig


class Recipe(_Tree):
    """Rerun it and get the same run."""

    schema_version: int = SCHEMA_VERSION
    preset: str = "dcgan"
    seed: int = Field(0, ge=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    data: DataConfig = DataConfig()
    stages: tuple[Stage, ...] = ()
    """Before `method`, which takes what their shares leave."""
    method: MethodConfig = GanConfig()
    batch: BatchConfig = BatchConfig()
    budget: BudgetConfig = BudgetConfig()
    ema: EmaConfig = EmaConfig()
    checkpoints: CheckpointConfig = CheckpointConfig()
    previews: PreviewConfig = PreviewConfig()
    score: ScoreConfig = ScoreConfig()
    on_nonfinite: Literal["stop", "rollback"] = "stop"
    """When a loss is not finite: stop, or go back to the last checkpoint once and go on with other draws."""
    init_from: str | None = None
    """A run whose averaged weights this one starts from."""
    codec: str | None = None
    """A finished run whose codes `method` learns; its codec is copied, as a stage, and the new run stands alone."""
    segments: tuple[Segment, ...] = ()

    @model_validator(mode="after")
    def _shares(self) -> Recipe:
        if sum(stage.share for stage in self.stages) >= 1:
            raise ValueError("the shares of stages must leave some of the budget to method")
        trained = [stage.share > 0 for stage in self.stages]
        if any(trained) and (self.codec is not None or not all(trained)):
            raise ValueError("codec=RUN brings a trained stage; give it alone, or stages with shares above 0 alone")
        return self

    def number_format(self) -> Precision:
        """The precision, resolved. A run records it before it starts."""
        if self.precision == "auto":
            raise InputError("precision=auto is resolved when a run starts; set precision=fp32 or precision=bf16")
        return self.precision

    def portable(self) -> str:
        """Canonical JSON without paths, for the metadata of weights: equal weights are equal files."""
        tree = self.model_dump(mode="json")
        tree["data"]["source"] = Path(self.data.source).name
        tree["init_from"] = tree["codec"] = None
        return json.dumps(tree, sort_keys=True)

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def parse(tree: Mapping[str, Any], where: str) -> Recipe:
    """A validated recipe from plain data. Errors: `InputError` in one line that names the key and its nearest neighbour."""
    try:
        return Recipe.model_validate(dict(tree))
    except ValidationError as error:
        raise InputError(f"{where}: {_one_line(error)}") from error


def read(path: Path) -> Recipe:
    return parse(_yaml(path), str(path))


def _yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"no recipe at {path}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not readable as YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(tree, dict):
        raise InputError(f"{path} is not a recipe: it holds no keys")
    return tree


def laid_over(settings: Sequence[str]) -> list[str]:
    """The environment's settings and those given, which win."""
    return [*shlex.split(os.environ.get("LIMNER_SETTINGS", "")), *settings]


def compose(
    preset: str, settings: Sequence[str] = (), over: Sequence[str] = (), *, common: bool = False, **given: Any
) -> Recipe:
    """The recipe of `preset` (a name, or a recipe file) with ``key=value`` settings and the verb's own arguments laid over it.

    `over` are settings that belong to the preset; `common` leaves out what is about the method.
    `given` holds dotted keys with `__` for the dot, such as ``data__source``;
    None means "not given".
    """
    tree = preset_tree(preset)
    for setting in [*over, *laid_over(settings)]:
        if not (common and setting.startswith("method.")):
            put(tree, setting)
    for key, value in given.items():
        if value is not None:
            _put(tree, key.replace("__", "."), value)
    return parse(tree, "settings")


def preset_tree(preset: str) -> dict[str, Any]:
    """The preset's own settings, as plain data."""
    if preset.endswith((".yaml", ".yml")):
        tree = {"preset": Path(preset).stem, **_yaml(Path(preset))}
        for segment in tree.pop("segments", ()):  # a run that was made longer is rerun at its full length, in one go
            longer = {key: segment.get(key) for key in ("images", "minutes")}
            if any(longer.values()):
                tree["budget"] = longer
        return tree
    if preset not in PRESETS:
        there = ", ".join(["auto", *sorted(PRESETS)])
        raise InputError(f"unknown preset '{preset}'{nearest(preset, PRESETS)} (there are: {there})")
    text = (resources.files("limner") / "presets" / f"{preset}.yaml").read_text(encoding="utf-8")
    return {"preset": preset, **yaml.safe_load(text)}


def _value(text: str) -> Any:
    """YAML's idea of a value, but for 1e-4, which YAML 1.1 takes for a word, and #ffffff, which it takes for a comment."""
    if text.startswith("#"):
        return text
    try:
        value = yaml.safe_load(text) if text else None
    except yaml.YAMLError as error:
        raise InputError(f"'{text}' is not a value") from error
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def put(tree: dict[str, Any], setting: str) -> None:
    """Lays one ``key=value`` over `tree`, in place."""
    key, equals, text = setting.partition("=")
    if not equals:
        raise InputError(f"'{setting}' is no setting; write key=value, such as batch.size=32")
    key, value = key.strip(), _value(text)
    if key in ("codec", "init_from") and value is not None:
        value = text  # the number of a run, such as 0007, is its name
    _put(tree, key, value)


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    path, known, prefix = key.split("."), known_keys(), ""
    if path[0] == "stages" and len(path) > 1:  # one of them, by its name
        stages = {stage["name"]: stage for stage in tree.get("stages") or ()}
        if path[1] not in stages:
            there = ", ".join(stages) or "none"
            raise InputError(f"no stage is called '{path[1]}'{nearest(path[1], stages)} (there are: {there})")
        tree, known, prefix, path = stages[path[1]], frozenset(_keys(Stage, "")), f"stages.{path[1]}.", path[2:]
    inner = ".".join(path)
    if inner not in known and not any(name.startswith(f"{inner}.") for name in known):
        raise InputError(f"unknown setting '{key}'{nearest(key, [prefix + name for name in known])}")
    for part in path[:-1]:
        deeper = tree.get(part)
        if not isinstance(deeper, dict):  # a schedule given as a bare number, about to get more than one entry
            deeper = {} if deeper is None else {"value": deeper}
            tree[part] = deeper
        tree = deeper
    tree[path[-1]] = value


@cache
def known_keys() -> frozenset[str]:
    """Every dotted key that a recipe may set, over all families."""
    return frozenset(_keys(Recipe, ""))


def _keys(model: type[BaseModel], prefix: str) -> Iterable[str]:
    for name, info in model.model_fields.items():
        yield prefix + name
        for kind in _models(info.annotation):
            yield from _keys(kind, f"{prefix}{name}.")


def _models(annotation: Any) -> Iterable[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    if getattr(annotation, "__origin__", None) is tuple:
        return  # lists of trees are written whole
    for part in get_args(annotation):
        yield from _models(part)


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    key = _key(first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown setting '{key}' for this method{nearest(key, known_keys() - {key})}"
    if first["type"] == "missing":
        return f"{key} is missing; give it as well"
    if first["type"] == "union_tag_invalid":
        return f"unknown {key}.kind{nearest(str(first['ctx']['tag']), METHODS)} (there are: {', '.join(METHODS)})"
    alike = [one for one in error.errors() if _key(one["loc"]) == key]  # one for every kind of value that may stand there
    rest = error.error_count() - len(alike)
    more = f" (and {rest} more)" if rest else ""
    if len(alike) > 1 or first["type"] in ("model_type", "dict_type", "model_attributes_type"):
        wanted = " or ".join(dict.fromkeys(_wanted(one, key) for one in alike))
        return f"{key}: {first['input']!r} cannot stand here; give {wanted}{more}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{key}: {message}, not {first['input']!r}{more}" if key and "input" in first and not isinstance(
        first["input"], dict | BaseModel) else f"{message}{more}"  # fmt: skip


def _key(loc: Sequence[Any]) -> str:
    """The dotted setting that an error is about, without pydantic's own words for the kinds of value that it tried."""
    parts = [str(part) for part in loc if part not in METHODS and str(part).replace("_", "a").isalnum()]
    if parts[:1] == ["stages"]:
        return ".".join(parts)
    for end in range(len(parts), 0, -1):
        if ".".join(parts[:end]) in known_keys():
            entry = [part for part in parts[end : end + 1] if part.isdigit()]  # of a list
            return ".".join(parts[:end] + entry)
    return ".".join(parts)


def _wanted(error: Any, key: str) -> str:
    """What one of pydantic's errors says might stand at `key`."""
    if error["type"] == "literal_error":
        return str(error["ctx"]["expected"])
    if error["type"].startswith("bool"):
        return "true, false"
    if error["type"].startswith(("model", "dict")):
        inner = sorted(known.removeprefix(f"{key}.") for known in known_keys() if known.startswith(f"{key}."))
        chosen = next((name for name in ("kind", "by", "value") if name in inner), inner[0] if inner else "…")
        example = error["input"] if chosen == "kind" and isinstance(error["input"], str) else "…"
        return (
            f"a number (or {key}.warmup=… and the like)"
            if chosen == "value"
            else f"its parts, such as {key}.{chosen}={example}"
        )
    return str(error["msg"].removeprefix("Value error, ").removeprefix("Input should be "))


def stage_configs(recipe: Recipe) -> tuple[tuple[str, float, Any], ...]:
    """(name, share of the budget, method's config) of every stage, the last one being `recipe.method`."""
    left = 1.0 - sum(stage.share for stage in recipe.stages)
    return (*((s.name, s.share, s.method) for s in recipe.stages), ("main", left, recipe.method))


def build(recipe: Recipe, image_shape: tuple[int, int, int], classes: tuple[str, ...], stage: int | None = None) -> Method:
    """The untrained Method of `stage` (the last by default), on the frozen methods of the stages before it.

    `image_shape` is (H, W, C), as data sets say it.
    """
    height, width, channels = image_shape
    configs = stage_configs(recipe)
    codec: Codec = Pixels((channels, height, width))
    method: Method | None = None
    for place in range(len(configs) if stage is None else stage + 1):
        if method is not None:
            codec = method.frozen()  # type: ignore[assignment]
        config = configs[place][2]
        method = METHODS[config.kind].method(config, codec, classes)
    assert method is not None
    return method


def settled(recipe: Recipe, facts: Facts) -> Recipe:
    """With numbers for everything that methods leave to the size of the images and of the budget."""
    stages = tuple(stage.model_copy(update={"method": stage.method.settled(facts)}) for stage in recipe.stages)
    return recipe.model_copy(update={"stages": stages, "method": recipe.method.settled(facts)})


def chosen(before: BaseModel, after: BaseModel, prefix: str = "method.") -> Iterable[tuple[str, Any]]:
    """(key, value) of everything that `settled` decided, also where it decided for what was the default."""
    for name in type(after).model_fields:
        old, new = getattr(before, name), getattr(after, name)
        if isinstance(new, BaseModel) and type(old) is type(new):
            yield from chosen(old, new, f"{prefix}{name}.")
        elif old != new or (name in after.model_fields_set and name not in before.model_fields_set):
            yield prefix + name, new.model_dump(mode="json") if isinstance(new, BaseModel) else new


def methods_table() -> list[dict[str, str]]:
    """Every preset with its family, one line and its paper."""
    return [{"name": name, "family": p.family, "line": p.line, "paper": p.paper} for name, p in sorted(PRESETS.items())]

"""Recipes from text: presets, recipe files, ``key=value`` settings, and errors that name the nearest key.

Settings come from, in falling order: the command line, the environment (`LIMNER_SETTINGS`), a recipe file, the preset, the
defaults.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from limner.core.config import MethodConfig
from limner.core.errors import InputError, nearest
from limner.recipes.recipe import Recipe, Stage
from limner.recipes.registry import METHODS, PRESETS


def parse_recipe(tree: Mapping[str, Any], where: str) -> Recipe:
    """A validated recipe from plain data. Errors: `InputError` in one line that names the key and its nearest neighbour."""
    try:
        return Recipe.model_validate(dict(tree))
    except ValidationError as error:
        raise InputError(f"{where}: {_one_line(error)}") from error


def read_recipe(path: Path) -> Recipe:
    """The recipe in a YAML file. Errors: `InputError` as of `parse_recipe`, and where the file cannot be read."""
    return parse_recipe(_yaml(path), str(path))


def _yaml(path: Path) -> dict[str, Any]:
    import yaml

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
    preset: str, settings: Sequence[str] = (), over: Sequence[str] = (), *, common: bool = False, **arguments: Any
) -> Recipe:
    """The recipe of `preset` (a name, or a recipe file) with ``key=value`` settings and the verb's own arguments laid over it.

    `over` are settings that belong to the preset; `common` leaves out what is about the method.
    `arguments` are dotted keys with `__` for the dot, such as ``data__source``; one that is None is left out.
    """
    tree = preset_tree(preset)
    for setting in [*over, *laid_over(settings)]:
        if not (common and setting.startswith("method.")):
            put_setting(tree, setting)
    for key, value in arguments.items():
        if value is not None:
            _put(tree, key.replace("__", "."), value)
    return parse_recipe(tree, "settings")


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
    return {"preset": preset, **_preset_settings(preset)}


def _preset_settings(preset: str) -> dict[str, Any]:
    """What the table of presets says, or names a file for. Errors: `InputError` where that cannot be read."""
    import yaml

    source = PRESETS[preset].recipe
    if isinstance(source, Path):
        return _yaml(source)
    if source is None:
        source = (resources.files("limner.recipes") / "presets" / f"{preset}.yaml").read_text(encoding="utf-8")
    try:
        settings = yaml.safe_load(source)
    except yaml.YAMLError as error:
        raise InputError(f"preset '{preset}' is not readable as YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(settings, dict):
        raise InputError(f"preset '{preset}' holds no keys")
    return settings


def _value(text: str) -> Any:
    """YAML's idea of a value, but for 1e-4, which YAML 1.1 takes for a word, and #ffffff, which it takes for a comment."""
    import yaml

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


def put_setting(tree: dict[str, Any], setting: str) -> None:
    """Lays one ``key=value`` over `tree`, in place."""
    key, equals, text = setting.partition("=")
    if not equals:
        raise InputError(f"'{setting}' is no setting; write key=value, such as batch.size=32")
    key, value = key.strip(), _value(text)
    if key in ("codec", "init_from") and value is not None:
        value = text  # the number of a run, such as 0007, is its name
    _put(tree, key, value)


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    path, keys, prefix = key.split("."), known_keys(), ""
    if path[0] == "stages" and len(path) > 1:  # one of them, by its name
        stages = {stage["name"]: stage for stage in tree.get("stages") or ()}
        if path[1] not in stages:
            there = ", ".join(stages) or "none"
            raise InputError(f"no stage is called '{path[1]}'{nearest(path[1], stages)} (there are: {there})")
        tree, keys, prefix, path = stages[path[1]], frozenset(_keys(Stage, "")), f"stages.{path[1]}.", path[2:]
    inner = ".".join(path)
    if inner not in keys and not any(name.startswith(f"{inner}.") for name in keys):
        raise InputError(f"unknown setting '{key}'{nearest(key, [prefix + name for name in keys])}")
    for part in path[:-1]:
        deeper = tree.get(part)
        if not isinstance(deeper, dict):  # a schedule given as a bare number, about to get more than one entry
            deeper = {} if deeper is None else {"value": deeper}
            tree[part] = deeper
        tree = deeper
    tree[path[-1]] = value


def known_keys() -> frozenset[str]:
    """Every dotted key that a recipe may set, over all families of the table of methods."""
    return _known_keys(tuple(family.config for family in METHODS.values()))


@cache
def _known_keys(configs: tuple[type[MethodConfig], ...]) -> frozenset[str]:
    """The same; cached until a family is registered and `configs` are others."""
    return frozenset(_keys(Recipe, ""))


def _keys(model: type[BaseModel], prefix: str) -> Iterable[str]:
    for name, info in model.model_fields.items():
        yield prefix + name
        for kind in _models(info.annotation):
            yield from _keys(kind, f"{prefix}{name}.")


def _models(annotation: Any) -> Iterable[type[BaseModel]]:
    if annotation is MethodConfig:
        yield from (family.config for family in METHODS.values())
        return
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
        alternatives = " or ".join(dict.fromkeys(_alternatives(one, key) for one in alike))
        return f"{key}: {first['input']!r} cannot stand here; give {alternatives}{more}"
    message = first["msg"].removeprefix("Value error, ")
    if key and "input" in first and not isinstance(first["input"], dict | BaseModel):
        return f"{key}: {message}, not {first['input']!r}{more}"
    return f"{message}{more}"


def _key(loc: Sequence[Any]) -> str:
    """The dotted setting that an error is about, without pydantic's own names for the types of value that it tried."""
    parts = [str(part) for part in loc if str(part).replace("_", "a").isalnum()]
    if parts[:1] == ["stages"]:
        return ".".join(parts)
    for end in range(len(parts), 0, -1):
        if ".".join(parts[:end]) in known_keys():
            entry = [part for part in parts[end : end + 1] if part.isdigit()]  # of a list
            return ".".join(parts[:end] + entry)
    return ".".join(parts)


def _alternatives(error: Any, key: str) -> str:
    """What one of pydantic's errors says might stand at `key`."""
    if error["type"] == "literal_error":
        return str(error["ctx"]["expected"])
    if error["type"].startswith("bool"):
        return "true, false"
    if error["type"].startswith(("model", "dict")):
        inner = sorted(name.removeprefix(f"{key}.") for name in known_keys() if name.startswith(f"{key}."))
        part = next((name for name in ("kind", "by", "value") if name in inner), inner[0] if inner else "…")
        example = error["input"] if part == "kind" and isinstance(error["input"], str) else "…"
        return f"a number (or {key}.warmup=… and the like)" if part == "value" else f"its parts, such as {key}.{part}={example}"
    return str(error["msg"].removeprefix("Value error, ").removeprefix("Input should be "))

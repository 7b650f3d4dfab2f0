"""Reads recipes from presets, recipe files and ``key=value`` settings, with errors that name the nearest key.

A setting is taken from the first of these that names it: the command line, the environment variable `LIMNER_SETTINGS`, a recipe
file, the preset, the defaults.
"""

from __future__ import annotations

import ast
import inspect
import os
import shlex
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from limner.core.config import MethodConfig
from limner.core.documents import parse_yaml
from limner.core.errors import InputError, nearest, short_repr
from limner.recipes.recipe import Recipe, Stage
from limner.recipes.registry import METHODS, PRESETS, settings_of_file, settings_of_preset

MAX_MESSAGE = 1000
"""Characters of a message about a recipe, which may quote a value of any length."""


def parse_recipe(tree: Mapping[str, Any], where: str) -> Recipe:
    """A validated recipe from plain data; `where` is what errors call its origin, such as the path of a file.

    Errors: `InputError` in one line that names the key, and the nearest key where there is none of that name.
    """
    try:
        return Recipe.model_validate(dict(tree))
    except ValidationError as error:
        raise InputError(f"{where}: {_one_line(error, tree)[:MAX_MESSAGE]}") from error


def read_recipe(path: Path) -> Recipe:
    """The recipe in a YAML file. Errors: `InputError` as `parse_recipe` has them, and where the file cannot be read."""
    return parse_recipe(settings_of_file(path), str(path))


def all_settings(settings: Sequence[str]) -> list[str]:
    """The settings of the environment variable LIMNER_SETTINGS, then `settings`, which take precedence.

    Errors: `InputError` where a quotation in the variable has no end.
    """
    try:
        return [*shlex.split(os.environ.get("LIMNER_SETTINGS", "")), *settings]
    except ValueError as error:
        raise InputError(f"LIMNER_SETTINGS cannot be read ({error}); mend its quotation marks") from error


def compose(
    preset: str, settings: Sequence[str] = (), over: Sequence[str] = (), *, common: bool = False, **values: Any
) -> Recipe:
    """The recipe of `preset` (a name, or the path of a recipe file), changed by settings.

    In rising precedence these are `over`, which belong to the choice of the preset; those of the environment; `settings`, as
    ``key=value``; and `values` by their keys, with `__` for the dot, where they are not None. `common` leaves out settings of
    the method. Errors: `InputError` for an unknown preset or key, and for a value that is not allowed.

    >>> compose("dcgan", ["batch.size=32"], data__source="digits").batch.size
    32
    """
    tree = preset_tree(preset)
    for setting in [*over, *all_settings(settings)]:
        if not (common and setting.startswith("method.")):
            put_setting(tree, setting)
    for key, value in values.items():
        if value is not None:
            _put(tree, key.replace("__", "."), value)
    return parse_recipe(tree, "settings")


def preset_tree(preset: str) -> dict[str, Any]:
    """The settings of a preset or of a recipe file, as plain data. Errors: `InputError` for an unknown preset or bad YAML."""
    if preset.endswith((".yaml", ".yml")):
        tree = {"preset": Path(preset).stem, **settings_of_file(Path(preset))}
        for segment in _list_of_mappings(tree, "segments", preset):
            budget = {key: segment.get(key) for key in ("images", "minutes")}
            if any(budget.values()):  # of a run that was resumed with a new budget, the new budget is used
                tree["budget"] = budget
        tree.pop("segments", None)
        return tree
    if preset not in PRESETS:
        names = ", ".join(["auto", *sorted(PRESETS)])
        raise InputError(f"unknown preset '{preset}'{nearest(preset, PRESETS)} (there are: {names})")
    tree = {"preset": preset, **settings_of_preset(preset, PRESETS[preset])}
    if preset not in PRESETS.own:  # an error must name the preset, and not the settings that a person gave
        parse_recipe(tree, f"preset '{preset}'")
    return tree


def _list_of_mappings(tree: Mapping[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    """The list of mappings in `tree` at `key`; empty where there is none. Errors: `InputError` for anything else there."""
    value = tree.get(key, [])
    if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
        return value
    raise InputError(f"{where}: {key}: {short_repr(value)} cannot stand here; give a list of mappings, or leave it out")


def _value(text: str) -> Any:
    """The value of a setting, read as YAML, except for 1e-4 and #ffffff, which YAML 1.1 reads as a word and as a comment.

    >>> _value("1e-4"), _value("#ffffff"), _value("[8, 8]"), _value("true")
    (0.0001, '#ffffff', [8, 8], True)
    """
    if text.startswith("#"):
        return text
    try:
        value = parse_yaml(text, "a value") if text else None
    except InputError as error:
        raise InputError(f"{short_repr(text)} is not a value: {str(error).partition(': ')[2]}") from error
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def put_setting(tree: dict[str, Any], setting: str) -> None:
    """Sets one ``key=value`` in `tree`, in place.

    Errors: `InputError` for text that is no setting, for an unknown key and for a value that is no YAML.

    >>> tree = {"batch": {"size": 64}}
    >>> put_setting(tree, "batch.size=32")
    >>> tree
    {'batch': {'size': 32}}
    """
    key, equals, text = setting.partition("=")
    if not equals:
        raise InputError(f"'{setting}' is no setting; write key=value, such as batch.size=32")
    key, value = key.strip(), _value(text)
    if key in ("codec", "init_from") and value is not None and not isinstance(value, str):
        value = text  # a run's name, which may look like a number, such as 0007
    _put(tree, key, value)


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Sets the dotted `key` in `tree`. Errors: `InputError` for an unknown one, with the nearest that there is."""
    path, keys, prefix = key.split("."), known_keys(), ""
    if path[0] == "stages" and len(path) > 1:  # a setting of one stage, which the key names: stages.NAME.method.width
        stages = {str(stage.get("name")): stage for stage in _list_of_mappings(tree, "stages", "settings")}
        if path[1] not in stages:
            names = ", ".join(stages) or "none"
            raise InputError(f"no stage is called '{path[1]}'{nearest(path[1], stages)} (there are: {names})")
        tree, keys, prefix, path = stages[path[1]], frozenset(_keys(Stage, "")), f"stages.{path[1]}.", path[2:]
    inner = ".".join(path)
    if inner not in keys and not any(name.startswith(f"{inner}.") for name in keys):
        raise InputError(f"unknown setting '{key}'{nearest(key, [prefix + name for name in keys])}")
    for part in path[:-1]:
        branch = tree.get(part)
        if isinstance(branch, dict):
            branch = dict(branch)  # a copy: in YAML two keys can share a branch by an alias
        else:  # None, or a schedule written as a number, which is short for its `value`
            branch = {} if branch is None else {"value": branch}
        tree[part] = branch
        tree = branch
    tree[path[-1]] = value


def known_keys() -> frozenset[str]:
    """Every dotted key that a recipe may have, with any family of the table of methods."""
    return _known_keys(tuple(family.config for family in METHODS.values()))


@cache
def _known_keys(configs: tuple[type[MethodConfig], ...]) -> frozenset[str]:
    """`known_keys`, cached for the `configs` of all families, so that a family that is registered later is not missed."""
    return frozenset(_keys(Recipe, ""))


def _keys(model: type[BaseModel], prefix: str) -> Iterable[str]:
    """The dotted keys of `model` and of the models inside it, each behind `prefix`."""
    for name, info in model.model_fields.items():
        yield prefix + name
        for kind in models_in(info.annotation):
            yield from _keys(kind, f"{prefix}{name}.")


def models_in(annotation: Any) -> Iterable[type[BaseModel]]:
    """The models that may stand in a field of this type."""
    if annotation is MethodConfig:
        yield from (family.config for family in METHODS.values())
        return
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    if getattr(annotation, "__origin__", None) is tuple:
        return  # of a list, keys name no entry
    for part in get_args(annotation):
        yield from models_in(part)


def describe_settings(model: type[BaseModel] = Recipe, prefix: str = "") -> Iterator[tuple[str, str, Any]]:
    """(dotted key, description, type) of every setting of a recipe; under ``method`` those of every family.

    A description is that of the field, or the docstring below it, which pydantic does not read here: it would read the source
    of every class when limner is imported.
    """
    for name, info in model.model_fields.items():
        inner = list(models_in(info.annotation))
        text = info.description or _field_docstrings(model).get(name)
        if text:
            yield prefix + name, " ".join(text.split()), info.annotation
        for kind in inner:
            yield from describe_settings(kind, f"{prefix}{name}.")


@cache
def _field_docstrings(model: type[BaseModel]) -> Mapping[str, str]:
    """Name of a field -> the docstring that stands below it in the source of `model`, or of a class that it derives from."""
    texts: dict[str, str] = {}
    for owner in model.__mro__:
        if not issubclass(owner, BaseModel) or owner is BaseModel:
            continue
        try:
            (body,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        except (OSError, TypeError):  # a class without a source, such as one that `create_model` makes
            continue
        assert isinstance(body, ast.ClassDef)
        for field, below in pairwise(body.body):
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr)):
                continue
            if isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
                texts.setdefault(field.target.id, below.value.value)
    return texts


def _one_line(error: ValidationError, tree: Mapping[str, Any]) -> str:
    """The first of pydantic's errors about `tree` in one line that names the setting, and how many more there are."""
    errors = error.errors()
    # A misspelt setting that is required is reported as missing too.
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    key = _key(first["loc"])
    if first["type"] == "extra_forbidden":
        return _unknown_setting(first["loc"], tree)
    if first["type"] == "missing":
        return f"{key} is missing; give it as well"
    if first["type"] == "union_tag_invalid":
        tag = str(first["ctx"]["tag"])
        return (
            f"unknown {key}.kind '{tag}'{nearest(tag, METHODS)} (there are: {', '.join(METHODS)}; a method of another package "
            "needs that package installed)"
        )
    errors = [one for one in error.errors() if _key(one["loc"]) == key]  # one for every type of value that is allowed there
    rest = error.error_count() - len(errors)
    more = f" (and {rest} more)" if rest else ""
    if len(errors) > 1 or first["type"] in ("model_type", "dict_type", "model_attributes_type"):
        values = " or ".join(dict.fromkeys(_allowed_values(one, key) for one in errors))
        return f"{key}: {short_repr(first['input'])} cannot stand here; give {values}{more}"
    message = first["msg"].removeprefix("Value error, ")
    if key and "input" in first and not isinstance(first["input"], dict | BaseModel):
        return f"{key}: {message}, not {short_repr(first['input'])}{more}"
    return f"{message}{more}" if first["type"] == "value_error" or not key else f"{key}: {message}{more}"


def _unknown_setting(loc: Sequence[Any], tree: Any) -> str:
    """The message about a setting at pydantic's location `loc` in `tree` that the model around it does not have.

    The nearest name is sought among the settings of the family that the method of `tree` is of.
    """
    place, prefix, names = "", "", _keys(Recipe, "")
    for part in loc[:-1]:
        is_inside = part in tree if isinstance(tree, Mapping) else isinstance(tree, list | tuple)
        tree, place = tree[part] if is_inside else None, f"{place}{part}."
        if isinstance(part, int):
            prefix, names = place, _keys(Stage, "")
        elif isinstance(tree, Mapping) and tree.get("kind") in METHODS:
            prefix, names = place, _keys(METHODS[tree["kind"]].config, "")
    key, of_whom = f"{place}{loc[-1]}", " for this method" if "method" in loc[:-1] else ""
    return f"unknown setting '{key}'{of_whom}{nearest(key, [prefix + name for name in names])}"


def _key(loc: Sequence[Any]) -> str:
    """The dotted setting at pydantic's location `loc`, without the names of families and types that pydantic puts into it.

    >>> _key(("method", "gan", "generator", "optimiser", "betas", "tuple[float, float]", 0))
    'method.generator.optimiser.betas.0'
    >>> _key(("stages", 0, "method", "vqvae", "width", "int"))
    'stages.0.method.width'
    """
    parts, keys = [str(part) for part in loc if str(part).replace("_", "a").isalnum()], known_keys()
    path, inner = [], parts
    if parts[:1] == ["stages"]:
        path, inner, keys = parts[:2], parts[2:], frozenset(_keys(Stage, ""))
    own: list[str] = []
    for part in inner:
        if ".".join([*own, part]) in keys or (part.isdigit() and own):  # a digit is an index in a list
            own.append(part)
    return ".".join([*path, *(own or inner)])


def _allowed_values(error: Any, key: str) -> str:
    """The values that are allowed at `key`, as one of pydantic's errors says."""
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

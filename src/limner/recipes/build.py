"""Builds the untrained Method of a recipe, and resolves the "auto" settings of its methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from pydantic import BaseModel

from limner.core.capabilities import Codec, Pixels
from limner.core.config import CodecKind, DataSpec, MethodConfig, RunContext
from limner.core.errors import InputError
from limner.core.extensions import attribute_errors, result_error
from limner.core.method import Method
from limner.recipes.recipe import Recipe
from limner.recipes.registry import METHODS, PRESETS
from limner.recipes.settings import preset_tree

CODEC_WORDS: Mapping[CodecKind | None, str] = {
    "continuous": "continuous latents",
    "codes": "codes",
    None: "no latents",
}
"""What messages call the latents that a method makes, or that it works in."""


def stage_configs(recipe: Recipe) -> tuple[tuple[str, float, MethodConfig], ...]:
    """(name, share of the budget, config of the method) of every stage; the last is "main", with `recipe.method`."""
    rest = 1.0 - sum(stage.share for stage in recipe.stages)
    return (*((s.name, s.share, s.method) for s in recipe.stages), ("main", rest, recipe.method))


def build_method(recipe: Recipe, spec: DataSpec, stage: int | None = None) -> Method:
    """The untrained Method of the stage with the index `stage` (None: the last), for data as in `spec`.

    It works in the frozen copy of the method of the stage before it, if there is one. Errors: `InputError` where a stage cannot
    work in the latents of the one before it, where settings do not go together or do not fit the data, and where an "auto" is
    left that only a run can resolve (`resolve_recipe`).
    """
    configs = stage_configs(recipe)
    codec: Codec = Pixels(spec.shape)
    method: Method | None = None
    for place in range(len(configs) if stage is None else stage + 1):
        name, _, config = configs[place]
        if method is not None:
            before, _, maker = configs[place - 1]
            if maker.makes != config.takes:
                raise InputError(
                    f"stage '{name}' ({config.kind}) draws {CODEC_WORDS[config.takes]}, and stage '{before}' ({maker.kind}) "
                    f"makes {CODEC_WORDS[maker.makes]}; give it another method there"
                )
            codec = cast(Codec, method.frozen_copy())
        family = METHODS[config.kind]
        resolved = config.without_auto()
        with attribute_errors(what := f"the method '{config.kind}'", family.build):
            built: object = family.build(resolved, codec, spec)
        if not isinstance(built, Method):
            raise result_error(what, family.build, built, "a limner.core.method.Method")
        method = built
        if method.sampling_type is not family.sampling:
            raise InputError(
                f"the method '{config.kind}' takes {method.sampling_type.__name__} for drawing and its row of the table says "
                f"{family.sampling.__name__}; whoever wrote it has to give both the same"
            )
    assert method is not None
    return method


def presets_making(kind: CodecKind) -> tuple[str, ...]:
    """Names of the presets that train a codec with latents of that kind, as their method or in one of their stages."""
    return tuple(name for name in PRESETS if kind in {METHODS[family].config.makes for family in _families(name)})


def presets_drawing(kind: CodecKind) -> tuple[str, ...]:
    """Names of the presets without a stage that trains a codec, whose method draws latents of that kind."""
    single_stage = [name for name in PRESETS if len(_families(name)) == 1]
    return tuple(name for name in single_stage if METHODS[PRESETS[name].family].config.takes == kind)


def _families(preset: str) -> tuple[str, ...]:
    """Families of the methods of the preset's stages and, last, of its own method."""
    tree = preset_tree(preset)
    return (*(stage["method"]["kind"] for stage in tree.get("stages", ())), tree["method"]["kind"])


def resolve_recipe(recipe: Recipe, context: RunContext) -> Recipe:
    """`recipe` with values for every "auto" of its methods that depends on the data, the budget or the machine.

    Stages from another run, which are trained already, stay as they are. Errors: `InputError` as `build_method` has them, since
    the stages before a stage are built to know the shape of the latents that it works in.
    """
    for place, stage in enumerate(recipe.stages):
        if stage.share > 0:
            method = _resolve(stage.method, _context_of_stage(recipe, context, place))
            resolved = stage.model_copy(update={"method": method})
            recipe = recipe.model_copy(update={"stages": (*recipe.stages[:place], resolved, *recipe.stages[place + 1 :])})
    method = _resolve(recipe.method, _context_of_stage(recipe, context, len(recipe.stages)))
    return recipe.model_copy(update={"method": method})


def _resolve(config: MethodConfig, context: RunContext) -> MethodConfig:
    """`config` with a value for every "auto" that depends on the run. Errors: `InputError`, `PackageError`."""
    with attribute_errors(what := f"the method '{config.kind}'", type(config)):
        resolved: object = config.resolve(context)
    if not isinstance(resolved, MethodConfig):
        raise result_error(what, type(config), resolved, f"a {type(config).__name__} from resolve")
    return resolved


def _context_of_stage(recipe: Recipe, context: RunContext, stage: int) -> RunContext:
    """`context` with the shape of the latents that `stage` works in, whose earlier stages are resolved."""
    if stage == 0 or stage_configs(recipe)[stage - 1][2].makes is None:
        return context
    spec = DataSpec(context.shape, tuple(map(str, range(context.class_count))))
    with torch.device("meta"):  # allocates no memory, and draws no numbers to initialise weights
        codec = cast(Codec, build_method(recipe, spec, stage - 1))
    return replace(context, latent_shape=codec.shape)


def resolved_values(before: BaseModel, after: BaseModel, prefix: str = "method.") -> Iterable[tuple[str, Any]]:
    """(key, value) of every setting in `after` that `resolve` decided, even where the value is the default.

    `before` are the settings without these decisions, and `prefix` stands before every key.
    """
    for name in type(after).model_fields:
        old, new = getattr(before, name), getattr(after, name)
        if isinstance(new, BaseModel) and type(old) is type(new):
            yield from resolved_values(old, new, f"{prefix}{name}.")
        elif old != new or (name in after.model_fields_set and name not in before.model_fields_set):
            yield prefix + name, new.model_dump(mode="json") if isinstance(new, BaseModel) else new

"""From a recipe to its untrained Method: the stages in order, each on the frozen ones before it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from pydantic import BaseModel

from limner.core.capabilities import Codec, CodecKind, Pixels
from limner.core.errors import InputError
from limner.core.method import Method, RunContext
from limner.recipes.recipe import Recipe
from limner.recipes.registry import METHODS, PRESETS
from limner.recipes.settings import preset_tree

CODEC_WORDS: Mapping[CodecKind | None, str] = {
    "continuous": "continuous latents",
    "codes": "codes",
    None: "no latents",
}
"""What a method makes or works in, as a person calls it."""


def stage_configs(recipe: Recipe) -> tuple[tuple[str, float, Any], ...]:
    """(name, share of the budget, method's config) of every stage, the last one being `recipe.method`."""
    left = 1.0 - sum(stage.share for stage in recipe.stages)
    return (*((s.name, s.share, s.method) for s in recipe.stages), ("main", left, recipe.method))


def build_method(
    recipe: Recipe, image_shape: tuple[int, int, int], classes: tuple[str, ...], stage: int | None = None
) -> Method:
    """The untrained Method of `stage` (the last by default), on the frozen methods of the stages before it.

    `image_shape` is (H, W, C), as data sets say it. Errors: `InputError` where a stage cannot work in what the one before it
    makes, or a method's choices do not go together or do not fit the images.
    """
    height, width, channels = image_shape
    configs = stage_configs(recipe)
    codec: Codec = Pixels((channels, height, width))
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
        method = METHODS[config.kind].method(config, codec, classes)
    assert method is not None
    return method


def presets_making(kind: CodecKind) -> tuple[str, ...]:
    """Presets that train a codec of that kind, as their method or in one of their stages."""
    return tuple(name for name in PRESETS if kind in {METHODS[family].config.makes for family in _families(name)})


def presets_drawing(kind: CodecKind) -> tuple[str, ...]:
    """Presets that bring no codec, and whose method can draw the latents of a codec of that kind."""
    alone = [name for name in PRESETS if len(_families(name)) == 1]
    return tuple(name for name in alone if METHODS[PRESETS[name].family].config.takes == kind)


def _families(preset: str) -> tuple[str, ...]:
    """Of the preset's stages and, last, of its method."""
    tree = preset_tree(preset)
    return (*(stage["method"]["kind"] for stage in tree.get("stages", ())), tree["method"]["kind"])


def resolve_recipe(recipe: Recipe, facts: RunContext) -> Recipe:
    """With numbers for everything that methods leave to the size of the images and of the budget.

    A stage that comes trained from another run stays as it was trained. Errors: `InputError` as `build_method` has them, since
    what a stage works in is known by building the ones before it.
    """
    for place, stage in enumerate(recipe.stages):
        if stage.share > 0:
            settled = stage.model_copy(update={"method": stage.method.settled(_facts_of_stage(recipe, facts, place))})
            stages = (*recipe.stages[:place], settled, *recipe.stages[place + 1 :])
            recipe = recipe.model_copy(update={"stages": stages})
    facts = _facts_of_stage(recipe, facts, len(recipe.stages))
    return recipe.model_copy(update={"method": recipe.method.settled(facts)})


def _facts_of_stage(recipe: Recipe, facts: RunContext, stage: int) -> RunContext:
    """With the shape of the latents that `stage` works in; the stages before it are settled."""
    if stage == 0 or stage_configs(recipe)[stage - 1][2].makes is None:
        return facts
    channels, height, width = facts.shape
    classes = tuple(map(str, range(facts.classes)))
    with torch.device("meta"):  # what is built to be measured takes no memory, and no draws from what is built to be trained
        codec = cast(Codec, build_method(recipe, (height, width, channels), classes, stage - 1))
    return replace(facts, latents=codec.shape)


def resolved_values(before: BaseModel, after: BaseModel, prefix: str = "method.") -> Iterable[tuple[str, Any]]:
    """(key, value) of everything that `settled` decided, also where it decided for what was the default."""
    for name in type(after).model_fields:
        old, new = getattr(before, name), getattr(after, name)
        if isinstance(new, BaseModel) and type(old) is type(new):
            yield from resolved_values(old, new, f"{prefix}{name}.")
        elif old != new or (name in after.model_fields_set and name not in before.model_fields_set):
            yield prefix + name, new.model_dump(mode="json") if isinstance(new, BaseModel) else new

"""From a recipe to its untrained Method: the stages in order, each on the frozen ones before it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from limner.core.capabilities import Codec, Pixels
from limner.core.method import Facts, Method
from limner.recipes.recipe import Recipe
from limner.recipes.registry import METHODS


def stage_configs(recipe: Recipe) -> tuple[tuple[str, float, Any], ...]:
    """(name, share of the budget, method's config) of every stage, the last one being `recipe.method`."""
    left = 1.0 - sum(stage.share for stage in recipe.stages)
    return (*((s.name, s.share, s.method) for s in recipe.stages), ("main", left, recipe.method))


def build_method(
    recipe: Recipe, image_shape: tuple[int, int, int], classes: tuple[str, ...], stage: int | None = None
) -> Method:
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


def resolve_recipe(recipe: Recipe, facts: Facts) -> Recipe:
    """With numbers for everything that methods leave to the size of the images and of the budget."""
    stages = tuple(stage.model_copy(update={"method": stage.method.settled(facts)}) for stage in recipe.stages)
    return recipe.model_copy(update={"stages": stages, "method": recipe.method.settled(facts)})


def resolved_values(before: BaseModel, after: BaseModel, prefix: str = "method.") -> Iterable[tuple[str, Any]]:
    """(key, value) of everything that `settled` decided, also where it decided for what was the default."""
    for name in type(after).model_fields:
        old, new = getattr(before, name), getattr(after, name)
        if isinstance(new, BaseModel) and type(old) is type(new):
            yield from resolved_values(old, new, f"{prefix}{name}.")
        elif old != new or (name in after.model_fields_set and name not in before.model_fields_set):
            yield prefix + name, new.model_dump(mode="json") if isinstance(new, BaseModel) else new

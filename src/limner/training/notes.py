"""What a person should know about the data of a training before trusting its result."""

from __future__ import annotations

from limner.core.config import ConditionKind
from limner.data.dataset import Dataset
from limner.data.remarks import remarks
from limner.recipes.recipe import Recipe
from limner.recipes.registry import METHODS, PRESETS
from limner.recipes.settings import preset_tree
from limner.training.stages import check_method

LABELS = "labels"
"""The setting of a method that makes classes a condition, in the families that have it."""


def data_notes(recipe: Recipe, dataset: Dataset) -> tuple[str, ...]:
    """Pictures that were set aside, notes of the preparation, and what the data hold and the method does not use.

    Errors: `InputError` for a recipe whose method cannot be built.
    """
    accepts, notes = check_method(recipe), remarks(dataset)
    if dataset.classes and "label" not in accepts:
        notes.append(f"the {len(dataset.classes):,} classes of {dataset.name} are not used; {_ways_to_use_classes(recipe)}")
    if dataset.captions is not None and "text" not in accepts:
        notes.append(f"the captions of {dataset.name} are not used: {_alternatives(recipe, 'text', 'captions')}")
    if dataset.given_images is not None and "image" not in accepts:
        notes.append(f"the given pictures of {dataset.name} are not used: {_alternatives(recipe, 'image', 'given pictures')}")
    return tuple(notes)


def _alternatives(recipe: Recipe, kind: ConditionKind, what: str) -> str:
    """Which presets take a condition of this `kind`, called `what`, that the recipe's method does not take."""
    presets = [name for name, preset in PRESETS.items() if preset.family in METHODS and kind in METHODS[preset.family].accepts]
    if not presets:
        return f"no preset takes {what} (`limner methods` lists what there is)"
    return f"{recipe.preset} takes none; train with preset {' or '.join(presets)} to use them"


def _ways_to_use_classes(recipe: Recipe) -> str:
    """The setting or the presets by which pictures of a class can be requested."""
    if LABELS in type(recipe.method).model_fields:
        return f"with method.{LABELS}=true pictures of a class can be requested"
    presets = [name for name in PRESETS if preset_tree(name).get("method", {}).get(LABELS) is True]
    families = [name for name, family in METHODS.items() if LABELS in family.config.model_fields]
    others = [name for name, preset in PRESETS.items() if preset.family in families and name not in presets]
    ways = [f"preset {name}" for name in presets] + [f"preset {name} and method.{LABELS}=true" for name in others[:1]]
    return f"to request pictures of a class, train with {' or '.join(ways)}" if ways else f"{recipe.preset} takes none"

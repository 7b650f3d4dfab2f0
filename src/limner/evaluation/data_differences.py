"""Why runs were not trained on the same pictures, and how they can be compared nevertheless, in words."""

from __future__ import annotations

from collections.abc import Sequence

from limner.core.address import public_address
from limner.core.errors import InputError
from limner.core.invocation import option
from limner.data.options import ImageOptions
from limner.metrics.features.pixels import format_shape
from limner.recipes.recipe import DataConfig
from limner.runs.model import Loaded

FACTS = {"classes": "classes", "caption_length": "captions", "condition_shape": "given pictures"}
"""Fields of a recipe's data that follow from the source, in words."""


def check_same_pictures(runs: Sequence[Loaded], same_data: bool) -> None:
    """Errors: `InputError` where the pictures of two `runs` differ in shape, or with `same_data` in anything; it says in what,
    and what to do."""
    for other in runs[1:]:
        first, own = runs[0], other.recipe.data
        names = first.run.path, other.run.path
        if other.shape != first.shape:
            shapes = f"{names[0]} makes pictures of {format_shape(first.shape)} and {names[1]} of {format_shape(other.shape)}"
            reasons = f" ({describe_differences(first.recipe.data, own)})" if same_data else ""
            raise InputError(f"{shapes}{reasons}; only pictures of one shape can be compared: {_mend_shape(first, other)}")
        if same_data and own.fingerprint != first.recipe.data.fingerprint:
            reasons = describe_differences(first.recipe.data, own)
            mend = f"name one set of real pictures for both: {option('data', 'SRC')}"
            raise InputError(f"{names[0]} and {names[1]} were not trained on the same pictures: {reasons}; {mend}")


def describe_differences(first: DataConfig, other: DataConfig) -> str:
    """In what two data sets with different fingerprints differ, as far as the recipes tell.

    >>> describe_differences(DataConfig(source="emoji", channels=3), DataConfig(source="emoji", channels=4))
    'data.channels is 3 and 4'
    >>> describe_differences(DataConfig(source="emoji"), DataConfig(source="emoji"))
    'the pictures in emoji changed between the two trainings'
    """
    reasons = []
    if first.source != other.source:
        reasons.append(f"data.source is {public_address(first.source)} and {public_address(other.source)}")
    for name in ImageOptions.model_fields:
        own, another = (_effective(data, name) for data in (first, other))
        if own != another:
            reasons.append(f"data.{name} is {_text(own)} and {_text(another)}")
    if first.rules != other.rules and 1 in (first.rules, other.rules):  # the last of the reasons
        reasons[-1] += " (how files became pictures before 2026-12 is 1)"
    if not reasons:
        where = public_address(first.source)
        changed = [words for field, words in FACTS.items() if getattr(first, field) != getattr(other, field)]
        what = f", and so did {' and '.join(changed)}" if changed else ""
        return f"the pictures in {where} changed between the two trainings{what}"
    return ", ".join(reasons)


def _effective(data: DataConfig, name: str) -> object:
    """The value of an option of the preparation, in the one form that all ways to write it have."""
    if name == "size":
        return data.height_and_width
    if name == "channels":
        return data.fixed_channels
    return data.low_and_high if name == "value_range" else getattr(data, name)


def _text(value: object) -> str:
    """A value as a setting has it."""
    if isinstance(value, tuple):
        return ("x" if all(isinstance(one, int) for one in value) else ",").join(f"{one:g}" for one in value)
    if value is None or isinstance(value, bool):
        return {None: "not set", True: "true", False: "false"}[value]
    return str(value)


def _mend_shape(first: Loaded, other: Loaded) -> str:
    """What makes two runs comparable whose pictures differ in shape.

    Pictures in a folder are brought to the channels of the run that they are compared with, clear parts filled with white.
    """
    if first.shape[:2] != other.shape[:2]:
        return f"train one of them again with data.size={_text(first.shape[:2])} or data.size={_text(other.shape[:2])}"
    fewer, more = sorted((first, other), key=lambda model: model.shape[2])
    if not more.method.generates or "image" in more.method.accepts:  # `limner sample` alone draws no set of its pictures
        return f"train one of them again with data.channels={fewer.shape[2]} or data.channels={more.shape[2]}"
    ground = ", clear parts filled with white" if more.shape[2] == 4 else ""
    return (
        f"draw those of {more.run.path} into a folder, and compare that, with {fewer.shape[2]} channels{ground}: "
        f"`limner sample {more.run.path} --count 1000 --out FOLDER`, `limner compare {fewer.run.path} FOLDER`"
    )

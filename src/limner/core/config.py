"""Base classes of the settings of methods, the facts from which settings are resolved, and the conditions of their use.

Nothing here imports torch, so that the command line, a form or a check can read and validate settings quickly. The models of a
family are in its own `config.py`.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, JsonValue, ValidationError, model_validator
from pydantic_core import CoreSchema

from limner.core.errors import InputError, nearest, nearest_name, short_repr
from limner.core.fields import describe_range
from limner.core.numeric_fields import NumericFields

CodecKind = Literal["continuous", "codes"]
"""Latents are real numbers ("continuous"), or indices of codes in a vocabulary ("codes")."""
ConditionKind = Literal["label", "text", "image"]
"""A condition of a picture: its class, a caption, or a given picture that it belongs to."""
Precision = Literal["fp32", "bf16"]
"""The number format of a forward pass."""

MAX_CAPTION_BYTES = 256
"""The largest number of UTF-8 bytes of a caption; longer ones are cut."""


@dataclass(frozen=True)
class DataSpec:
    """The facts about the data that a method is built for.

    >>> DataSpec.of_images((32, 48, 3), ("cat", "dog")).shape
    (3, 32, 48)
    """

    shape: tuple[int, int, int]
    """(C, H, W) of a picture."""
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of their labels; empty where there are no classes."""
    caption_length: int = 0
    """Bytes of the longest caption, at most `MAX_CAPTION_BYTES`; 0 where there are no captions."""
    condition_shape: tuple[int, int, int] | None = None
    """(C', H, W) of the given picture that belongs to each picture; None where there is none."""

    @classmethod
    def of_images(
        cls,
        shape: Sequence[int],
        classes: tuple[str, ...] = (),
        caption_length: int = 0,
        condition_shape: tuple[int, int, int] | None = None,
    ) -> DataSpec:
        """The spec of pictures of the shape (H, W, C), as data sets and arrays have it."""
        height, width, channels = shape
        return cls((channels, height, width), classes, caption_length, condition_shape)


@dataclass(frozen=True)
class RunContext:
    """Facts about the data, the budget and the machine, available when a run starts: "auto" settings are resolved from them."""

    shape: tuple[int, int, int]
    """(C, H, W) of a picture."""
    batch_size: int
    images: int | None
    """The budget in images; None where it is `minutes`."""
    minutes: float | None
    accelerated: bool
    """Whether a GPU or another accelerator computes."""
    class_count: int = 0
    smallest_class: int = 0
    """Number of training pictures of the smallest class."""
    training_images: int = 0
    binary: bool = False
    """Whether every pixel is black or white (`data.binary`)."""
    speed: float | None = None
    """Images per second, where that was measured."""
    latent_shape: tuple[int, ...] | None = None
    """Shape of the latents of a frozen codec, where the method works in these; None where it works in pixels."""

    @property
    def image_budget(self) -> int:
        """Images that the budget allows. Of a budget in minutes it is an estimate, without `speed` that of small networks."""
        if self.images is not None:
            return self.images
        guess = 30_000.0 if self.accelerated else 1_500.0  # images of 32x32 per second: a GPU, or two CPU cores
        return round(60 * (self.minutes or 0.0) * (self.speed or guess / self.relative_area))

    @property
    def relative_area(self) -> float:
        """Number of pixels of an image, divided by that of an image of 32x32."""
        return self.shape[1] * self.shape[2] / 32**2


class Settings(NumericFields):
    """A frozen model of settings, whose numbers are finite. The docstring below a field is its description in the JSON schema
    too.

    To keep imports fast, validators are built when a model is first used, and docstrings are read when a schema is made
    (`field_descriptions`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _complete_parts(cls, values: Any) -> Any:
        """What is not set of a part is as in the default of that part here, and not as in the default of its class: so
        ``optimiser={"kind": "adamw"}`` keeps the learning rate of a family whose default optimiser has one of its own."""
        if not isinstance(values, Mapping):
            return values
        complete = dict(values)
        for name, info in cls.model_fields.items():
            if isinstance(values.get(name), Mapping):
                default = info.get_default(call_default_factory=True)
                if isinstance(default, Settings) and _models(info.annotation) == [type(default)]:
                    complete[name] = _completed(values[name], default)
        return complete

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        json_schema = handler(schema)
        properties = handler.resolve_ref_schema(json_schema).get("properties", {})
        for name, text in field_descriptions(cls).items():
            properties[name].setdefault("description", text)
        return json_schema


def _models(annotation: Any) -> list[type[Settings]]:
    """The kinds of settings that a field may hold; not only one where a part has several families."""
    choices = get_args(annotation) or (annotation,)
    return [one for one in choices if isinstance(one, type) and issubclass(one, Settings)]


def _completed(values: Mapping[str, Any], default: Settings) -> dict[str, Any]:
    """`values` and, where they say nothing, what is set in `default`; the same for the parts of both."""
    complete = {name: getattr(default, name) for name in default.model_fields_set} | dict(values)
    for name in default.model_fields_set & values.keys():
        part = getattr(default, name)
        if isinstance(part, Settings) and isinstance(values[name], Mapping):
            complete[name] = _completed(values[name], part)
    return complete


@cache
def field_descriptions(model: type[BaseModel]) -> Mapping[str, str]:
    """Field -> its `description`, or the docstring below it in `model` or in the base class that defines it.

    >>> field_descriptions(MethodConfig)
    {'kind': 'The name of the family in the table of methods.'}
    """
    texts: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if issubclass(cls, BaseModel) and cls is not BaseModel:
            texts |= {name: text for name, text in _attribute_docstrings(cls).items() if name in model.model_fields}
    return texts | {name: info.description for name, info in model.model_fields.items() if info.description}


def _attribute_docstrings(cls: type) -> dict[str, str]:
    """Annotated attribute of the class -> the docstring below it, on one line; {} where the source is not available."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError):
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    texts = {}
    for field, below in pairwise(body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[name] = " ".join(text.split())
    return texts


class Sampling(Settings):
    """The settings of a family for drawing pictures, beside seeds and conditions. Every field has a default.

    Docstrings below fields become their descriptions when the class is made, since the help of the command line shows them.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        for info in cls.model_fields.values():
            info.description = " ".join(info.description.split()) if info.description else None  # on one line

    def with_values(self, **values: Any) -> Self:
        """A copy with these values. `model_fields_set` stays: it says which settings a person gave."""
        copy = self.model_copy(update=values)
        copy.model_fields_set.intersection_update(self.model_fields_set)  # pydantic adds what was updated
        return copy

    def in_force(self) -> dict[str, Any]:
        """The settings that have an effect beside the others."""
        return {name: value for name, value in self.model_dump().items() if unused_reason(self, name, "") is None}


AnySampling = TypeVar("AnySampling", bound=Sampling)


class MethodConfig(Settings):
    """The settings of a family: the part `method` of a recipe.

    A field can be "auto" where the best value depends on the run. `resolve` replaces that by a value, which the recipe records.
    Methods are built from `without_auto`, whose type does not allow "auto".
    """

    makes: ClassVar[CodecKind | None] = None
    """The latents of this family as the codec of another method; None where it cannot be a codec."""
    takes: ClassVar[CodecKind] = "continuous"
    """The latents that the method works in: continuous (pixels, or those of a codec), or the codes of a codec."""

    kind: str
    """The name of the family in the table of methods."""

    def resolve(self, context: RunContext) -> Self:
        """These settings with a value for every "auto" that depends on the run.

        Errors: `InputError` for settings that are not possible with these data or this budget.
        """
        return self

    @classmethod
    def resolved_type(cls) -> type[MethodConfig]:
        """The subclass whose fields cannot be "auto"; the class itself where none of its fields can."""
        return cls

    def without_auto(self) -> MethodConfig:
        """These settings as `resolved_type`. Errors: `InputError` where one is still "auto"."""
        kind = type(self).resolved_type()
        if isinstance(self, kind):
            return self
        values = {name: getattr(self, name) for name in kind.model_fields}
        unresolved = [name for name, value in values.items() if isinstance(value, str) and value == "auto"]
        if unresolved:
            raise InputError(f"method.{unresolved[0]}=auto is decided when a run starts; set method.{unresolved[0]} to a value")
        return kind.model_construct(self.model_fields_set, **values)


# ---- settings that have no effect ----------------------------------------------------------------------------------------


def only_if(
    key: str, *values: JsonValue, above: float | None = None, other_than: Sequence[JsonValue] = (None,)
) -> dict[str, JsonValue]:
    """Metadata of a field that has an effect only with certain values of another one.

    It is used as `Field(…, json_schema_extra=only_if(…))`. `key` is the other field, in the same model or in the one around it.
    The field has an effect where `key` is one of `values`; without `values`, where it is `above` a number, or is not among
    `other_than`. Fields of a `Sampling` have it too. The JSON schema has the condition under ``only_if``, so that a form can
    hide the field; `unused_reason` puts it into words.

    >>> only_if("quantiser", "vq")
    {'only_if': [{'key': 'quantiser', 'is': ['vq']}]}
    """
    condition: dict[str, JsonValue] = {"key": key}
    if values:
        condition["is"] = list(values)
    elif above is not None:
        condition["above"] = above
    else:
        condition["is_not"] = list(other_than)
    return {"only_if": [condition]}


def all_of(*conditions: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Metadata of a field for which several `only_if` have to hold. The first that does not is the reason that is shown.

    >>> all_of(only_if("networks", "conv"), only_if("blocks", above=0))
    {'only_if': [{'key': 'networks', 'is': ['conv']}, {'key': 'blocks', 'above': 0}]}
    """
    return {"only_if": [one for condition in conditions for one in _conditions(condition)]}


def unused_reason(config: BaseModel, key: str, prefix: str = "method.") -> str | None:
    """Why the setting `key` of `config` has no effect with the other settings; None where it has one.

    Dots in `key` lead to settings of inner models. `prefix` is what a person writes before the keys of `config`.
    """
    models: list[tuple[str, BaseModel]] = []
    model, path = config, prefix
    for name in key.split("."):
        models.append((path, model))
        info = type(model).model_fields.get(name)
        if info is None:
            return None
        for condition in _conditions(info.json_schema_extra):
            where, owner = next((path, one) for path, one in reversed(models) if condition["key"] in type(one).model_fields)
            if not _holds(condition, getattr(owner, condition["key"])):
                return _reason(condition, where + condition["key"])
        value = getattr(model, name)
        if not isinstance(value, BaseModel):
            return None
        model, path = value, f"{path}{name}."
    return None


def _conditions(extra: Any) -> Iterator[dict[str, Any]]:
    """The conditions in the `json_schema_extra` of a field."""
    if isinstance(extra, Mapping):
        yield from extra.get("only_if", ())


def _holds(condition: Mapping[str, Any], value: Any) -> bool:
    """Whether `condition` holds where its key has this value."""
    if "is" in condition:
        return value in condition["is"]
    if "above" in condition:
        return bool(value > condition["above"])
    return value not in condition["is_not"]


def _reason(condition: Mapping[str, Any], key: str) -> str:
    """The end of the sentence "KEY would do nothing here: …" for a condition on `key` that does not hold."""
    if condition.get("is") == [None]:
        return f"{key} is in its place"
    if "is" in condition:
        values = [str(value).lower() if isinstance(value, bool) else str(value) for value in condition["is"]]
        return f"it belongs to {key}={' or '.join([', '.join(values[:-1]), values[-1]] if len(values) > 1 else values)}"
    if "above" in condition:
        return f"it belongs to {key} above {condition['above']:g}"
    excluded = " and ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in condition["is_not"])
    return f"it belongs to {key}" if condition["is_not"] == [None] else f"it belongs to {key} other than {excluded}"


# ---- validation of sampling settings -------------------------------------------------------------------------------------


def check_sampling_used(sampling: Sampling) -> None:
    """Errors: `InputError` for a setting that a person gave and that has no effect beside the others. Where the default of a
    setting depends on the model, `sampling` must hold its value (`Method.resolve_sampling`)."""
    for name in type(sampling).model_fields:
        reason = unused_reason(sampling, name, "") if name in sampling.model_fields_set else None
        if reason is not None:
            raise InputError(f"{name}={getattr(sampling, name)} would do nothing here: {reason}; leave it out")


def parse_sampling(kind: type[AnySampling], values: Mapping[str, Any], model: str, keywords: Sequence[str] = ()) -> AnySampling:
    """`values` as the class `kind` of a family; `model` is what errors call the model that is sampled from.

    `keywords` are what else `sample` takes, one of which a setting that does not exist may mean. Errors: `InputError` in one
    line for a setting that the family does not have (with the nearest name, and all of them), and for a value that is not
    allowed.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            names = tuple(kind.model_fields)
            choices = f"there are: {', '.join(names)}" if names else "it has none"
            guess, hint = nearest_name(name, [*names, *keywords]), nearest(name, [*names, *keywords])
            setting_hint, keyword_hint = ("", hint) if guess in keywords else (hint, "")
            also = f"{keyword_hint or ';'} sample also takes {', '.join(keywords)}" if keywords else ""
            raise InputError(f"{model} has no sampling setting '{name}'{setting_hint} ({choices}){also}") from error
        message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        if name not in kind.model_fields:
            raise InputError(f"sampling: {message}") from error
        value, info = first["input"], kind.model_fields[name]
        if first["type"] in ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number"):
            number = f"{value:g}" if isinstance(value, int | float) else short_repr(value)
            default = "" if info.default is None else f" ({info.default:g} is the default)"
            raise InputError(f"{name} {number} is out of range; give {describe_range(info)}{default}") from error
        raise InputError(f"{name} {short_repr(value)} cannot be used; give {message}") from error

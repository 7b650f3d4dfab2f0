"""What a family of methods declares before anything is built: its settings, how it samples, the data it is for. Without torch.

These are plain data, so that a command line, a form or a check can read and validate them without loading torch. A family's
own models stand in its `config.py`; what is common to all of them, and what says when a setting has no effect, stands here.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, JsonValue, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema

from limner.core.errors import InputError, nearest

CodecKind = Literal["continuous", "codes"]
"""Latents that are real numbers, or whole numbers that name a code of a vocabulary."""
ConditionKind = Literal["label", "text", "image"]
"""What a picture may be asked to be: of a class, as a caption says, or to go with another picture."""
Precision = Literal["fp32", "bf16"]
"""The number format of a forward pass."""

MAX_CAPTION_BYTES = 256
"""Bytes of UTF-8 to which a caption is cut."""


@dataclass(frozen=True)
class DataSpec:
    """What a method has to know of the data that it is built for.

    >>> DataSpec.of_images((32, 48, 3), ("cat", "dog")).shape
    (3, 32, 48)
    """

    shape: tuple[int, int, int]
    """(C, H, W) of a picture."""
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of their labels; empty where the pictures have none."""
    caption_length: int = 0
    """Bytes of the longest caption, at most `MAX_CAPTION_BYTES`; 0 where there are no captions."""
    condition_shape: tuple[int, int, int] | None = None
    """(C', H, W) of the picture that each picture is made from; None where there is none."""

    @classmethod
    def of_images(
        cls,
        shape: Sequence[int],
        classes: tuple[str, ...] = (),
        caption_length: int = 0,
        condition_shape: tuple[int, int, int] | None = None,
    ) -> DataSpec:
        """The same of pictures whose `shape` is (H, W, C), as data sets and arrays give it."""
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
    """Whether a GPU or the like computes."""
    class_count: int = 0
    smallest_class: int = 0
    """Training pictures of the class that has the fewest."""
    training_images: int = 0
    binary: bool = False
    """Whether every pixel is black or white (`data.binary`)."""
    latent_shape: tuple[int, ...] | None = None
    """Shape of a frozen codec's latents where the method works in those; None where it works in the pictures themselves."""

    @property
    def image_budget(self) -> int:
        """Images that the budget allows, roughly: enough to tell minutes from days."""
        if self.images is not None:
            return self.images
        speed = 30_000.0 if self.accelerated else 1_500.0  # images of 32x32 per second: a GPU, or two CPU cores
        return round(60 * (self.minutes or 0.0) * speed / self.relative_area)

    @property
    def relative_area(self) -> float:
        """Pixels of one image over those of an image of 32x32."""
        return self.shape[1] * self.shape[2] / 32**2


class Settings(BaseModel):
    """A frozen model of settings. The docstring below a field is its description, in the source as in the JSON schema.

    Validators are built when a model is first used, and docstrings are read when a schema is asked for (`field_descriptions`):
    whoever only looks up a name should not wait for either.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        json_schema = handler(schema)
        properties = handler.resolve_ref_schema(json_schema).get("properties", {})
        for name, text in field_descriptions(cls).items():
            properties[name].setdefault("description", text)
        return json_schema


@cache
def field_descriptions(model: type[BaseModel]) -> Mapping[str, str]:
    """Field -> what it means: its `description`, or the docstring below it, in `model` or in the class it inherits from.

    >>> field_descriptions(Sampling)
    {}
    """
    texts: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if issubclass(cls, BaseModel) and cls is not BaseModel:
            texts |= {name: text for name, text in _attribute_docstrings(cls).items() if name in model.model_fields}
    return texts | {name: info.description for name, info in model.model_fields.items() if info.description}


def _attribute_docstrings(cls: type) -> dict[str, str]:
    """Annotated attribute of the class body -> the string that stands below it, on one line; {} where there is no source."""
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
    """How a family draws pictures, beside seeds and conditions. Every field has a default.

    Docstrings below fields become their descriptions at once, since the command line's help shows these.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        for info in cls.model_fields.values():
            info.description = " ".join(info.description.split()) if info.description else None  # on one line

    def changed(self) -> dict[str, Any]:
        """The settings that are not at their defaults."""
        values = self.model_dump()
        return {name: value for name, value in values.items() if value != type(self).model_fields[name].get_default()}


AnySampling = TypeVar("AnySampling", bound=Sampling)


class MethodConfig(Settings):
    """A family's own choices: the part `method` of a recipe.

    A field may be "auto" where the best value depends on the run. `resolve` replaces it by a value, which the recipe records.
    A method is built from `without_auto`, whose type has no "auto" left.
    """

    makes: ClassVar[CodecKind | None] = None
    """What a trained method of this family gives others to work in, as their codec; None where it is no codec."""
    takes: ClassVar[CodecKind] = "continuous"
    """What the method works in itself: real numbers (pixels, or a codec's latents), or a codec's codes."""

    kind: str
    """The family: its name in the table of methods."""

    def resolve(self, context: RunContext) -> Self:
        """The same with values in the place of every "auto" that depends on the run. Errors: `InputError` for settings that
        the data or the budget rule out."""
        return self

    @classmethod
    def resolved_type(cls) -> type[MethodConfig]:
        """The subclass without "auto", from which a method is built; the class itself where no field can be "auto"."""
        return cls

    def without_auto(self) -> MethodConfig:
        """The same choices as `resolved_type`. Errors: `InputError` where an "auto" is left that only a run can decide."""
        kind = type(self).resolved_type()
        if isinstance(self, kind):
            return self
        values = {name: getattr(self, name) for name in kind.model_fields}
        undecided = [name for name, value in values.items() if isinstance(value, str) and value == "auto"]
        if undecided:
            raise InputError(f"method.{undecided[0]}=auto is decided when a run starts; set method.{undecided[0]} to a value")
        return kind.model_construct(self.model_fields_set, **values)


# ---- settings that have no effect ----------------------------------------------------------------------------------------


def only_if(
    key: str, *values: JsonValue, above: float | None = None, other_than: Sequence[JsonValue] = (None,)
) -> dict[str, JsonValue]:
    """Metadata for a field that has an effect only beside another setting: `Field(…, json_schema_extra=only_if(…))`.

    `key` names a field of the same model, or of the model around it. The field has an effect where that is one of `values`;
    or, without `values`, where it is `above` a number, or `other_than` the values that switch it off. The JSON schema shows the
    condition under ``only_if``, so that a form can hide the field; `unused_reason` says it to a person.

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
    """Metadata for a field that needs several `only_if` at once. The first that does not hold is the reason a person reads."""
    return {"only_if": [one for condition in conditions for one in _conditions(condition)]}


def unused_reason(config: BaseModel, key: str, prefix: str = "method.") -> str | None:
    """Why setting `key` (dotted, below `config`) has no effect beside the other settings; None where it has one.

    `prefix` is what a person writes before the keys of `config`.
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
    if isinstance(extra, Mapping):
        yield from extra.get("only_if", ())


def _holds(condition: Mapping[str, Any], value: Any) -> bool:
    if "is" in condition:
        return value in condition["is"]
    if "above" in condition:
        return bool(value > condition["above"])
    return value not in condition["is_not"]


def _reason(condition: Mapping[str, Any], key: str) -> str:
    """In a person's words."""
    if condition.get("is") == [None]:
        return f"{key} is in its place"
    if "is" in condition:
        values = [str(value).lower() if isinstance(value, bool) else str(value) for value in condition["is"]]
        return f"it belongs to {key}={' or '.join([', '.join(values[:-1]), values[-1]] if len(values) > 1 else values)}"
    return f"it belongs to {key} above {condition['above']:g}" if "above" in condition else f"it belongs to {key}"


# ---- sampling settings from outside --------------------------------------------------------------------------------------


def parse_sampling(kind: type[AnySampling], values: Mapping[str, Any], model: str) -> AnySampling:
    """`values` as the family's own `kind` of `Sampling`; `model` is how messages call the model that is to be sampled from.

    Errors: `InputError` in one line, for a name that the family does not know (with the nearest one, and all there are) and
    for a value out of range.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            names = tuple(kind.model_fields)
            choices = f"there are: {', '.join(names)}" if names else "it has none"
            raise InputError(f"{model} has no sampling setting '{name}'{nearest(name, names)} ({choices})") from error
        message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        if name not in kind.model_fields:
            raise InputError(f"sampling: {message}") from error
        value, info = first["input"], kind.model_fields[name]
        if first["type"] in ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number"):
            number = f"{value:g}" if isinstance(value, int | float) else repr(value)
            raise InputError(
                f"{name} {number} is out of range; give {_range(info)} ({info.default:g} is the default)"
            ) from error
        raise InputError(f"{name} {value!r} cannot be used; give {message}") from error


def _range(info: FieldInfo) -> str:
    """``a number above 0 and at most 1``, from the field's constraints."""
    words = {"gt": "above {:g}", "ge": "of {:g} or more", "lt": "below {:g}", "le": "of at most {:g}"}
    bounds = [text.format(getattr(one, name)) for one in info.metadata for name, text in words.items() if hasattr(one, name)]
    return " ".join(["a whole number" if info.annotation is int else "a number", " and ".join(bounds)]).rstrip()

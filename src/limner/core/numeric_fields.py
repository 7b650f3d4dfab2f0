"""Truth values are no numbers: Python's `bool` is an `int`, and pydantic would take True for 1 minute or 1 picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

_MESSAGE = "Input should be a number"


class NumericFields(BaseModel):
    """The base of models in which a field of numbers takes no truth value.

    >>> class Budget(NumericFields):
    ...     minutes: float
    ...     dry_run: bool = False
    >>> Budget(minutes=1, dry_run=True).minutes
    1.0
    >>> Budget(minutes=True)
    Traceback (most recent call last):
    ...
    pydantic_core._pydantic_core.ValidationError: 1 validation error for Budget
    minutes
      Input should be a number [type=number_type, input_value=True, input_type=bool]
    """

    model_config = ConfigDict(defer_build=True)  # building validators at once would make imports slow

    @model_validator(mode="before")
    @classmethod
    def _refuse_truth_values(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            for name, value in values.items():
                info = cls.model_fields.get(name)
                if info is not None and _holds_truth_value(value) and _takes_numbers_alone(info):
                    error = InitErrorDetails(type=PydanticCustomError("number_type", _MESSAGE), loc=(name,), input=value)
                    raise ValidationError.from_exception_data(cls.__name__, [error])
        return values


def is_truth_value(value: object) -> bool:
    """Whether `value` is True or False, of Python, NumPy or torch.

    >>> is_truth_value(True), is_truth_value(1)
    (True, False)
    """
    return isinstance(value, bool) or (not getattr(value, "ndim", 0) and "bool" in str(getattr(value, "dtype", "")))


def _holds_truth_value(value: object) -> bool:
    return any(map(is_truth_value, value)) if isinstance(value, list | tuple) else is_truth_value(value)


def _takes_numbers_alone(info: FieldInfo) -> bool:
    """Whether a field takes numbers and no truth values. A validator of the field's own knows better what it takes."""
    if any(isinstance(one, BeforeValidator) for one in info.metadata):
        return False
    types = set(_types(info.annotation))
    return bool(types & {int, float}) and not types & {bool, Any, object}


def _types(annotation: Any) -> Iterator[Any]:
    """The types that an annotation is made of, and those of the values that it allows."""
    if hasattr(annotation, "__metadata__"):
        yield from _types(annotation.__origin__)
    elif get_origin(annotation) is Literal:
        yield from map(type, get_args(annotation))
    elif get_args(annotation):
        for part in get_args(annotation):
            yield from _types(part)
    else:
        yield annotation

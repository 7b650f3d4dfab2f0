"""How limner was called: by the words of a command line, or by a Python function. Records and logs say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from limner.core.address import public_text
from limner.core.errors import short_repr

COMMAND_WORDS: ContextVar[tuple[str, ...] | None] = ContextVar("COMMAND_WORDS", default=None)
"""The words after ``limner`` of the command that is being carried out; None where Python code has called a function."""


def option(name: str, value: str = "") -> str:
    """The option `name`, with a `value` or without, as whoever called writes it: messages name what was typed.

    ``--fail-if CONDITION`` on the command line, ``fail_if=CONDITION`` in Python.

    >>> option("fail_if"), option("data", "SRC")
    ('fail_if', 'data=SRC')
    """
    if COMMAND_WORDS.get() is None:
        return f"{name}={value}" if value else name
    return f"--{name.replace('_', '-')} {value}".rstrip()


def describe_request(request: BaseModel) -> dict[str, Any]:
    """The fields of a request that were given, in types of JSON and without the secret parts of addresses.

    An array or another object of the program is described by its type.
    """
    return {name: _plain(getattr(request, name)) for name in type(request).model_fields if name in request.model_fields_set}


def python_call(function: str, request: BaseModel) -> str:
    """The call of ``limner.FUNCTION`` that makes this request, as text.

    >>> class ARequest(BaseModel):
    ...     run: Path
    ...     seeds: list[int] = []
    >>> python_call("sample", ARequest(run=Path("runs/0007"), seeds=[1, 2]))
    "limner.sample(run='runs/0007', seeds=[1, 2])"
    """
    values = ", ".join(f"{name}={short_repr(value)}" for name, value in describe_request(request).items())
    return f"limner.{function}({values})"


def _plain(value: Any) -> Any:
    """`value` in types of JSON; text without secrets."""
    if isinstance(value, str | Path):
        return public_text(str(value), str(value))
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    is_short = isinstance(value, Sequence) and len(value) <= 1000
    if is_short and all(one is None or isinstance(one, str | Path | int | float) for one in value):
        return [_plain(one) for one in value]
    return f"{type(value).__name__} in memory"

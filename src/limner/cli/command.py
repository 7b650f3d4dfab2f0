"""Makes a command of the command line from a verb's request model: its arguments, options and help."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from limner.cli.door import answer_verb
from limner.core.fields import Cli
from limner.core.verb import Request, Verb, marker, option_name

PLAIN_TYPES = (int, float, bool, Path)
"""Types that typer reads and checks itself; values of all others stay text until the request reads them."""
SIMPLE_TYPES = (int, float, str, Path)
"""Types whose defaults the help shows."""

Command = Callable[..., None]


def make_command(verb: Verb) -> Command:
    """The function whose signature typer turns into a command."""
    own, open_fields = verb.request.model_fields, verb.request.open_fields()
    fields = {name: field for name, field in own.items() if name != verb.request.open_field} | dict(open_fields)

    def command(as_json: bool, **values: Any) -> None:
        answer_verb(verb, typed_values(fields, values), as_json=as_json)

    parameters = [_parameter(verb.request, name, field) for name, field in own.items() if name in fields]
    parameters += [_open_parameter(name, field) for name, field in open_fields.items()]
    json_option = typer.Option("--json", help="Print one JSON object on stdout, everything else on stderr.")
    parameters.append(_keyword("as_json", Annotated[bool, json_option], False))
    parameters.sort(key=lambda one: one.default is not inspect.Parameter.empty)  # required ones first, otherwise in this order
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def help_text(verb: Verb) -> str:
    """The help of the verb's command, which is the docstring of its request."""
    return inspect.getdoc(verb.request) or ""


def typed_values(fields: Mapping[str, FieldInfo], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that the person typed, by field. All others are left out, so that the request has its own defaults."""
    typed = {}
    for name, value in values.items():
        if _typer_type(fields[name].annotation, False) is bool:
            if value is not None and value != fields[name].get_default(call_default_factory=True):
                typed[name] = value
        elif value not in (None, [], ()):
            typed[name] = value
    return typed


def _parameter(request: type[Request], name: str, field: FieldInfo) -> inspect.Parameter:
    """The argument or option of a field, as typer reads it."""
    cli = marker(field, Cli) or Cli()
    kind = _typer_type(field.annotation, cli.is_argument)
    text = field.description or ""
    metavar = cli.metavar or _allowed_words(field.annotation) or None
    if cli.is_argument:
        argument = typer.Argument(metavar=option_name(request, name), help=text, show_default=False)
        if field.is_required():
            return _keyword(name, Annotated[kind, argument], inspect.Parameter.empty)
        return _keyword(name, Annotated[kind | None, argument], None)
    if kind is bool:
        default = field.get_default(call_default_factory=True)
        return _keyword(name, Annotated[bool, typer.Option(option_name(request, name), help=text)], default)
    option = typer.Option(option_name(request, name), metavar=metavar, help=text)
    if field.is_required():
        return _keyword(name, Annotated[kind, option], inspect.Parameter.empty)
    default = field.get_default(call_default_factory=True)
    return _keyword(name, Annotated[kind | None, option], default if isinstance(default, SIMPLE_TYPES) else None)


def _open_parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    """The option of one of `Request.open_fields`.

    The help shows its default, but its value is None unless the person types it, since a model refuses settings that are not
    those of its family.
    """
    cli = marker(field, Cli) or Cli()
    kind = _typer_type(field.annotation, False)
    default = field.get_default(call_default_factory=True)
    option = typer.Option(
        cli.option or f"--{name.replace('_', '-')}",
        metavar=cli.metavar or _allowed_words(field.annotation) or None,
        help=field.description or "",
        show_default=str(default) if isinstance(default, SIMPLE_TYPES) else False,
    )
    return _keyword(name, Annotated[kind | None, option], None)


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _typer_type(annotation: Any, is_argument: bool) -> Any:
    """The type that typer reads for a field: one of `PLAIN_TYPES`, a list of texts for arguments in any number, else text."""
    plain = _without_metadata(annotation)
    if get_origin(plain) in (Union, UnionType):
        parts = [part for part in get_args(plain) if part is not NoneType]
        if is_argument and any(get_origin(part) is list for part in parts):
            return list[str]
        return _typer_type(parts[0], is_argument) if len(parts) == 1 else str
    if get_origin(plain) in (list, tuple) and is_argument:
        return list[str]
    if get_origin(plain) is Literal and all(isinstance(choice, int) for choice in get_args(plain)):
        return int
    return plain if plain in PLAIN_TYPES else str


def _without_metadata(annotation: Any) -> Any:
    return annotation.__origin__ if hasattr(annotation, "__metadata__") else annotation


def _allowed_words(annotation: Any) -> str:
    """The words that a field allows, such as ``crop|pad|stretch``; "" where it allows other values too.

    >>> _allowed_words(Literal["crop", "pad"] | None)
    'crop|pad'
    """
    plain = _without_metadata(annotation)
    parts: Iterable[Any] = get_args(plain) if get_origin(plain) in (Union, UnionType) else (plain,)
    words = [word for part in parts if get_origin(part) is Literal for word in get_args(part)]
    return "|".join(map(str, words)) if words and all(isinstance(word, str) for word in words) else ""

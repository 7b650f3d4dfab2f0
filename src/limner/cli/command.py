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
"""What typer reads and checks itself; all else is text until the request reads it."""
SIMPLE_TYPES = (int, float, str, Path)
"""Defaults of these types are shown in the help."""

Command = Callable[..., None]


def make_command(verb: Verb) -> Command:
    """The function whose signature typer turns into a command."""
    own, choices = verb.request.model_fields, verb.request.open_fields()
    fields = {name: field for name, field in own.items() if name != verb.request.open_field} | dict(choices)

    def command(as_json: bool, **values: Any) -> None:
        answer_verb(verb, typed_values(fields, values), as_json=as_json)

    parameters = [_parameter(verb.request, name, field) for name, field in own.items() if name in fields]
    parameters += [_choice_parameter(name, field) for name, field in choices.items()]
    json_option = typer.Option("--json", help="Print one JSON object on stdout, everything else on stderr.")
    parameters.append(_named("as_json", Annotated[bool, json_option], False))
    parameters.sort(key=lambda one: one.default is not inspect.Parameter.empty)  # stable: what must be given stands first
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def help_text(verb: Verb) -> str:
    """The help of the verb's command, which is the docstring of its request."""
    return inspect.getdoc(verb.request) or ""


def typed_values(fields: Mapping[str, FieldInfo], values: Mapping[str, Any]) -> dict[str, Any]:
    """What the person typed, by field; for the others the request's own defaults stand."""
    typed = {}
    for name, value in values.items():
        if _typer_type(fields[name].annotation, False) is bool:
            if value is not None and value != fields[name].get_default(call_default_factory=True):
                typed[name] = value
        elif value not in (None, [], ()):
            typed[name] = value
    return typed


def _parameter(request: type[Request], name: str, field: FieldInfo) -> inspect.Parameter:
    cli = marker(field, Cli) or Cli()
    kind = _typer_type(field.annotation, cli.is_argument)
    text = field.description or ""
    metavar = cli.metavar or _choices(field.annotation) or None
    if cli.is_argument:
        argument = typer.Argument(metavar=option_name(request, name), help=text, show_default=False)
        if field.is_required():
            return _named(name, Annotated[kind, argument], inspect.Parameter.empty)
        return _named(name, Annotated[kind | None, argument], None)
    if kind is bool:
        default = field.get_default(call_default_factory=True)
        return _named(name, Annotated[bool, typer.Option(option_name(request, name), help=text)], default)
    option = typer.Option(option_name(request, name), metavar=metavar, help=text)
    if field.is_required():
        return _named(name, Annotated[kind, option], inspect.Parameter.empty)
    default = field.get_default(call_default_factory=True)
    return _named(name, Annotated[kind | None, option], default if isinstance(default, SIMPLE_TYPES) else None)


def _choice_parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    """One of a model's own choices, whose default is only shown: a model refuses choices that are not its own, so none is
    passed on that the person did not type."""
    cli = marker(field, Cli) or Cli()
    kind = _typer_type(field.annotation, False)
    default = field.get_default(call_default_factory=True)
    option = typer.Option(
        cli.option or f"--{name.replace('_', '-')}",
        metavar=cli.metavar or _choices(field.annotation) or None,
        help=field.description or "",
        show_default=str(default) if isinstance(default, SIMPLE_TYPES) else False,
    )
    return _named(name, Annotated[kind | None, option], None)


def _named(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _typer_type(annotation: Any, is_argument: bool) -> Any:
    """What typer reads for this annotation: a plain type, a list of texts for arguments in any number, otherwise text."""
    plain = _without_metadata(annotation)
    if get_origin(plain) in (Union, UnionType):
        parts = [part for part in get_args(plain) if part is not NoneType]
        return _typer_type(parts[0], is_argument) if len(parts) == 1 else str
    if get_origin(plain) in (list, tuple) and is_argument:
        return list[str]
    if get_origin(plain) is Literal and all(isinstance(choice, int) for choice in get_args(plain)):
        return int
    return plain if plain in PLAIN_TYPES else str


def _without_metadata(annotation: Any) -> Any:
    return annotation.__origin__ if hasattr(annotation, "__metadata__") else annotation


def _choices(annotation: Any) -> str:
    """``crop|pad|stretch`` for a choice of words."""
    plain = _without_metadata(annotation)
    parts: Iterable[Any] = get_args(plain) if get_origin(plain) in (Union, UnionType) else (plain,)
    words = [word for part in parts if get_origin(part) is Literal for word in get_args(part)]
    return "|".join(map(str, words)) if words and all(isinstance(word, str) for word in words) else ""

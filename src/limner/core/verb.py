"""The base classes of verbs: a verb is a function from a request model to a result model, which reports progress.

The command line with its help, the Python functions, ``--json`` and the reference in the docs are made from these models.
Neither this module nor those of requests and results import torch or numpy at the top, so that help appears at once.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, Union, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo

from limner.core.errors import InputError, NearestNames, nearest, short_repr
from limner.core.extensions import result_error
from limner.core.fields import Cli, PathKind, describe_range
from limner.core.invocation import COMMAND_WORDS
from limner.core.notebook import html_table
from limner.core.numeric_fields import NumericFields
from limner.core.progress import OnProgress, silent
from limner.core.synonyms import same_meaning, setting_for

SETTINGS = "settings"
"""The field of a request that takes settings of a recipe."""
RUN_USES = ("run", "run or pictures")
"""Uses of paths that may be runs."""
OUT_OF_RANGE = frozenset({"greater_than", "greater_than_equal", "less_than", "less_than_equal"})
"""Pydantic's errors about a number beyond the bounds of its field."""
MAX_PICTURE_BYTES = 4 * 2**20
"""A notebook does not show a picture file that is larger than this."""

Marker = TypeVar("Marker")


class Request(NumericFields):
    """The base class of requests. The docstring of a request is the help of its verb, and its fields are the options."""

    # Validators are built on first use: building all of them would take half the time of importing the table of verbs.
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, defer_build=True, allow_inf_nan=False)

    open_field: ClassVar[str | None] = None
    """The name of a field, a mapping, that takes the keywords that are no fields. What they mean is validated by the verb."""

    @classmethod
    def open_fields(cls) -> Mapping[str, FieldInfo]:
        """The keywords that `open_field` may take, with their descriptions, for help and documentation."""
        return {}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """The request with these values of its fields.

        Errors: `InputError` in one line that names the option, and the values that are allowed for it.
        """
        try:
            return cls.model_validate(values if cls.open_field is None else cls._gather(cls.open_field, values))
        except ValidationError as error:
            raise InputError(_one_line(error, cls)) from error

    @classmethod
    def _gather(cls, open_field: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """`values` with all keywords that are no fields moved into the open field.

        Errors: `InputError` for a keyword that is not among `open_fields`. Whether the model of this request has it is checked
        by the verb, once that model is loaded.
        """
        fields = {name: value for name, value in values.items() if name in cls.model_fields}
        keywords = {name: value for name, value in values.items() if name not in cls.model_fields}
        if not isinstance(fields.get(open_field, {}), Mapping):
            return {**fields, **keywords}  # to be refused as what it is
        if fields.get(open_field):
            keywords = {**fields.get(open_field, {}), **keywords}
        names = cls.open_fields()
        for name in keywords:
            if name not in names:
                raise InputError(_unknown(name, [one for one in cls.model_fields if one != open_field] + list(names)))
        return {**fields, open_field: keywords} if keywords else fields

    @model_validator(mode="before")
    @classmethod
    def _take_checkpoint(cls, values: Any) -> Any:
        """A loaded model in the place of a run stands for its own checkpoint, unless another one is named.

        Errors: `InputError` where several models are of different checkpoints, and the request has one for all.
        """
        if not isinstance(values, Mapping) or "checkpoint" not in cls.model_fields or "checkpoint" in values:
            return values
        images = dict[int, None]()
        for name, info in cls.model_fields.items():
            if (kind := marker(info, PathKind)) is not None and kind.use in RUN_USES:
                value = values.get(name)
                for one in value if isinstance(value, list | tuple) else [value]:
                    if (own := getattr(one, "checkpoint", None)) is not None and hasattr(own, "images"):
                        images[own.images] = None
        if len(images) > 1:
            numbers = ", ".join(map(str, images))
            raise InputError(f"the models are of different checkpoints ({numbers}); name runs, and one checkpoint for all")
        return {**values, "checkpoint": str(next(iter(images)))} if images else values

    @property
    def run_folder(self) -> Path | None:
        """The run that the request is about, whose log gets the traceback of a failure; None where there is no such run."""
        for name, info in type(self).model_fields.items():
            kind = marker(info, PathKind)
            value = getattr(self, name)
            if kind is not None and kind.use in RUN_USES and isinstance(value, str | Path):
                return Path(value)
        return None


class Result(NearestNames, BaseModel):
    """The base class of results: objects with typed fields, which are also found by name, as in ``result["files"]``.

    ``--json`` prints the fields. A notebook shows `picture`, where there is one, and a short table of the fields.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, defer_build=True)

    picture_field: ClassVar[str | None] = None
    """The name of the field that holds the path of a picture to show, such as a sheet of samples."""

    @property
    def exit_code(self) -> int:
        """The exit code of the command: 0, or 130 where the work was stopped before its end and can be resumed."""
        return 0

    def __getitem__(self, key: str) -> Any:
        if key in self.keys():
            return getattr(self, key)
        raise KeyError(f"{key}{nearest(key, self.keys())}")

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]  # as a mapping does, whose keys it yields
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def keys(self) -> list[str]:
        """The names of the fields that were set; an optional one that was not set is not among them."""
        return [name for name in [*type(self).model_fields, *(self.__pydantic_extra__ or {})] if name in self.model_fields_set]

    def items(self) -> list[tuple[str, Any]]:
        """(name, value) of every field in `keys`."""
        return [(key, self[key]) for key in self.keys()]

    def get(self, key: str, default: Any = None) -> Any:
        """The field of that name, or `default` where it is not in `keys`."""
        return self[key] if key in self.keys() else default

    @property
    def picture(self) -> Path | None:
        """The file of a picture that shows the result; None where there is no such file."""
        value = self.get(self.picture_field) if self.picture_field is not None else None
        return Path(value) if value is not None and Path(value).is_file() else None

    def __repr__(self) -> str:
        """One line, such as ``SampleResult(files=[16], grid='…/grid.png')``: lists and mappings by their lengths."""
        parts = [f"{key}={_abbreviate(value)}" for key, value in self.items() if not is_empty(value)]
        return f"{type(self).__name__}({', '.join(parts)})"

    __str__ = __repr__

    def _repr_png_(self) -> bytes | None:
        path = self.picture
        if path is None or path.suffix != ".png" or path.stat().st_size > MAX_PICTURE_BYTES:
            return None
        return path.read_bytes()

    def _repr_html_(self) -> str:
        rows = [(key, _abbreviate(value)) for key, value in self.items() if not is_empty(value)]
        return html_table(rows, png=self._repr_png_())


def is_empty(value: Any) -> bool:
    """Whether `value` can be left out of a printed result: None, or an empty text, list or mapping.

    >>> is_empty(None), is_empty([]), is_empty(0), is_empty(False)
    (True, True, False, False)
    """
    return value is None or (isinstance(value, str | list | tuple | Mapping) and not value)


def _abbreviate(value: Any, is_inner: bool = False) -> str:
    """A value in few characters: of a long or inner list or mapping the number of entries, of a long path the end.

    >>> _abbreviate({"frechet": {"value": 8.7, "error": 0.1}, "seeds": [1, 2], "count": 0.123456})
    "{'frechet': {2}, 'seeds': [2], 'count': 0.1235}"
    """
    if isinstance(value, str | Path):
        text = str(value)
        if len(text) <= 48:
            return repr(text)
        return repr(f"…{text[-46:]}" if "/" in text and " " not in text else f"{text[:46]}…")
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        if is_inner or len(value) > 4 or any(isinstance(one, list | tuple | Mapping) for one in value):
            return f"[{len(value)}]"
        return f"[{', '.join(_abbreviate(one, True) for one in value)}]"
    if isinstance(value, Mapping):
        if is_inner or len(value) > 4:
            return f"{{{len(value)}}}"
        return f"{{{', '.join(f'{key!r}: {_abbreviate(one, True)}' for key, one in value.items())}}}"
    return short_repr(value)


@dataclass(frozen=True)
class Verb:
    """A row of the table of verbs.

    >>> class HelloRequest(Request):
    ...     "Greet somebody."
    ...     name: str = "world"
    >>> class HelloResult(Result):
    ...     words: str
    >>> def hello(request: HelloRequest, on_progress: OnProgress) -> HelloResult:
    ...     return HelloResult(words=f"hello {request.name}")
    >>> Verb(HelloRequest, HelloResult, hello).call(name="limner")["words"]
    'hello limner'
    """

    request: type[Request]
    result: type[Result]
    run: Callable[[Any, OnProgress], Result]
    name_in_python: str = ""
    """The name of the function ``limner.NAME``; "" where that is the verb's own name."""
    flag_results: Mapping[str, type[Result]] = field(default_factory=dict)
    """Flag of the request -> the type of the result where that flag is set."""
    after: Callable[[Any], None] | None = None
    """On the command line only, called with the result after it was printed: for work that lasts until Ctrl-C, such as a
    server."""

    @property
    def results(self) -> tuple[type[Result], ...]:
        """Every type that the result may have, `result` first."""
        return (self.result, *self.flag_results.values())

    def call(self, *values: Any, on_progress: OnProgress = silent, **keywords: Any) -> Result:
        """Runs the verb with a request, or with the values of its fields.

        Fields that are arguments on the command line can stand by position, all others by name. Errors: `InputError` for a
        field that is unknown or missing, for a value that is not allowed, and the errors of the verb itself.
        """
        if len(values) == 1 and not keywords and isinstance(values[0], self.request):
            return self._run(values[0], on_progress)
        names = positional(self.request)
        if len(values) > len(names):
            raise InputError(f"{len(values)} values are given by place and there are {len(names)}: {', '.join(names)}")
        by_place = dict(zip(names, values, strict=False))
        for name in by_place:
            if name in keywords:
                raise InputError(f"'{name}' is given twice, by place and by name; give it once")
        return self._run(self.request.of({**by_place, **keywords}), on_progress)

    def _run(self, request: Request, on_progress: OnProgress) -> Result:
        """Runs the verb in a process that is not limner's own, whatever modes of torch it has set."""
        if "torch" not in sys.modules:  # then its modes are the defaults, and many verbs do without it
            return self.answer(request, on_progress)
        from limner.core.precision import own_modes

        with own_modes():
            return self.answer(request, on_progress)

    def answer(self, request: Request, on_progress: OnProgress) -> Result:
        """What the verb's function gives for a request. Errors: those of the verb; `PackageError` where it gives no result."""
        result: object = self.run(request, on_progress)
        if not isinstance(result, Result):
            raise result_error(f"the verb {self.run.__name__}", self.run, result, f"a {self.result.__name__}")
        return result


def keyword_function(name: str, verb: Verb) -> Callable[..., Result]:
    """The function ``limner.NAME`` of a verb. Fields are keywords; arguments of the command line can stand by position too."""

    def function(*values: Any, on_progress: OnProgress = silent, **keywords: Any) -> Result:
        return verb.call(*values, on_progress=on_progress, **keywords)

    function.__name__ = function.__qualname__ = name
    function.__module__ = "limner"
    about = inspect.getdoc(verb.request) or ""
    fields = "\n".join(f"- `{name}`: {info.description}" for name, info in verb.request.model_fields.items())
    function.__doc__ = f"{about}\n\n{inspect.getdoc(verb.run) or ''}\n\n{fields}".strip()
    function.__signature__ = signature(verb)  # type: ignore[attr-defined]
    return function


def signature(verb: Verb) -> inspect.Signature:
    """The signature of that function."""
    arguments = positional(verb.request)
    parameters = []
    for name in [*arguments, *(other for other in verb.request.model_fields if other not in arguments)]:
        info = verb.request.model_fields[name]
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if name in arguments else inspect.Parameter.KEYWORD_ONLY
        default = inspect.Parameter.empty if info.is_required() else info.get_default(call_default_factory=True)
        parameters.append(inspect.Parameter(name, kind, default=default, annotation=info.annotation))
    progress = inspect.Parameter("on_progress", inspect.Parameter.KEYWORD_ONLY, default=silent, annotation=OnProgress)
    parameters.append(progress)
    if verb.request.open_field is not None:
        parameters.append(inspect.Parameter("sampling_settings", inspect.Parameter.VAR_KEYWORD, annotation=Any))
    return inspect.Signature(parameters, return_annotation=Union[verb.results])  # noqa: UP007  # of a tuple


def positional(request: type[Request]) -> list[str]:
    """The names of the fields that are arguments on the command line, in order."""
    return [name for name, field in request.model_fields.items() if (cli := marker(field, Cli)) and cli.is_argument]


def marker(field: FieldInfo, kind: type[Marker]) -> Marker | None:
    """The annotation of type `kind` of a field, or None. One at the field itself takes precedence over one in its type."""
    return next(_markers(field.metadata, field.annotation, kind), None)


def _markers(metadata: Sequence[Any], annotation: Any, kind: type[Marker]) -> Iterator[Marker]:
    """All annotations of type `kind`, those of the field before those in its type, such as of the path in `RunPath | None`."""
    yield from (one for one in reversed(metadata) if isinstance(one, kind))
    for part in get_args(annotation):
        if hasattr(part, "__metadata__"):
            yield from _markers(part.__metadata__, part.__origin__, kind)


def option_name(request: type[Request], name: str) -> str:
    """The name of a field on the command line: ``--top-k``, or ``RUN`` for an argument.

    A flag that is on by default also gets the option that switches it off.

    >>> class ARequest(Request):
    ...     top_k: int = 0
    ...     metadata: bool = True
    >>> option_name(ARequest, "top_k"), option_name(ARequest, "metadata")
    ('--top-k', '--metadata/--no-metadata')
    """
    field = request.model_fields.get(name)
    cli = (marker(field, Cli) if field is not None else None) or Cli()
    if cli.is_argument:
        return cli.metavar or name.upper()
    dashed = name.replace("_", "-")
    is_on = field is not None and field.annotation is bool and field.default is True
    return cli.option or (f"--{dashed}/--no-{dashed}" if is_on else f"--{dashed}")


def typed_name(request: type[Request], name: str) -> str:
    """The name of a field as whoever called writes it: its keyword in Python, its option or argument on the command line."""
    return name if COMMAND_WORDS.get() is None else option_name(request, name)


def _one_line(error: ValidationError, request: type[Request]) -> str:
    """One of pydantic's errors in one line that names the option.

    That is the first error about an unknown name, if any, since a misspelt field is reported as missing too; else the first.
    """
    errors = error.errors()
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    name = str(first["loc"][0]) if first["loc"] else ""
    option, value = typed_name(request, name), _typed_value(first["input"])
    if first["type"] == "extra_forbidden":
        return _unknown(name, list(request.model_fields))
    if first["type"] == "missing":
        return f"{option} is missing; {_description(request, name)}"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if first["type"] in OUT_OF_RANGE:
        return f"{option} {value} cannot be: it should be {describe_range(request.model_fields[name])}"
    if first["type"] == "literal_error":
        hint = nearest(str(first["input"]), first["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", "))
        return f"{option} {value} is not one of {first['ctx']['expected']}{hint}"
    if message.startswith("Input is not "):
        return f"{option} {value} cannot be: it is not {message.removeprefix('Input is not ')}"
    return f"{option} {value} cannot be: it should be {message}"


def _typed_value(value: object) -> str:
    """A value in a message; of the command line come whole numbers too as floating point, such as 0.0 for ``--minutes 0``."""
    return f"{value:g}" if isinstance(value, float) else short_repr(value)


def _unknown(name: str, names: Sequence[str]) -> str:
    """The message for an option that is not among `names`."""
    options = f"there are: {', '.join(names)}" if names else "there are none"
    hint = nearest(name, names)
    if SETTINGS in names and same_meaning(name, names) is None and (setting := setting_for(name)) is not None:
        hint = f"; did you mean the setting '{setting}', as in {SETTINGS}={{'{setting}': …}}?"
    return f"unknown option '{name}'{hint} ({options})"


def _description(request: type[Request], name: str) -> str:
    """The description of a field as the end of a sentence."""
    text = request.model_fields[name].description or "give it as well"
    return text[0].lower() + text[1:].rstrip(".")

"""Writes docs/reference.md and src/limner/__init__.pyi from the table of verbs: `python docs/write_reference.py`.

The first is for people, the second tells type checkers and editors the public names and their keywords. A test compares both
with what stands in the repository.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

import limner
from limner import _HOMES
from limner.core.fields import Cli, PathKind, number_text, path_list, path_text, run_text
from limner.core.table import Table
from limner.core.verb import Request, Result, Verb, marker, option_name, positional
from limner.runs.model import Loaded
from limner.verbs import VERBS, name_in_python

READERS: Mapping[Any, str] = {number_text: "int", **dict.fromkeys((run_text, path_text), "int | PathLike[str]")}
"""Functions that read a field -> what they accept beside text."""
ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference.md"
STUB = ROOT / "src" / "limner" / "__init__.pyi"

METHODS_OF: Mapping[str, Sequence[str]] = {
    "load": (
        *("run", "checkpoint", "recipe", "method", "shape", "sample", "sampling", "reconstruct", "encode", "decode", "latents"),
        *("latent_shape", "capabilities", "dataset", "class_of", "checkpoint_notes"),
    ),
    "Run": (
        *("open", "path", "recipe", "status", "provenance", "metrics", "scores", "checkpoints", "checkpoint", "best"),
        "is_training",
    ),
    "Recipe": ("to_yaml", "portable"),
    "VERBS": ("register", "forget", "faults"),
}
"""Public name -> the members that the page describes: of the class, of what the function returns, or of the table."""

INTRODUCTION = """# Reference of the verbs

Everything that limner can be asked for, on the command line and in Python. This page is made from the code by
`python docs/write_reference.py`.

On the command line every verb also takes `--json` (one JSON object on stdout, everything else on stderr) and `--help`. In
Python every verb is a function that also takes `on_progress`, a function of `limner.Progress`; its result answers as an object
and by name: `result.files` is `result["files"]`. What is no verb, such as `limner.load`, stands
[at the end](#in-python-alone).
"""
IN_PYTHON = """## In Python alone

Public names of `limner` that are no verbs.
"""


def own_rows() -> Mapping[str, Verb]:
    """The verbs of limner itself, whatever packages are installed beside it."""
    return VERBS.own


def fields_of(request: type[Request]) -> dict[str, FieldInfo]:
    """Arguments first, as they are written; then the options; then the choices of models."""
    places = positional(request)
    own = {name: request.model_fields[name] for name in places}
    own |= {name: field for name, field in request.model_fields.items() if name not in (*places, request.open_field)}
    return own | dict(request.open_fields())


# ---- the page -----------------------------------------------------------------------------------------------------------


def write_page() -> str:
    """docs/reference.md."""
    verbs = [_section(name, verb) for name, verb in own_rows().items()]
    return "\n".join([INTRODUCTION, *verbs, IN_PYTHON, *map(_public_name, _HOMES)])


def _section(name: str, verb: Verb) -> str:
    about = (inspect.getdoc(verb.request) or "").strip()
    arguments = " ".join(option_name(verb.request, field) for field in positional(verb.request))
    lines = [f"## {name}", "", about, "", "```", f"limner {name} {arguments} [OPTIONS]".replace("  ", " "), "```", ""]
    lines += [f"Python: `limner.{name_in_python(name)}`. {' '.join((inspect.getdoc(verb.run) or '').split())}", ""]
    fields = fields_of(verb.request)
    if fields:
        lines += ["| command line | Python | default | |", "| --- | --- | --- | --- |"]
        lines += [_field_row(verb.request, field, info) for field, info in fields.items()]
        lines.append("")
    for result in verb.results:
        lines += [f"Result `{result.__name__}`: {' '.join((inspect.getdoc(result) or '').split())}", ""]
        names = ", ".join(f"`{field}`" for field in result.model_fields)
        lines += [f"Fields: {names}.", ""]
    return "\n".join(lines)


def _field_row(request: type[Request], name: str, field: FieldInfo) -> str:
    default = "required" if field.is_required() else _default(field)
    cells = (option_name(request, name), name, default, " ".join((field.description or "").split()))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in (f"`{cells[0]}`", f"`{cells[1]}`", *cells[2:])) + " |"


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    return "" if default in (None, (), [], {}) else f"`{default}`"


def _public_name(name: str) -> str:
    """The part of the page about a public name that is no verb."""
    value = getattr(limner, name)
    lines = [f"### limner.{name}", ""]
    if isinstance(value, Table):
        kind = f"{value.kind.__module__}.{value.kind.__name__}"
        lines.append(
            f"A mapping of names to rows of the type `{kind}`: limner's own, those of installed packages (entry point group "
            f"`{value.group}`), and those that the program registers. [extending.md](extending.md) has examples."
        )
    else:
        shape = "" if inspect.isclass(value) and not is_dataclass(value) else str(inspect.signature(value))
        lines += ["```python", f"limner.{name}{_plain(shape)}", "```", "", inspect.getdoc(value) or ""]
    owner, label = value, name
    if name == "load":
        owner, label = Loaded, "model"
        lines += ["", f"`model = limner.load(…)` is a `{Loaded.__module__}.{Loaded.__name__}`. {inspect.getdoc(Loaded)}"]
    for member in METHODS_OF.get(name, ()):
        lines += ["", *_member(type(value) if isinstance(value, Table) else owner, label, member)]
    return "\n".join([*lines, ""])


def _member(owner: type, label: str, name: str) -> list[str]:
    """The lines about an attribute, a property or a method of a class; `label` is what stands before its dot."""
    value = inspect.getattr_static(owner, name, None)
    if isinstance(value, staticmethod) or inspect.isfunction(value):
        shape = _plain(str(inspect.signature(getattr(owner, name)))).replace("(self, ", "(").replace("(self)", "()")
        return [f"`{label}.{name}{shape}`", "", inspect.getdoc(getattr(owner, name)) or ""]
    text = f"of the type `{owner.__annotations__[name]}`." if value is None else _sentence(value)
    return [f"`{label}.{name}`: {text}"]


def _sentence(value: Any) -> str:
    """The first sentence of a docstring, on one line."""
    return re.split(r"(?<=\.)\s", " ".join((inspect.getdoc(value) or "").split()), maxsplit=1)[0]


def _plain(shape: str) -> str:
    """A signature without quotation marks around annotations, and without addresses in defaults.

    >>> _plain("(run: 'str | int', which: str = 'last') -> 'Run'")
    "(run: str | int, which: str = 'last') -> Run"
    """
    shape = re.sub(r"<function (\w+) at [^>]*>", r"\1", shape).replace("<factory>", "…")
    return re.sub(r"(: |-> )(['\"])(.*?)\2(?=[,)= ]|$)", r"\1\3", shape)


# ---- the stub -----------------------------------------------------------------------------------------------------------


def write_stub() -> str:
    """src/limner/__init__.pyi."""
    verbs = own_rows()
    imports = (
        "from collections.abc import Iterable, Mapping, Sequence",
        "from os import PathLike",
        "from pathlib import Path",
        "from typing import Any, Literal, overload",
    )
    names = [f"from {module} import {name} as {name}" for name, module in _HOMES.items()]
    results = sorted({(result.__module__, result.__name__) for verb in verbs.values() for result in verb.results})
    names += [f"from {module} import {name} as {name}" for module, name in results]
    public = sorted([*_HOMES, *(name_in_python(name) for name in verbs), *(name for _, name in results)])
    listed = "".join(f'    "{name}",\n' for name in public)
    functions = [function for name, verb in verbs.items() for function in _functions(name, verb)]
    head = '"""The public names for type checkers, made from the table of verbs by `python docs/write_reference.py`."""\n'
    return "\n".join(
        [
            head,
            *imports,
            "",
            *sorted(["from limner.core.progress import OnProgress", *names]),
            "",
            f"__all__ = [\n{listed}]",
            "__version__: str",
            "",
            *functions,
        ]
    )


def _functions(name: str, verb: Verb) -> Iterator[str]:
    """The function of a verb; one overload for each type of result."""
    head = "@overload\n" if verb.flag_results else ""
    yield head + _function(name, verb, verb.result, dict.fromkeys(verb.flag_results, "Literal[False]"))
    for flag, result in verb.flag_results.items():
        yield head + _function(name, verb, result, {flag: "Literal[True]"})


def _function(name: str, verb: Verb, result: type[Result], flags: Mapping[str, str]) -> str:
    places, parts = positional(verb.request), []
    fields = fields_of(verb.request)
    if verb.request.open_field is not None:
        fields[verb.request.open_field] = verb.request.model_fields[verb.request.open_field]
    for field, info in fields.items():
        if field not in places and "*" not in parts:
            parts.append("*")
        is_required = info.is_required() or flags.get(field) == "Literal[True]"
        parts.append(f"{field}: {flags.get(field) or _accepted(info)}" + ("" if is_required else " = ..."))
    parts += ([] if "*" in parts else ["*"]) + ["on_progress: OnProgress = ..."]
    arguments = "".join(f"    {part},\n" for part in parts)
    return f"def {name_in_python(name)}(\n{arguments}) -> {result.__name__}: ..."


def _accepted(field: FieldInfo) -> str:
    """What a caller may give for the field, in the stub's words."""
    cli, reader, path = marker(field, Cli), marker(field, BeforeValidator), marker(field, PathKind)
    text = _type_text(field.annotation)
    if path is not None and path.use == "settings":
        return "str | Mapping[str, Any] | Sequence[str]"
    if reader is not None and reader.func is path_list:
        return f"str | Path | {text}"
    if reader is not None and reader.func in READERS:
        text = text.replace(" | Path", "").replace("str", f"str | {READERS[reader.func]}", 1).replace("list[", "Sequence[")
    if cli is not None and not cli.is_argument and text.startswith(("list[int]", "list[str]")):
        text = text.replace("list[int]", "str | Iterable[int]").replace("list[str]", "str | Sequence[str]")
    return text


def _type_text(annotation: Any) -> str:
    if hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    if annotation is NoneType:
        return "None"
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " | ".join(dict.fromkeys(_type_text(part) for part in parts))
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, parts))}]"
    if origin in (list, tuple):
        inner = _type_text(parts[0])
        if origin is tuple and Ellipsis not in parts:
            return f"tuple[{', '.join(map(_type_text, parts))}]"
        return f"Sequence[{inner}]" if origin is tuple or inner not in ("int", "str") else f"list[{inner}]"
    if origin is dict:
        return f"Mapping[{', '.join(map(_type_text, parts))}]"
    if annotation is Path:
        return "str | Path"
    return "Any" if annotation is Any else str(annotation.__name__)


def main() -> None:
    """Writes both files."""
    for path, text in ((REFERENCE, write_page()), (STUB, write_stub())):
        path.write_text(text.rstrip() + "\n", encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()

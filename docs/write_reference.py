"""Writes docs/reference.md and src/limner/__init__.pyi from the table of verbs: `python docs/write_reference.py`.

The first is for people, the second tells type checkers and editors the public names and their keywords. A test compares both
with what stands in the repository.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from limner import _HOMES
from limner.core.fields import Cli, number_text, path_text, run_text
from limner.core.verb import Request, Result, Verb, marker, option_name, positional
from limner.verbs import VERBS, name_in_python

READERS: Mapping[Any, str] = {number_text: "int", **dict.fromkeys((run_text, path_text), "int | PathLike[str]")}
"""Functions that read a field -> what they accept beside text."""
ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference.md"
STUB = ROOT / "src" / "limner" / "__init__.pyi"

INTRODUCTION = """# Reference of the verbs

Everything that limner can be asked for, on the command line and in Python. This page is made from the code by
`python docs/write_reference.py`.

On the command line every verb also takes `--json` (one JSON object on stdout, everything else on stderr) and `--help`. In
Python every verb is a function that also takes `on_progress`, a function of `limner.Progress`; its result answers as an object
and by name: `result.files` is `result["files"]`.
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
    return "\n".join([INTRODUCTION, *(_section(name, verb) for name, verb in own_rows().items())])


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
    cli, reader = marker(field, Cli), marker(field, BeforeValidator)
    text = _type_text(field.annotation)
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

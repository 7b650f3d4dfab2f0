"""Runs a verb for the command line, and turns its result or error into text and an exit code.

Exit codes: 0 done; 2 an error that the person can correct (`InputError`, a misspelt command); 1 an error in limner, whose
traceback goes to a log and not to the terminal; 130 interrupted. The result goes to stdout and errors to stderr, in one line.
With ``--json``, stdout holds exactly one JSON object, which is ``{"error": ...}`` after an error.
"""

from __future__ import annotations

import glob
import json
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any, NoReturn

import typer

from limner.core.errors import InputError
from limner.core.verb import Result, Verb

EXIT_FAILED, EXIT_USER_ERROR, EXIT_INTERRUPTED = 1, 2, 130
"""Exit codes after an error in limner, an error that the person can correct, and an interruption."""


def to_jsonable(value: Any) -> Any:
    """`value` in types of JSON: paths as text, data classes as objects, NaN and infinities (which JSON lacks) as null.

    Errors: `TypeError` for a value that has no such form.

    >>> to_jsonable({"out": Path("samples"), "loss": float("nan"), "seeds": (0, 1)})
    {'out': 'samples', 'loss': None, 'seeds': [0, 1]}
    """
    from pydantic_core import to_jsonable_python

    if isinstance(value, Result):
        value = dict(value.items())
    return to_jsonable_python(value, inf_nan_mode="null", fallback=_to_python)


def _to_python(value: Any) -> Any:
    """A value that pydantic cannot convert, as one that it can: other mappings and sequences, scalars of numpy and torch."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    if callable(item := getattr(value, "item", None)):  # a scalar, without an import of numpy or torch
        return item()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def print_json(value: Any) -> None:
    """Prints `value` as one line of JSON on stdout."""
    text = json.dumps(to_jsonable(value), ensure_ascii=False, allow_nan=False)
    try:
        print(text, flush=True)
    except UnicodeEncodeError:  # a terminal of another alphabet, or half a character in a name
        print(json.dumps(to_jsonable(value), allow_nan=False), flush=True)


def _owns_stdout() -> bool:
    """Whether this process writes to stdout: of several that torchrun started, only the first does."""
    return os.environ.get("RANK", "0") == "0"


def exit_with_error(message: str, *, code: int, as_json: bool) -> NoReturn:
    """Prints `message` in one line on stderr, with `as_json` also as the object on stdout, and ends the command with `code`."""
    from limner.core.address import public_text

    line = public_text(" ".join(message.split()))
    print(f"limner: {line}", file=sys.stderr, flush=True)
    if as_json and _owns_stdout():
        print_json({"error": line})
    raise typer.Exit(code)


def log_traceback(error: BaseException, run: Path | None) -> Path | None:
    """Writes the traceback of `error` to the log of `run`, or to a file in the cache, and returns the path of that file.

    A verb that has logged it already says so by a note at the exception, ``log: PATH``. The result is None where no file can be
    written.
    """
    for note in getattr(error, "__notes__", ()):
        if note.startswith("log: "):
            return Path(note.removeprefix("log: "))
    from limner.core.address import public_text, public_word
    from limner.core.files import cache_folder

    folder = None if run is None else _find_run(run)
    if folder is not None:
        path = folder / "log.txt"
    else:
        path = cache_folder() / "logs" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", errors="backslashreplace") as handle:
            handle.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} limner {' '.join(map(public_word, sys.argv[1:]))}\n")
            handle.write(public_text("".join(traceback.format_exception(error)), *sys.argv[1:]))
    except OSError:
        return None
    return path


def _find_run(run: Path) -> Path | None:
    """The folder of the run that `run` names, perhaps by its beginning (``runs/0007``); None where that is not exactly one."""
    if (run / "recipe.yaml").is_file():
        return run
    recipes = list(run.parent.glob(f"{glob.escape(run.name)}*/recipe.yaml")) if run.name else []
    return recipes[0].parent if len(recipes) == 1 else None


def _failure(error: Exception, run: Path | None) -> str:
    log = log_traceback(error, run)
    what = f"{type(error).__name__}: {error}".strip().rstrip(":.")
    if len(what) > 300:
        what = what[:300] + " …"
    return f"a fault of limner's own: {what}. " + (f"Details are in {log}" if log else "No log could be written")


def answer_verb(verb: Verb, values: Mapping[str, Any], *, as_json: bool) -> NoReturn:
    """Runs `verb` with the `values` a person typed, prints its one answer, and leaves with its exit code.

    The log of the run that the request is about takes the traceback of a failure. What the verb prints by itself goes to
    stderr when stdout is promised to JSON.
    """
    with _errors_as_exit_codes(as_json, None):
        request = verb.request.of(values)
    run = request.run_folder
    with _errors_as_exit_codes(as_json, run):
        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            from limner.cli.progress import progress_on_stderr

            with progress_on_stderr() as on_progress:
                result = verb.run(request, on_progress)
        if _owns_stdout():
            if as_json:
                print_json(result)
            else:
                from limner.cli.show.choice import show

                show(result)
    if verb.after is not None:
        with _errors_as_exit_codes(False, run):  # the one object is printed already
            verb.after(result)
    raise typer.Exit(result.exit_code)


@contextmanager
def _errors_as_exit_codes(as_json: bool, run: Path | None) -> Iterator[None]:
    """Whatever goes wrong inside becomes one line and an exit code; `run` is the run that the work is about, if any."""
    try:
        yield
    except InputError as error:
        exit_with_error(str(error), code=EXIT_USER_ERROR, as_json=as_json)
    except KeyboardInterrupt:
        saved = f"; what {run} had saved is whole" if run is not None and run.is_dir() else ""
        exit_with_error(f"interrupted{saved}", code=EXIT_INTERRUPTED, as_json=as_json)
    except (typer.Exit, typer.TyperException, BrokenPipeError):
        raise
    except Exception as error:  # the one place where any fault becomes one line and a log
        exit_with_error(_failure(error, run), code=EXIT_FAILED, as_json=as_json)

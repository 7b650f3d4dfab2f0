"""Runs a verb for the command line, and turns its result or error into text and an exit code.

Exit codes: 0 done; 2 an error that the person can correct (`InputError`, a misspelt command); 1 an error in limner, whose
traceback goes to a log and not to the terminal; 130 interrupted. The result goes to stdout and errors to stderr, in one line.
With ``--json``, stdout holds exactly one JSON object, which is ``{"error": ...}`` after an error.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO

import typer

from limner.core.errors import InputError, Interruption, PackageError
from limner.core.files import describe_os_error
from limner.core.process import configure_command
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
    try:
        print(f"limner: {line}", file=sys.stderr, flush=True)
    except OSError:  # a closed pipe or a full disk: the exit code says that something is wrong
        discard_output(sys.stderr)
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
    from limner.core.invocation import COMMAND_WORDS

    words = COMMAND_WORDS.get() or sys.argv[1:]
    folder = None if run is None else _find_run(run)
    if folder is not None:
        path = folder / "log.txt"
    else:
        path = cache_folder() / "logs" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", errors="backslashreplace") as handle:
            handle.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} limner {' '.join(map(public_word, words))}\n")
            handle.write(public_text("".join(traceback.format_exception(error)), *words))
    except OSError:
        return None
    return path


def _find_run(run: Path) -> Path | None:
    """The folder of the run that `run` names in any way; None where there is no such run, and for pictures of that name."""
    from limner.runs.lookup import find_run, is_run

    try:
        return None if os.path.exists(run) and not is_run(run) else find_run(run)
    except (InputError, OSError):
        return None


def _failure(error: Exception, run: Path | None) -> str:
    log = log_traceback(error, run)
    what = f"{type(error).__name__}: {error}".strip().rstrip(":.")
    if len(what) > 300:
        what = what[:300] + " …"
    owner = _faulty_package(error)
    whose = f"a fault of the package {owner}" if owner else "a fault of limner's own"
    return f"{whose}: {what}. " + (f"Details are in {log}" if log else "No log could be written")


def _faulty_package(error: Exception) -> str | None:
    """The installed package that has rows in limner's tables and in whose code the error arose; None for limner's own."""
    from importlib.metadata import entry_points

    groups = [group for group in entry_points().groups if group.startswith("limner.")]
    packages = {point.module.partition(".")[0] for group in groups for point in entry_points(group=group)}
    names = [frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in traceback.walk_tb(error.__traceback__)]
    return next((name if name in packages else None for name in reversed(names) if name in {"limner", *packages}), None)


def answer_verb(verb: Verb, values: Mapping[str, Any], *, as_json: bool) -> NoReturn:
    """Runs `verb` with the `values` a person typed, prints its one answer, and leaves with its exit code.

    The log of the run that the request is about takes the traceback of a failure. What the verb prints by itself goes to
    stderr when stdout is promised to JSON.
    """
    with _errors_as_exit_codes(as_json, None):
        request = verb.request.of(values)
    run = request.run_folder
    configure_command()
    with _errors_as_exit_codes(as_json, run):
        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            from limner.cli.progress import progress_on_stderr

            with progress_on_stderr() as on_progress:
                try:
                    result = verb.answer(request, on_progress)
                except Interruption as interruption:
                    result = interruption.result
        if _owns_stdout():
            _print_result(result, as_json)
    if verb.after is not None:
        with _errors_as_exit_codes(False, run):  # the one object is printed already
            verb.after(result)
    raise typer.Exit(result.exit_code)


def _print_result(result: Result, as_json: bool) -> None:
    """Prints `result` on stdout. Where the terminal was closed in the meantime, nobody reads it, and that is no fault.

    Errors: `InputError` where stdout is a file on a full disk; `BrokenPipeError`.
    """
    try:
        if as_json:
            print_json(result)
        else:
            from limner.cli.show.choice import show

            show(result)
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_output(sys.stdout)
        if error.errno == errno.EIO:
            return
        raise InputError(
            f"the result could not be written to standard output: {error.strerror}; what was made stays"
        ) from error


def discard_output(stream: TextIO) -> None:
    """Leads what is still to be written to `stream` nowhere, since Python would fail to write it once more as it ends."""
    with suppress(OSError, ValueError):  # no file behind the stream, as in a test or a notebook
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def _errors_as_exit_codes(as_json: bool, run: Path | None) -> Iterator[None]:
    """Whatever goes wrong inside becomes one line and an exit code; `run` is the run that the work is about, if any."""
    try:
        yield
    except PackageError as error:
        log = log_traceback(error, run)
        exit_with_error(f"{error}{f'; details are in {log}' if log else ''}", code=EXIT_USER_ERROR, as_json=as_json)
    except InputError as error:
        exit_with_error(str(error), code=EXIT_USER_ERROR, as_json=as_json)
    except KeyboardInterrupt as error:
        folder = None if run is None else _find_run(run)
        by = f" by {error}" if error.args else ""
        saved = "" if folder is None else f"; what {folder} had saved is whole"
        exit_with_error(f"interrupted{by}{saved}", code=EXIT_INTERRUPTED, as_json=as_json)
    except (typer.Exit, typer.TyperException, BrokenPipeError):
        raise
    except OSError as error:  # a file or folder that the person can make usable
        line = describe_os_error(error)
        message, code = (_failure(error, run), EXIT_FAILED) if line is None else (line, EXIT_USER_ERROR)
        exit_with_error(message, code=code, as_json=as_json)
    except Exception as error:  # the one place where any fault becomes one line and a log
        exit_with_error(_failure(error, run), code=EXIT_FAILED, as_json=as_json)

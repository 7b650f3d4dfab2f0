"""How every verb ends: one answer on stdout, one line on stderr, one of four exit codes.

0 done; 2 the person can mend it (`InputError`, a mistyped command); 1 limner failed, with the traceback in a log and not on the
terminal; 130 interrupted. With ``--json``, stdout holds exactly one JSON object, ``{"error": ...}`` where something went wrong.
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

DONE, FAILED, MENDABLE, INTERRUPTED = 0, 1, 2, 130


def to_jsonable(value: Any) -> Any:
    """`value` in JSON's own types: paths as text, data classes as objects, NaN and infinities (which JSON lacks) as null.

    Errors: `TypeError` for a value that has no such form.
    """
    from pydantic_core import to_jsonable_python

    if isinstance(value, Result):
        value = dict(value.items())
    return to_jsonable_python(value, inf_nan_mode="null", fallback=_simpler)


def _simpler(value: Any) -> Any:
    """What pydantic has no form for: other mappings and sequences than Python's own, and scalars of numpy and torch."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    if callable(item := getattr(value, "item", None)):  # asks without importing numpy or torch
        return item()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def print_json(value: Any) -> None:
    print(json.dumps(to_jsonable(value), ensure_ascii=False, allow_nan=False), flush=True)


def _owns_stdout() -> bool:
    """Whether this process answers: where torchrun started several, only the first writes to stdout."""
    return os.environ.get("RANK", "0") == "0"


def complain(message: str, *, code: int, as_json: bool) -> NoReturn:
    """One line on stderr (and the one object on stdout), then out with `code`."""
    from limner.core.address import public_text

    line = public_text(" ".join(message.split()))
    print(f"limner: {line}", file=sys.stderr, flush=True)
    if as_json and _owns_stdout():
        print_json({"error": line})
    raise typer.Exit(code)


def log_traceback(error: BaseException, run: Path | None) -> Path | None:
    """Writes the traceback of `error` to the run's log, or to a file in the cache, and returns that file.

    None where nothing can be written.

    A verb that logged it itself says so in a note on the exception: ``log: PATH``.
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
        with path.open("a", encoding="utf-8") as handle:
            handle.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} limner {' '.join(map(public_word, sys.argv[1:]))}\n")
            handle.write(public_text("".join(traceback.format_exception(error)), *sys.argv[1:]))
    except OSError:
        return None
    return path


def _find_run(run: Path) -> Path | None:
    """The run's folder, which its beginning (``runs/0007``) may name; None where it is no run, or not one alone."""
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
    with _one_answer(as_json, None):
        request = verb.request.of(values)
    run = request.run_folder
    with _one_answer(as_json, run):
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
        with _one_answer(False, run):  # the one object is printed already
            verb.after(result)
    raise typer.Exit(result.exit_code)


@contextmanager
def _one_answer(as_json: bool, run: Path | None) -> Iterator[None]:
    """Whatever goes wrong inside becomes one line and an exit code; `run` is the run that the work is about, if any."""
    try:
        yield
    except InputError as error:
        complain(str(error), code=MENDABLE, as_json=as_json)
    except KeyboardInterrupt:
        saved = f"; what {run} had saved is whole" if run is not None and run.is_dir() else ""
        complain(f"interrupted{saved}", code=INTERRUPTED, as_json=as_json)
    except (typer.Exit, typer.TyperException, BrokenPipeError):
        raise
    except Exception as error:  # the one place where any fault becomes one line and a log
        complain(_failure(error, run), code=FAILED, as_json=as_json)

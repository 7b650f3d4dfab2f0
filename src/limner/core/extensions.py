"""Calls of code that is not limner's own: the functions and classes in rows that packages and programs add to a table.

A fault there is no fault of limner. It becomes a `PackageError` in one line that says which row it is, of which package, and
where in its code.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from limner.core.errors import InputError, PackageError, is_out_of_memory, short_repr

MAX_FAULT_LENGTH = 300
"""Characters of an error's text that a message repeats."""


def module_of(code: object) -> str:
    """The module in which a function, a class, or the class of an object is defined.

    >>> module_of(module_of), module_of(partial(int, base=2)), module_of(3)
    ('limner.core.extensions', 'builtins', 'builtins')
    """
    while isinstance(code, partial):
        code = code.func
    return getattr(code, "__module__", None) or type(code).__module__


def is_own(code: object) -> bool:
    """Whether a function, a class or an object is limner's own."""
    return module_of(code).partition(".")[0] == __name__.partition(".")[0]


@contextmanager
def attribute_errors(what: str, code: object) -> Iterator[None]:
    """Inside, where `code` is called and nothing else is done, its errors become a `PackageError`; those of limner's own stay.

    `what` says which row of which table it is, such as "the metric 'brightness'". `InputError` stays as it is: its author wrote
    it for a person. Too little memory is no fault of the code, and stays too.
    """
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        if is_own(code) or is_out_of_memory(error):
            raise
        text = f"{type(error).__name__}: {error}".rstrip(": ")
        if len(text := " ".join(text.split())) > MAX_FAULT_LENGTH:
            text = f"{text[:MAX_FAULT_LENGTH]} …"
        raise PackageError(f"{what} of {_package(code)} failed: {text}{_place(error, code)}; mend it there") from error


def result_error(what: str, code: object, result: object, expected: str) -> PackageError:
    """The error for code that gave something else than it has to.

    >>> print(result_error("the metric 'hue'", print, None, "a Measurement"))
    the metric 'hue' of builtins gave None, and not a Measurement; mend it there
    """
    return PackageError(f"{what} of {_package(code)} gave {short_repr(result)}, and not {expected}; mend it there")


def _package(code: object) -> str:
    """The package, or the file of a program, that a person knows the code by."""
    return module_of(code).partition(".")[0]


def _place(error: BaseException, code: object) -> str:
    """`` (metric.py, line 17)``: the innermost line of the package of `code` in the traceback; "" where there is none."""
    places = [
        f" ({frame.f_code.co_filename}, line {line})"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__", "").partition(".")[0] == _package(code)
    ]
    return places[-1] if places else ""

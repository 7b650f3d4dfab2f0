"""`InputError`, the error that a person can mend.

It is raised on purpose where the cause is known; the command line prints it as one line and exits with code 2. Any other
exception is a bug of limner: exit code 1, with the traceback in the log.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from limner.core.synonyms import same_meaning

_MODULES: Mapping[str, str] = {"scikit-learn": "sklearn"}
"""Distribution -> the module that it installs, where their names differ."""
MAX_REPR_LENGTH = 80
"""The largest number of characters of a value that a message repeats."""
MAX_WORD_LENGTH = 200
"""Characters of a word for which a similar one is looked for."""


class InputError(Exception):
    """Something that the person can mend. The message is one line: what is wrong, where, and how to mend it."""


class PackageError(InputError):
    """A fault in code of another package, or of the program that called limner; who wrote that can mend it.

    The message is one line like that of any `InputError`. For its author, the traceback goes to a log too.
    """


class Interruption(KeyboardInterrupt):
    """Ctrl-C in the middle of a training, raised once the state is saved.

    `result` is what the call would have returned, such as a `limner.TrainResult` whose `state` is "stopped". The message says
    where the state is, and how to go on from there. As a `KeyboardInterrupt` it ends a program that does not catch it.
    """

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message)
        self.result = result


class NearestNames:
    """A base class of what a person holds in Python: the error about an attribute that does not exist names the nearest one.

    >>> class Point(NearestNames):
    ...     width = 3
    >>> Point().widht
    Traceback (most recent call last):
    ...
    AttributeError: 'Point' object has no attribute 'widht'; did you mean 'width'?
    """

    if not TYPE_CHECKING:  # a type checker would take any attribute for one that exists

        def __getattr__(self, name: str) -> Any:
            inherited = getattr(super(), "__getattr__", None)
            try:
                if inherited is not None:
                    return inherited(name)
                message = f"'{type(self).__name__}' object has no attribute '{name}'"
            except AttributeError as error:
                message = str(error)
            names = [] if name.startswith("_") else [one for one in dir(self) if not one.startswith(("_", "model_"))]
            raise AttributeError(f"{message}{nearest(name, names)}")


def nearest(word: str, candidates: Iterable[str]) -> str:
    """A clause for the end of a message that names the candidate nearest to `word`; empty where none is.

    The nearest is its singular or plural, otherwise one with the same meaning in other programs, otherwise one with similar
    letters. Of dotted names with the
    same beginning the last parts are compared, since the beginning makes all of them similar.

    >>> nearest("dcgn", ["vae", "dcgan"]), nearest("data.colour", ["data.source", "data.channels"])
    ("; did you mean 'dcgan'?", "; did you mean 'data.channels'?")
    >>> nearest("step", ["steps", "checkpoint"]), nearest("xyz", ["vae", "dcgan"])
    ("; did you mean 'steps'?", '')
    """
    name = nearest_name(word, candidates)
    return f"; did you mean '{name}'?" if name is not None else ""


def nearest_name(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that `nearest` names; None where it names none."""
    names = list(candidates)
    other_number = next((name for name in names if name in (f"{word}s", word.removesuffix("s"))), None)
    return other_number or same_meaning(word, names) or _most_similar(word, names)


def _most_similar(word: str, names: Sequence[str]) -> str | None:
    """The name with the most similar letters; None where none is similar."""
    if len(word) > MAX_WORD_LENGTH:  # no name, and comparing it would take long
        return None
    prefix, dot, last = word.rpartition(".")
    if dot:
        siblings = [name.removeprefix(f"{prefix}.") for name in names if name.startswith(f"{prefix}.")]
        matches = difflib.get_close_matches(last, siblings, n=1, cutoff=0.6)
        if matches:
            return f"{prefix}.{matches[0]}"
    matches = difflib.get_close_matches(word, names, n=1, cutoff=0.75 if dot else 0.5)
    return matches[0] if matches else None


def short_repr(value: object) -> str:
    """The `repr` of `value` in one line of at most 80 characters, for messages: it may be a whole array.

    >>> short_repr("two\\nlines")
    "'two\\\\nlines'"
    >>> len(short_repr(list(range(1000))))
    80
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= MAX_REPR_LENGTH else f"{text[: MAX_REPR_LENGTH - 1]}…"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch (on a GPU or on the CPU) or Python ran out of memory.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("you tried; can't allocate memory"))
    (True, True)
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's own, without an import of torch
        return True
    texts = ("can't allocate memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(text in str(error) for text in texts)


def require(*distributions: str) -> None:
    """Checks that these distributions are installed, before work begins that would fail without them.

    They are dependencies of limner, but a machine that only trains and samples from a checkout may lack them.
    Errors: `InputError` that names the missing ones, and how to install them.
    """
    missing = [name for name in distributions if not _is_installed(_MODULES.get(name, name))]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise InputError(f"{' and '.join(missing)} {verb} needed here and not installed; pip install {' '.join(missing)}")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:
        return False

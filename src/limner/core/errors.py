"""`InputError`, the error that a person can mend.

It is raised on purpose where the cause is known; the command line prints it as one line and exits with code 2. Any other
exception is a bug of limner: exit code 1, with the traceback in the log.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib.util import find_spec

_MODULES: Mapping[str, str] = {"scikit-learn": "sklearn"}
"""Distribution -> the module that it installs, where their names differ."""
MAX_REPR_LENGTH = 80
"""The largest number of characters of a value that a message repeats."""
MAX_WORD_LENGTH = 200
"""Characters of a word for which a similar one is looked for."""


class InputError(Exception):
    """Something that the person can mend. The message is one line: what is wrong, where, and how to mend it."""


def nearest(word: str, candidates: Iterable[str]) -> str:
    """A clause for the end of a message that names the candidate most like `word`; empty where none is similar.

    >>> nearest("dcgn", ["vae", "dcgan"])
    "; did you mean 'dcgan'?"
    >>> nearest("xyz", ["vae", "dcgan"])
    ''
    """
    if len(word) > MAX_WORD_LENGTH:  # no name, and comparing it would take long
        return ""
    matches = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.5)
    return f"; did you mean '{matches[0]}'?" if matches else ""


def short_repr(value: object) -> str:
    """The `repr` of `value` in one line of at most 80 characters, for messages: it may be a whole array.

    >>> short_repr("two\\nlines")
    "'two\\\\nlines'"
    >>> len(short_repr(list(range(1000))))
    80
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= MAX_REPR_LENGTH else f"{text[: MAX_REPR_LENGTH - 1]}…"


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

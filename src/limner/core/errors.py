"""The one error a person can mend.

Raised on purpose, where the fault is known; the doors print it as one line and leave with exit code 2. Everything else that
escapes is a bug of ours: exit code 1, with the traceback in the log.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib.util import find_spec

_MODULES: Mapping[str, str] = {"scikit-learn": "sklearn"}
"""The module that a distribution brings, where it is named otherwise."""


class InputError(Exception):
    """Something the person can mend. The message is one line: what, where, and how to mend it."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A clause such as ``; did you mean 'dcgan'?``, or an empty string where nothing comes close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def require(*distributions: str) -> None:
    """Asks whether these distributions are installed, before work begins that would end for want of them.

    They are dependencies of limner; but a machine where it only trains and samples, from a checkout, may lack them.
    Errors: `InputError` that names the missing ones, and how to install them.
    """
    missing = [name for name in distributions if not _is_installed(_MODULES.get(name, name))]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        raise InputError(f"{' and '.join(missing)} {are} needed here and not installed; pip install {' '.join(missing)}")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:
        return False

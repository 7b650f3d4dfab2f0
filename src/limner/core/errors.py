"""The one error a person can mend.

Raised on purpose, where the fault is known; the doors print it as one line and leave with exit code 2. Everything else that
escapes is a bug of ours: exit code 1, with the traceback in the log.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Something the person can mend. The message is one line: what, where, and how to mend it."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A clause such as ``; did you mean 'dcgan'?``, or an empty string where nothing comes close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""

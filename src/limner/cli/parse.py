"""Small grammars of the command line: lists of seeds, and `key=value`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

from limner.core.errors import InputError

MAX_SEEDS = 1_000_000
"""Pictures that one command draws."""
_MAX_SEED = 2**63 - 1
_PART = re.compile(r"([0-9]{1,19})(?:-([0-9]{1,19}))?")


def parse_seeds(text: str, option: str = "--seeds", what: str = "seed") -> list[int]:
    """``"0-15,42"`` is the seeds 0 to 15 and 42, in the order written, each once; `option` and `what` are for errors.

    Errors: `InputError` for anything else, for a range that runs backwards, and for more than a million seeds.
    """
    ranges: list[range] = []
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise InputError(f"{option} {text!r}: {part.strip()!r} is neither a number nor a range; write for example 0-15,42")
        first = int(match[1])
        last = int(match[2]) if match[2] is not None else first
        if last > _MAX_SEED or first > _MAX_SEED:
            raise InputError(f"{option} {text!r}: a {what} is at most {_MAX_SEED}")
        if last < first:
            raise InputError(f"{option} {text!r}: {part.strip()} runs backwards; write {last}-{first}")
        ranges.append(range(first, last + 1))
    if sum(one.stop - one.start for one in ranges) > MAX_SEEDS:
        raise InputError(f"{option} {text!r}: more than {MAX_SEEDS:,} {what}s; ask for them in several commands")
    return list(dict.fromkeys(chain.from_iterable(ranges)))


def choose_seeds(seeds: str | None, count: int | None) -> list[int]:
    """The seeds of `--seeds`, or the first `--count` seeds (16 where neither is given)."""
    if seeds is not None and count is not None:
        raise InputError("--seeds and --count exclude each other; give one of them")
    if seeds is not None:
        return parse_seeds(seeds)
    chosen = 16 if count is None else count
    if not 1 <= chosen <= MAX_SEEDS:
        raise InputError(f"--count {chosen}: choose 1 to {MAX_SEEDS:,}")
    return list(range(chosen))


def check_settings(settings: Sequence[str] | None) -> tuple[str, ...]:
    """The words after the options, each of which must be ``key=value``; what the keys mean is the recipe's business."""
    for word in settings or ():
        key, equals, _ = word.partition("=")
        if not equals or not key.strip():
            raise InputError(f"{word!r} is not a setting; settings are written key=value, for example data.size=64")
    return tuple(settings or ())


def split_list(text: str | None) -> list[str] | None:
    """``"a, b"`` is ["a", "b"]; None stays None."""
    if text is None:
        return None
    return [part.strip() for part in text.split(",") if part.strip()]


def given(**options: Any) -> dict[str, Any]:
    """The options that the person gave; for the others the verb's own defaults stand."""
    return {name: value for name, value in options.items() if value is not None}

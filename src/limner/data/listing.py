"""What a source holds, before any picture is decoded: one row per picture, and where its pixels come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from limner.core.progress import OnProgress, silent

FILE_LIMIT = 512 * 2**20
"""Files larger than this many bytes are set aside unread: no picture of use here is larger, and archives may lie."""

_NAMES_SHOWN = 4


@dataclass(frozen=True)
class Rejected:
    """A file that was set aside, and why."""

    file: str
    reason: str

    def as_json(self) -> dict[str, str]:
        """As manifests and reports hold it."""
        return {"file": self.file, "reason": self.reason}


@dataclass(frozen=True)
class Fault:
    """Stands in place of a file's bytes where they cannot be had."""

    reason: str


Payload = Path | bytes | Fault


@dataclass(frozen=True)
class Entry:
    """A file inside a tree: its name with forward slashes, its size in bytes and its time of change (0 in archives)."""

    name: str
    size: int
    stamp: int = 0
    fault: str = ""
    """Why it cannot be read, where that is known before: it is a named pipe, or a link that leads nowhere."""


class Tree(Protocol):
    """A folder or an archive: names, and the bytes behind them. Nothing is ever extracted to disk."""

    @property
    def path(self) -> Path:
        """The folder or the archive."""
        ...

    def entries(self) -> Sequence[Entry]:
        """Every file in it, by name. Errors: `InputError` where it cannot be read."""
        ...

    def read(self, names: Sequence[str]) -> Iterator[tuple[str, Payload]]:
        """Each of `names` once, in whatever order suits the tree."""
        ...

    def identity(self, on_progress: OnProgress = silent) -> str:
        """Text that changes when the content does."""
        ...


@dataclass(frozen=True)
class Files:
    """Pictures that must be decoded: `names` of entries in `tree`, one per row; a name may stand in several rows."""

    tree: Tree
    names: tuple[str, ...]


@dataclass(frozen=True)
class Arrays:
    """Pictures that are pixels already: `rows` maps indices [n] to [n, H, W, C] uint8."""

    shape: tuple[int, int, int]
    rows: Callable[[NDArray[np.int64]], NDArray[np.uint8]]


@dataclass(frozen=True)
class Listing:
    """Every picture of a source. `hints` [N] is its place in `options.SPLITS`, or -1 where the source does not say.

    `published` splits are kept as they are, duplicates or not, so that numbers stay comparable with the literature.
    `given_content` is the given picture of each picture, in the same order, where the set has them: what a model is shown
    beside the seed (an outline, a small or a damaged picture). One file may be given with several pictures.
    `notes` are sentences for a person: how the source was read, and what was left out of it.
    """

    content: Files | Arrays
    hints: NDArray[np.int8]
    labels: NDArray[np.int64] | None = None
    classes: tuple[str, ...] = ()
    captions: tuple[str, ...] | None = None
    factors: dict[str, NDArray[Any]] | None = None
    published: bool = False
    given_content: Files | Arrays | None = None
    rejected: tuple[Rejected, ...] = ()
    other: int = 0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.hints)

    def take(self, rows: NDArray[np.int64]) -> Listing:
        """The same listing with these rows only, in this order."""
        return replace(
            self,
            content=_take(self.content, rows),
            given_content=None if self.given_content is None else _take(self.given_content, rows),
            hints=self.hints[rows],
            labels=None if self.labels is None else self.labels[rows],
            captions=None if self.captions is None else tuple(self.captions[row] for row in rows),
            factors=None if self.factors is None else {name: values[rows] for name, values in self.factors.items()},
        )


def _take(content: Files | Arrays, rows: NDArray[np.int64]) -> Files | Arrays:
    if isinstance(content, Files):
        return Files(content.tree, tuple(content.names[row] for row in rows))
    pixels_of = content.rows
    return Arrays(content.shape, lambda indices: pixels_of(rows[indices]))


def name_of(content: Files | Arrays, row: int) -> str:
    """The file of a picture, or its number in sources that have no files."""
    return printable(content.names[row]) if isinstance(content, Files) else str(row)


def printable(name: str) -> str:
    """A file name that can be written as UTF-8: bytes that are none are shown as escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def enumerate_names(names: Sequence[str]) -> str:
    """The first names, and how many others there are.

    >>> enumerate_names(["a", "b", "c", "d", "e", "f"])
    'a, b, c, d and 2 more'
    """
    more = f" and {len(names) - _NAMES_SHOWN:,} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(printable(name) for name in names[:_NAMES_SHOWN]) + more

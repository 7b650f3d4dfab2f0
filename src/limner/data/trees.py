"""Folders as trees of named bytes; `limner.data.archives` has those of zip and tar archives.

`rules` are those of `DataOptions`. By rules 1, as before 2026-12, links in archives are passed over, names with backslashes
stay as they are, and nothing but hidden files is left out.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from limner.core.errors import InputError
from limner.core.files import cache_folder, slug, why_irregular
from limner.core.progress import OnProgress, silent
from limner.data.content import content_digest
from limner.data.listing import FILE_LIMIT, Entry, Fault, Payload, printable
from limner.data.omissions import leave_out
from limner.data.options import RULES

TOO_LARGE = Fault(f"larger than {FILE_LIMIT // 2**20} MiB")
"""In place of the content of a file above `FILE_LIMIT`."""


def dataset_name(file_name: str) -> str:
    """The name of a data set from that of its folder or file.

    >>> dataset_name("my pets.tar.gz"), dataset_name("pixels.npy")
    ('my-pets', 'pixels')
    """
    stem = re.sub(r"(\.zip|\.tar|\.tar\.\w+|\.tgz|\.gz|\.npy|\.npz)$", "", file_name, flags=re.IGNORECASE)
    return slug(printable(stem)).strip("-.") or "data"


def hidden(name: str) -> bool:
    """Files that no person means: dot files, and what macOS adds to archives."""
    return any((part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in name.split("/"))


def escapes(name: str) -> bool:
    """Whether a relative name with forward slashes would leave its tree (`..`, absolute, a drive letter, a NUL)."""
    plain = name.replace("\\", "/")
    return plain.startswith("/") or ".." in plain.split("/") or plain[1:2] == ":" or "\0" in plain


class PictureTree(ABC):
    """A folder or an archive."""

    def __init__(self, path: Path, rules: int = RULES) -> None:
        self.path, self.rules = path, rules

    def entries(self) -> Sequence[Entry]:
        """Every file that is neither hidden nor left out, by name. Errors: `InputError` where the tree cannot be read."""
        return self._entries

    def notes(self) -> tuple[str, ...]:
        """Sentences about what was left out, and about what is odd in an archive."""
        return (*self._omissions[1], *self._oddities())

    def _oddities(self) -> Iterable[str]:
        return ()

    @property
    def _entries(self) -> list[Entry]:
        return self._omissions[0]

    @cached_property
    def _omissions(self) -> tuple[list[Entry], tuple[str, ...]]:
        return (list(self._all_entries), ()) if self.rules < 2 else leave_out(self._all_entries)

    @property
    @abstractmethod
    def _all_entries(self) -> Sequence[Entry]:
        """Every file that is not hidden, by name."""

    @abstractmethod
    def read(self, names: Sequence[str]) -> Iterator[tuple[str, Payload]]:
        """Each of `names` once, in whatever order suits the tree."""

    @abstractmethod
    def identity(self, on_progress: OnProgress = silent) -> str:
        """Text that changes when the content does."""


class FolderTree(PictureTree):
    """The files below a folder; symbolic links are followed, each real folder once."""

    def __init__(self, path: Path, rules: int = RULES) -> None:
        super().__init__(path, rules)
        self._caches: list[str] = []  # folders of limner's cache that the walk passed over

    @cached_property
    def _all_entries(self) -> Sequence[Entry]:
        entries: list[Entry] = []
        visited: set[tuple[int, int]] = set()  # (device, inode) of the folders walked through
        cache = self._cache_inode()

        def refuse(error: OSError) -> None:
            raise InputError(f"cannot read the folder {error.filename}; check that it may be opened") from error

        for folder, inner, files in os.walk(self.path, followlinks=True, onerror=refuse):
            try:
                real = os.stat(folder)
            except OSError as error:  # its path is too long, or it has just gone
                raise InputError(f"cannot read the folder {folder} ({error.strerror}); check that it may be opened") from error
            if (real.st_dev, real.st_ino) in visited:  # a link that leads back up: walking on would never end
                inner.clear()
                continue
            visited.add((real.st_dev, real.st_ino))
            if (real.st_dev, real.st_ino) == cache:
                self._caches.append(os.path.relpath(folder, self.path))
                inner.clear()
                continue
            inner[:] = sorted(name for name in inner if not hidden(name))
            below = os.path.relpath(folder, self.path).replace(os.sep, "/")
            entries += [
                _file_entry(os.path.join(folder, name), name if below == "." else f"{below}/{name}")
                for name in files
                if not hidden(name)
            ]
        return sorted(entries, key=lambda entry: entry.name)

    def _cache_inode(self) -> tuple[int, int] | None:
        """(device, inode) of limner's cache, which may lie among the pictures; None where it is what was asked for."""
        try:
            cache = os.stat(cache_folder())
            is_source = os.path.samestat(cache, os.stat(self.path))
        except OSError:
            return None
        return (cache.st_dev, cache.st_ino) if self.rules >= 2 and not is_source else None

    def _oddities(self) -> Iterable[str]:
        return (f"left out: {printable(folder)} (the cache of limner)" for folder in self._caches)

    def read(self, names: Sequence[str]) -> Iterator[tuple[str, Payload]]:
        """Each of `names` with its path, by which it is read later."""
        entries = {entry.name: entry for entry in self._entries}
        for name in names:
            entry = entries[name]
            yield name, Fault(entry.fault) if entry.fault else TOO_LARGE if entry.size > FILE_LIMIT else self.path / name

    def identity(self, on_progress: OnProgress = silent) -> str:
        """A SHA-256 over the names and the bytes of all files (`limner.data.content`)."""
        return content_digest(self.path, [entry.name for entry in self._entries], on_progress, max_bytes=FILE_LIMIT)


def _file_entry(path: str, name: str) -> Entry:
    try:
        state = os.stat(path)
    except OSError:  # a dangling link: listed all the same, so that reading it says so by name
        return Entry(name, 0)
    kind = why_irregular(state.st_mode)
    return Entry(name, state.st_size, state.st_mtime_ns, f"is {kind}, not a regular file" if kind else "")

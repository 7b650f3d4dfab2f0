"""Folders, zip and tar archives as one thing: a tree of named bytes. Archives are read in place and never extracted."""

from __future__ import annotations

import lzma
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from limner.core.errors import InputError
from limner.core.files import slug
from limner.core.progress import OnProgress, silent
from limner.data.content import content_digest
from limner.data.listing import FILE_LIMIT, Entry, Fault, Payload, Tree, printable

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, OSError, NotImplementedError)
_TOO_LARGE = Fault(f"larger than {FILE_LIMIT // 2**20} MiB")


def is_archive(path: Path) -> bool:
    """Whether the name of the file `path` is that of an archive."""
    return path.name.lower().endswith(ARCHIVES)


def dataset_name(file_name: str) -> str:
    """The name of a data set from that of its folder or file.

    >>> dataset_name("my pets.tar.gz"), dataset_name("pixels.npy")
    ('my-pets', 'pixels')
    """
    stem = re.sub(r"(\.zip|\.tar|\.tar\.\w+|\.tgz|\.gz|\.npy|\.npz)$", "", file_name, flags=re.IGNORECASE)
    return slug(printable(stem)).strip("-.") or "data"


def open_tree(path: Path) -> Tree:
    """A folder, or an archive by its extension. Errors: `InputError` when an archive is damaged (on first use)."""
    if path.is_dir():
        return FolderTree(path)
    return ZipTree(path) if path.name.lower().endswith(".zip") else TarTree(path)


def hidden(name: str) -> bool:
    """Files that no person means: dot files, and what macOS adds to archives."""
    return any((part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in name.split("/"))


def escapes(name: str) -> bool:
    """Whether a relative name with forward slashes would leave its tree (`..`, absolute, a drive letter, a NUL)."""
    plain = name.replace("\\", "/")
    return plain.startswith("/") or ".." in plain.split("/") or plain[1:2] == ":" or "\0" in plain


class FolderTree:
    """The files below a folder; symbolic links are followed, each real folder once."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> Sequence[Entry]:
        """Every file below the folder that is not hidden, by name."""
        return self._entries

    @cached_property
    def _entries(self) -> list[Entry]:
        entries: list[Entry] = []
        visited: set[tuple[int, int]] = set()  # (device, inode) of the folders walked through

        def refuse(error: OSError) -> None:
            raise InputError(f"cannot read the folder {error.filename}; check that it may be opened") from error

        for folder, inner, files in os.walk(self.path, followlinks=True, onerror=refuse):
            real = os.stat(folder)
            if (real.st_dev, real.st_ino) in visited:  # a link that leads back up: walking on would never end
                inner.clear()
                continue
            visited.add((real.st_dev, real.st_ino))
            inner[:] = sorted(name for name in inner if not hidden(name))
            below = os.path.relpath(folder, self.path).replace(os.sep, "/")
            for name in sorted(files):
                if hidden(name):
                    continue
                try:
                    state = os.stat(os.path.join(folder, name))
                    size, stamp = state.st_size, state.st_mtime_ns
                except OSError:  # a dangling link: listed all the same, so that reading it says so by name
                    size, stamp = 0, 0
                entries.append(Entry(name if below == "." else f"{below}/{name}", size, stamp))
        return sorted(entries, key=lambda entry: entry.name)

    def read(self, names: Sequence[str]) -> Iterator[tuple[str, Payload]]:
        """Each of `names` with its path, by which it is read later."""
        sizes = {entry.name: entry.size for entry in self._entries}
        for name in names:
            yield name, _TOO_LARGE if sizes[name] > FILE_LIMIT else self.path / name

    def identity(self, on_progress: OnProgress = silent) -> str:
        """A SHA-256 over the names and the bytes of all files (`limner.data.content`)."""
        return content_digest(self.path, [entry.name for entry in self._entries], on_progress, max_bytes=FILE_LIMIT)


class _Archive:
    def __init__(self, path: Path) -> None:
        self.path = path

    def identity(self, on_progress: OnProgress = silent) -> str:
        """A SHA-256 of the archive's bytes (`limner.data.content`)."""
        return content_digest(self.path, [self.path.name], on_progress)

    def damaged(self, error: Exception) -> InputError:
        """What to raise where the archive cannot be read."""
        what = " ".join(str(error or type(error).__name__).split())
        return InputError(f"the archive {self.path} is damaged or not what its name says ({what}); download or pack it again")


class ZipTree(_Archive):
    """The members of a zip archive."""

    def entries(self) -> Sequence[Entry]:
        """Every file that is not hidden, by name. Errors: `InputError` where the archive is damaged."""
        return self._entries

    @cached_property
    def _entries(self) -> list[Entry]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                sizes = {one.filename: one.file_size for one in archive.infolist() if not one.is_dir()}
        except _DAMAGE as error:
            raise self.damaged(error) from error
        return [Entry(name, size) for name, size in sorted(sizes.items()) if not hidden(_clean(name))]

    def read(self, names: Sequence[str]) -> Iterator[tuple[str, Payload]]:
        """Each of `names` with its bytes, in that order."""
        with zipfile.ZipFile(self.path) as archive:
            for name in names:
                yield name, self._member(archive, name)

    def _member(self, archive: zipfile.ZipFile, name: str) -> Payload:
        try:
            with archive.open(name) as member:
                data = member.read(FILE_LIMIT + 1)  # the size in the directory is only a claim
        except RuntimeError:
            return Fault("is encrypted")
        except (KeyError, *_DAMAGE) as error:
            return Fault(f"damaged in the archive: {' '.join(str(error).split())}")
        return _TOO_LARGE if len(data) > FILE_LIMIT else data


class TarTree(_Archive):
    """The regular files of a tar archive, compressed or not; links and devices are left alone."""

    def entries(self) -> Sequence[Entry]:
        """Every file that is not hidden, by name. Errors: `InputError` where the archive is damaged."""
        return self._entries

    @cached_property
    def _entries(self) -> list[Entry]:
        sizes: dict[str, int] = {}
        for member, _ in self._members():
            sizes.setdefault(_clean(member.name), member.size)
        return [Entry(name, size) for name, size in sorted(sizes.items()) if not hidden(name)]

    def read(self, names: Sequence[str]) -> Iterator[tuple[str, Payload]]:
        """Each of `names` with its bytes, in the archive's own order: to go back in a compressed one is to start anew."""
        missing = set(names)
        for member, archive in self._members():
            name = _clean(member.name)
            if name not in missing:
                continue
            missing.remove(name)
            if member.size > FILE_LIMIT:
                yield name, _TOO_LARGE
                continue
            try:
                handle = archive.extractfile(member)
                data: Payload = handle.read() if handle else Fault("is not a regular file")
            except _DAMAGE as error:
                raise self.damaged(error) from error
            yield name, data

    def _members(self) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
        try:
            with tarfile.open(self.path, "r:*") as archive:
                for member in archive:
                    if member.isreg():
                        yield member, archive
        except _DAMAGE as error:
            raise self.damaged(error) from error


def _clean(name: str) -> str:
    """`./a/b` is the same file as `a/b`."""
    return name.removeprefix("./")

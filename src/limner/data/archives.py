"""Zip and tar archives as trees of named bytes. They are read in place and never extracted."""

from __future__ import annotations

import lzma
import posixpath
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from abc import abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tarfile import HeaderError
from typing import Self, cast

from limner.core.errors import InputError
from limner.core.progress import OnProgress, silent
from limner.data.content import content_digest
from limner.data.listing import FILE_LIMIT, Entry, Fault, Payload, printable
from limner.data.options import RULES
from limner.data.trees import TOO_LARGE, FolderTree, PictureTree, hidden

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    OSError,
    NotImplementedError,
    ValueError,  # numbers and texts in headers that are none
    OverflowError,
    RecursionError,  # headers about headers about headers
    struct.error,
    MemoryError,
)
_MAX_HEADER_BYTES = 2**20  # of one extended header of a tar archive; real ones have a few thousand
_LONG_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_MAX_LINK_BYTES = 4096
_BOMB_BYTES, _MAX_RATIO = 2**26, 500  # deflate makes a thousandth of zeros, and less than this of any picture that is not blank
_UTF8_NAME = 0x800  # zip's flag of a name in UTF-8


def is_archive(path: Path) -> bool:
    """Whether the name of the file `path` is that of an archive."""
    return path.name.lower().endswith(ARCHIVES)


def open_tree(path: Path, rules: int = RULES) -> PictureTree:
    """A folder, or an archive by its extension. Errors: `InputError` when an archive is damaged (on first use)."""
    if path.is_dir():
        return FolderTree(path, rules)
    return ZipTree(path, rules) if path.name.lower().endswith(".zip") else TarTree(path, rules)


class _Archive(PictureTree):
    def identity(self, on_progress: OnProgress = silent) -> str:
        """A SHA-256 of the archive's bytes (`limner.data.content`)."""
        return content_digest(self.path, [self.path.name], on_progress)

    def damaged(self, error: Exception) -> InputError:
        """What to raise where the archive cannot be read."""
        what = " ".join(str(error or type(error).__name__).split())
        return InputError(f"the archive {self.path} is damaged or not what its name says ({what}); download or pack it again")

    def _oddities(self) -> Iterable[str]:
        """Of members that have one name, all but one are lost."""
        repeats = sorted(name for name, copies in self._copies.items() if copies > 1 and not hidden(name))
        if repeats and self.rules >= 2:
            which = "the last" if isinstance(self, ZipTree) else "the first"
            first = f"{printable(repeats[0])} is there {self._copies[repeats[0]]} times"
            more = f", and {len(repeats) - 1} other names are there more than once" if len(repeats) > 1 else ""
            yield f"{self.path.name}: {first}{more}; only {which} of each is read"

    @property
    @abstractmethod
    def _copies(self) -> Mapping[str, int]:
        """How many members of the archive have each name."""


class ZipTree(_Archive):
    """The members of a zip archive."""

    @property
    def _all_entries(self) -> Sequence[Entry]:
        return self._directory[0]

    @property
    def _copies(self) -> Mapping[str, int]:
        return self._directory[2]

    @cached_property
    def _directory(self) -> tuple[list[Entry], dict[str, zipfile.ZipInfo], Mapping[str, int]]:
        """The entries, the member that each name stands for, and how often each name is there."""
        copies: Counter[str] = Counter()
        members: dict[str, zipfile.ZipInfo] = {}
        links: dict[str, str] = {}
        try:
            with zipfile.ZipFile(self.path) as archive:
                for member in archive.infolist():
                    name = member.filename if self.rules < 2 else _plain(_zip_name(member))
                    if name.endswith("/"):
                        continue
                    copies[name] += 1
                    members[name] = member  # of several with one name the last, as where the archive is unpacked
                    links.pop(name, None)
                    target = _link_target(archive, member) if self.rules >= 2 else None
                    if target is not None:
                        links[name] = _beside(name, target)
        except _DAMAGE as error:
            raise self.damaged(error) from error
        targets = _resolve(links, members.keys() - links.keys())
        faults = {name: _leads_nowhere(links[name]) for name, target in targets.items() if target is None}
        if self.rules >= 2:
            faults |= {
                name: f"expands more than {_MAX_RATIO}-fold, as no picture does" for name in members if _is_bomb(members[name])
            }
        members |= {name: members[target] for name, target in targets.items() if target is not None}
        entries = [
            Entry(name, members[name].file_size, fault=faults.get(name, ""))
            for name in sorted(members)
            if not hidden(_without_dot(name))
        ]
        return entries, members, copies

    def read(self, names: Sequence[str]) -> Iterator[tuple[str, Payload]]:
        """Each of `names` with its bytes, in that order."""
        entries, members, _ = self._directory
        faults = {entry.name: entry.fault for entry in entries if entry.fault}
        try:
            archive = zipfile.ZipFile(self.path)
        except _DAMAGE as error:  # it was there when it was listed
            raise self.damaged(error) from error
        with archive:
            for name in names:
                yield name, Fault(faults[name]) if name in faults else self._member(archive, members[name])

    def _member(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Payload:
        if member.file_size > FILE_LIMIT:
            return TOO_LARGE
        try:
            with archive.open(member) as handle:
                data = handle.read(FILE_LIMIT + 1)  # the size in the directory is only a claim
        except RuntimeError:
            return Fault("is encrypted")
        except (KeyError, *_DAMAGE) as error:
            return Fault(f"damaged in the archive: {' '.join(str(error).split())}")
        return TOO_LARGE if len(data) > FILE_LIMIT else data


@dataclass(frozen=True)
class _TarDirectory:
    """What a tar archive holds, by one pass over its headers."""

    entries: list[Entry]
    sources: dict[str, str]
    """Name -> the regular file that it stands for, which is another one for links."""
    copies: Mapping[str, int]
    ending: str
    """What is odd about its end; "" where nothing is."""
    is_closed: bool
    """Whether it ends in the zeros that close a tar archive."""


class TarTree(_Archive):
    """The regular files of a tar archive, compressed or not, and links to them."""

    @property
    def _all_entries(self) -> Sequence[Entry]:
        return self._directory.entries

    @property
    def _copies(self) -> Mapping[str, int]:
        return self._directory.copies

    @property
    def is_closed(self) -> bool:
        """Whether the archive ends in the zeros that close one: without them it may have been cut off."""
        return self._directory.is_closed

    def _oddities(self) -> Iterable[str]:
        yield from super()._oddities()
        if self._directory.ending and self.rules >= 2:
            yield f"{self.path.name}: {self._directory.ending}"

    @cached_property
    def _directory(self) -> _TarDirectory:
        sizes: dict[str, int] = {}
        copies: Counter[str] = Counter()
        links: dict[str, str] = {}
        faults: dict[str, str] = {}
        with self._opened() as archive:
            for member in archive:
                name = self._name(member)
                if member.isreg():
                    sizes.setdefault(name, member.size)
                elif member.islnk():
                    links.setdefault(name, _plain(member.linkname))
                elif member.issym():
                    links.setdefault(name, _beside(name, member.linkname))
                elif member.isdir():
                    continue
                else:
                    faults[name] = "is a pipe or a device, not a regular file"
                copies[name] += 1
            ending = self._ending(archive)
            is_closed = archive.end == "end of file header"
        sources = {name: name for name in sizes}
        if self.rules >= 2:
            targets = _resolve({name: target for name, target in links.items() if name not in sizes}, sizes)
            sources |= {name: target for name, target in targets.items() if target is not None}
            faults |= {name: _leads_nowhere(links[name]) for name, target in targets.items() if target is None}
        else:
            faults.clear()
        names = sorted(sources.keys() | faults.keys())
        entries = [Entry(name, sizes.get(sources.get(name, ""), 0), fault=faults.get(name, "")) for name in names]
        return _TarDirectory([entry for entry in entries if not hidden(entry.name)], sources, copies, ending, is_closed)

    def _ending(self, archive: _TarFile) -> str:
        """What is odd about the end of an archive that was walked through. Errors: `InputError` for a header that is none.

        Python takes anything that is no header for the end. The true one are two blocks of zeros (POSIX.1, pax).
        """
        if self.rules < 2:
            return ""
        if archive.end == "empty header":
            return "it ends without the zeros that close a .tar, so it may have been cut off; compare it with where it is from"
        if archive.end != "end of file header":
            raise self.damaged(tarfile.ReadError(f"at byte {archive.offset:,}: {archive.end}"))
        assert archive.fileobj is not None
        try:
            rest = archive.fileobj.read(tarfile.RECORDSIZE)
        except _DAMAGE:
            return "what follows behind its end is damaged; all files before it are read"
        if any(rest):
            return "more follows behind its end, which is not read; archives that were joined have to be packed anew"
        return ""

    def read(self, names: Sequence[str]) -> Iterator[tuple[str, Payload]]:
        """Each of `names` with its bytes, in the archive's own order: to go back in a compressed one is to start anew."""
        faults = {entry.name: entry.fault for entry in self._entries if entry.fault}
        missing: dict[str, list[str]] = {}
        for name in names:
            if name in faults:
                yield name, Fault(faults[name])
            else:
                missing.setdefault(self._directory.sources[name], []).append(name)
        with self._opened() as archive:
            for member in archive:
                if not missing:
                    return
                aliases = missing.pop(self._name(member), []) if member.isreg() else []
                payload = self._content(archive, member) if aliases else None
                for name in aliases:
                    yield name, payload or b""

    def _content(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> Payload:
        if member.size > FILE_LIMIT:
            return TOO_LARGE
        handle = archive.extractfile(member)
        return handle.read() if handle else Fault("is not a regular file")

    def _name(self, member: tarfile.TarInfo) -> str:
        return _without_dot(member.name) if self.rules < 2 else _plain(member.name)

    @contextmanager
    def _opened(self) -> Iterator[_TarFile]:
        try:
            with _TarFile.open(self.path, "r:*") as archive:
                yield archive
        except _DAMAGE as error:
            raise self.damaged(error) from error


class _TarHeader(tarfile.TarInfo):
    """A header that is not read where it claims more than headers have, and that tells its archive how that ended."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in _LONG_HEADERS and header.size > _MAX_HEADER_BYTES):
            raise ValueError(f"a header states {header.size:,} bytes")
        return header

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        archive = cast(_TarFile, tarfile)
        assert archive.fileobj is not None
        start = archive.fileobj.tell()
        try:
            header = super().fromtarfile(archive)
        except HeaderError as error:
            archive.end = str(error)
            raise
        if archive.offset < max(header.offset_data, start + 1):  # it would be read for ever (CVE-2025-8194)
            raise ValueError("a header states a size below zero")
        return header


class _TarFile(tarfile.TarFile):
    tarinfo = _TarHeader
    end = ""
    """What was read in place of a further header, in the words of `tarfile`."""


def _without_dot(name: str) -> str:
    """`./a/b` is the same file as `a/b`."""
    return name.removeprefix("./")


def _plain(name: str) -> str:
    """The name of a member with forward slashes, each once, as archivers of Windows do not all write it."""
    return re.sub("/+", "/", name.replace("\\", "/")).removeprefix("./")


def _zip_name(member: zipfile.ZipInfo) -> str:
    """The name of a member. Many archivers write UTF-8 without saying so, which reads as another encoding then."""
    if member.flag_bits & _UTF8_NAME:
        return member.filename
    try:
        return member.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return member.filename


def _is_bomb(member: zipfile.ZipInfo) -> bool:
    return _BOMB_BYTES < member.file_size <= FILE_LIMIT and member.file_size > _MAX_RATIO * member.compress_size


def _link_target(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> str | None:
    """Where a member leads that is a symbolic link; None for any other."""
    if not stat.S_ISLNK(member.external_attr >> 16):
        return None
    try:
        with archive.open(member) as handle:
            return handle.read(_MAX_LINK_BYTES).decode("utf-8", "replace")
    except (RuntimeError, *_DAMAGE):
        return ""


def _beside(name: str, target: str) -> str:
    """The path of the `target` of a symbolic link called `name`; it begins with ``/`` or ``..`` where it leads out."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), _plain(target)))


def _resolve(links: Mapping[str, str], files: Collection[str]) -> dict[str, str | None]:
    """Each link with the one of `files` that it leads to, perhaps by way of other links; None where it leads to none."""
    targets: dict[str, str | None] = {}
    for name in links:
        place, steps = name, 0
        while place in links and steps <= len(links):
            place, steps = links[place], steps + 1
        targets[name] = place if place in files else None
    return targets


def _leads_nowhere(target: str) -> str:
    return f"is a link to {printable(target)}, which is no file of the archive"

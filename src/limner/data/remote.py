"""Sources behind an address, ``https://…/pictures.zip`` or ``s3://bucket/folder``: copied once, then read as any other.

A copy lies in the cache, under a name made of the address and of what its server says of it (etag, time of change, size), so
that a file that has changed is fetched again. It takes that name only when it is whole; older copies of the address go then.
A small file beside the copies says which one an address has, for when its server does not answer. Over http an address is one
file, for http has no folders; through `fsspec` it may be a folder as well. What is shown of an address is `public_address`.
"""

from __future__ import annotations

import hashlib
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlsplit
from urllib.request import url2pathname

from limner.core.address import public_address, public_text
from limner.core.documents import parse_json
from limner.core.download import DownloadError, NoAnswerError, content_length, download, fetch_headers
from limner.core.errors import InputError, nearest
from limner.core.files import atomic_folder, cache_folder, os_errors_as_input_errors, write_json
from limner.core.progress import OnProgress, Progress, silent
from limner.data.archives import TarTree, is_archive, open_tree
from limner.data.content import content_digest
from limner.data.listing import printable
from limner.data.trees import escapes, hidden

SCHEMES = ("http", "https", "s3", "gs", "gcs", "az", "abfs", "hf", "ftp", "sftp", "smb", "hdfs")
"""Kinds of address that are copied. fsspec knows others, some of which lead on to a second place or describe files by rules."""
_IN_MEMORY = "memory"  # a file system of this process alone, for programs and tests
MAX_BYTES = 2**38
"""Bytes of one source. What is larger is prepared in parts."""
_BLOCK = 2**20
_FILES_AT_ONCE = 64
# Where file systems say which state of a file this is; each has names of its own.
_VERSION_KEYS = ("etag", "ETag", "e_tag", "generation", "blob_id", "content_md5", "md5Hash", "crc32c")
_TIME_KEYS = ("mtime", "LastModified", "last_modified", "last_write_time", "updated", "modify", "modified", "created")


@dataclass(frozen=True)
class RemoteFile:
    """One file at an address: its path in the copy, where it lies, its bytes (None: not said), and what tells its state."""

    name: str
    place: str
    size: int | None
    version: str


Companions = Callable[[str, str], tuple[str, ...]]
"""Called with a file's name and with what errors call it: the names of files that may lie beside it and belong to it.

Errors: `InputError` where a file of that name is no source of pictures."""


class UnreachableError(InputError):
    """The server of an address does not answer."""


class _UnusableError(DownloadError):
    """A server answers, with something that cannot be the file; the message says what helps."""


class Place(Protocol):
    """Whoever holds the files at an address."""

    def files(self) -> list[RemoteFile]:
        """Every file of the source as it is now, below the last part of the address. Errors: `InputError` where none is."""
        ...

    def copy(self, files: Sequence[RemoteFile], folder: Path, on_progress: OnProgress) -> None:
        """Writes `files` below `folder`. Errors: `InputError` where one cannot be had."""
        ...


def local_source(source: str | Path) -> str | Path:
    """The path of a ``file://`` address, which needs no copy; anything else as it is. Errors: `InputError` for other hosts."""
    if not (isinstance(source, str) and source.lower().startswith("file://")):
        return source
    parts = urlsplit(source)
    if parts.netloc not in ("", "localhost") or not parts.path:
        raise InputError(f"{public_address(source)} names no file of this machine; write file:///whole/path, or the path alone")
    return Path(url2pathname(parts.path))


def open_place(address: str, companions: Companions) -> Place:
    """What lies at `address`; nothing is fetched yet. Errors: `InputError` for an address of another kind."""
    scheme = address.partition("://")[0].lower()
    label = public_address(address)
    if scheme not in (*SCHEMES, _IN_MEMORY):
        hint = nearest(scheme, SCHEMES) or f"; there are: {', '.join(SCHEMES)}"
        raise InputError(f"{label} is an address of the kind '{scheme}', which is not opened here{hint}")
    if "::" in address:
        raise InputError(f"{label} chains addresses by '::'; give the address of the archive or the folder alone")
    if base_name(address) in ("", ".") or escapes(base_name(address)):
        raise InputError(f"{label} does not end in a name; give the address of an archive or of a folder")
    return HttpPlace(address, companions) if scheme in ("http", "https") else FilesystemPlace(address, companions)


def base_name(address: str) -> str:
    """The last part of an address, such as ``pictures.zip``; over http, without its query and with %20 as a blank."""
    if address.lower().startswith("http"):
        return unquote(urlsplit(address).path).rpartition("/")[2]
    return address.rstrip("/").rpartition("/")[2]


def identity(address: str, files: Sequence[RemoteFile]) -> str:
    """Text that changes when a file behind the address does."""
    return "\n".join([address, *(f"{printable(one.name)}\0{one.size}\0{one.version}" for one in files)])


def fetch(place: Place, address: str, files: Sequence[RemoteFile], on_progress: OnProgress) -> Path:
    """The local copy of `files`: a file, or a folder where the address is one. Made now, where it is not in the cache.

    Files whose names lead out of the folder are not copied. Where a server says how long a file is, the copy has that length.
    Where it does not, a file that was cut off shows when it is opened: here for archives (`_require_whole`), by the lengths in
    their own headers for IDX files (`arrays.read_idx`), and by decoding for the pictures of a folder.

    Errors: `InputError` where it is too large for the cache, cannot be had, or changes while it is copied.
    """
    folder = _copies() / _state(address, files)
    copy = folder / base_name(address)
    label = public_address(address)
    if copy.exists():
        if _is_intact(address, folder):
            return copy
        on_progress(Progress(f"fetching {copy.name}", note=f"the copy of {label} in the cache is damaged; it is fetched anew"))
        shutil.rmtree(folder, ignore_errors=True)
    inside = [one for one in files if not escapes(one.name)]
    _require_space(address, inside)
    try:
        with atomic_folder(folder) as temporary:
            place.copy(inside, temporary, on_progress)
            for one in inside:
                size = (temporary / one.name).stat().st_size
                if one.size not in (None, size):
                    raise InputError(f"{label}: {one.name} came with {size:,} bytes, not {one.size:,}; try again")
                if one.size is None:
                    _require_whole(label, temporary / one.name)
            if place.files() != list(files):
                raise InputError(f"{label} changed while it was copied; run the same command again")
    except OSError:
        if not copy.exists():  # where it does, another process was quicker
            raise
    _remember(address, files, _content(folder, on_progress))
    return copy


def _content(folder: Path, on_progress: OnProgress = silent) -> str:
    """SHA-256 over the files of a copy."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return content_digest(folder, names, on_progress)


def _is_intact(address: str, folder: Path) -> bool:
    """Whether the copy in `folder` holds what was copied; also where it is not the newest one, or an older limner made it, so
    that nobody knows."""
    try:
        record = parse_json(_record(address).read_text(encoding="utf-8"))
        is_known = record["state"] == folder.name
        return not is_known or record["content"] == _content(folder)
    except (OSError, ValueError, LookupError, TypeError):
        return True


def earlier_files(address: str) -> list[RemoteFile] | None:
    """What the newest copy of `address` is a copy of; None where there is no copy in the cache."""
    try:
        record = parse_json(_record(address).read_text(encoding="utf-8"))
        files = [RemoteFile(name, "", size, version) for name, size, version in record["files"]]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return files if (_copies() / _state(address, files) / base_name(address)).exists() else None


def _remember(address: str, files: Sequence[RemoteFile], content: str) -> None:
    """Writes down that `files` are what the newest copy of `address` holds, with the SHA-256 of it, and removes the copy before
    it."""
    older = earlier_files(address)
    # The name is a hash and the places of the files are left out: an address may hold a password.
    states = [[one.name, one.size, one.version] for one in files]
    write_json(_record(address), {"files": states, "state": _state(address, files), "content": content})
    if older is not None and _state(address, older) != _state(address, files):
        shutil.rmtree(_copies() / _state(address, older), ignore_errors=True)


def _copies() -> Path:
    return cache_folder() / "sources"


def _record(address: str) -> Path:
    return cache_folder() / "addresses" / f"{hashlib.sha256(address.encode()).hexdigest()[:32]}.json"


def _state(address: str, files: Sequence[RemoteFile]) -> str:
    return hashlib.sha256(identity(address, files).encode()).hexdigest()[:16]


def _require_whole(label: str, path: Path) -> None:
    """Errors: `InputError` for an archive that was cut off. A zip has its directory at its end, and a compressed tar is checked
    by its compression; a plain tar may end after any of its files, so that the zeros which close it are looked for.
    """
    if not is_archive(path):
        return
    try:
        tree = open_tree(path)
        tree.entries()
        whole = path.suffix.lower() != ".tar" or not isinstance(tree, TarTree) or tree.is_closed
    except InputError as error:
        raise InputError(f"{label} came damaged or not whole ({path.name} cannot be opened); try again") from error
    if not whole:
        raise InputError(f"{label} did not come whole ({path.name} lacks its end); try again")


def _require_space(address: str, files: Sequence[RemoteFile]) -> None:
    label = public_address(address)
    total = sum(one.size or 0 for one in files)
    if total > MAX_BYTES:
        raise InputError(f"{label} holds {total:,} bytes, more than the {MAX_BYTES:,} of one source; prepare it in parts")
    there = next(path for path in (cache_folder(), *cache_folder().absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if total > free:
        raise InputError(
            f"{label} holds {total:,} bytes, and {there} has {free:,} left; free some space, or set LIMNER_CACHE to a folder "
            "on a larger disk"
        )


@dataclass(frozen=True)
class HttpPlace(Place):
    """One file over http or https, and what lies beside it and belongs to it, such as an IDX file's labels."""

    address: str
    companions: Companions

    def files(self) -> list[RemoteFile]:
        name = base_name(self.address)
        companions = self.companions(name, public_address(self.address))
        try:
            files = [_http_file(self.address, name)]
        except _UnusableError as error:
            raise InputError(str(error)) from error
        except DownloadError as error:
            raise _refusal(error) from error
        for beside in companions:
            try:
                files.append(_http_file(_neighbour(self.address, beside), beside))
            except NoAnswerError as error:  # nobody knows whether there are labels
                raise _refusal(error) from error
            except DownloadError:  # a picture file may have no labels, and at most one spelling of them is there
                continue
        return files

    def copy(self, files: Sequence[RemoteFile], folder: Path, on_progress: OnProgress) -> None:
        for one in files:
            max_bytes = MAX_BYTES if one.size is None else one.size
            try:
                download([one.place], folder / one.name, checksum=None, max_bytes=max_bytes, on_progress=on_progress)
            except DownloadError as error:
                raise InputError(f"cannot fetch {error}; check the network, then run the same command again") from error


def _refusal(error: DownloadError) -> InputError:
    kind = UnreachableError if isinstance(error, NoAnswerError) else InputError
    return kind(f"cannot read {error}; check the address and the network")


def _neighbour(url: str, name: str) -> str:
    """The address of the file `name` in the same place as that at `url`."""
    parts = urlsplit(url)
    return parts._replace(path=f"{parts.path.rpartition('/')[0]}/{quote(name)}").geturl()


def _http_file(url: str, name: str) -> RemoteFile:
    """The file at `url` as its server describes it. Errors: `DownloadError` where there is none, or a web page instead.

    Some servers answer with a page where there is no file: for a file beside another one that is the same as none.
    `InputError` for one whose changes could not be noticed.
    """
    label = public_address(url)
    headers = fetch_headers(url)
    if headers.get("Content-Type", "").startswith("text/html"):
        raise _UnusableError(f"{label} is a web page and no {name}; give the address of the file itself")
    size = content_length(headers)
    version = headers.get("ETag") or headers.get("Last-Modified") or ""
    if not version and size is None:
        raise InputError(
            f"{label} does not say how large or how old it is, so that changes pass unseen; give a local copy of it"
        )
    return RemoteFile(name, url, size, version)


@dataclass(frozen=True)
class FilesystemPlace(Place):
    """A file or a folder that `fsspec` reaches."""

    address: str
    companions: Companions

    def files(self) -> list[RemoteFile]:
        top = base_name(self.address)
        with self._refusals():
            system, root = self._open()
            system.invalidate_cache()
            about = system.info(root)
            if about["type"] != "directory":
                folder = root.removesuffix(top)
                companions = self.companions(top, public_address(self.address))
                beside = [name for name in companions if system.exists(folder + name)]
                return [
                    _described(top, root, about),
                    *(_described(name, folder + name, system.info(folder + name)) for name in beside),
                ]
            inside = system.find(root, detail=True)
        files = []
        for place in sorted(inside):
            name = place.removeprefix(root.rstrip("/") + "/")
            if not hidden(name):  # one that leads out keeps its name, by which it is set aside
                files.append(_described(name if escapes(name) else f"{top}/{name}", place, inside[place]))
        if not files:
            raise InputError(
                f"{public_address(self.address)} is empty; give the address of a folder with pictures, or of an archive"
            )
        return files

    def copy(self, files: Sequence[RemoteFile], folder: Path, on_progress: OnProgress) -> None:
        with self._refusals(), os_errors_as_input_errors(folder):
            system, _ = self._open()
            for one in files:
                (folder / one.name).parent.mkdir(parents=True, exist_ok=True)
            alone = [one for one in files if one.size is None or len(files) == 1]
            batch = [one for one in files if one.size is not None and len(files) > 1]
            room = MAX_BYTES - sum(one.size or 0 for one in batch)
            for one in alone:  # a batch has no bound, so that what does not say its size comes by itself
                room -= self._copy_one(system, one, folder, on_progress, room if one.size is None else one.size)
            what = f"fetching {base_name(self.address)}"
            for start in range(0, len(batch), _FILES_AT_ONCE):  # in a batch, file systems fetch at the same time
                some = batch[start : start + _FILES_AT_ONCE]
                system.get([one.place for one in some], [str(folder / one.name) for one in some])
                on_progress(Progress(what, start + len(some), len(batch)))

    def _copy_one(self, system: Any, one: RemoteFile, folder: Path, on_progress: OnProgress, max_bytes: int) -> int:
        """Copies one file block by block, and returns its bytes. Errors: `InputError` once there are more than `most`."""
        done = 0
        with system.open(one.place, "rb") as source, (folder / one.name).open("wb") as target:
            while block := source.read(_BLOCK):
                done += target.write(block)
                if done > max_bytes:
                    raise InputError(f"{public_address(self.address)} gives more than {max_bytes:,} bytes; try again")
                on_progress(Progress(f"fetching {base_name(one.name)} (MiB)", done // _BLOCK, (one.size or 0) // _BLOCK))
        return done

    def _open(self) -> tuple[Any, str]:
        """The file system, and what it calls the address."""
        from fsspec.core import url_to_fs

        try:
            system, root = url_to_fs(self.address)
        except ImportError as error:
            reason = public_text(str(error), self.address)
            raise InputError(f"{public_address(self.address)} needs a package that is not installed: {reason}") from error
        return system, str(root)

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """What file systems raise, in one line for the person: each has errors of its own, and few are `OSError`."""
        try:
            yield
        except InputError:
            raise
        except FileNotFoundError as error:
            raise InputError(f"there is nothing at {public_address(self.address)}; check the address") from error
        except Exception as error:
            reason = public_text(" ".join(str(error).split()), self.address) or type(error).__name__
            kind = UnreachableError if _no_answer(error) else InputError
            label = public_address(self.address)
            raise kind(f"cannot read {label} ({reason}); check the address, and that you may read it") from error


def _no_answer(error: BaseException | None) -> bool:
    """Whether a connection that failed is behind `error`: file systems wrap it in errors of their own."""
    while error is not None:
        if isinstance(error, ConnectionError | TimeoutError | socket.gaierror):
            return True
        error = error.__cause__ or error.__context__
    return False


def _described(name: str, place: str, about: Mapping[str, Any]) -> RemoteFile:
    states = [f"{key}={about[key]}" for key in (*_VERSION_KEYS, *_TIME_KEYS) if about.get(key) is not None]
    return RemoteFile(name, place, about.get("size"), " ".join(states))

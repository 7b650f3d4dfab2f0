"""Writing files atomically: to a temporary name, then fsync, then rename, so that a file is either complete or absent.

A full disk is something that the person can mend, so it becomes an `InputError`, and the incomplete file is removed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from limner.core import process
from limner.core.errors import InputError

_DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CHECKSUM = "checksum"
_PERMISSION_ERRORS = (errno.EACCES, errno.EPERM, errno.EROFS)
_REASONS: Mapping[int, str] = {
    **dict.fromkeys(_PERMISSION_ERRORS, "there is no permission; change its permissions, or choose another place"),
    errno.ENAMETOOLONG: "the name is too long; choose another",
    errno.ELOOP: "links there lead in a circle; remove one of them",
    errno.EIO: "the disk or its connection fails; check it",
}
"""Number of an operating system's error about a file -> what is wrong, and how to mend it."""


def describe_os_error(error: OSError) -> str | None:
    """One line about a file that cannot be used, for errors that a person can mend; None for all others.

    A missing file is among the others: limner checks for what a person names, so it would be a fault of its own.
    """
    if error.errno in _DISK_FULL_ERRORS:
        where = f" while writing {error.filename}" if error.filename is not None else ""
        return f"no space left{where}; free some space, then run the same command again"
    reason = _REASONS.get(error.errno or 0)
    return None if reason is None or error.filename is None else f"cannot use {error.filename}: {reason}"


@contextmanager
def os_errors_as_input_errors(path: Path) -> Iterator[None]:
    """A context in which an `OSError` of writing `path` (full disk, no permission, …) becomes an `InputError` of one line."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL_ERRORS:
            raise InputError(f"no space left while writing {path}; free some space, then run the same command again") from error
        if error.errno in _PERMISSION_ERRORS:
            raise InputError(f"no permission to write {path}; choose another folder or change its permissions") from error
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise InputError(f"cannot write {path}: {_REASONS[error.errno]}") from error
        if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
            raise InputError(
                f"cannot write {path}: a file stands where a folder should, or the reverse; choose another name"
            ) from error
        raise


@contextmanager
def read_errors_as_input_errors(label: str | Path) -> Iterator[None]:
    """A context in which an `OSError` of reading what is called `label` becomes an `InputError` of one line."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot read {label} ({error.strerror or error}); check it, and that it may be read") from error


def why_irregular(mode: int) -> str:
    """What a file of this `st_mode` is where it has no content of its own, such as "a named pipe"; "" for regular files.

    A pipe keeps a reader waiting, and some devices never end.
    """
    kinds = (
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
        (stat.S_ISDIR, "a folder"),
    )
    return next((what for is_kind, what in kinds if is_kind(mode)), "")


def check_regular(path: Path) -> None:
    """Checks, before `path` is opened, that it is no pipe or device. Errors: `OSError`, whose `strerror` says what it is."""
    what = why_irregular(os.stat(path).st_mode)
    if what:
        raise OSError(errno.EINVAL, f"it is {what}, not a regular file", str(path))


def read_regular_file(path: Path) -> bytes:
    """The content of a regular file. Errors: `OSError`, also for a pipe, a socket, a device or a folder."""
    check_regular(path)
    return path.read_bytes()


@contextmanager
def creation_errors_as_input_errors(path: Path) -> Iterator[None]:
    """A context that only creates a file or folder for `path`, in a folder that is there: what then is missing is the place.

    Errors: `InputError` as `os_errors_as_input_errors`, and where nothing can be made there, as in ``/proc``.
    """
    with os_errors_as_input_errors(path):
        try:
            yield
        except FileNotFoundError as error:
            raise InputError(f"cannot write {path}: nothing can be made there; choose another place") from error


def make_folder(path: Path) -> None:
    """Makes a folder and those above it, where they are not there yet.

    Errors: `InputError` as `creation_errors_as_input_errors`.
    """
    with creation_errors_as_input_errors(path):
        path.mkdir(parents=True, exist_ok=True)


def check_writable(folder: Path) -> None:
    """Checks, before a long computation, that its result can be written into `folder`, which need not exist yet.

    Creates nothing. Errors: `InputError` where no file could be written there.
    """
    with os_errors_as_input_errors(folder):
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not existing.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(existing, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def sync(path: Path) -> None:
    """Returns once the contents of `path` (a file or a folder) are on disk.

    Windows cannot open a folder, and flushes only files that are open for writing.
    """
    windows = process.system() == "windows"
    if windows and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace(source: Path, target: Path) -> None:
    """Renames `source` to `target`, replacing that file. On Windows it retries for a second while `target` is being read."""
    tries = 20 if process.system() == "windows" else 1
    for attempt in range(1, tries + 1):
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if attempt == tries:
                raise
            time.sleep(0.05)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; the file written there is renamed to `path` when the block ends without an error.

    Errors: `InputError` when the disk is full or not writable; the temporary file is removed on any error.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}.tmp")
    with os_errors_as_input_errors(path):
        make_folder(path.parent)
        try:
            with creation_errors_as_input_errors(path):
                temporary.touch()
            yield temporary
            sync(temporary)
            replace(temporary, path)
            sync(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yields a temporary folder beside `path`, which must not exist yet; it is renamed to `path` when the block ends without an
    error, all its files on disk. Errors: as `atomic`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}.tmp")
    with os_errors_as_input_errors(path):
        make_folder(path.parent)
        shutil.rmtree(temporary, ignore_errors=True)
        with creation_errors_as_input_errors(path):
            temporary.mkdir()
        try:
            yield temporary
            for inside in sorted(temporary.rglob("*")):
                if inside.is_file():
                    sync(inside)
            sync(temporary)
            os.rename(temporary, path)
            sync(path.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` in UTF-8, atomically. Errors: `InputError`, as `atomic`.

    What no UTF-8 can hold, such as a byte of a file name that is none, is written as an escape: JSON reads it back as it was.
    """
    with atomic(path) as temporary:
        # The same bytes on every system.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Writes `value` to `path` as indented JSON, atomically. Errors: `InputError`, as `atomic`; `ValueError` for NaN or inf."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """`value` as indented JSON, as `write_json` writes it. Errors: `ValueError` for NaN or inf."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def with_checksum(value: Mapping[str, Any]) -> dict[str, Any]:
    """`value`, a JSON object, with the key ``checksum``: the SHA-256 of everything else in it.

    >>> with_checksum({"a": 1})["checksum"][:12]
    'f9d86028c6e0'
    """
    return {**value, _CHECKSUM: _checksum(value)}


def checksum_fits(value: Mapping[str, Any]) -> bool:
    """Whether a JSON object is as `with_checksum` made it. One without a checksum, as older versions wrote them, passes."""
    return _CHECKSUM not in value or value[_CHECKSUM] == _checksum(value)


def _checksum(value: Mapping[str, Any]) -> str:
    others = {key: one for key, one in value.items() if key != _CHECKSUM}
    plain = json.loads(json.dumps(others))  # keys become text, as they are in a file
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of the file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def folder_size(path: Path) -> int:
    """Bytes of the file `path`, or of all files in that folder; 0 where there is none. Links are not followed."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size if os.path.lexists(path) else 0
    size = 0
    for parent, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):  # removed in the meantime
                size += os.lstat(os.path.join(parent, name)).st_size
    return size


def slug(text: str, ascii_only: bool = False) -> str:
    """`text` as part of a file's name: each stretch of other characters than letters, digits, ``_``, ``.`` and ``-`` becomes
    one ``-``. Letters are those of any script, or with `ascii_only` those of ASCII.

    For a whole name use ``slug(text).strip("-.") or "name"``: the result may begin with ``.`` (hidden) or ``-`` (an option),
    and may be empty.

    >>> slug("Blüten & Blätter, 2024.png")
    'Blüten-Blätter-2024.png'
    >>> slug("Blüten", ascii_only=True)
    'Bl-ten'
    """
    return re.sub(r"[^\w.-]+", "-", text, flags=re.ASCII if ascii_only else re.NOFLAG)


def cache_folder() -> Path:
    """The folder of prepared data and judges that later commands use again: ``$LIMNER_CACHE``, or ``~/.cache/limner``."""
    setting = os.environ.get("LIMNER_CACHE")
    if setting:
        return Path(setting).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "limner"

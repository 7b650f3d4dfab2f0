"""Files that are either whole or not there: write to a temporary name, fsync, rename.

A full disk is something the person can mend, so it leaves here as an `InputError`, and the half-written file goes with it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from limner.core import process
from limner.core.errors import InputError

_IN_THE_WAY = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def os_errors_as_input_errors(path: Path) -> Iterator[None]:
    """Turns the operating system's refusals about `path` (full disk, no permission) into one line for the person."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise InputError(f"no space left while writing {path}; free some space, then run the same command again") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise InputError(f"no permission to write {path}; choose another folder or change its permissions") from error
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(f"cannot write {path}: the name is too long; choose another") from error
        if error.errno in _IN_THE_WAY:
            raise InputError(
                f"cannot write {path}: a file stands where a folder should, or the reverse; choose another name"
            ) from error
        raise


def writable(folder: Path) -> None:
    """Says before a long computation what would go wrong after it; makes nothing.

    Errors: `InputError` where no file could be written into `folder`, which need not be there yet.
    """
    with os_errors_as_input_errors(folder):
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def sync(path: Path) -> None:
    """Asks the kernel to have `path` (a file or a folder) on disk before this returns.

    Windows opens no folder, and writes out only what was opened for writing.
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
    """`source` takes the name of the file `target`. On Windows it waits, a second at most, while `target` is being read."""
    tries = 20 if process.system() == "windows" else 1
    for left in reversed(range(tries)):
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if not left:
                raise
            time.sleep(0.05)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; what was written there takes the name `path` when the block ends well.

    Errors: `InputError` when the disk is full or may not be written; the temporary file is removed on any error.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}.tmp")
    with os_errors_as_input_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            sync(temporary)
            replace(temporary, path)
            sync(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """The same for a folder, which must not exist yet: filled under a temporary name, synced file by file, then renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}.tmp")
    with os_errors_as_input_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
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
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")  # the same bytes on every system


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """Hex digest of the file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def slug(text: str, ascii_only: bool = False) -> str:
    """`text` as part of a file's name: letters (of any script, or with `ascii_only` A to Z), digits, ``_``, ``.`` and ``-``
    stay, and each stretch of anything else becomes one ``-``.

    A name that stands alone takes ``slug(text).strip("-.") or "name"``, so that it is neither hidden, taken for an option, nor
    empty.
    """
    return re.sub(r"[^\w.-]+", "-", text, flags=re.ASCII if ascii_only else re.NOFLAG)


def cache_folder() -> Path:
    """Where prepared data and judges are kept between commands: ``$LIMNER_CACHE``, or ``~/.cache/limner``."""
    chosen = os.environ.get("LIMNER_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "limner"

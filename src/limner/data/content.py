"""What files hold, as one SHA-256: prepared sets are named by it, and checked against it when they are opened.

Reading every byte each time would be slow, so a digest is remembered in the cache together with the state of its files: their
names, sizes and inodes, and the times at which content (mtime) and inode (ctime) last changed. A program can set mtime back,
as `touch -r`, `rsync --times` and `exiftool -P` do; ctime is set by the kernel alone (man 7 inode), so that files in an equal
state hold equal bytes. Windows has no such time: there every byte is read each time.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from limner.core import process
from limner.core.documents import parse_json
from limner.core.errors import InputError
from limner.core.files import cache_folder, sha256, write_json
from limner.core.progress import OnProgress, Progress, silent

_FILES_AT_ONCE = 1024
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TICK, _COARSE_TICK = 100_000_000, 2_500_000_000
"""Nanoseconds after which a second change of a file has another time than the first: Linux counts in steps of at most 10 ms,
and file systems that keep whole seconds in steps of one or two (FAT)."""


def content_digest(place: Path, names: Sequence[str], on_progress: OnProgress = silent, *, max_bytes: int | None = None) -> str:
    """SHA-256 over the `names` and the bytes of files: those below the folder `place`, or beside the file `place`.

    The place itself does not count, so that a copy elsewhere has the same digest. Of a file of more than `max_bytes`, which is
    never read as a picture, the size stands for the bytes; of one that cannot be read, the reason does.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
    ...     for folder in (one, other):
    ...         _ = Path(folder, "a.txt").write_text("the same")
    ...     content_digest(Path(one), ["a.txt"]) == content_digest(Path(other), ["a.txt"])
    True
    """
    base = place if place.is_dir() else place.parent
    paths = [os.path.join(base, name) for name in names]

    def compute() -> str:
        whole, is_complete = hashlib.sha256(), True
        for name, (part, was_read) in zip(names, _file_digests(paths, max_bytes, on_progress), strict=True):
            whole.update(os.fsencode(name) + b"\0" + part.encode() + b"\n")
            is_complete &= was_read
        # What could not be read once may be readable the next time, without any change of the file: not to be remembered.
        return whole.hexdigest() if is_complete else f"incomplete {whole.hexdigest()}"

    return remembered("content", place, paths, compute)


def remembered(purpose: str, place: Path, paths: Sequence[str], compute: Callable[[], str], *, anew: bool = False) -> str:
    """The digest that `compute` makes of the files `paths`: the one of before, where no file has changed since.

    `purpose` and `place` say what it is the digest of; only the newest is remembered, and only one that is 64 hexadecimal
    digits. With `anew`, it is computed in any case. Errors: those of `compute`.
    """
    record = cache_folder() / "digests" / f"{hashlib.sha256(f'{purpose} {_absolute(place)}'.encode()).hexdigest()[:32]}.json"
    before = _state(paths)
    earlier = None if anew else _read_record(record)
    if earlier is not None and before.is_settled and earlier[0] == before.text:
        return earlier[1]
    digest = compute()
    if before.is_settled and _DIGEST.fullmatch(digest) and _state(paths).text == before.text:
        with suppress(InputError, OSError):  # where the cache cannot be written, the files are read again the next time
            write_json(record, {"state": before.text, "digest": digest})
    return digest


@dataclass(frozen=True)
class _State:
    text: str
    """Of the files' names, sizes, inodes and times."""
    is_settled: bool
    """Whether any later change shows in the state. A change that follows another within a step of the clock does not."""


def _state(paths: Sequence[str]) -> _State:
    now, whole = time.time_ns(), hashlib.sha256()
    is_settled = process.system() != "windows"  # st_ctime is the time of creation there
    for path in paths:
        whole.update(os.fsencode(path))
        try:
            state = os.stat(path)
        except OSError as error:
            whole.update(f"\0{error.errno}\n".encode())
            continue
        facts = (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino, state.st_mode)
        whole.update(f"\0{facts}\n".encode())
        tick = _TICK if state.st_ctime_ns % 1_000_000_000 else _COARSE_TICK
        is_settled &= state.st_ctime_ns + tick < now
    return _State(whole.hexdigest(), is_settled)


def _read_record(path: Path) -> tuple[str, str] | None:
    """The state and the digest that were remembered; None where there are none, or the file is damaged."""
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
        state, digest = record["state"], record["digest"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return (state, digest) if isinstance(digest, str) and _DIGEST.fullmatch(digest) else None


def _file_digests(paths: Sequence[str], max_bytes: int | None, on_progress: OnProgress) -> Iterator[tuple[str, bool]]:
    """(SHA-256, or what stands for it; whether that is final) of each file, in order; hashlib lets several threads run."""
    with ThreadPoolExecutor(os.cpu_count() or 1, "limner-hash") as pool:
        for start in range(0, len(paths), _FILES_AT_ONCE):
            part = paths[start : start + _FILES_AT_ONCE]
            yield from pool.map(lambda path: _file_digest(path, max_bytes), part)
            if len(paths) > _FILES_AT_ONCE:
                on_progress(Progress("looking for changes", start + len(part), len(paths)))


def _file_digest(path: str, max_bytes: int | None) -> tuple[str, bool]:
    try:
        state = os.stat(path)
        if not stat.S_ISREG(state.st_mode):  # a pipe or a device would be read for ever
            return "no regular file", True
        if max_bytes is not None and state.st_size > max_bytes:
            return f"{state.st_size} bytes", True
        return sha256(Path(path)), True
    except OSError as error:
        return f"error {error.errno}", False


def _absolute(place: Path) -> str:
    return os.fsencode(os.path.abspath(place)).decode("utf-8", "backslashreplace")

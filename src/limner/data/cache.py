"""What lies in the cache: a list of its entries, and their removal.

Only what limner itself has put there, by its name and place, is listed and removed: LIMNER_CACHE may be a folder that holds
other things too.
"""

from __future__ import annotations

import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limner.core.address import is_address
from limner.core.cache import is_held
from limner.core.documents import read_json
from limner.core.errors import InputError
from limner.core.files import cache_folder, folder_size
from limner.data.dataset import is_prepared
from limner.data.listing import printable
from limner.data.sources import BUILT_IN, locate

TEMPORARY_SECONDS = 3600.0
"""A temporary file that changed within this time may still be in use; an older one was left behind by a killed process."""


@dataclass(frozen=True)
class Place:
    """A folder of the cache, and the names that limner gives its entries."""

    kind: str
    folder: str
    names: str
    """A pattern that the whole name matches."""
    what: str
    """What an entry is."""


PLACES = (
    Place("data", "data", r"[^.].*", "a prepared set"),
    Place("downloads", "downloads", r"inception|mnist|fashion-mnist|cifar-10", "the published files of a set or network"),
    Place("downloads", "sources", r"[0-9a-f]{16}", "a copy of the files at an address"),
    Place("downloads", "addresses", r"[0-9a-f]{32}\.json", "what an address held when it was copied"),
    Place("downloads", "detectors", r"inception-[0-9a-f]{16}\.safetensors", "the FID network's weights"),
    Place("judges", "judges", r".+\.safetensors", "a judge, trained on a set"),
    Place("statistics", "references", r"[0-9a-f]{20}(\.safetensors)?", "statistics of real pictures"),
    Place("statistics", "probes", r"[0-9a-f]{24}\.safetensors", "a classifier on latents"),
    Place("statistics", "latents", r"[0-9a-f]{24}\.safetensors", "the latents of a training set"),
    Place("statistics", "digests", r"[0-9a-f]{32}\.json", "digests of files that were read"),
    Place("temporary", "spool", r"tmp.+", "pictures that are being judged"),
    Place("temporary", "data", r"\.unsorted-.+|\..+\.tmp", "a set in the making"),
    Place("temporary", "sources", r"\..+\.tmp", "a copy in the making"),
    Place("temporary", ".", r"\.cleared-[0-9a-f]{32}", "an entry whose removal was interrupted"),
    Place("logs", "logs", r"\d{8}-\d{6}-\d+\.txt", "the details of a failure"),
)
"""Everything that limner caches, by kind."""


@dataclass(frozen=True)
class Entry:
    """A file or folder of the cache."""

    kind: str
    path: Path
    what: str
    """What it is, in words."""
    size: int
    """In bytes."""
    last_use: float
    """In seconds since 1970: when it was made or last opened, as far as the file system says."""
    obstacle: str | None
    """Why it is not cleared; None where it is."""

    def as_row(self) -> dict[str, Any]:
        """The entry as a row of a result."""
        row = {"kind": self.kind, "path": printable(str(self.path)), "what": printable(self.what), "size": self.size}
        return {**row, "last_use": moment(self.last_use), "obstacle": self.obstacle}


def moment(seconds: float) -> str:
    """A time in seconds since 1970 as ``2026-11-30 14:25``, in the zone of this machine."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def cache_entries(kind: str | None = None) -> list[Entry]:
    """The entries of the cache of this `kind`, or all, the largest first."""
    entries = [_entry(place, path) for place in PLACES if kind in (None, place.kind) for path in _paths(place)]
    return sorted(entries, key=lambda entry: -entry.size)


def _paths(place: Place) -> Iterator[Path]:
    """What lies in a place under a name that limner gives; of prepared sets only folders that are such."""
    try:
        paths = sorted((cache_folder() / place.folder).iterdir())
    except OSError:
        return
    for path in paths:
        if re.fullmatch(place.names, path.name) and not path.is_symlink() and (place.kind != "data" or _is_set(path)):
            yield path


def _is_set(path: Path) -> bool:
    """Whether a folder is a prepared set; one of another version of limner is one too."""
    try:
        return is_prepared(path)
    except InputError:
        return True


def _entry(place: Place, path: Path) -> Entry:
    """The entry at `path`, with its size and last use."""
    what, obstacle = place.what, None
    if place.kind == "data":
        what, obstacle = _describe_set(path)
    if is_held(path):
        obstacle = "it is in use"
    times = [time.time()]
    with suppress(OSError):  # removed in the meantime
        status = path.stat()
        times = [status.st_mtime] if path.is_dir() else [status.st_mtime, status.st_atime]
    if place.kind == "temporary" and time.time() - _newest_change(path) < TEMPORARY_SECONDS:
        obstacle = "it may be in use: it changed within the last hour"
    return Entry(place.kind, path, what, folder_size(path), max(times), obstacle)


def _newest_change(path: Path) -> float:
    """When `path`, or a file in that folder, last changed."""
    newest = 0.0
    for one in (path, *path.rglob("*")):
        with suppress(OSError):
            newest = max(newest, one.stat().st_mtime)
    return newest


def _describe_set(path: Path) -> tuple[str, str | None]:
    """What a prepared set is, and why it is kept, if it is: because its pictures are nowhere else."""
    try:
        manifest = read_json(path / "manifest.json")
        source, shape = str(manifest["source"]), "x".join(str(side) for side in manifest["shape"])
        what = f"{source}, {manifest['images']:,} pictures of {shape}"
    except (InputError, KeyError, TypeError, ValueError):
        return "a prepared set that is damaged", None
    place = None if source in BUILT_IN or is_address(source) else locate(source)
    is_gone = isinstance(place, Path) and not _exists(place)
    return what, "it could not be made again: its source is not there" if is_gone else None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def clear(kind: str | None = None, everything: bool = False) -> tuple[list[Entry], list[Entry]]:
    """Removes the entries of this `kind`, or all; returns those that were removed, and those that were kept.

    An entry in use is kept, as is a prepared set whose source is gone, unless `everything`. An entry is renamed before it is
    removed, so that none is ever met half removed.
    """
    removed, remaining = [], []
    for entry in cache_entries(kind):
        if entry.obstacle is not None and not (everything and entry.kind == "data" and not is_held(entry.path)):
            remaining.append(entry)
        elif _remove(entry.path):
            removed.append(entry)
    return removed, remaining


def _remove(path: Path) -> bool:
    """Removes an entry, and says whether it did: another process may have removed it, or hold a file of it open on Windows."""
    aside = cache_folder() / f".cleared-{uuid.uuid4().hex}"
    try:
        path.rename(aside)
    except OSError:
        return False
    if aside.is_dir():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.unlink(missing_ok=True)
    return True

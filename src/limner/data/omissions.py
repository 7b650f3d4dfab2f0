"""What is left out of a folder or an archive: what file servers and desktops put beside pictures, and what limner made there.

Names that begin with a dot, and ``__MACOSX``, are hidden: nobody means them, so they are not even mentioned (`trees.hidden`).
All else that is left out is named, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping, Sequence
from functools import cache

from limner.data.listing import Entry, enumerate_names

_RECYCLED = "a folder of deleted files"
_SERVER_FOLDERS: Mapping[str, str] = {
    "@eadir": "thumbnails of a Synology file server",
    "@tmp": "a folder of a file server",
    "@recycle": _RECYCLED,
    "@recently-snapshot": "snapshots of a file server",
    "#recycle": _RECYCLED,
    "#snapshot": "snapshots of a file server",
    "~snapshot": "snapshots of a file server",
    "$recycle.bin": _RECYCLED,
    "recycler": _RECYCLED,
    "system volume information": "a folder of Windows",
    "found.000": "a folder of Windows' disk check",
    "lost+found": "a folder of the disk check",
    "network trash folder": _RECYCLED,
    "temporary items": "a folder of macOS",
    "__pycache__": "a folder of Python",
}
"""Folders that file servers and systems add to any folder, in lower case, and what they are."""
_THUMBNAIL_FOLDERS = frozenset({"thumbs", "thumbnails", "_thumbs", "_thumbnails"})
_THUMBNAILS = "thumbnails; rename the folder if it is meant"
_RUN_FILES = ("recipe.yaml", "status.json")
_PREPARED_FILES = ("manifest.json", "images.npy")
_REPORT_FILE = re.compile(r"(report|samples|compare|disentanglement)(-\d+)?\.(json|html|png)")
"""All that evaluate and compare write into the folder of ``--out``."""


def leave_out(entries: Sequence[Entry]) -> tuple[list[Entry], tuple[str, ...]]:
    """The entries of a folder or an archive that are meant, and a sentence about each kind of those that are not.

    Folders of thumbnails are left out only where there are other files: a set may consist of one. The folder or archive itself
    is what the person asked for, so it is read whatever its name and whatever lies directly in it.

    >>> leave_out([Entry("@eaDir/a.png", 9), Entry("a.png", 9)])
    ([Entry(name='a.png', size=9, stamp=0, fault='')], ('left out: @eaDir (thumbnails of a Synology file server)',))
    """
    made_here = _own_folders(entries)
    reasons: dict[str, set[str]] = {}
    rest = _outside(entries, reasons, lambda path, name: made_here.get(path) or _SERVER_FOLDERS.get(name, ""), made_here)
    thumbnails: dict[str, set[str]] = {}
    pictures = _outside(rest, thumbnails, lambda path, name: _THUMBNAILS if name in _THUMBNAIL_FOLDERS else "", ())
    if pictures:
        rest, reasons = pictures, reasons | thumbnails
    return rest, tuple(f"left out: {enumerate_names(sorted(names))} ({reason})" for reason, names in reasons.items())


def _outside(
    entries: Sequence[Entry], reasons: dict[str, set[str]], reason_of: Callable[[str, str], str], whole_paths: Container[str]
) -> list[Entry]:
    """The entries in no folder for which `reason_of` (its path, its name in lower case) has a reason.

    The other folders are added to `reasons`: those among `whole_paths` by their path, all others by their name alone, since
    file servers put a folder of the same name into every folder.
    """

    @cache
    def is_outside(folder: str) -> bool:
        parts = folder.split("/")
        for depth, name in enumerate(parts):
            path = "/".join(parts[: depth + 1])
            reason = reason_of(path, name.lower())
            if reason:
                reasons.setdefault(reason, set()).add(path if path in whole_paths else name)
                return False
        return True

    return [entry for entry in entries if is_outside(entry.name.rpartition("/")[0])]


def _own_folders(entries: Sequence[Entry]) -> dict[str, str]:
    """The folders below the top one that limner wrote, and what they are; known by the files that each of them has."""
    names = {entry.name for entry in entries}
    files_in: dict[str, list[str]] = {}
    for folder, _, base in (name.rpartition("/") for name in names):
        files_in.setdefault(folder, []).append(base)
    folders = {
        folder: "a report of limner"
        for folder, files in files_in.items()
        if folder and all(map(_REPORT_FILE.fullmatch, files)) and any(file.endswith(".html") for file in files)
    }
    for files, what in ((_RUN_FILES, "a run of limner"), (_PREPARED_FILES, "a prepared set of limner")):
        first, second = files
        for name in names:
            folder, _, base = name.rpartition("/")
            if base == first and folder and f"{folder}/{second}" in names:
                folders[folder] = what
    return folders

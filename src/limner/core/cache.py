"""Marks entries of the cache as in use, so that `limner cache clear` leaves them alone, and says when each was last used.

A mark is a shared lock (`flock`) on the entry's folder, which the kernel releases when a process ends, however it ends. Windows
has no such lock and needs none: there a folder cannot be renamed while a file in it is open.
"""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from pathlib import Path

from limner.core.files import cache_folder

_HELD_BY_PROCESS: dict[str, int] = {}
"""Folder -> the open file that holds its lock until this process ends."""


def hold(entry: Path, owner: object = None) -> None:
    """Marks the folder `entry` as in use until `owner` is gone, or without one until this process ends.

    Nothing happens for a folder outside the cache, and where the system has no such locks.
    """
    try:
        import fcntl

        path = os.path.realpath(entry)
        if not Path(path).is_relative_to(os.path.realpath(cache_folder())) or (owner is None and path in _HELD_BY_PROCESS):
            return
        handle = os.open(path, os.O_RDONLY)
    except (ImportError, OSError):
        return
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.utime(path)  # the time of its last use
    if owner is None:
        _HELD_BY_PROCESS[path] = handle
    else:
        weakref.finalize(owner, os.close, handle)


def is_held(entry: Path) -> bool:
    """Whether this process or another one has marked `entry` as in use."""
    try:
        import fcntl

        handle = os.open(entry, os.O_RDONLY)
    except (ImportError, OSError):
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(handle)
    return False

"""Another machine, pretended in this process: what Windows and macOS lack is taken away before limner is imported.

`python -c "import elsewhere; elsewhere.pretend('windows'); …"`. `sys.platform` and `os.name` stay what they are, because the
standard library and torch choose their code by them; limner itself asks `limner.core.process.system`, which is replaced.
"""

from __future__ import annotations

import builtins
import errno
import importlib.abc
import io
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

MODULES = {
    "windows": ("fcntl", "grp", "posix_ipc", "pwd", "resource", "syslog", "termios", "tty"),
    "macos": (),
}
CALLS = {
    "windows": (
        "chown",
        "fchmod",
        "fork",
        "getegid",
        "geteuid",
        "getgid",
        "getloadavg",
        "getpgid",
        "getuid",
        "killpg",
        "mkfifo",
        "posix_fadvise",
        "posix_fallocate",
        "pread",
        "preadv",
        "pwrite",
        "register_at_fork",
        "sched_getaffinity",
        "setsid",
        "statvfs",
        "sync",
        "sysconf",
        "wait",
    ),
    "macos": ("posix_fadvise", "posix_fallocate", "sched_getaffinity"),
}
SIGNALS = {
    "windows": ("SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGUSR1", "SIGUSR2"),
    "macos": ("SIGPWR", "SIGSTKFLT"),
}


class Absent(importlib.abc.MetaPathFinder):
    """Modules that are not on the pretended machine."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = frozenset(names)

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> None:
        if fullname in self.names:
            raise ModuleNotFoundError(f"No module named '{fullname}' (on this pretended machine)", name=fullname)


def pretend(system: str) -> None:
    """From here on this process is on `system` (``windows`` or ``macos``), as far as limner can tell.

    Nothing lies under ``/proc``; on Windows no folder can be opened, and fsync wants a file that was opened for writing.
    """
    assert "limner" not in sys.modules, "too late: limner has been imported"
    import torch  # the build for Linux, and numpy with it, ask for what Linux has while they are loaded  # noqa: F401

    warnings.filterwarnings("ignore", message="only soft file lock")  # filelock's, about a Linux without fcntl
    take_away(MODULES[system])
    for names, owner in ((CALLS[system], os), (SIGNALS[system], signal)):
        for name in names:
            if hasattr(owner, name):
                delattr(owner, name)
    _hide_proc()
    if system == "windows":
        _open_as_windows_does()
    from limner.core import process

    process.system = lambda: system  # type: ignore[assignment, return-value]


def take_away(names: Sequence[str]) -> None:
    """Modules that can no longer be imported."""
    for name in names:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, Absent(names))


def _hide_proc() -> None:
    for owner, name in ((builtins, "open"), (io, "open"), (os, "open"), (os, "stat"), (os, "lstat"), (os, "listdir")):
        setattr(owner, name, _without_proc(getattr(owner, name)))


def _without_proc(call: Any) -> Any:
    def checked(path: Any = ".", *arguments: Any, **named: Any) -> Any:
        if isinstance(path, str | os.PathLike) and os.fspath(path).startswith("/proc"):  # type: ignore[arg-type]
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
        return call(path, *arguments, **named)

    return checked


def _open_as_windows_does() -> None:
    shutil._use_fd_functions = False  # type: ignore[attr-defined]  # how it removes a tree where no folder can be opened
    opened, synced, read_only = os.open, os.fsync, set[int]()

    def opens(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
        handle = opened(path, flags, *arguments, **named)
        (read_only.discard if flags & (os.O_RDWR | os.O_WRONLY) else read_only.add)(handle)
        return handle

    def syncs(handle: int) -> None:
        if handle in read_only:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        synced(handle)

    os.open, os.fsync = opens, syncs  # type: ignore[assignment]

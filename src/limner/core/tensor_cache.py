"""A cache of tensors on disk: files that can be made anew, and that are not believed unless they are whole.

A file is safetensors (nothing is pickled) with a checksum, in its metadata, of its tensors and of the JSON that goes with them.
Whatever the values depend on belongs into the file's name, so that a file is never stale.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from limner.core.digest import digest
from limner.core.errors import InputError
from limner.core.files import atomic

KEY = "limner.cache"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Any = None) -> None:
    """Writes `tensors`, and `about` as JSON, to `path`, atomically: of several writers the last one's whole file stays.

    Errors: `InputError` where the disk is full or may not be written.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    told = {"about": about, "digest": digest(plain, about)}
    with atomic(path) as temporary:
        try:
            save_file(plain, temporary, {KEY: json.dumps(told)})
        except SafetensorError as error:  # how it says that the disk is full
            raise InputError(f"cannot write {path}: {error}") from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], Any] | None:
    """What `write_tensors` left at `path`: the tensors, and what JSON makes of `about` (lists for tuples).

    None where there is no such file, and where it is damaged, cut short or of another format.
    """
    try:
        # Read in one go: `safe_open` opens a file twice, and another process may replace it in between; and its tensors are
        # views of the mapped file, with which this process would die if the file were cut short later.
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        told = json.loads(content[8 : 8 + length])["__metadata__"][KEY]
        about, checksum = (json.loads(told)[key] for key in ("about", "digest"))
        tensors = load(content)
        return (tensors, about) if digest(tensors, about) == checksum else None
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError):
        return None

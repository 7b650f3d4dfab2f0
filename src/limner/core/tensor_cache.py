"""Tensors cached in files, which are checked when they are read and computed again where they are damaged.

A file is in safetensors format (nothing is pickled). Its metadata hold a JSON value and a checksum of that and the tensors. The
caller puts everything that the values depend on into the file's name, so that a file is never out of date; the checksum is of
that name too, so that a file that was copied over another one is not taken for it.
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
from limner.core.documents import parse_json
from limner.core.errors import InputError
from limner.core.files import atomic

METADATA_KEY = "limner.cache"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Any = None) -> None:
    """Writes `tensors`, and `about` as JSON, to `path`, atomically: of several concurrent writers, the last one wins.

    Errors: `InputError` where the disk is full or not writable; `TypeError` where `about` cannot be written as JSON.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"about": about, "digest": digest(plain, [_name(path), about])}
    with atomic(path) as temporary:
        try:
            save_file(plain, temporary, {METADATA_KEY: json.dumps(metadata)})
        except SafetensorError as error:  # of safetensors for a full disk
            raise InputError(f"cannot write {path}: {error}") from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], Any] | None:
    """The tensors and the JSON value `about` that `write_tensors` wrote to `path` (its tuples have become lists).

    None where there is no such file, or where it is damaged, incomplete, of another format, or a copy of another file.
    """
    try:
        # Not with `safe_open`: it opens the file twice, and another process may replace it in between. And its tensors are
        # views of the mapped file, so that this process would crash if the file were truncated later.
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        metadata = parse_json(parse_json(content[8 : 8 + length])["__metadata__"][METADATA_KEY])
        tensors, about = load(content), metadata["about"]
        # Older files have a checksum without their name.
        is_intact = any(digest(tensors, part) == metadata["digest"] for part in ([_name(path), about], about))
        return (tensors, about) if is_intact else None
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _name(path: Path) -> str:
    """The name of a file and of its folder, which together say what it is of; the cache as a whole may lie anywhere."""
    return "/".join(path.absolute().parts[-2:])

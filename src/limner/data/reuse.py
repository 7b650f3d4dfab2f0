"""Finds a set that was prepared before, by what its source and options are."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limner.core.errors import InputError
from limner.core.files import cache_folder
from limner.data.dataset import (
    SCHEMA_VERSION,
    Dataset,
    is_prepared,
    open_dataset,
)
from limner.data.options import Options
from limner.data.sources import Origin


def cache_key(origin: Origin, options: Options) -> str:
    """12 hex digits that change with the source, the options and the format."""
    text = json.dumps([SCHEMA_VERSION, origin.name, origin.identity(), options.as_json()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def find_prepared(name: str, key: str, out: Path | None) -> Dataset | None:
    """The folder that an earlier call made of the same things. Errors: `InputError` when `out` is in use by others."""
    if out is None:
        for made in sorted((cache_folder() / "data").glob(f"{name}-*-{key}")):
            if is_prepared(made):
                return open_dataset(made)
            shutil.rmtree(made)  # the cache is ours: what somebody removed files from is made anew
        return None
    folder = Path(out).expanduser()
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    if is_prepared(folder):
        found = open_dataset(folder)
        if found.manifest["key"] == key:
            return found
    raise InputError(f"{folder} exists already and holds something else; choose another folder, or remove it first")


def adopt_prepared(path: Path, asked: Options, out: Path | None) -> Dataset:
    """Opens a prepared folder. Errors: `InputError` when something else is asked for than what it holds."""
    found = open_dataset(path)
    made, plain = Options(**_from_json(found.manifest["options"])), Options()
    for what in ("size", "fit", "channels", "background", "split", "limit", "labels", "seed", "binary"):
        wanted, has = getattr(asked, what), getattr(made, what)
        if what in ("size", "channels"):
            has = found.shape[:2] if what == "size" else found.shape[2]
        if wanted != getattr(plain, what) and wanted != has:
            raise InputError(
                f"{path} is already prepared, with {what} {has}, not {wanted}; "
                f"prepare its source ({found.manifest['source']}) again with the {what} you want"
            )
    if out is not None and Path(out).expanduser().resolve() != path.resolve():
        raise InputError(f"{path} is already prepared; use it where it is, or copy the folder to {out}")
    return found


def _from_json(options: Mapping[str, Any]) -> dict[str, Any]:
    return dict(options) | {"size": tuple(options["size"]) if options["size"] else None}

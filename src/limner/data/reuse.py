"""Finds a set that was prepared before, by what its source and options are."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from limner.core.address import public_address
from limner.core.errors import InputError
from limner.core.files import cache_folder
from limner.core.progress import OnProgress, silent
from limner.data.dataset import SCHEMA_VERSION, Dataset, is_prepared, open_dataset
from limner.data.options import DataOptions
from limner.data.source import DataSource


def cache_key(source: DataSource, options: DataOptions, on_progress: OnProgress = silent) -> str:
    """12 hex digits from the source's name and content, the options, and the version of the prepared folder's layout."""
    text = json.dumps([SCHEMA_VERSION, source.name, source.identity(on_progress), options.as_json()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def find_prepared(name: str, key: str, out: Path | None) -> Dataset | None:
    """The set that an earlier call made of the same things. Errors: `InputError` when `out` holds anything else."""
    if out is None:
        for folder in sorted((cache_folder() / "data").glob(f"{name}-*-{key}")):
            if is_prepared(folder):
                return open_dataset(folder)
            shutil.rmtree(folder)  # the cache is ours: what somebody removed files from is made anew
        return None
    folder = Path(out).expanduser()
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    if is_prepared(folder):
        dataset = open_dataset(folder)
        if dataset.manifest["key"] == key:
            return dataset
    raise InputError(f"{folder} exists already and holds something else; choose another folder, or remove it first")


def find_same(source: str, name: str, options: DataOptions, fingerprint: str) -> Dataset | None:
    """The set in the cache with this `fingerprint` that was made from the public address `source` with the same options."""
    requested = options.values()
    for folder in sorted((cache_folder() / "data").glob(f"{name}-*")):
        try:
            dataset = open_dataset(folder) if is_prepared(folder) else None
        except InputError:  # a damaged one is none
            continue
        if dataset is None or dataset.fingerprint != fingerprint or public_address(dataset.manifest["source"]) != source:
            continue
        used = _options_of(dataset)
        # A size or a number of channels that was left open is covered by the fingerprint.
        if all(
            used[key] == value or (value is None and key in ("size", "channels", "value_range"))
            for key, value in requested.items()
        ):
            return dataset
    return None


def _options_of(dataset: Dataset) -> dict[str, Any]:
    """The options a set was made with; a size or a number of channels that was left open has become that of the pictures."""
    options = DataOptions.of({"rules": 1, **dataset.manifest["options"]})  # older manifests name no rules
    return options.values() | {"size": dataset.shape[:2], "channels": dataset.shape[2]} | _range_of(dataset)


def _range_of(dataset: Dataset) -> dict[str, Any]:
    """The range of values that was left open and has become that of the pictures."""
    return {} if dataset.value_range is None else {"value_range": dataset.value_range}


def adopt_prepared(path: Path, options: DataOptions, out: Path | None) -> Dataset:
    """Opens a prepared folder. Errors: `InputError` when `options` ask for something else than what it holds."""
    dataset = open_dataset(path)
    used, defaults = _options_of(dataset), DataOptions().values()
    for name, value in options.values().items():
        if value not in (defaults[name], used[name]):
            raise InputError(
                f"{path} is already prepared, with {name} {used[name]}, not {value}; "
                f"prepare its source ({public_address(dataset.manifest['source'])}) again with the {name} you want"
            )
    if out is not None and Path(out).expanduser().resolve() != path.resolve():
        raise InputError(f"{path} is already prepared; use it where it is, or copy the folder to {out}")
    return dataset

"""Finds a set that was prepared before, by what its source and options are."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from limner.core.address import public_address
from limner.core.documents import parse_json
from limner.core.errors import InputError
from limner.core.extensions import attribute_errors, result_error
from limner.core.files import cache_folder
from limner.core.progress import OnProgress, Progress, silent
from limner.data.dataset import SCHEMA_VERSION, DamagedDataError, Dataset, is_prepared, open_dataset
from limner.data.options import DataOptions
from limner.data.reading import READING
from limner.data.source import DataSource
from limner.data.writer import write_manifest

_SHAPE_OPTIONS = ("size", "channels")
"""Options that may be left open; the name of a prepared folder says what became of them."""
_OPEN_OPTIONS = (*_SHAPE_OPTIONS, "value_range")
"""Options that may be left open, so that the pictures decide."""


def cache_key(source: DataSource, options: DataOptions, on_progress: OnProgress = silent) -> str:
    """12 hex digits from the source's name and content, the options, and the version of the prepared folder's layout.

    Size and channels stand beside it in a folder's name. They are left out here, so that pictures which are 64x64 anyway are
    prepared once, whether somebody asks for that size or for none. By rules 1 they count, as in the folders of before.
    """
    values = {name: value for name, value in options.as_json().items() if options.rules == 1 or name not in _SHAPE_OPTIONS}
    with attribute_errors(what := f"the source {source.name}", type(source)):
        identity: object = source.identity(on_progress)
    if not isinstance(identity, str):
        raise result_error(what, type(source), identity, "a text as its identity")
    text = json.dumps([SCHEMA_VERSION, source.name, identity, values], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def find_prepared(name: str, key: str, options: DataOptions, on_progress: OnProgress = silent) -> Dataset | None:
    """The set in the cache that an earlier call made of the same things; a damaged one is removed, of which a note tells."""
    for folder in sorted((cache_folder() / "data").glob(f"{name}-*-{key}")):
        dataset = open_cached(folder, on_progress)
        if dataset is not None and _has_requested_shape(dataset, options):
            return dataset
    return None


def open_cached(folder: Path, on_progress: OnProgress = silent) -> Dataset | None:
    """The set in a folder of the cache; None where there is none, or it was damaged, and so removed to be made anew."""
    try:
        if is_prepared(folder):
            return open_dataset(folder)
        reason = f"{folder} lacks files"
    except DamagedDataError as error:
        reason = str(error).partition(";")[0]
    if folder.exists():
        on_progress(Progress(READING, note=f"{reason}; it is made anew"))
        shutil.rmtree(folder, ignore_errors=True)
    return None


def find_at(out: Path, key: str, options: DataOptions) -> Dataset | None:
    """The set that an earlier call made of the same things in the folder `out`; None where that is not there or empty.

    Errors: `InputError` when it holds anything else, or is damaged.
    """
    folder = Path(out).expanduser()
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    what = "something else"
    if is_prepared(folder):
        dataset = open_dataset(folder)
        if dataset.manifest["key"] == key and _has_requested_shape(dataset, options):
            return dataset
        stored, requested = dataset.manifest["options"], options.as_json()
        names = [name for name in requested | stored if requested.get(name) != stored.get(name)]
        pairs = [f"{name}: {stored.get(name)} there, {requested.get(name)} here" for name in names]
        what = f"a set prepared with other options ({'; '.join(pairs)})" if pairs else "a set prepared of other pictures"
    raise InputError(f"{folder} exists already and holds {what}; choose another folder, or remove it first")


def _has_requested_shape(dataset: Dataset, options: DataOptions) -> bool:
    """Whether `options`, which gave the key of the set, ask for its size and channels too: by their value, or by leaving open
    what was left open when it was made."""
    stored, requested, shape = dataset.manifest["options"], options.as_json(), dataset.shape
    actual = {"size": list(shape[:2]), "channels": shape[2]}
    return all(requested[name] == actual[name] or (requested[name] is stored[name] is None) for name in _SHAPE_OPTIONS)


def adopt_cached(folder: Path, options: DataOptions, on_progress: OnProgress = silent) -> Dataset | None:
    """The set in a folder of the cache that was made with another size or number of channels named or left open, which comes
    to the same: its manifest then says that these may be left open."""
    dataset = open_cached(folder, on_progress)
    if dataset is None:
        return None
    requested, stored = options.as_json(), dataset.manifest["options"]
    merged = stored | {name: None for name in _SHAPE_OPTIONS if requested[name] is None}
    if merged == stored:
        return dataset
    write_manifest(folder, {**dataset.manifest, "options": merged})
    return open_dataset(folder)


def find_scaled_by_itself(
    source: DataSource, options: DataOptions, fingerprint: str, on_progress: OnProgress = silent
) -> Dataset | None:
    """The set in the cache with this `fingerprint` whose range of values was left open: a recipe names what became of it."""
    left_open = options.model_copy(update={"value_range": None})
    dataset = find_prepared(source.name, cache_key(source, left_open, on_progress), left_open, on_progress)
    return dataset if dataset is not None and dataset.fingerprint == fingerprint else None


def find_same(source: str, name: str, options: DataOptions, fingerprint: str) -> Dataset | None:
    """The set in the cache with this `fingerprint` that was made from the public address `source` with the same options."""
    requested = options.values()
    for folder in sorted((cache_folder() / "data").glob(f"{name}-*")):
        try:
            manifest = parse_json((folder / "manifest.json").read_text(encoding="utf-8"))
            if manifest["fingerprint"] != fingerprint or public_address(manifest["source"]) != source:
                continue
            dataset = open_dataset(folder)
        except (InputError, OSError, ValueError, LookupError, TypeError):  # a damaged one is none
            continue
        used = _options_of(dataset)
        # A size or a number of channels that was left open is covered by the fingerprint.
        if all(used[key] == value or (value is None and key in _OPEN_OPTIONS) for key, value in requested.items()):
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

"""`check` looks a source through and reports; `prepare` turns it into a packed folder that training opens at once.

Both go the same way, a file for each step: list (`sources`, `sizing`) → read (`reading`) → plan (`plan`) → write (`writer`).
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from limner.core.address import is_address
from limner.core.errors import InputError
from limner.core.files import cache_folder, creation_errors_as_input_errors, make_folder, os_errors_as_input_errors
from limner.core.progress import OnProgress, silent
from limner.data.dataset import SCHEMA, SCHEMA_VERSION, Dataset, is_prepared, open_dataset
from limner.data.options import DataOptions
from limner.data.plan import plan_dataset
from limner.data.reading import Store, read_all
from limner.data.remote import local_source
from limner.data.report import CheckReport, report_of, report_of_plan
from limner.data.reuse import adopt_cached, adopt_prepared, cache_key, find_at, find_prepared, find_same, find_scaled_by_itself
from limner.data.sizing import choose_shaping, select_listing
from limner.data.sources import RemoteSource, describe_source, find_source, locate
from limner.data.writer import write_dataset


def check(source: object, *, workers: int | None = None, on_progress: OnProgress = silent, **options: Any) -> CheckReport:
    """Reads every picture of `source` as `prepare` would, and writes nothing; of a prepared folder it reports what is in it.

    The arguments are those of `prepare`. Of a prepared folder every byte is held against its fingerprint. Errors: `InputError`
    as from `prepare`.
    """
    return check_source(source, DataOptions.of(options), workers=workers, on_progress=on_progress)


def prepare(
    source: object,
    *,
    out: Path | None = None,
    workers: int | None = None,
    on_progress: OnProgress = silent,
    **options: Any,
) -> Dataset:
    """Packs `source` into a folder, or opens the one that was made before from the same source with the same options.

    `source` is the name of a built-in set, a folder, an archive, an IDX, .npy or .npz file, any of these behind an address such
    as ``https://…/pictures.zip`` or ``s3://bucket/folder``, or an object of the program: an array, a tensor, a pair (images,
    labels), a mapping of them (`limner.data.memory.open_array`), a torch or a Hugging Face data set (`limner.data.items`). A
    prepared folder is opened as it is.

    `options` are the fields of `limner.data.options.DataOptions`, which says what each does, such as ``size=64``,
    ``channels=1`` or ``split="0.1"``. Without a `size`, pictures of one size up to 128 keep it, and all others become 64x64.
    `out` is the folder to make; None is one in the cache. `workers` is the number of threads that read.

    Errors: `InputError` where the source is not there, has no usable picture or only one, or does not match the options, and
    for an option that is unknown or out of range.

    >>> import numpy as np
    >>> prepare(np.random.default_rng(0).integers(0, 256, (100, 16, 16), np.uint8)).shape
    (16, 16, 1)
    """
    return prepare_source(source, DataOptions.of(options), out=out, workers=workers, on_progress=on_progress)


def check_source(
    source: object, options: DataOptions, *, workers: int | None = None, on_progress: OnProgress = silent
) -> CheckReport:
    """`check` for options that are validated already."""
    started = time.monotonic()
    folder = _prepared_folder(source)
    if folder is not None:
        return report_of(open_dataset(folder, verify=True))
    origin, label = find_source(source), describe_source(source)
    listing = select_listing(origin, options, on_progress)
    shaping = choose_shaping(listing, options)
    reading = read_all(listing, shaping, workers=workers, on_progress=on_progress)
    plan = plan_dataset(label, listing, reading, shaping, options)
    return report_of_plan(label, origin.name, listing, reading, plan, seconds=time.monotonic() - started)


def prepare_source(
    source: object,
    options: DataOptions,
    *,
    out: Path | None = None,
    workers: int | None = None,
    on_progress: OnProgress = silent,
    fingerprint: str | None = None,
) -> Dataset:
    """`prepare` for options that are validated already.

    With the `fingerprint` of a set that was prepared before from an address with the same options, that set is opened where
    it lies in the cache, and no server is asked: a run goes on with what it was trained on.
    """
    prepared = _prepared_folder(source)
    if prepared is not None:
        return adopt_prepared(prepared, options, out)
    origin, label = find_source(source), describe_source(source)
    if fingerprint is not None and out is None and isinstance(origin, RemoteSource):
        same = find_same(label, origin.name, options, fingerprint)
        if same is not None:
            return same
    key = cache_key(origin, options, on_progress)
    earlier = find_prepared(origin.name, key, options, on_progress) if out is None else find_at(out, key, options)
    if earlier is None and out is None and fingerprint is not None and options.value_range is not None:
        earlier = find_scaled_by_itself(origin, options, fingerprint, on_progress)
    if earlier is not None:
        return earlier
    started = time.monotonic()
    listing = select_listing(origin, options, on_progress)
    shaping = choose_shaping(listing, options)
    base = cache_folder() / "data" if out is None else Path(out).expanduser().parent
    with os_errors_as_input_errors(base):
        make_folder(base)
        with creation_errors_as_input_errors(base if out is None else Path(out)):
            directory = tempfile.TemporaryDirectory(prefix=".unsorted-", dir=base)
        with directory as scratch:
            # Pixels are stored as they are read. Only then are their duplicates known, and with them the order of the rows.
            with Store(Path(scratch) / "pixels", (len(listing), *shaping.size, shaping.channels)) as store:
                reading = read_all(listing, shaping, store=store, workers=workers, on_progress=on_progress)
                plan = plan_dataset(label, listing, reading, shaping, options)
                if cache_key(origin, options, on_progress) != key:
                    raise InputError(f"{label} changed while it was read; run the same command again")
                height, width, channels = plan.shape
                name = f"{origin.name}-{height}x{width}x{channels}-{key}"
                folder = base / name if out is None else Path(out).expanduser()
                same = adopt_cached(folder, options, on_progress) if out is None else None
                if same is not None:
                    return same
                about: dict[str, Any] = {
                    "schema": SCHEMA,
                    "schema_version": SCHEMA_VERSION,
                    "name": origin.name,
                    "source": label,
                    "key": key,
                    "options": options.as_json(),
                }
                write_dataset(folder, about, plan, listing, store, started)
    return replace(open_dataset(folder), is_new=True)


def _prepared_folder(source: object) -> Path | None:
    """The path of a folder that `prepare` made; None for any other source. Errors: `InputError` for what cannot be a path."""
    locate(source)
    place = local_source(source) if isinstance(source, str | Path) else source
    if isinstance(place, str | Path) and not is_address(place) and is_prepared(Path(place).expanduser()):
        return Path(place).expanduser()
    return None

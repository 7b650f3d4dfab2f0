"""`check` looks a source through and reports; `prepare` turns it into a packed folder that training opens at once.

Both go the same way, a file for each step: list (`sources`, `sizing`) → read (`reading`) → plan (`plan`) → write (`writer`).
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, Unpack

from limner.core.address import is_address, public_address
from limner.core.files import cache_folder, os_errors_as_input_errors
from limner.core.progress import OnProgress, Progress, silent
from limner.data.dataset import SCHEMA, SCHEMA_VERSION, Dataset, is_prepared, open_dataset
from limner.data.options import DataKeywords, DataOptions
from limner.data.plan import plan_dataset
from limner.data.reading import Count, Store, read_all
from limner.data.remote import local_source
from limner.data.report import CheckReport, report_of, report_of_plan
from limner.data.reuse import adopt_prepared, cache_key, find_prepared, find_same
from limner.data.sizing import choose_shaping, select_listing
from limner.data.sources import find_source
from limner.data.writer import write_dataset

READING = "preparing data"
"""What the progress of reading pictures is called; a download goes by other names."""


def check(
    source: str | Path, *, workers: int | None = None, progress: Count | None = None, **options: Unpack[DataKeywords]
) -> CheckReport:
    """Reads every picture of `source` as `prepare` would, and writes nothing; a prepared folder tells what it was made of.

    `options`, `workers` and `progress` are those of `prepare`. Errors: `InputError` as from `prepare`.
    """
    return check_source(source, DataOptions.of(options), workers=workers, tell=_counting(progress))


def prepare(
    source: str | Path,
    *,
    out: Path | None = None,
    workers: int | None = None,
    progress: Count | None = None,
    **options: Unpack[DataKeywords],
) -> Dataset:
    """Packs `source` into a folder, or opens the one that was made before from the same source with the same options.

    `source` is the name of a built-in set, a folder, an archive, an IDX file, or any of these behind an address such as
    ``https://…/pictures.zip`` or ``s3://bucket/folder``; a prepared folder is opened as it is. The `options` are:

    - `size`: (height, width) in pixels, one number for both, or "64x96"; where it is None, pictures of one size up to 128 keep
      it, and all others become 64x64.
    - `fit`: "crop", "pad" or "stretch", for pictures of another shape.
    - `channels`: 1, 3 or 4; None is 1 when every picture is grey, else 3.
    - `background`: the colour that transparency is laid on, a name or "#rrggbb".
    - `split`: "0.1" (val), "0.1,0.1" (val, test), "none" (nothing is held out, and no folder name is a split), or the one split
      to keep.
    - `limit`: take that many pictures, spread over splits and classes.
    - `labels`: "none" leaves labels and folder names aside.
    - `binary`: draw each pixel of grey pictures once, white with probability grey/255.
    - `seed`: decides the split, what `limit` takes, and what `binary` draws.

    `out` is the folder to make; None is one in the cache. `workers` is the number of threads that read. `progress` is called
    with (pictures read, pictures in all).

    Errors: `InputError` when the source is not there, has no usable picture or only one, or does not match what is asked, and
    for an option that is unknown or out of range.
    """
    return prepare_source(source, DataOptions.of(options), out=out, workers=workers, tell=_counting(progress))


def check_source(
    source: str | Path, options: DataOptions, *, workers: int | None = None, tell: OnProgress = silent
) -> CheckReport:
    """`check` for options that are validated already; `tell` hears of downloads as well as of pictures."""
    started = time.monotonic()
    place = local_source(source)
    if not is_address(place) and is_prepared(Path(place)):
        return report_of(open_dataset(Path(place)))
    origin = find_source(place, tell)
    listing = select_listing(origin, options, tell)
    shaping = choose_shaping(listing, options)
    reading = read_all(listing, shaping, workers=workers, progress=_pictures(tell))
    plan = plan_dataset(public_address(source), listing, reading, shaping, options)
    return report_of_plan(public_address(source), origin.name, listing, reading, plan, seconds=time.monotonic() - started)


def prepare_source(
    source: str | Path,
    options: DataOptions,
    *,
    out: Path | None = None,
    workers: int | None = None,
    tell: OnProgress = silent,
    fingerprint: str | None = None,
) -> Dataset:
    """`prepare` for options that are validated already; `tell` hears of downloads as well as of pictures.

    With the `fingerprint` of a set that was prepared before from an address with the same options, that set is opened where
    it lies in the cache, and no server is asked: a run goes on with what it was trained on.
    """
    place = local_source(source)
    if not is_address(place) and is_prepared(Path(place)):
        return adopt_prepared(Path(place), options, out)
    origin = find_source(place, tell)
    if fingerprint is not None and out is None and is_address(place):
        same = find_same(public_address(place), origin.name, options, fingerprint)
        if same is not None:
            return same
    key = cache_key(origin, options)
    earlier = find_prepared(origin.name, key, out)
    if earlier is not None:
        return earlier
    started = time.monotonic()
    listing = select_listing(origin, options, tell)
    shaping = choose_shaping(listing, options)
    base = cache_folder() / "data" if out is None else Path(out).expanduser().parent
    with os_errors_as_input_errors(base):
        base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unsorted-", dir=base) as scratch:
            # Pixels are stored as they are read. Only then are their duplicates known, and with them the order of the rows.
            with Store(Path(scratch) / "pixels", (len(listing), *shaping.size, shaping.channels)) as store:
                reading = read_all(listing, shaping, store=store, workers=workers, progress=_pictures(tell))
                plan = plan_dataset(public_address(source), listing, reading, shaping, options)
                height, width, channels = plan.shape
                name = f"{origin.name}-{height}x{width}x{channels}-{key}"
                folder = base / name if out is None else Path(out).expanduser()
                about: dict[str, Any] = {
                    "schema": SCHEMA,
                    "schema_version": SCHEMA_VERSION,
                    "name": origin.name,
                    "source": public_address(source),
                    "key": key,
                    "options": options.as_json(),
                }
                write_dataset(folder, about, plan, listing, store, started)
    return open_dataset(folder)


def _pictures(tell: OnProgress) -> Count:
    return lambda done, total: tell(Progress(READING, done, total))


def _counting(progress: Count | None) -> OnProgress:
    """A listener that passes on how many pictures were read, and nothing of downloads, which are counted otherwise."""
    if progress is None:
        return silent
    count = progress

    def tell(event: Progress) -> None:
        if event.what == READING:
            count(event.done, event.total)

    return tell

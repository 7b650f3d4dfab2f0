"""`check` reads a source and reports; `prepare` turns it into a packed folder that training opens at once."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Literal

from limner.core.files import cache_folder, mended
from limner.data.dataset import (
    SCHEMA,
    SCHEMA_VERSION,
    Dataset,
    caption_count,
    class_counts,
    is_prepared,
    open_dataset,
)
from limner.data.options import Channels, Fit, Options
from limner.data.plan import plan_dataset
from limner.data.reading import Progress, Store, read_all
from limner.data.report import CheckReport, report_of
from limner.data.reuse import adopt_prepared, cache_key, find_prepared
from limner.data.sizing import choose_shaping, select_listing
from limner.data.sources import find
from limner.data.writer import write_dataset


def check(
    source: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    fit: Fit = "crop",
    channels: Channels | None = None,
    background: str = "white",
    split: str | None = None,
    limit: int | None = None,
    labels: Literal["auto", "none"] = "auto",
    seed: int = 0,
    binary: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Reads every picture of `source` as `prepare` would, and writes nothing; a prepared folder tells what it was made of.

    Errors: `InputError` as from `prepare`.
    """
    started = time.monotonic()
    if is_prepared(Path(source)):
        return report_of(open_dataset(Path(source)))
    options = Options.of(
        size=size, fit=fit, channels=channels, background=background, split=split, limit=limit, labels=labels, seed=seed,
        binary=binary,
    )  # fmt: skip
    origin = find(source)
    listing = select_listing(origin, options)
    shaping = choose_shaping(listing, options)
    reading = read_all(listing, shaping, workers=workers, progress=progress)
    plan = plan_dataset(str(source), listing, reading, shaping, options)
    return CheckReport(
        path=str(source),
        name=origin.name,
        images=len(plan.rows),
        rejected=plan.rejected,
        exact=plan.groups.exact,
        near=plan.groups.near,
        classes=class_counts(plan.labels, listing.classes),
        captions=caption_count(plan.captions),
        shape=plan.shape,
        splits={name: len(rows) for name, rows in plan.splits.items()},
        fingerprint=plan.fingerprint,
        seconds=round(time.monotonic() - started, 3),
        seen=tuple(reading.seen),
        other=listing.other,
    )


def prepare(
    source: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    fit: Fit = "crop",
    channels: Channels | None = None,
    background: str = "white",
    split: str | None = None,
    limit: int | None = None,
    labels: Literal["auto", "none"] = "auto",
    seed: int = 0,
    binary: bool = False,
    out: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Packs `source` into a folder, or opens the one that was made before from the same source with the same options.

    `size` is (height, width) in pixels, or one number for both; where it is None, pictures of one size up to 128 keep it, and
    all others become 64x64. `channels` None is 1 when every picture is grey, else 3. `split` is "0.1" (val), "0.1,0.1" (val,
    test), "none" (nothing is held out, and no folder name is a split), or the one split to keep. `limit` takes that many
    pictures, spread over splits and classes. `labels` "none" leaves labels and folder names aside. `binary` draws each pixel
    of grey pictures once, white with probability grey/255. `out` is the folder to make; None is one in the cache. `progress` is
    called with (done, total). A source that is a prepared folder is opened as it is.

    Errors: `InputError` when the source is not there, has no usable picture or only one, or does not match what is asked.
    """
    asked = Options.of(
        size=size, fit=fit, channels=channels, background=background, split=split, limit=limit, labels=labels, seed=seed,
        binary=binary,
    )  # fmt: skip
    if is_prepared(Path(source)):
        return adopt_prepared(Path(source), asked, out)
    origin = find(source)
    key = cache_key(origin, asked)
    base = cache_folder() / "data" if out is None else Path(out).expanduser().parent
    found = find_prepared(origin.name, key, out)
    if found is not None:
        return found
    started = time.monotonic()
    listing = select_listing(origin, asked)
    shaping = choose_shaping(listing, asked)
    with mended(base):
        base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unsorted-", dir=base) as scratch:
            with Store(Path(scratch) / "pixels", (len(listing), *shaping.size, shaping.channels)) as store:
                reading = read_all(listing, shaping, store=store, workers=workers, progress=progress)
                plan = plan_dataset(str(source), listing, reading, shaping, asked)
                height, width, depth = plan.shape
                folder = base / f"{origin.name}-{height}x{width}x{depth}-{key}" if out is None else Path(out).expanduser()
                about = {
                    "schema": SCHEMA,
                    "schema_version": SCHEMA_VERSION,
                    "name": origin.name,
                    "source": str(source),
                    "key": key,
                    "options": asked.as_json(),
                }
                write_dataset(folder, about, plan, listing, store, started)
    return open_dataset(folder)

"""`check` reads a source and reports; `prepare` turns it into a packed folder that training opens at once."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from limner.core.errors import InputError
from limner.core.files import atomic_folder, cache_folder, mended
from limner.data import pictures
from limner.data.dataset import (
    SCHEMA,
    SCHEMA_VERSION,
    Dataset,
    caption_count,
    class_counts,
    fingerprint_of,
    is_prepared,
    open_dataset,
)
from limner.data.duplicates import Groups, find_groups
from limner.data.listing import Files, Listing, Rejected, printable
from limner.data.options import SPLITS, Channels, Fit, Options
from limner.data.pictures import Shaping, Unreadable
from limner.data.reading import Progress, Reading, Store, bytes_of, read_all
from limner.data.report import CheckReport, report_of
from limner.data.sources import Origin, find
from limner.data.splits import choose, deal

_DEFAULT_SIDE, _LARGEST_KEPT = 64, 128
_FEW = 3
_ROWS_AT_ONCE = 1024


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
    listing = _selected(origin, options)
    shaping = _shaping(listing, options)
    reading = read_all(listing, shaping, workers=workers, progress=progress)
    plan = _planned(str(source), listing, reading, shaping, options)
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
        return _as_it_is(Path(source), asked, out)
    origin = find(source)
    key = _key(origin, asked)
    base = cache_folder() / "data" if out is None else Path(out).expanduser().parent
    found = _made_before(origin.name, key, out)
    if found is not None:
        return found
    started = time.monotonic()
    listing = _selected(origin, asked)
    shaping = _shaping(listing, asked)
    with mended(base):
        base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unsorted-", dir=base) as scratch:
            with Store(Path(scratch) / "pixels", (len(listing), *shaping.size, shaping.channels)) as store:
                reading = read_all(listing, shaping, store=store, workers=workers, progress=progress)
                plan = _planned(str(source), listing, reading, shaping, asked)
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
                _write(folder, about, plan, listing, store, started)
    return open_dataset(folder)


@dataclass(frozen=True)
class _Plan:
    """What becomes of a reading: `rows` [n] of the listing in their final order, and all that is said about them."""

    rows: NDArray[np.int64]
    shape: tuple[int, int, int]
    splits: dict[str, range]
    labels: NDArray[np.int64] | None
    captions: tuple[str, ...] | None
    groups: Groups
    moved: NDArray[np.int64]
    rejected: tuple[Rejected, ...]
    fingerprint: str
    files: NDArray[np.uint8] | None


def _key(origin: Origin, options: Options) -> str:
    """12 hex digits that change with the source, the options and the format."""
    text = json.dumps([SCHEMA_VERSION, origin.name, origin.identity(), options.as_json()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _made_before(name: str, key: str, out: Path | None) -> Dataset | None:
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


def _as_it_is(path: Path, asked: Options, out: Path | None) -> Dataset:
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


def _selected(origin: Origin, options: Options) -> Listing:
    """The listing, cut down to the one split and the number of pictures that were asked for."""
    listing = origin.listing(options)
    only = options.rule.only
    if only is not None:
        there = [name for number, name in enumerate(SPLITS) if (listing.hints == number).any()]
        if only not in there:
            raise InputError(f"{origin.name} has no split '{only}' of its own (it has: {', '.join(there) or 'none'})")
        listing = listing.take(np.flatnonzero(listing.hints == SPLITS.index(only)))
    if options.limit is not None and options.limit < len(listing):
        labels = np.zeros(len(listing), np.int64) if listing.labels is None else listing.labels
        strata = labels * (len(SPLITS) + 1) + listing.hints
        chosen = choose(np.arange(len(listing)), strata, options.limit, options.seed, "limit")
        listing = listing.take(np.flatnonzero(chosen))
    return listing


def _shaping(listing: Listing, options: Options) -> Shaping:
    """Size and channels for reading; colour is kept until all pictures are known to be grey."""
    channels: int = options.channels or 3
    if isinstance(listing.content, Files):
        size = options.size or _common_size(listing.content) or (_DEFAULT_SIDE, _DEFAULT_SIDE)
    else:
        height, width, own = listing.content.shape
        fits = max(height, width) <= _LARGEST_KEPT
        size = options.size or ((height, width) if fits else (_DEFAULT_SIDE, _DEFAULT_SIDE))
        channels = options.channels or own
    background = pictures.parse_background(options.background)
    return Shaping(size, options.fit, channels, background, options.seed if options.binary else None)


def sizes(source: str | Path) -> dict[tuple[int, int], str]:
    """(height, width) of the pictures of `source` by their headers, each with the name of one; stops at the second size."""
    content = _selected(find(source), Options.of()).content
    if not isinstance(content, Files):
        return {content.shape[:2]: str(source)}
    found: dict[tuple[int, int], str] = {}
    for name, payload in content.tree.read(content.names):
        try:
            seen = pictures.look(bytes_of(payload))
        except Unreadable:  # will be set aside, with its reason, when it is read
            continue
        found.setdefault((seen.height, seen.width), name)
        if len(found) > 1:
            break
    return found


def _common_size(content: Files) -> tuple[int, int] | None:
    """The size that all pictures share, from their headers, if it is at most 128; stops at the first that differs."""
    common = None
    for _, payload in content.tree.read(content.names):
        try:
            seen = pictures.look(bytes_of(payload))
        except Unreadable:  # will be set aside, with its reason, when it is read
            continue
        if max(seen.height, seen.width) > _LARGEST_KEPT or common not in (None, (seen.height, seen.width)):
            return None
        common = seen.height, seen.width
    return common


def _planned(source: str, listing: Listing, reading: Reading, shaping: Shaping, options: Options) -> _Plan:
    """Finds duplicates, deals out the splits and settles the order. Errors: `InputError` with fewer than two pictures."""
    rejected = (*listing.rejected, *reading.rejected)
    good = np.flatnonzero(reading.ok)
    _enough(source, len(good), rejected)
    found = reading.signatures
    kept = type(found)(found.digest[good], found.grey[good], found.luma[good], found.tint[good])
    files = None if reading.files is None else reading.files[good]
    groups = find_groups(kept, files)
    labels = None if listing.labels is None else listing.labels[good]
    parts, moved = deal(listing.hints[good], groups.of, labels, options.rule, options.seed, published=listing.published)
    by_split = np.argsort(parts, kind="stable")
    rows = good[by_split]
    stops = np.cumsum([0, *np.bincount(parts, minlength=len(SPLITS))]).tolist()
    splits = {name: range(stops[at], stops[at + 1]) for at, name in enumerate(SPLITS) if stops[at + 1] > stops[at]}
    channels = options.channels or (1 if bool(kept.grey.all()) else 3)
    shape = (*shaping.size, channels)
    labels = None if labels is None else labels[by_split]
    captions = None if listing.captions is None else tuple(listing.captions[row] for row in rows)
    print_ = fingerprint_of(shape, kept.digest[by_split], labels, captions, splits)
    files = None if files is None else files[by_split]
    return _Plan(rows, shape, splits, labels, captions, groups, good[moved], rejected, print_, files)


def _enough(source: str, count: int, rejected: tuple[Rejected, ...]) -> None:
    if count >= 2:
        return
    first = "; ".join(f"{one.file}: {one.reason}" for one in rejected[:_FEW])
    reasons = f" ({len(rejected)} set aside: {first}{'; ...' if len(rejected) > _FEW else ''})" if rejected else ""
    if count == 1:
        raise InputError(
            f"{source} has a single usable picture{reasons}; a single picture cannot train a model, give at least 2"
        )
    raise InputError(f"{source} has no usable picture{reasons}; repair these files or give others")


def _write(folder: Path, about: dict[str, Any], plan: _Plan, listing: Listing, store: Store, started: float) -> None:
    """The prepared folder, whole or not at all. Another process that made the same one first is no error."""
    manifest = about | {
        "images": len(plan.rows),
        "shape": list(plan.shape),
        "splits": {name: [rows.start, rows.stop] for name, rows in plan.splits.items()},
        "classes": list(listing.classes),
        "counts": {
            name: class_counts(None if plan.labels is None else plan.labels[rows.start : rows.stop], listing.classes)
            for name, rows in plan.splits.items()
        },
        "captions": caption_count(plan.captions),
        "factors": sorted(listing.factors or ()),
        "rejected": [one.as_json() for one in plan.rejected],
        "other_files": listing.other,
        "duplicates": {"exact": plan.groups.exact, "near": plan.groups.near},
        "moved": _names(listing, plan.moved),
        "fingerprint": plan.fingerprint,
        "files": _files(listing, plan),
    }
    try:
        with atomic_folder(folder) as temporary:
            _write_images(temporary / "images.npy", plan, store.pixels())
            if plan.labels is not None:
                np.save(temporary / "labels.npy", plan.labels, allow_pickle=False)
            if manifest["captions"]:
                _write_json(temporary / "captions.json", list(plan.captions or ()))
            if listing.factors:
                _write_arrays(temporary / "factors.npz", {name: values[plan.rows] for name, values in listing.factors.items()})
            _write_json(temporary / "manifest.json", manifest | {"seconds": round(time.monotonic() - started, 3)})
    except OSError:
        if not is_prepared(folder):
            raise


def _write_images(path: Path, plan: _Plan, pixels: NDArray[np.uint8]) -> None:
    """The rows in their final order as one .npy file; grey sets lose two of their three equal channels here."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(plan.rows), *plan.shape)}
    with path.open("wb") as handle:
        np.lib.format.write_array_header_1_0(handle, header)
        for start in range(0, len(plan.rows), _ROWS_AT_ONCE):
            block = pixels[plan.rows[start : start + _ROWS_AT_ONCE]]
            handle.write(np.ascontiguousarray(block[..., : plan.shape[2]]).data)


def _write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """An .npz file, written member by member, so that nothing in it can be an object to unpickle."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(values), allow_pickle=False)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _names(listing: Listing, rows: NDArray[np.int64]) -> list[str]:
    return [printable(listing.content.names[row]) for row in rows] if isinstance(listing.content, Files) else rows.tolist()


def _files(listing: Listing, plan: _Plan) -> list[dict[str, Any]]:
    """Each file's name, SHA-256, split and row, for sources of files."""
    if plan.files is None:
        return []
    names = _names(listing, plan.rows)
    return [
        {"file": names[row], "sha256": plan.files[row].tobytes().hex(), "split": split, "row": row}
        for split, rows in plan.splits.items()
        for row in rows
    ]

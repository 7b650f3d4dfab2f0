"""The last step of list → read → plan → write: packed arrays, labels, captions, given pictures, factors, and a manifest."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.core.files import atomic_folder, sha256, with_checksum, write_text
from limner.data.dataset import caption_count, class_counts, is_prepared
from limner.data.listing import Arrays, Files, Listing, printable
from limner.data.plan import Plan
from limner.data.reading import Store

_ROWS_AT_ONCE = 1024


def write_dataset(folder: Path, about: dict[str, Any], plan: Plan, listing: Listing, store: Store, started: float) -> None:
    """The prepared folder, whole or not at all. Another process that made the same one first is no error.

    `about` begins the manifest; `store` holds the pixels in the order of the listing; `started` is when the work began, by
    `time.monotonic`.
    """
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
        "given_shape": None if plan.given_shape is None else list(plan.given_shape),
        # Only four channels leave it open which given pictures the fingerprint takes with their alpha.
        "given_transparent": np.flatnonzero(plan.given_transparent).tolist()
        if plan.given_transparent is not None and plan.given_shape is not None and plan.given_shape[2] == 4
        else None,
        "factors": sorted(listing.factors or ()),
        "rejected": [one.as_json() for one in plan.rejected],
        "other_files": listing.other,
        "notes": list(plan.notes),
        "value_range": None if plan.value_range is None else list(plan.value_range),
        "duplicates": {"exact": plan.groups.exact, "near": plan.groups.near},
        "moved": _names(listing.content, plan.moved_rows),
        "fingerprint": plan.fingerprint,
        "files": _files(listing, plan),
    }
    try:
        with atomic_folder(folder) as temporary:
            _write_images(temporary / "images.npy", plan.rows, plan.shape, store.pixels())
            if plan.given_shape is not None and store.given_store is not None:
                _write_images(temporary / "given.npy", plan.rows, plan.given_shape, store.given_store.pixels())
            if plan.labels is not None:
                np.save(temporary / "labels.npy", plan.labels, allow_pickle=False)
            if manifest["captions"]:
                _write_json(temporary / "captions.json", list(plan.captions or ()))
            if listing.factors:
                _write_arrays(temporary / "factors.npz", {name: values[plan.rows] for name, values in listing.factors.items()})
                manifest["factors_sha256"] = sha256(temporary / "factors.npz")
            manifest["seconds"] = round(time.monotonic() - started, 3)
            write_manifest(temporary, manifest)
    except OSError:
        if not is_prepared(folder):
            raise


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """The manifest of a prepared folder, with a checksum of its own. Errors: `InputError` where it cannot be written."""
    text = json.dumps(with_checksum(manifest), ensure_ascii=False, allow_nan=False)
    write_text(folder / "manifest.json", text + "\n")


def _write_images(path: Path, rows: NDArray[np.int64], shape: tuple[int, int, int], pixels: NDArray[np.uint8]) -> None:
    """The `rows` of `pixels`, each (H, W, C) as `shape` says, as one .npy file.

    Channels that the set does not need are left out here: two of three equal ones, and alpha that is full everywhere.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(rows), *shape)}
    with path.open("wb") as handle:
        np.lib.format.write_array_header_1_0(handle, header)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            block = pixels[rows[start : start + _ROWS_AT_ONCE]]
            handle.write(np.ascontiguousarray(block[..., : shape[2]]).data)


def _write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """An .npz file, written member by member, so that nothing in it can be an object to unpickle."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(values), allow_pickle=False)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8", errors="backslashreplace")


def _names(content: Files | Arrays, rows: NDArray[np.int64]) -> list[Any]:
    """The file name of each row, or its number in sources that have no files."""
    return [printable(content.names[row]) for row in rows] if isinstance(content, Files) else rows.tolist()


def _files(listing: Listing, plan: Plan) -> list[dict[str, Any]]:
    """Each file's name, SHA-256, split and row, for sources of files; and the name of its given picture, where it has one."""
    if plan.files is None:
        return []
    names = _names(listing.content, plan.rows)
    partners = None if listing.given_content is None else _names(listing.given_content, plan.rows)
    return [
        {"file": names[row], "sha256": plan.files[row].tobytes().hex(), "split": split, "row": row}
        | ({} if partners is None else {"given_file": partners[row]})
        for split, rows in plan.splits.items()
        for row in rows
    ]

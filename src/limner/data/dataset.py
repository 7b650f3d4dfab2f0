"""A prepared folder, opened: equal-sized uint8 images in a memory map, stored split by split."""

from __future__ import annotations

import hashlib
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.core.cache import hold
from limner.core.documents import parse_json
from limner.core.errors import InputError, nearest, short_repr
from limner.core.files import checksum_fits, sha256
from limner.core.text import longest_caption
from limner.data.content import remembered
from limner.data.fingerprint import fingerprint_of_arrays
from limner.data.options import SPLITS

SCHEMA = "limner-data"
SCHEMA_VERSION = 1
_FILES = ("manifest.json", "images.npy", "labels.npy", "captions.json", "given.npy", "factors.npz")
"""What a prepared folder may hold."""
_DAMAGE = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    OverflowError,
    MemoryError,
    FileNotFoundError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What json and numpy raise for damaged files."""


class DamagedDataError(InputError):
    """A prepared folder does not hold what was written into it."""


class Images:
    """[N, H, W, C] uint8, read from disk as it is needed; may be backed by several memory maps of equal H, W, C."""

    def __init__(self, parts: Sequence[NDArray[np.uint8]]) -> None:
        self._parts = tuple(parts)
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        self.shape: tuple[int, int, int, int] = (int(self._starts[-1]), *parts[0].shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def gather(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """A contiguous copy [n, H, W, C] of the rows `indices` [n], in that order. Errors: `IndexError` outside 0..N-1."""
        if indices.size and not (indices.min() >= 0 and indices.max() < len(self)):
            raise IndexError(f"rows must be from 0 to {len(self) - 1}")
        if len(self._parts) == 1:
            return np.take(self._parts[0], indices, axis=0)
        gathered = np.empty((len(indices), *self.shape[1:]), np.uint8)
        owner = np.searchsorted(self._starts, indices, side="right") - 1
        for number in np.unique(owner):
            here = owner == number
            gathered[here] = self._parts[number][indices[here] - self._starts[number]]
        return gathered

    @staticmethod
    def joined(sets: Sequence[tuple[Images, range]]) -> Images:
        """A range of the rows of each of `sets`, one after the other."""
        return Images([part for images, rows in sets for part in images._slices(rows)])

    def _slices(self, rows: range) -> list[NDArray[np.uint8]]:
        """The `rows`, as one piece of each array that holds some of them."""
        starts = self._starts[:-1].tolist()
        pieces = zip(self._parts, starts, strict=True)
        return [part[max(rows.start - start, 0) : max(rows.stop - start, 0)] for part, start in pieces]


@dataclass(frozen=True)
class Dataset:
    """A prepared data set; rows are stored split by split, so a split is a range of rows.

    `labels` [N] index into `classes` (-1: no label); `captions` are N texts, "" for none; `given_images` holds the given
    picture of each picture, of the same height and width; `factors` are the true factors of drawn scenes, each with N rows;
    `fingerprint` is a SHA-256 over shape, pixels, labels, captions, splits and given pictures, and not over paths or times;
    `is_new` says whether the call that returned the set prepared it, instead of opening one that was there."""

    path: Path
    name: str
    images: Images
    labels: NDArray[np.int64] | None
    captions: tuple[str, ...] | None
    factors: dict[str, NDArray[Any]] | None
    classes: tuple[str, ...]
    splits: Mapping[str, range]
    fingerprint: str
    manifest: Mapping[str, Any]
    given_images: Images | None = None
    is_new: bool = False

    def __post_init__(self) -> None:
        """A set in the cache is in use as long as its pictures are."""
        hold(self.path, self.images)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the source and its pictures, one sentence each; () in older folders."""
        return tuple(self.manifest.get("notes") or ())

    @property
    def value_range(self) -> tuple[float, float] | None:
        """The values that became black and white, of pictures of more than 8 bits; None where there were none."""
        limits = self.manifest.get("value_range")
        return None if limits is None else (float(limits[0]), float(limits[1]))

    @property
    def condition_shape(self) -> tuple[int, int, int] | None:
        """(C', H, W) of the given pictures, as networks take them; None where there are none."""
        if self.given_images is None:
            return None
        height, width, channels = self.given_images.shape[1:]
        return channels, height, width

    @cached_property
    def caption_length(self) -> int:
        """Bytes of the longest caption in any split, at most 256; 0 where there are no captions."""
        return longest_caption(self.captions or ())

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return self.images.shape[1:]

    def indices(self, split: str) -> NDArray[np.int64]:
        """The rows of `split`, ascending. Errors: `InputError` that names the splits there are."""
        if split not in self.splits:
            there = ", ".join(self.splits)
            raise InputError(f"{self.name} has no split '{split}' (it has: {there}){nearest(split, self.splits)}")
        rows = self.splits[split]
        return np.arange(rows.start, rows.stop, dtype=np.int64)


def is_prepared(path: Path) -> bool:
    """Whether `path` is a folder that `prepare` made; cheap. Errors: `InputError` where it is, and its manifest is damaged,
    cannot be read, or is of another version."""
    return (path / "manifest.json").is_file() and (path / "images.npy").is_file() and _manifest(path) is not None


def open_dataset(path: Path | Sequence[Path], *, verify: bool = False) -> Dataset:
    """Opens a prepared folder, or several of equal shape and classes as one, joined split by split.

    The arrays are held against the fingerprint with which they were written; that takes a look at their files where these have
    not changed since the last time (`limner.data.content`), unless `verify` says to read every byte.

    Errors: `InputError` when a folder is no prepared one, cannot be read, or does not match the others; `DamagedDataError` for
    one that does not hold what was written into it.
    """
    if isinstance(path, str | Path):
        return _open_one(Path(path), verify)
    if not isinstance(path, Sequence):
        raise InputError(f"a prepared folder is named by its path, or several by a list of paths, not by {short_repr(path)}")
    shards = [_open_one(Path(one), verify) for one in path]
    if not shards:
        raise InputError("no folder was given; name at least one prepared folder")
    return shards[0] if len(shards) == 1 else _joined(shards)


def summary(dataset: Dataset) -> dict[str, Any]:
    """What `limner data prepare --json` prints."""
    manifest = dataset.manifest
    return {
        "path": str(dataset.path),
        "name": dataset.name,
        "images": len(dataset.images),
        "rejected": list(manifest["rejected"]),
        "duplicates": dict(manifest["duplicates"]),
        "classes": class_counts(dataset.labels, dataset.classes),
        "captions": caption_count(dataset.captions),
        "given_shape": None if dataset.given_images is None else list(dataset.given_images.shape[1:]),
        "shape": list(dataset.shape),
        "splits": {name: len(rows) for name, rows in dataset.splits.items()},
        "fingerprint": dataset.fingerprint,
        "seconds": manifest["seconds"],
        "notes": list(dataset.notes),
    }


def class_counts(labels: NDArray[np.int64] | None, classes: Sequence[str]) -> dict[str, int]:
    """How many pictures each class has."""
    if labels is None:
        return {}
    counts = np.bincount(labels[labels >= 0], minlength=len(classes))
    return {name: int(count) for name, count in zip(classes, counts, strict=True)}


def caption_count(captions: Sequence[str] | None) -> int:
    """How many pictures have a caption."""
    return sum(1 for text in captions or () if text)


def _manifest(path: Path) -> dict[str, Any] | None:
    """The manifest, or None where there is none of ours. Errors: `InputError` as `is_prepared` has them."""
    try:
        manifest = parse_json((path / "manifest.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:
        if (path / "images.npy").is_file():
            raise _damaged(path, f"manifest.json: {error}") from error
        return None
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        return None
    if manifest.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{path} was prepared by another version of limner (schema {manifest.get('schema_version')}, this one reads "
            f"{SCHEMA_VERSION}); prepare it again from its source"
        )
    return manifest


def _open_one(path: Path, verify: bool) -> Dataset:
    manifest = _manifest(path)
    if manifest is None:
        raise InputError(f"{path} is not a prepared data set (no manifest of ours); make one with `limner data prepare SOURCE`")
    try:
        dataset = _read_folder(path, manifest)
        files = [str(path / name) for name in _FILES]
        fingerprint = remembered("prepared", path, files, lambda: _fingerprint_of_files(dataset), anew=verify)
    except _DAMAGE as error:
        raise _damaged(path, " ".join(str(error).split()) or type(error).__name__) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if fingerprint != dataset.fingerprint:
        raise _damaged(path, "its arrays are not those that its fingerprint was taken of")
    return dataset


def _read_folder(path: Path, manifest: dict[str, Any]) -> Dataset:
    """The set in the folder `path`, its pictures not read yet. Errors: one of `_DAMAGE`."""
    images = np.load(path / "images.npy", mmap_mode="r", allow_pickle=False)
    labels = np.load(path / "labels.npy", allow_pickle=False) if manifest["classes"] else None
    captions = tuple(parse_json((path / "captions.json").read_text(encoding="utf-8"))) if manifest["captions"] else None
    given_shape = manifest.get("given_shape")
    given_array = np.load(path / "given.npy", mmap_mode="r", allow_pickle=False) if given_shape else None
    dataset = Dataset(
        path,
        manifest["name"],
        Images([images]),
        labels,
        captions,
        _factors(path / "factors.npz") if manifest["factors"] else None,
        tuple(manifest["classes"]),
        {name: range(*manifest["splits"][name]) for name in SPLITS if name in manifest["splits"]},
        manifest["fingerprint"],
        manifest,
        None if given_array is None else Images([given_array]),
    )
    count, classes, starts = len(images), len(dataset.classes), [0, *(rows.stop for rows in dataset.splits.values())]
    columns = [column for column in (labels, captions, *(dataset.factors or {}).values()) if column is not None]
    for is_whole, what in (
        (_fits(images, [manifest["images"], *manifest["shape"]]), "images.npy is not what the manifest says"),
        (given_array is None or _fits(given_array, [count, *(given_shape or ())]), "given.npy is not what the manifest says"),
        (all(len(column) == count for column in columns), "its files have different numbers of rows"),
        ([rows.start for rows in dataset.splits.values()] == starts[:-1] and starts[-1] == count, "its splits are no division"),
        (labels is None or _are_labels(labels, classes), f"labels.npy holds others than -1 to {classes - 1}"),
        (captions is None or all(isinstance(text, str) for text in captions), "captions.json holds others than texts"),
    ):
        if not is_whole:
            raise ValueError(what)
    return dataset


def _fingerprint_of_files(dataset: Dataset) -> str:
    """The fingerprint of what the files of `dataset` hold; every byte is read. Errors: one of `_DAMAGE`."""
    manifest, path = dataset.manifest, dataset.path
    if not checksum_fits(manifest):
        raise ValueError("manifest.json is not as it was written; where you changed it on purpose, remove its checksum")
    if manifest["factors"] and manifest.get("factors_sha256", sha256(path / "factors.npz")) != sha256(path / "factors.npz"):
        raise ValueError("factors.npz is not as it was written")
    images = np.load(path / "images.npy", mmap_mode="r", allow_pickle=False)
    given_pictures = None
    if dataset.given_images is not None:
        pictures = np.load(path / "given.npy", mmap_mode="r", allow_pickle=False)
        transparent = np.zeros(len(pictures), np.bool_)
        if pictures.shape[3] == 4:
            if "given_transparent" not in manifest:  # an older folder does not say which digests are with alpha
                return dataset.fingerprint
            transparent[manifest["given_transparent"]] = True
        given_pictures = (pictures, transparent)
    # Where no picture has a caption, none are stored; the fingerprint may be that of no captions, or of empty ones.
    choices = [dataset.captions] if dataset.captions is not None else [None, ("",) * len(images)]
    for captions in choices:
        fingerprint = fingerprint_of_arrays(images, dataset.labels, captions, dataset.splits, given_pictures)
        if fingerprint == dataset.fingerprint:
            break
    return fingerprint


def _damaged(path: Path, what: str) -> DamagedDataError:
    return DamagedDataError(f"{path} is damaged ({what}); remove it and prepare it again")


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path} cannot be read ({error.strerror}: {error.filename}); check that you may read it")


def _fits(array: NDArray[Any], shape: list[int]) -> bool:
    return array.dtype == np.uint8 and list(array.shape) == shape


def _are_labels(labels: NDArray[Any], classes: int) -> bool:
    """Whether these are indices into so many classes, or -1 for none."""
    return labels.ndim == 1 and labels.dtype.kind == "i" and bool((labels >= -1).all() and (labels < classes).all())


def _factors(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _joined(shards: Sequence[Dataset]) -> Dataset:
    first = shards[0]
    for other in shards[1:]:
        for what, mine, theirs in (
            ("shape", first.shape, other.shape),
            ("classes", first.classes, other.classes),
            ("factors", sorted(first.factors or ()), sorted(other.factors or ())),
            ("given pictures", _given_shape(first), _given_shape(other)),
        ):
            if mine != theirs:
                raise InputError(
                    f"{other.path} has the {what} {theirs or 'none'}, {first.path} has {mine or 'none'}; shards must be alike"
                )
    order = [(shard, shard.splits[split]) for split in SPLITS for shard in shards if split in shard.splits]
    splits: dict[str, range] = {}
    start = 0
    for split in SPLITS:
        count = sum(len(shard.splits.get(split, ())) for shard in shards)
        if count:
            splits[split] = range(start, start + count)
        start += count
    captions = None
    if any(shard.captions for shard in shards):
        captions = tuple(text for shard, rows in order for text in _captions(shard)[rows.start : rows.stop])
    manifest = dict(first.manifest) | {
        "images": start,
        "splits": {name: [rows.start, rows.stop] for name, rows in splits.items()},
        "rejected": [one for shard in shards for one in shard.manifest["rejected"]],
        "duplicates": {
            kind: sum(shard.manifest["duplicates"][kind] for shard in shards) for kind in first.manifest["duplicates"]
        },
        "notes": list(dict.fromkeys(note for shard in shards for note in shard.notes)),
        "seconds": sum(shard.manifest["seconds"] for shard in shards),
        "shards": [str(shard.path) for shard in shards],
    }
    manifest["fingerprint"] = hashlib.sha256("".join(shard.fingerprint for shard in shards).encode()).hexdigest()
    return Dataset(
        first.path,
        first.name,
        Images.joined([(shard.images, rows) for shard, rows in order]),
        None if first.labels is None else np.concatenate([_labels(shard)[rows.start : rows.stop] for shard, rows in order]),
        captions,
        {
            name: np.concatenate([(shard.factors or {})[name][rows.start : rows.stop] for shard, rows in order])
            for name in first.factors
        }
        if first.factors
        else None,
        first.classes,
        splits,
        manifest["fingerprint"],
        manifest,
        Images.joined([(shard.given_images, rows) for shard, rows in order if shard.given_images is not None])
        if first.given_images is not None
        else None,
    )


def _given_shape(shard: Dataset) -> tuple[int, int, int] | None:
    return None if shard.given_images is None else shard.given_images.shape[1:]


def _labels(shard: Dataset) -> NDArray[np.int64]:
    return np.full(len(shard.images), -1, np.int64) if shard.labels is None else shard.labels


def _captions(shard: Dataset) -> tuple[str, ...]:
    return shard.captions if shard.captions else ("",) * len(shard.images)

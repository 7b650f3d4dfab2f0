"""What `prepare` may be pointed at, and how each kind of source is listed: the first step of list → read → plan → write."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from limner.core.address import is_address, public_address
from limner.core.errors import InputError, nearest
from limner.core.files import slug
from limner.core.progress import OnProgress, Progress, silent
from limner.data import arrays, digits, metadata, named, remote, scenes
from limner.data.listing import Entry, Fault, Files, Listing, Rejected, Tree, printable
from limner.data.options import SPLITS, DataOptions, split_of
from limner.data.pairs import pair_pictures
from limner.data.pictures import openable
from limner.data.trees import escapes, hidden, is_archive, open_tree

BUILT_IN: Mapping[str, str] = {
    "digits": digits.LINE,
    "scenes": scenes.LINE,
    "scenes-1": scenes.LINE_OF_ONE,
    **{name: known.line for name, known in named.KNOWN.items()},
}
"""The names that stand for a data set, each with one line about it."""


class Source(Protocol):
    """Where pictures come from; nothing is read yet."""

    @property
    def name(self) -> str:
        """What a set made from it is called."""
        ...

    def identity(self) -> str:
        """Text that changes when the content does; cheap."""
        ...

    def listing(self, options: DataOptions, tell: OnProgress = silent) -> Listing:
        """Every picture, not decoded; `tell` hears of a download. Errors: `InputError` where there is no picture."""
        ...


def find_source(source: str | Path, tell: OnProgress = silent) -> Source:
    """The source of a built-in name, an address, a folder, an archive or an IDX file. Errors: `InputError` for all else.

    `tell` hears where the server of an address does not answer and an earlier copy stands in.

    A name stands before a path: a folder called ``mnist`` is reached as ``./mnist``.
    """
    if str(source) in BUILT_IN:
        return BuiltInSource(str(source))
    source = remote.local_source(source)
    if is_address(source):
        return RemoteSource(str(source), tell)
    path = Path(source).expanduser()
    if not path.exists():
        hint = nearest(str(source), BUILT_IN) or f"; give a folder, an archive, or one of {', '.join(BUILT_IN)}"
        raise InputError(f"there is no '{source}', neither as a path nor as a data set's name{hint}")
    if path.is_dir():
        if arrays.is_cifar(path) or arrays.idx_files(path):
            return ArraySource(path)
        return ImageSource(open_tree(path))
    if is_archive(path):
        return ImageSource(open_tree(path))
    if arrays.is_idx(path):
        return ArraySource(path)
    raise InputError(f"{path} is one file and no archive; give a folder of pictures, a .zip, a .tar(.gz) or IDX files")


@dataclass(frozen=True)
class BuiltInSource:
    """A data set by its name."""

    name: str

    def identity(self) -> str:
        return self.name

    def listing(self, options: DataOptions, tell: OnProgress = silent) -> Listing:
        labelled = options.labels == "auto"
        if self.name == "digits":
            return digits.load(labelled=labelled)
        if self.name in ("scenes", "scenes-1"):
            most = 1 if self.name == "scenes-1" else scenes.MOST
            return scenes.load(options.height_and_width, options.limit, options.seed, labelled=labelled, most=most)
        return named.load(self.name, labelled=labelled, tell=tell)


@dataclass(frozen=True)
class ArraySource:
    """IDX files or CIFAR-10 batches in a folder, or one IDX image file with the labels beside it: pixels as they are."""

    path: Path

    @property
    def name(self) -> str:
        return _plain_name(self.path.name)

    def identity(self) -> str:
        files = sorted(self.path.iterdir()) if self.path.is_dir() else [self.path, *arrays.labels_beside(self.path)]
        states = ((path.name, path.stat()) for path in files if path.is_file())
        return "\n".join(f"{printable(name)}\0{state.st_size}\0{state.st_mtime_ns}" for name, state in states)

    def listing(self, options: DataOptions, tell: OnProgress = silent) -> Listing:
        classes: tuple[str, ...] = ()
        if self.path.is_dir() and arrays.is_cifar(self.path):
            parts, classes = arrays.read_cifar(self.path)
        else:
            images = arrays.idx_files(self.path) if self.path.is_dir() else [self.path]
            parts = [arrays.read_idx_part(path) for path in images]
        return arrays.as_listing(str(self.path), parts, classes, labelled=options.labels == "auto")


@dataclass(frozen=True)
class ImageSource:
    """Picture files in a folder or an archive."""

    tree: Tree

    @property
    def name(self) -> str:
        return _plain_name(self.tree.path.resolve().name)

    def identity(self) -> str:
        return self.tree.identity()

    def listing(self, options: DataOptions, tell: OnProgress = silent) -> Listing:
        return _list_pictures(self.tree, options)


@dataclass(frozen=True)
class RemoteSource:
    """Any of these behind an address. A set prepared before is found by what the server says; nothing is fetched for it.

    Where the server does not answer, the newest copy in the cache is taken as what it holds, and `warn` hears of it.
    """

    address: str
    warn: OnProgress = silent

    @property
    def name(self) -> str:
        return _plain_name(remote.base_name(public_address(self.address)))

    @cached_property
    def _place(self) -> remote.Place:
        return remote.open_place(self.address)

    @cached_property
    def _files(self) -> list[remote.RemoteFile]:
        try:
            return self._place.files()
        except remote.UnreachableError as error:
            earlier = remote.earlier_files(self.address)
            if earlier is None:
                raise
            note = f"{error}; going on with the newest copy in the cache"
            self.warn(Progress(f"fetching {self.name}", note=note))
            return earlier

    def identity(self) -> str:
        return remote.identity(self.address, self._files)

    def listing(self, options: DataOptions, tell: OnProgress = silent) -> Listing:
        copy = remote.fetch(self._place, self.address, self._files, tell)
        listing = find_source(copy).listing(options)
        outside = [
            Rejected(printable(one.name), "its path leads out of the folder") for one in self._files if escapes(one.name)
        ]
        return replace(listing, rejected=(*outside, *listing.rejected))


def _plain_name(text: str) -> str:
    """The name of a data set from that of its folder or archive."""
    stem = re.sub(r"(\.zip|\.tar|\.tar\.\w+|\.tgz|\.gz)$", "", text, flags=re.IGNORECASE)
    return slug(printable(stem)).strip("-.") or "data"


def _list_pictures(tree: Tree, options: DataOptions) -> Listing:
    """Sorts the tree's files into pictures and others, and gives each picture its split, label and caption."""
    where, ends = tree.path, openable()[1]
    rejected: list[Rejected] = []
    pictures: list[str] = []
    other = 0
    entries = [entry for entry in tree.entries() if not hidden(entry.name)]
    for entry in entries:
        if escapes(entry.name):
            rejected.append(Rejected(printable(entry.name), "its path leads out of the archive"))
        elif entry.name[entry.name.rfind(".") :].lower() in ends:
            pictures.append(entry.name)
        else:
            other += not _is_table(entry)
    if not pictures:
        what = "is empty" if not entries else f"holds no picture ({other} other files)"
        raise InputError(f"{where} {what}; give a folder or archive with pictures such as .png or .jpg, also in sub-folders")
    tables, all_given, faults = _tables(tree, [entry for entry in entries if _is_table(entry)], pictures)
    rejected += faults
    pairs = pair_pictures(pictures, tables, all_given)
    if pairs is not None:
        rejected += pairs.rejected
        pictures = [name for name in pictures if name in pairs.partners]
        if not pictures:
            first = f" ({pairs.rejected[0].file} {pairs.rejected[0].reason})" if pairs.rejected else ""
            raise InputError(f"{where} holds no picture with its given picture{first}; correct the column given_file_name")
    places = _places(pictures, options)
    kept: list[str] = []
    splits: list[int] = []
    folders: list[str | None] = []
    for name, (split, folder) in zip(pictures, places, strict=True):
        if split == "":
            rejected.append(Rejected(printable(name), "outside the folders train, val and test"))
        else:
            kept.append(name)
            splits.append(-1 if split is None else SPLITS.index(split))
            folders.append(folder)
    told = any(row.label for row in tables.values())
    labels: list[str | None] = [None] * len(kept)
    if options.labels == "auto":
        labels = [tables[name].label if name in tables else None for name in kept] if told else folders
    classes = tuple(sorted({label for label in labels if label is not None}, key=_natural))
    if len(classes) < 2:  # one class tells nothing apart
        classes = ()
    numbers = {label: number for number, label in enumerate(classes)}
    texts = [(tables[name].text or "") if name in tables else "" for name in kept]
    return Listing(
        Files(tree, tuple(kept)),
        np.array(splits, np.int8),
        np.array([-1 if label is None else numbers[label] for label in labels], np.int64) if classes else None,
        tuple(printable(label) for label in classes),
        tuple(texts) if any(texts) else None,
        rejected=tuple(rejected),
        given_content=None if pairs is None else Files(tree, tuple(pairs.partners[name] for name in kept)),
        other=other,
    )


def _is_table(entry: Entry) -> bool:
    return entry.name.rsplit("/", 1)[-1].lower() in metadata.NAMES


def _tables(
    tree: Tree, entries: Sequence[Entry], pictures: Sequence[str]
) -> tuple[dict[str, metadata.Row], frozenset[str], list[Rejected]]:
    """Every metadata table of the tree, by the full name of the picture; rows about files that are not there are set aside.

    Also the full names of all given pictures, of those rows as well.
    """
    all_given: set[str] = set()
    found: dict[str, metadata.Row] = {}
    faults: list[Rejected] = []
    there = set(pictures)
    for table, payload in tree.read([entry.name for entry in entries]):
        if isinstance(payload, Fault):
            raise InputError(f"{tree.path}: {printable(table)} cannot be read ({payload.reason}); repair or remove it")
        data = payload.read_bytes() if isinstance(payload, Path) else payload
        folder = table.rpartition("/")[0]
        for name, row in metadata.parse(f"{tree.path}/{printable(table)}", data).items():
            full = f"{folder}/{name}" if folder else name
            partner = row.given_file_name
            if partner is not None:
                # A path that leads out stays as it is, to be refused by `pair_pictures`.
                partner = f"{folder}/{partner}" if folder and not escapes(partner) else partner
                all_given.add(partner)
            if escapes(name):
                faults.append(Rejected(printable(name), f"{printable(table)} gives a path that leads out of its folder"))
            elif full not in there:
                faults.append(Rejected(printable(name), f"listed in {printable(table)}, but there is no such picture"))
            else:
                found[full] = replace(row, given_file_name=partner)
    return found, frozenset(all_given), faults


def _places(pictures: Sequence[str], options: DataOptions) -> list[tuple[str | None, str | None]]:
    """(split, class) of each picture by its folders; the split is "" for a picture outside the split folders.

    A folder that alone holds everything is only a wrapper. The first level are splits when there is a `train` beside a `val` or
    `test`, or nothing but `train`; then classes come below. ``split="none"`` says that they are classes after all.
    """
    paths = [name.split("/")[:-1] for name in pictures]
    while (top := _shared_top(paths)) and (options.split_rule.whole or not split_of(top)):
        paths = [path[1:] for path in paths]
    tops = {path[0] if path else "" for path in paths}
    named_splits = {split_of(top) for top in tops} - {None}
    are_splits = not options.split_rule.whole and "train" in named_splits and (len(named_splits) > 1 or len(tops) == 1)
    if not are_splits:
        return [(None, path[0] if path else None) for path in paths]
    return [(split_of(path[0]) or "" if path else "", path[1] if len(path) > 1 else None) for path in paths]


def _shared_top(paths: Sequence[Sequence[str]]) -> str:
    """The first folder of all paths, or "" where they have none in common."""
    tops = {path[0] if path else "" for path in paths}
    return tops.pop() if len(tops) == 1 else ""


def _natural(label: str) -> tuple[int, int, str]:
    """Numbers by value, before words."""
    return (0, int(label), label) if label.isascii() and label.isdigit() and len(label) < 18 else (1, 0, label)

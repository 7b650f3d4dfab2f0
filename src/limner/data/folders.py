"""Picture files in a folder or an archive: which are taken, and their splits, labels and captions by folders and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limner.core.errors import InputError
from limner.core.progress import OnProgress, silent
from limner.data import metadata
from limner.data.labels import labels_of
from limner.data.listing import Entry, Fault, Files, Listing, Rejected, Tree, printable
from limner.data.options import SPLITS, DataOptions, split_of
from limner.data.pairs import pair_pictures
from limner.data.pictures import openable
from limner.data.source import DataSource
from limner.data.trees import dataset_name, escapes, hidden, open_tree


class ImageSource(DataSource):
    """Picture files in a folder or an archive."""

    def __init__(self, tree: Tree) -> None:
        self.tree, self.name = tree, dataset_name(tree.path.resolve().name)

    def identity(self, on_progress: OnProgress = silent) -> str:
        return self.tree.identity(on_progress)

    def listing(self, options: DataOptions, on_progress: OnProgress = silent) -> Listing:
        return _list_pictures(self.tree, options)


def is_folder(source: object) -> bool:
    """Whether `source` is a folder."""
    return isinstance(source, Path) and source.is_dir()


def open_pictures(path: Path) -> ImageSource:
    """The picture files in a folder or an archive."""
    return ImageSource(open_tree(path))


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
    selection: list[str] = []
    splits: list[int] = []
    folders: list[str | None] = []
    for name, (split, folder) in zip(pictures, places, strict=True):
        if split == "":
            rejected.append(Rejected(printable(name), "outside the folders train, val and test"))
        else:
            selection.append(name)
            splits.append(-1 if split is None else SPLITS.index(split))
            folders.append(folder)
    tables_have_labels = any(row.label for row in tables.values())
    labels: NDArray[np.int64] | None = None
    classes: tuple[str, ...] = ()
    if options.labels == "auto":
        names = [tables[name].label if name in tables else None for name in selection] if tables_have_labels else folders
        labels, classes = labels_of(names, len(selection), None, str(where))
    texts = [(tables[name].text or "") if name in tables else "" for name in selection]
    return Listing(
        Files(tree, tuple(selection)),
        np.array(splits, np.int8),
        labels,
        tuple(printable(label) for label in classes),
        tuple(texts) if any(texts) else None,
        rejected=tuple(rejected),
        given_content=None if pairs is None else Files(tree, tuple(pairs.partners[name] for name in selection)),
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
    rows: dict[str, metadata.Row] = {}
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
                rows[full] = replace(row, given_file_name=partner)
    return rows, frozenset(all_given), faults


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

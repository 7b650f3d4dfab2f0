"""Picture files in a folder or an archive: which are taken, and their splits, labels and captions by folders and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limner.core.errors import InputError
from limner.core.files import read_errors_as_input_errors, read_regular_file
from limner.core.picture_texts import SHEET_REASON
from limner.core.progress import OnProgress, silent
from limner.data import metadata
from limner.data.archives import open_tree
from limner.data.labels import labels_of
from limner.data.layout import Layout, read_layout
from limner.data.listing import Entry, Fault, Files, Listing, Rejected, enumerate_names, printable
from limner.data.options import RULES, SPLITS, DataOptions
from limner.data.origin import find_sheets
from limner.data.pairs import pair_pictures
from limner.data.pictures import openable
from limner.data.source import DataSource
from limner.data.trees import FolderTree, PictureTree, dataset_name, escapes
from limner.data.unread import UNREAD_ENDINGS

_TABLE_ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet", ".xlsx")
_TEXT_ENDINGS = (".txt", ".caption", ".json")


class ImageSource(DataSource):
    """Picture files in a folder or an archive."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, dataset_name(path.resolve().name)
        self.tree = open_tree(path)

    def identity(self, on_progress: OnProgress = silent) -> str:
        return self.tree.identity(on_progress)

    def listing(self, options: DataOptions, on_progress: OnProgress = silent) -> Listing:
        tree = self.tree if options.rules == RULES else open_tree(self.path, options.rules)
        return _list_pictures(tree, options)


def is_folder(source: object) -> bool:
    """Whether `source` is a folder."""
    return isinstance(source, Path) and source.is_dir()


def open_pictures(path: Path) -> ImageSource:
    """The picture files in a folder or an archive."""
    return ImageSource(path)


def _list_pictures(tree: PictureTree, options: DataOptions) -> Listing:
    """Sorts the tree's files into pictures and others, and gives each picture its split, label and caption."""
    entries = _sorted_entries(tree)
    rejected, pictures = [*entries.rejected], entries.pictures
    tables = _read_tables(tree, entries)
    rejected += tables.rejected
    pairs = pair_pictures(pictures, tables.rows, tables.all_given)
    if pairs is not None:
        rejected += pairs.rejected
        pictures = [name for name in pictures if name in pairs.partners]
        if not pictures:
            first = f" ({pairs.rejected[0].file} {pairs.rejected[0].reason})" if pairs.rejected else ""
            raise InputError(f"{tree.path} holds no picture with its given picture{first}; correct the column given_file_name")
    layout = read_layout(pictures, whole=options.split_rule.whole, rules=options.rules)
    selection = [row for row, split in enumerate(layout.splits) if split != ""]
    rejected += [
        Rejected(printable(name), "outside the folders train, val and test")
        for name, split in zip(pictures, layout.splits, strict=True)
        if split == ""
    ]
    names = [pictures[row] for row in selection]
    splits = [-1 if (split := layout.splits[row]) is None else SPLITS.index(split) for row in selection]
    labels: NDArray[np.int64] | None = None
    classes: tuple[str, ...] = ()
    class_notes: tuple[str, ...] = ()
    if options.labels == "auto":
        labels, classes, class_notes = _labels(tree.path, names, [layout.classes[row] for row in selection], tables, layout)
    texts = [(tables.rows[name].text or "") if name in tables.rows else "" for name in names]
    notes = (*tree.notes(), *layout.split_notes, *class_notes, *tables.notes, *_notes_on_rows(names, tables), *entries.notes())
    return Listing(
        Files(tree, tuple(names)),
        np.array(splits, np.int8),
        labels,
        tuple(map(printable, classes)),
        tuple(texts) if any(texts) else None,
        rejected=tuple(rejected),
        given_content=None if pairs is None else Files(tree, tuple(pairs.partners[name] for name in names)),
        other=len(entries.others),
        notes=notes if options.rules >= 2 else (),
    )


@dataclass(frozen=True)
class _Entries:
    """The files of a tree by their kind."""

    pictures: list[str]
    tables: list[Entry]
    others: list[str]
    rejected: list[Rejected]

    def notes(self) -> list[str]:
        """About files that look as if they told something of the pictures, and are not read."""
        notes = self.unread_pictures()
        tables = [name for name in self.others if name.lower().endswith(_TABLE_ENDINGS)]
        if tables:
            notes.append(f"tables that are not read: {enumerate_names(tables)}; call a table metadata.csv or metadata.jsonl")
        stems = {name.rpartition(".")[0] for name in self.pictures}
        texts = [name for name in self.others if name.lower().endswith(_TEXT_ENDINGS) and name.rpartition(".")[0] in stems]
        if texts:
            notes.append(
                f"{len(texts):,} files are called like pictures and are not read: {enumerate_names(texts)}; captions belong in "
                "the column text of metadata.csv"
            )
        return notes

    def unread_pictures(self) -> list[str]:
        """About pictures in formats that cannot be read here."""
        unread = [name for name in self.others if name[name.rfind(".") :].lower() in UNREAD_ENDINGS]
        if not unread:
            return []
        count = "1 picture is" if len(unread) == 1 else f"{len(unread):,} pictures are"
        return [f"{count} in a format that is not read: {enumerate_names(unread)}; convert to JPEG or PNG"]


def _sorted_entries(tree: PictureTree) -> _Entries:
    """The files of `tree` by their kind. Errors: `InputError` where none is a picture."""
    ends = openable()[1]
    sorted_entries = _Entries([], [], [], [])
    entries = tree.entries()
    may_escape = tree.rules < 2 or not isinstance(tree, FolderTree)
    sheets = find_sheets(tree, [entry.name for entry in entries]) if tree.rules >= 2 else frozenset[str]()
    for entry in entries:
        base = entry.name.rsplit("/", 1)[-1].lower()
        if may_escape and escapes(entry.name):
            sorted_entries.rejected.append(Rejected(printable(entry.name), "its path leads out of the archive"))
        elif entry.name in sheets:
            sorted_entries.rejected.append(Rejected(printable(entry.name), SHEET_REASON))
        elif entry.name[entry.name.rfind(".") :].lower() in ends:
            sorted_entries.pictures.append(entry.name)
        elif base in metadata.NAMES or (tree.rules >= 2 and base == metadata.STYLEGAN_NAME):
            sorted_entries.tables.append(entry)
        else:
            sorted_entries.others.append(entry.name)
    if not sorted_entries.pictures:
        what = "is empty" if not entries else f"holds no picture ({len(sorted_entries.others)} other files)"
        notes = "".join(f"; {note}" for note in (*tree.notes(), *sorted_entries.unread_pictures()))
        raise InputError(
            f"{tree.path} {what}; give a folder or archive with pictures such as .png or .jpg, also in sub-folders{notes}"
        )
    return sorted_entries


@dataclass(frozen=True)
class _Tables:
    """What all tables of a tree say, by the full name of the picture."""

    rows: dict[str, metadata.Row]
    all_given: frozenset[str]
    """The full names of all given pictures, also of rows about pictures that are not there."""
    rejected: list[Rejected]
    """Rows about files that are not there."""
    names: list[str]
    """Of the tables."""
    notes: list[str]
    are_stylegan: bool
    """Whether one of them is a `dataset.json`, beside which folders are parts of a long list."""


def _read_tables(tree: PictureTree, entries: _Entries) -> _Tables:
    """Every table of the tree. Errors: `InputError` where one cannot be read."""
    all_given: set[str] = set()
    tables = _Tables({}, frozenset(), [], [], [], False)
    there, twice = set(entries.pictures), list[str]()
    are_stylegan = False
    for name, payload in tree.read([entry.name for entry in entries.tables]):
        where = f"{tree.path}/{printable(name)}"
        if isinstance(payload, Fault):
            raise InputError(f"{tree.path}: {printable(name)} cannot be read ({payload.reason}); repair or remove it")
        with read_errors_as_input_errors(Path(where)):
            data = read_regular_file(payload) if isinstance(payload, Path) else payload
        is_stylegan = name.rsplit("/", 1)[-1].lower() == metadata.STYLEGAN_NAME
        table = metadata.parse_stylegan(where, data) if is_stylegan else metadata.parse(where, data, tree.rules)
        if table is None:
            entries.others.append(name)
            continue
        are_stylegan |= is_stylegan
        tables.names.append(name)
        tables.notes.extend(table.notes)
        folder = name.rpartition("/")[0]
        for file, row in table.rows.items():
            full = f"{folder}/{file}" if folder else file
            partner = row.given_file_name
            if partner is not None:
                # A path that leads out stays as it is, to be refused by `pair_pictures`.
                partner = f"{folder}/{partner}" if folder and not escapes(partner) else partner
                all_given.add(partner)
            if escapes(file):
                reason = f"{printable(name)} gives a path that leads out of its folder"
                tables.rejected.append(Rejected(printable(file), reason))
            elif full not in there:
                tables.rejected.append(Rejected(printable(file), f"listed in {printable(name)}, but there is no such picture"))
            else:
                if full in tables.rows:
                    twice.append(full)
                tables.rows[full] = replace(row, given_file_name=partner)
    if twice:
        tables.notes.append(f"pictures in two tables, of which {tables.names[-1]} counts: {enumerate_names(twice)}")
    return replace(tables, all_given=frozenset(all_given), are_stylegan=are_stylegan)


def _labels(
    where: Path, names: Sequence[str], folders: Sequence[str | None], tables: _Tables, layout: Layout
) -> tuple[NDArray[np.int64] | None, tuple[str, ...], tuple[str, ...]]:
    """Labels [N] of the pictures `names`, the classes, and sentences about where they come from.

    The labels of tables count where there are any, else the `folders` [N] that are classes.
    """
    if any(row.label for row in tables.rows.values()):
        values = [tables.rows[name].label if name in tables.rows else None for name in names]
        labels, classes = labels_of(values, len(names), None, str(where))
        tables_shown = enumerate_names(tables.names)
        if not classes:
            return labels, classes, (f"all labels in {tables_shown} are alike, so there are no classes",)
        return labels, classes, (f"classes come from {tables_shown}" + (", and not from folders" if any(folders) else ""),)
    if tables.are_stylegan:
        return None, (), (f"{enumerate_names(tables.names)} gives no labels, so there are no classes",)
    labels, classes = labels_of(folders, len(names), None, str(where))
    return labels, classes, layout.class_notes


def _notes_on_rows(names: Sequence[str], tables: _Tables) -> list[str]:
    """About pictures that no table mentions, where there are tables."""
    missing = [name for name in names if name not in tables.rows] if tables.rows else []
    return [f"pictures without a row in {enumerate_names(tables.names)}: {enumerate_names(missing)}"] if missing else []

"""How folders become splits and classes: one rule, which `docs/data.md` has for people.

1. One folder that alone holds folders or pictures is only a wrapper and is passed through; pictures beside it have no class.
2. Folders are splits by their names, where one is called train and another val or test, or where nothing but train is there.
   They lie above the classes, or in each of them. What lies outside them is set aside.
3. Of the folders that lie side by side then, each is a class. Pictures beside them have no class.

By rules 1 a wrapper is a folder that holds all pictures, and the first folders that are no wrappers and no splits are classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from limner.data.labels import natural_order
from limner.data.listing import enumerate_names
from limner.data.options import split_and_rest, split_of

_SHARD = re.compile(r"(shard|part|chunk|batch)[-_ ]?\d+", re.IGNORECASE)
_SHARD_SIZE = 1000  # pictures in each folder of StyleGAN's dataset_tool.py and of FFHQ


@dataclass(frozen=True)
class Layout:
    """What the folders say of each of N pictures."""

    splits: list[str | None]
    """[N]: "" for a picture outside the folders that are splits; None where no folder is one."""
    classes: list[str | None]
    """[N]"""
    split_notes: tuple[str, ...] = ()
    """Sentences about folders that are splits, or that are none although they are called so."""
    class_notes: tuple[str, ...] = ()
    """Sentences about folders that are classes: of use where classes do not come from elsewhere."""


def read_layout(pictures: Sequence[str], *, whole: bool, rules: int) -> Layout:
    """What the folders of the files `pictures` say. With `whole` (`SplitRule`) no folder is a split."""
    return _Reader(pictures, whole).layout() if rules >= 2 else _layout_by_rules_1(pictures, whole)


class _Reader:
    """Reads one layout, from the top folder down; `depths` are the folders passed on the way to each picture."""

    def __init__(self, pictures: Sequence[str], whole: bool) -> None:
        self.pictures, self.whole = pictures, whole
        self.paths = [name.split("/")[:-1] for name in pictures]
        self.depths = [0] * len(pictures)
        self.splits: list[str | None] = [None] * len(pictures)
        self.classes: list[str | None] = [None] * len(pictures)

    def layout(self) -> Layout:
        rows: Sequence[int] = range(len(self.paths))
        notes: list[str] = []
        while len(names := self.names(rows)) == 1 and (self.whole or split_and_rest(names[0]) != ("train", "")):
            if not self.whole and len(self.inside(rows)) < len(rows):
                notes += _notes_on_classes_called_like_splits(names)
            rows = self.enter(rows)
        if self.whole:
            return Layout(self.splits, self.classes, (), self.read_classes([rows]))
        splits = splits_among(names)
        if splits:
            self.splits = [""] * len(self.paths)
            notes.append(_note_on_splits(splits))
            return Layout(self.splits, self.classes, tuple(notes), self.read_classes(self.deal(rows, splits)))
        if len(names) == 1:  # nothing but train
            rows = self.enter(rows)
            for row in rows:
                self.splits[row] = "train"
            return Layout(self.splits, self.classes, tuple(notes), self.read_classes([rows]))
        splits = self.splits_in_each(rows)
        if splits:
            self.splits = [""] * len(self.paths)
            for row in rows:
                self.classes[row] = self.folder(row)
            self.deal(self.enter(rows), splits)
            notes.append(_note_on_splits(splits, "in each class"))
            return Layout(self.splits, self.classes, tuple(notes), (_note_on_classes(names),))
        notes += _notes_on_classes_called_like_splits(names)
        return Layout(self.splits, self.classes, tuple(notes), self.read_classes([rows]))

    def folder(self, row: int) -> str | None:
        """The next folder on the way to a picture; None where it lies here."""
        path, depth = self.paths[row], self.depths[row]
        return path[depth] if len(path) > depth else None

    def names(self, rows: Sequence[int]) -> list[str]:
        """The folders in which these pictures lie here."""
        return sorted({name for row in rows if (name := self.folder(row)) is not None}, key=natural_order)

    def inside(self, rows: Sequence[int]) -> list[int]:
        """The pictures that lie in folders."""
        return [row for row in rows if self.folder(row) is not None]

    def enter(self, rows: Sequence[int]) -> list[int]:
        """The pictures that lie in folders, which are passed."""
        inside = self.inside(rows)
        for row in inside:
            self.depths[row] += 1
        return inside

    def deal(self, rows: Sequence[int], splits: Mapping[str, str]) -> list[list[int]]:
        """Gives the pictures their splits by their next folders, which are passed. The pictures of each split."""
        parts: dict[str, list[int]] = {}
        for row in rows:
            split = splits.get(self.folder(row) or "", "")
            self.splits[row] = split
            if split:
                parts.setdefault(split, []).append(row)
        return [self.enter(part) for part in parts.values()]

    def splits_in_each(self, rows: Sequence[int]) -> dict[str, str]:
        """The splits that lie in each of the next folders; none where one of these has no training pictures."""
        inner: dict[str, set[str]] = {}
        for row in self.inside(rows):
            path = self.paths[row][self.depths[row] :]
            inner.setdefault(path[0], set()).update(path[1:2])
        splits = splits_among(sorted(set().union(*inner.values()))) if inner else {}
        whole = all(any(splits.get(name) == "train" for name in names) for names in inner.values())
        return splits if whole else {}

    def read_classes(self, parts: Sequence[Sequence[int]]) -> tuple[str, ...]:
        """Gives the pictures of each split their classes, by the first folders that are no wrappers."""
        while True:
            names = [self.names(part) for part in parts]
            single = [len(here) <= 1 for here in names]
            elsewhere = [{name for other in names if other is not here for name in other} for here in names]
            wrappers = [
                len(here) == 1 and (all(single) or here[0] not in others) for here, others in zip(names, elsewhere, strict=True)
            ]
            if not any(wrappers):
                break
            parts = [self.enter(part) if is_wrapper else part for part, is_wrapper in zip(parts, wrappers, strict=True)]
        rows = [row for part in parts for row in part]
        every_name = self.names(rows)
        if len(every_name) < 2:
            return ()
        if self.are_shards(every_name, rows):
            return (
                f"{enumerate_names(every_name)} are numbered parts of one set, no classes; give them other names if they are",
            )
        for row in rows:
            self.classes[row] = self.folder(row)
        return (_note_on_classes(every_name), *self.notes_without_class())

    def are_shards(self, names: Sequence[str], rows: Sequence[int]) -> bool:
        """Whether folders only divide a long list: ``shard-0``, or ``00001`` where ``00001/img00001234.png`` lies."""
        words = {match[1].lower() if (match := _SHARD.fullmatch(name)) else "" for name in names}
        if len(words) == 1 and "" not in words:
            return True
        if not all(re.fullmatch(r"[0-9]{5,18}", name) for name in names):
            return False
        for row in self.inside(rows):
            number = re.search(r"([0-9]{1,18})\.\w+$", self.pictures[row])
            if number is None or int(self.folder(row) or 0) not in _shards_of(int(number[1])):
                return False
        return True

    def notes_without_class(self) -> list[str]:
        """About pictures that are in no class, where others are."""
        missing = [
            name
            for name, label, split in zip(self.pictures, self.classes, self.splits, strict=True)
            if label is None and split != ""
        ]
        if not missing:
            return []
        are = (
            "1 picture lies in none of them and has" if len(missing) == 1 else f"{len(missing):,} lie in none of them and have"
        )
        return [f"{are} no class: {enumerate_names(missing)}"]


def _shards_of(number: int) -> tuple[int, int]:
    """The numbers that the folder of the picture of this number may have: StyleGAN counts folders, FFHQ pictures."""
    return number // _SHARD_SIZE, number - number % _SHARD_SIZE


def splits_among(names: Iterable[str]) -> dict[str, str]:
    """Folder -> split, of those folders that are splits together; none where train, or both of val and test, are missing.

    >>> splits_among(["train2017", "val2017", "annotations"])
    {'train2017': 'train', 'val2017': 'val'}
    >>> splits_among(["boat", "car", "train"]), splits_among(["seg_test", "seg_train", "seg_pred"])
    ({}, {'seg_test': 'test', 'seg_train': 'train'})
    """
    by_rest: dict[str, dict[str, str]] = {}
    for name in names:
        split, rest = split_and_rest(name)
        if split is not None:
            by_rest.setdefault(rest, {})[name] = split
    complete = {
        rest: splits for rest, splits in by_rest.items() if "train" in splits.values() and len(set(splits.values())) > 1
    }
    if "" in complete:
        return complete[""]
    return next(iter(complete.values())) if len(complete) == 1 else {}


def _note_on_splits(splits: Mapping[str, str], where: str = "") -> str:
    names = enumerate_names([name if name == split else f"{name} ({split})" for name, split in splits.items()])
    place = f" {where}" if where else ""
    return f"splits by the names of folders{place}: {names}; set data.split=none if they are none"


def _note_on_classes(names: Sequence[str]) -> str:
    return (
        f"{len(names)} folders are classes, because they lie side by side and hold pictures: {enumerate_names(names)}; "
        "set data.labels=none if they are none"
    )


def _notes_on_classes_called_like_splits(names: Sequence[str]) -> list[str]:
    """About folders that look like splits and are none, since the others that it takes are missing."""
    words = {name: split_and_rest(name) for name in names}
    kinds = {split for split, _ in words.values()}
    held_out = [name for name, (split, rest) in words.items() if split in ("val", "test") and (rest == "" or "train" in kinds)]
    if held_out:
        verb = "is" if len(held_out) == 1 else "are"
        names_shown = enumerate_names(held_out)
        return [f"{names_shown} {verb} not held out, since no folder train lies beside; put the others into one of that name"]
    if ("train", "") in words.values():
        return ["the folder train is no split, since neither val nor test lies beside it"]
    return []


def _layout_by_rules_1(pictures: Sequence[str], whole: bool) -> Layout:
    paths = [name.split("/")[:-1] for name in pictures]
    while (top := _shared_top(paths)) and (whole or not split_of(top, 1)):
        paths = [path[1:] for path in paths]
    tops = {path[0] if path else "" for path in paths}
    named_splits = {split_of(top, 1) for top in tops} - {None}
    if whole or "train" not in named_splits or (len(named_splits) == 1 and len(tops) > 1):
        return Layout([None] * len(paths), [path[0] if path else None for path in paths])
    splits = [split_of(path[0], 1) or "" if path else "" for path in paths]
    return Layout([*splits], [path[1] if len(path) > 1 else None for path in paths])


def _shared_top(paths: Sequence[Sequence[str]]) -> str:
    """The first folder of all paths, or "" where they have none in common."""
    tops = {path[0] if path else "" for path in paths}
    return tops.pop() if len(tops) == 1 else ""

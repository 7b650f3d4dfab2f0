"""The third step of list → read → plan → write: which rows a prepared set holds, in which splits, and what is there twice."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from limner.core.errors import InputError
from limner.data.duplicates import Groups, find_groups
from limner.data.fingerprint import fingerprint_of
from limner.data.listing import Listing, Rejected, enumerate_names, name_of
from limner.data.notes import picture_notes
from limner.data.options import SPLITS, DataOptions
from limner.data.pictures import Shaping
from limner.data.reading import Reading
from limner.data.splits import copies_of_test_pictures, deal
from limner.data.wide import Range

_REASONS_SHOWN = 3


@dataclass(frozen=True)
class Plan:
    """What is written, and all that is said about it. Arrays have one row for each of the N pictures of the set."""

    rows: NDArray[np.int64]
    """[N]: which picture of the listing each one is, in the order in which they are stored."""
    shape: tuple[int, int, int]
    """(H, W, C)."""
    splits: dict[str, range]
    labels: NDArray[np.int64] | None
    captions: tuple[str, ...] | None
    given_shape: tuple[int, int, int] | None
    """(H, W, C') of the given pictures; None where the set has none."""
    given_transparent: NDArray[np.bool_] | None
    """[N]: which given pictures were transparent before they were resized; the fingerprint covers the alpha of these alone."""
    groups: Groups
    """Of duplicates, among the pictures in the order of the listing."""
    moved_rows: NDArray[np.int64]
    """Pictures of the listing that were moved to train, for duplicating one there."""
    rejected: tuple[Rejected, ...]
    fingerprint: str
    notes: tuple[str, ...]
    """What a person should know of the source and its pictures, one sentence each."""
    value_range: Range | None
    """The values that became black and white, in pictures of more than 8 bits; None where there are none, or of two kinds."""
    files: NDArray[np.uint8] | None
    """[N, 32]: SHA-256 of each file's bytes, for sources of files."""


def plan_dataset(source: str, listing: Listing, reading: Reading, shaping: Shaping, options: DataOptions) -> Plan:
    """Finds duplicates, deals out the splits and decides the order. Errors: `InputError` with fewer than two pictures.

    `source` is what the person called it, for errors. Duplicates are those of the pictures, whatever is given with them: a
    picture that the set holds twice, with two given pictures, is kept twice and in one split, since a model that saw it in
    training would know the answer. Equal given pictures of different pictures are no duplicates.
    """
    rejected = (*listing.rejected, *reading.rejected)
    readable = np.flatnonzero(reading.ok)
    _require_two(source, len(readable), rejected)
    signatures = reading.signatures.take(readable)
    files = None if reading.files is None else reading.files[readable]
    groups = find_groups(signatures, files)
    kinds = groups.of
    if options.rules >= 2 and not listing.published:
        copies = copies_of_test_pictures(listing.hints[readable], kinds, options.split_rule)
        apart = copies < 0
        rejected = (*rejected, *_rejected_copies(source, listing, readable, copies))
        readable, signatures, kinds = readable[apart], signatures.take(np.flatnonzero(apart)), kinds[apart]
        files = None if files is None else files[apart]
    labels = None if listing.labels is None else listing.labels[readable]
    parts, moved_rows = deal(
        listing.hints[readable], kinds, labels, options.split_rule, options.seed, published=listing.published
    )
    listing = note_moves(listing, readable[moved_rows])
    by_split = np.argsort(parts, kind="stable")
    stops = np.cumsum([0, *np.bincount(parts, minlength=len(SPLITS))]).tolist()
    splits = {name: range(stops[at], stops[at + 1]) for at, name in enumerate(SPLITS) if stops[at + 1] > stops[at]}
    rows = readable[by_split]
    shape = (*shaping.size, options.fixed_channels or (1 if bool(signatures.grey.all()) else 3))
    labels = None if labels is None else labels[by_split]
    captions = None if listing.captions is None else tuple(listing.captions[row] for row in rows)
    facts = reading.given_facts
    given_shape = None if facts is None else (*shaping.size, facts.channels(rows))
    return Plan(
        rows=rows,
        shape=shape,
        splits=splits,
        labels=labels,
        captions=captions,
        given_shape=given_shape,
        given_transparent=None if facts is None else facts.transparent[rows],
        groups=groups,
        moved_rows=readable[moved_rows],
        rejected=rejected,
        fingerprint=fingerprint_of(
            shape,
            signatures.digest[by_split],
            labels,
            captions,
            splits,
            None if facts is None or given_shape is None else (given_shape, facts.digest[rows]),
        ),
        notes=(*listing.notes, *picture_notes(reading, rows, shaping, options)),
        value_range=reading.value_range,
        files=None if files is None else files[by_split],
    )


def note_moves(listing: Listing, moved_rows: NDArray[np.int64]) -> Listing:
    """The listing with a note about the pictures, by their rows, that were moved to train; unchanged where there are none."""
    if not len(moved_rows):
        return listing
    names = enumerate_names([name_of(listing.content, row) for row in moved_rows])
    are = (
        "1 held-out picture repeats a training one and was"
        if len(moved_rows) == 1
        else (f"{len(moved_rows):,} held-out pictures repeat training ones and were")
    )
    return replace(listing, notes=(*listing.notes, f"{are} moved to train: {names}"))


def _rejected_copies(source: str, listing: Listing, readable: NDArray[np.int64], copies: NDArray[np.int64]) -> list[Rejected]:
    """The pictures that are left out as copies of test pictures; see `copies_of_test_pictures` for `copies`.

    Errors: `InputError` where no other picture is left.
    """
    others = listing.hints[readable] != SPLITS.index("test")
    if others.any() and (copies[others] >= 0).all():
        raise InputError(f"every training picture of {source} repeats a test picture; set data.split=0.1,0.1 for new splits")
    names = [name_of(listing.content, row) for row in readable]
    return [
        Rejected(names[row], f"repeats the test picture {names[copy]}") for row, copy in enumerate(copies.tolist()) if copy >= 0
    ]


class TooFewPicturesError(InputError):
    """A source has one usable picture or none; `count` says which."""

    def __init__(self, message: str, count: int) -> None:
        super().__init__(message)
        self.count = count


def _require_two(source: str, count: int, rejected: tuple[Rejected, ...]) -> None:
    """Errors: `TooFewPicturesError` with fewer than two pictures, and the first reasons why others were set aside."""
    if count >= 2:
        return
    first = "; ".join(f"{one.file}: {one.reason}" for one in rejected[:_REASONS_SHOWN])
    more = "; ..." if len(rejected) > _REASONS_SHOWN else ""
    reasons = f" ({len(rejected)} set aside: {first}{more})" if rejected else ""
    if count == 1:
        raise TooFewPicturesError(
            f"{source} has a single usable picture{reasons}; a single picture cannot train a model, give at least 2", count
        )
    raise TooFewPicturesError(f"{source} has no usable picture{reasons}; repair these files or give others", count)

"""What a prepared set will hold, decided once every picture was read: rows, splits, duplicates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from limner.core.errors import InputError
from limner.data.dataset import (
    fingerprint_of,
)
from limner.data.duplicates import Groups, find_groups
from limner.data.listing import Listing, Rejected
from limner.data.options import SPLITS, Options
from limner.data.pictures import Shaping
from limner.data.reading import Reading
from limner.data.splits import deal

_FEW = 3


@dataclass(frozen=True)
class Plan:
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


def plan_dataset(source: str, listing: Listing, reading: Reading, shaping: Shaping, options: Options) -> Plan:
    """Finds duplicates, deals out the splits and settles the order. Errors: `InputError` with fewer than two pictures."""
    rejected = (*listing.rejected, *reading.rejected)
    good = np.flatnonzero(reading.ok)
    require_enough(source, len(good), rejected)
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
    return Plan(rows, shape, splits, labels, captions, groups, good[moved], rejected, print_, files)


def require_enough(source: str, count: int, rejected: tuple[Rejected, ...]) -> None:
    if count >= 2:
        return
    first = "; ".join(f"{one.file}: {one.reason}" for one in rejected[:_FEW])
    reasons = f" ({len(rejected)} set aside: {first}{'; ...' if len(rejected) > _FEW else ''})" if rejected else ""
    if count == 1:
        raise InputError(
            f"{source} has a single usable picture{reasons}; a single picture cannot train a model, give at least 2"
        )
    raise InputError(f"{source} has no usable picture{reasons}; repair these files or give others")

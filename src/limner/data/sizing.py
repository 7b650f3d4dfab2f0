"""Which pictures of a source are taken, and to which size and mode they are brought."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from limner.core.errors import InputError
from limner.data import pictures
from limner.data.listing import Files, Listing
from limner.data.options import SPLITS, Options
from limner.data.pictures import Shaping, Unreadable
from limner.data.reading import bytes_of
from limner.data.sources import Origin, find
from limner.data.splits import choose

_DEFAULT_SIDE, _LARGEST_KEPT = 64, 128


def select_listing(origin: Origin, options: Options) -> Listing:
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


def choose_shaping(listing: Listing, options: Options) -> Shaping:
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
    content = select_listing(find(source), Options.of()).content
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

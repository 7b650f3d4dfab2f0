"""Still the first step, list: which pictures of a source are taken, and to which size and mode they are brought."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from limner.core.errors import InputError
from limner.core.extensions import attribute_errors, result_error
from limner.core.progress import OnProgress, silent
from limner.data import pictures
from limner.data.listing import Files, Listing
from limner.data.options import SPLITS, DataOptions, ImageOptions
from limner.data.pictures import Shaping, Unreadable
from limner.data.reading import bytes_of
from limner.data.source import DataSource
from limner.data.sources import describe_source, find_source
from limner.data.splits import choose

_DEFAULT_SIDE = 64
_LARGEST_SIDE = 128  # pictures that share a size up to this one keep it


def select_listing(source: DataSource, options: DataOptions, on_progress: OnProgress = silent) -> Listing:
    """The listing of `source`, cut down to the one split and the number of pictures that were asked for."""
    with attribute_errors(what := f"the source {source.name}", type(source)):
        listing: object = source.listing(options, on_progress)
    if not isinstance(listing, Listing):
        raise result_error(what, type(source), listing, "a limner.data.listing.Listing")
    only = options.split_rule.only
    if only is not None:
        splits = [name for number, name in enumerate(SPLITS) if (listing.hints == number).any()]
        if only not in splits:
            raise InputError(f"{source.name} has no split '{only}' of its own (it has: {', '.join(splits) or 'none'})")
        listing = listing.take(np.flatnonzero(listing.hints == SPLITS.index(only)))
    if options.limit is not None and options.limit < len(listing):
        labels = np.zeros(len(listing), np.int64) if listing.labels is None else listing.labels
        strata = labels * (len(SPLITS) + 1) + listing.hints
        selection = choose(np.arange(len(listing)), strata, options.limit, options.seed, "limit")
        listing = listing.take(np.flatnonzero(selection))
    return listing


def choose_shaping(listing: Listing, options: DataOptions) -> Shaping:
    """Size and channels for reading; colour is kept until all pictures are known to be grey."""
    channels: int = options.fixed_channels or 3
    if isinstance(listing.content, Files):
        size = options.height_and_width or _common_size(listing.content, options.rules) or (_DEFAULT_SIDE, _DEFAULT_SIDE)
    else:
        height, width, own_channels = listing.content.shape
        small = max(height, width) <= _LARGEST_SIDE
        size = options.height_and_width or ((height, width) if small else (_DEFAULT_SIDE, _DEFAULT_SIDE))
        channels = options.fixed_channels or min(own_channels, 3)  # transparency is laid on the background, as of files
    return replace(shaping_of(options, size, channels), binary=options.seed if options.binary else None)


def shaping_of(options: ImageOptions, size: tuple[int, int], channels: int) -> Shaping:
    """What `options` make of a picture, where its (height, width) and number of channels are known."""
    background, limits = pictures.parse_background(options.background), options.low_and_high
    return Shaping(size, options.fit, channels, background, None, options.rules, limits, limits)


def sizes(source: object) -> dict[tuple[int, int], str]:
    """(height, width) of the pictures of `source` by their headers, each with the name of one; stops at the second size."""
    options = DataOptions()
    content = select_listing(find_source(source), options).content
    if not isinstance(content, Files):
        return {content.shape[:2]: describe_source(source)}
    names: dict[tuple[int, int], str] = {}
    for name, size in _stored_sizes(content, options.rules):
        names.setdefault(size, name)
        if len(names) > 1:
            break
    return names


def _common_size(content: Files, rules: int) -> tuple[int, int] | None:
    """The size that all pictures share, if it is at most 128; stops at the first that differs."""
    common = None
    for _, size in _stored_sizes(content, rules):
        if max(size) > _LARGEST_SIDE or common not in (None, size):
            return None
        common = size
    return common


def _stored_sizes(content: Files, rules: int) -> Iterator[tuple[str, tuple[int, int]]]:
    """(name, (height, width)) of each picture by its header. What is unreadable is set aside later, when it is read."""
    for name, payload in content.tree.read(content.names):
        try:
            stored = pictures.look(bytes_of(payload), rules)
        except Unreadable:
            continue
        yield name, (stored.height, stored.width)

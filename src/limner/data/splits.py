"""Dealing rows out to train, val and test: by class, by seed, and never cutting through a group of duplicates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from limner.core.errors import InputError
from limner.data.options import SPLITS, SplitRule

_TRAIN, _VAL, _TEST = range(3)
_HELD_OUT_SHARE = 0.1
_MAX_HELD_OUT = 5000


def order(count: int, seed: int, use: str) -> NDArray[np.int64]:
    """A permutation of `count` rows. NumPy promises that PCG64's raw stream stays the same in later versions; of shuffles it
    does not.
    """
    bits = np.random.PCG64(np.random.SeedSequence([seed, *use.encode()]))
    return np.argsort(bits.random_raw(count), kind="stable")


def choose(groups: NDArray[np.int64], strata: NDArray[np.int64], count: int, seed: int, use: str) -> NDArray[np.bool_]:
    """Marks about `count` of the rows: whole `groups` only, and from each of the `strata` its share.

    `groups` [n] and `strata` [n] are any whole numbers; the result is [n]. Quotas are by largest remainder.
    """
    rows = len(groups)
    selection = np.zeros(rows, np.bool_)
    if not count:
        return selection
    _, stratum = np.unique(strata, return_inverse=True)
    sizes = np.bincount(stratum)
    exact = sizes * (count / rows)
    quota = np.floor(exact).astype(np.int64)
    rest = np.argsort(-(exact - quota), kind="stable")[: count - int(quota.sum())]
    quota[rest] += 1
    _, first, group, members = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    is_selected = np.zeros(len(first), np.bool_)
    left = quota.tolist()
    owner, weight = stratum[first].tolist(), members.tolist()
    shuffled = order(len(first), seed, use).tolist()
    for number in shuffled:
        if weight[number] <= left[owner[number]]:
            left[owner[number]] -= weight[number]
            is_selected[number] = True
    if not is_selected.any() and len(first) > 1:  # every group is larger than its quota: the smallest one is better than none
        is_selected[min(shuffled, key=lambda number: weight[number])] = True
    selection[:] = is_selected[group]
    return selection


def copies_of_test_pictures(hints: NDArray[np.int8], groups: NDArray[np.int64], rule: SplitRule) -> NDArray[np.int64]:
    """For each of n rows that are not in test, the first row of the source's own test split that is a duplicate of it, or -1.

    Without these rows the duplicates are apart, and the test split is what it was made of. `hints` and `groups` are [n], as for
    `deal`; -1 everywhere where `rule` draws a test split anew.
    """
    in_test = np.flatnonzero(hints == _TEST) if len(rule.shares) < 2 else np.empty(0, np.int64)
    tested_groups, first = np.unique(groups[in_test], return_index=True)
    places = np.minimum(np.searchsorted(tested_groups, groups), max(len(tested_groups) - 1, 0))
    if not len(in_test):
        return np.full(len(groups), -1)
    is_copy = (tested_groups[places] == groups) & (hints != _TEST)
    return np.where(is_copy, in_test[first[places]], -1)


def deal(
    hints: NDArray[np.int8],
    groups: NDArray[np.int64],
    labels: NDArray[np.int64] | None,
    rule: SplitRule,
    seed: int,
    *,
    published: bool,
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """The split of every row (index into `SPLITS`), and the rows that were moved to train for duplicating a training picture.

    By rules 2 `copies_of_test_pictures` were left out before, so that no test picture is moved. Where the source has no val,
    min(10 %, 5,000) of its training pictures become one. Published splits are never moved.
    Errors: `InputError` for two shares of a source whose test split is published.
    """
    parts = np.where(hints < 0, _TRAIN, hints).astype(np.int8)
    moves = np.empty(0, np.int64)
    shares = rule.shares
    if rule.only in ("val", "test"):
        return parts, moves
    if len(shares) == 2 and published and (parts == _TEST).any():
        raise InputError("this source has a published test split, which stays as it is; give one share (for val), not two")
    # Parts that are drawn anew return to the pool first.
    if shares:
        parts[parts == _VAL] = _TRAIN
    if len(shares) == 2:
        parts[parts == _TEST] = _TRAIN
    if not published:
        in_train = np.unique(groups[parts == _TRAIN])
        moves = np.flatnonzero((parts != _TRAIN) & np.isin(groups, in_train))
        parts[moves] = _TRAIN
    if rule.whole:
        return parts, moves
    strata = np.zeros(len(parts), np.int64) if labels is None else labels
    total = int((parts == _TRAIN).sum())
    if not shares and not (parts == _VAL).any():
        _draw(parts, groups, strata, _VAL, min(int(total * _HELD_OUT_SHARE), _MAX_HELD_OUT), seed)
    for target, share in zip((_VAL, _TEST), shares, strict=False):
        _draw(parts, groups, strata, target, round(total * share), seed)
    return parts, moves


def _draw(
    parts: NDArray[np.int8], groups: NDArray[np.int64], strata: NDArray[np.int64], target: int, count: int, seed: int
) -> None:
    """Turns about `count` training rows, at least 1 and never all of them, into the split `target`."""
    rows = np.flatnonzero(parts == _TRAIN)
    if len(rows) > 1:
        count = min(max(count, 1), len(rows) - 1)
        parts[rows[choose(groups[rows], strata[rows], count, seed, SPLITS[target])]] = target

"""Exact and near duplicates, in time that grows no faster than sorting.

Each picture leaves a signature: a SHA-256 of its pixels, its brightness at 16x16 and its colours at 4x4. Equal hashes (of
pixels or of file bytes) are exact duplicates. Near ones are sought among neighbours in four sorted orders of a 64-bit hash, the
signs of the Walsh-Hadamard transform of the brightness at 8x8, and believed only when brightness and colours at every place are
close: a hash alone calls many handwritten ones equal. Flipped, turned or differently cropped copies are not sought.
Everything is whole numbers, so that every machine finds the same groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from limner.data.fingerprint import grey_rows, picture_digests

_SIDE, _TINT_SIDE = 16, 4
_NEIGHBOURS = 12
_HASH_DISTANCE = 14
# Pictures are near when they differ by at most a floor of grey levels (rounding, JPEG) and this share of their own contrast,
# measured to find re-encoded and resized copies, while 70,000 MNIST digits have none and Fashion-MNIST's 53 are true copies.
_FLOOR, _SHARE, _SHIFT = 0.75, 0.06, 6


@dataclass(frozen=True)
class Signatures:
    """What is remembered of n pictures: SHA-256 [n, 32], all grey [n], brightness [n, 16, 16], red-green-blue [n, 4, 4, 3]."""

    digest: NDArray[np.uint8]
    grey: NDArray[np.bool_]
    luma: NDArray[np.uint8]
    tint: NDArray[np.uint8]

    @staticmethod
    def empty(count: int) -> Signatures:
        """Room for those of `count` pictures."""
        return Signatures(
            np.zeros((count, 32), np.uint8),
            np.zeros(count, np.bool_),
            np.zeros((count, _SIDE, _SIDE), np.uint8),
            np.zeros((count, _TINT_SIDE, _TINT_SIDE, 3), np.uint8),
        )

    def take(self, rows: NDArray[np.int64]) -> Signatures:
        """Those of `rows`, in that order."""
        return Signatures(self.digest[rows], self.grey[rows], self.luma[rows], self.tint[rows])

    def put(self, rows: NDArray[np.int64], other: Signatures) -> None:
        """Takes `other` over as the `rows` [n] of these."""
        self.digest[rows], self.grey[rows], self.luma[rows], self.tint[rows] = other.digest, other.grey, other.luma, other.tint


def signatures(pixels: NDArray[np.uint8]) -> Signatures:
    """Of [n, H, W, C] uint8 pixels. A colour picture that is all grey has the digest of its one grey channel."""
    count, channels = len(pixels), pixels.shape[-1]
    if not count:
        return Signatures.empty(0)
    grey = np.ones(count, np.bool_) if channels == 4 else grey_rows(pixels)
    digest = picture_digests(pixels, grey)
    if channels == 4:  # clear pixels are black here, whatever colour lies under them
        grey = np.zeros(count, np.bool_)
        pixels = (pixels[..., :3].astype(np.uint16) * pixels[..., 3:] // 255).astype(np.uint8)
    small = _shrunk(pixels, _SIDE)
    coarse = small.reshape(count, _TINT_SIDE, 4, _TINT_SIDE, 4, -1).mean(axis=(2, 4))
    weights = np.array([77, 150, 29]) if small.shape[-1] == 3 else np.array([256])  # ITU-R 601, in 256ths
    luma = (small.astype(np.int64) @ weights) >> 8
    tint = np.broadcast_to(np.floor(coarse), (count, _TINT_SIDE, _TINT_SIDE, 3))
    return Signatures(digest, grey, luma.astype(np.uint8), tint.astype(np.uint8))


def _shrunk(pixels: NDArray[np.uint8], side: int) -> NDArray[np.float64]:
    """Area averages [n, side, side, C], rounded down. Sums of whole numbers below 2^53, hence exact in any order."""
    height, width = pixels.shape[1:3]
    across, down = _overlaps(width, side), _overlaps(height, side)
    planes = np.moveaxis(pixels, -1, 1).astype(np.float64)
    sums = np.matmul(np.matmul(down, planes), across.T)
    small: NDArray[np.float64] = np.moveaxis(np.floor(sums / (height * width)), 1, -1)
    return small


def _overlaps(length: int, side: int) -> NDArray[np.float64]:
    """[side, length]: how much of each pixel lies in each cell, in 1/side of a pixel; each row sums to `length`."""
    cell, pixel = np.arange(side)[:, None] * length, np.arange(length)[None] * side
    shared = np.minimum(cell + length, pixel + side) - np.maximum(cell, pixel)
    positive: NDArray[np.float64] = np.maximum(shared, 0).astype(np.float64)
    return positive


@dataclass(frozen=True)
class Groups:
    """`of` [n]: equal numbers are duplicates of each other. Counts are of pictures that repeat an earlier one."""

    of: NDArray[np.int64]
    exact: int
    near: int


def find_groups(pictures: Signatures, files: NDArray[np.uint8] | None) -> Groups:
    """Groups of duplicates among n pictures; `files` [n, 32] are SHA-256 of the files' bytes, where they come from files."""
    count = len(pictures.digest)
    parent = np.arange(count)
    for digests in (pictures.digest, files):
        if digests is not None:
            keys = np.ascontiguousarray(digests).view("V32")[:, 0]
            _, first, same = np.unique(keys, return_index=True, return_inverse=True)
            parent = _united(parent, np.arange(count), first[same])
    distinct = np.unique(parent)
    left, right = _near_pairs(pictures.luma[distinct], pictures.tint[distinct])
    whole = _united(parent, distinct[left], distinct[right])
    return Groups(whole, count - len(distinct), len(distinct) - len(np.unique(whole)))


def _united(parent: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Joins groups along pairs; every row then holds the smallest row of its group."""
    links = parent.tolist()

    def root(row: int) -> int:
        while links[row] != row:
            links[row] = links[links[row]]
            row = links[row]
        return row

    for one, two in zip(left.tolist(), right.tolist(), strict=True):
        low, high = sorted((root(one), root(two)))
        links[high] = low
    return np.array([root(row) for row in range(len(links))], np.int64)


def _near_pairs(luma: NDArray[np.uint8], tint: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of rows that are close in brightness and colours. Looks at 4 x 12 neighbours of each row, however many rows."""
    words = _hashes(luma)
    spread = luma.reshape(len(luma), -1).std(axis=1)
    lefts, rights = [], []
    for turn in range(4):
        keys = np.roll(words, -turn, axis=1).astype(np.uint64)
        key = (keys[:, 0] << 48) | (keys[:, 1] << 32) | (keys[:, 2] << 16) | keys[:, 3]
        by_hash = np.argsort(key, kind="stable")
        for step in range(1, min(_NEIGHBOURS + 1, len(by_hash))):
            left, right = by_hash[:-step], by_hash[step:]
            differing = np.unpackbits((words[left] ^ words[right]).view(np.uint8), axis=1).sum(axis=1)
            alike = differing <= _HASH_DISTANCE
            left, right = left[alike], right[alike]
            limit = _FLOOR + _SHARE * np.minimum(spread[left], spread[right])
            near = (_distance(luma, left, right) <= limit) & (_distance(tint, left, right) <= limit)
            lefts.append(left[near])
            rights.append(right[near])
    none = np.empty(0, np.int64)
    return np.concatenate([none, *lefts]), np.concatenate([none, *rights])


def _distance(values: NDArray[np.uint8], left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
    """Root mean square difference between rows, in grey levels; one common shift of up to `_SHIFT` levels costs nothing."""
    flat = values.reshape(len(values), -1)
    result = np.empty(len(left))
    for start in range(0, len(left), 8192):
        stop = start + 8192
        gap = flat[left[start:stop]].astype(np.int32) - flat[right[start:stop]]
        shift = np.abs(gap.mean(axis=1))
        result[start:stop] = np.sqrt(gap.var(axis=1) + np.maximum(shift - _SHIFT, 0) ** 2)
    return result


def _hashes(luma: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """[n, 4] words of 16 bits: signs of the Walsh-Hadamard coefficients at 8x8, the coarse ones first in every word."""
    eighth = luma.reshape(len(luma), 8, 2, 8, 2).sum(axis=(2, 4), dtype=np.int64).reshape(len(luma), 64)
    two = np.array([[1, 1], [1, -1]])
    matrix = np.kron(np.kron(two, two), two)
    sequency = (np.diff(matrix, axis=1) != 0).sum(axis=1)  # sign changes along the row: the analogue of a frequency
    coarse_first = np.argsort((sequency[:, None] + sequency[None]).reshape(-1), kind="stable")
    basis = np.kron(matrix, matrix)[coarse_first].astype(np.float64)
    coefficients = eighth.astype(np.float64) @ basis.T
    bits = coefficients > 0
    bits[:, 0] = eighth.sum(axis=1) > 256 * 127  # brightness has no sign of its own
    place = (1 << np.arange(15, -1, -1)).astype(np.int64)
    return np.stack([bits[:, word::4] @ place for word in range(4)], axis=1).astype(np.uint16)

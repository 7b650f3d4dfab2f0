"""The fingerprint of a set of pictures: one SHA-256 of what a model is trained on, made while it is prepared and again from the
prepared arrays when they are opened."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

_ROWS_AT_ONCE = 4096


def fingerprint_of(
    shape: tuple[int, int, int],
    digests: NDArray[np.uint8],
    labels: NDArray[np.int64] | None,
    captions: Sequence[str] | None,
    splits: Mapping[str, range],
    given_pictures: tuple[tuple[int, int, int], NDArray[np.uint8]] | None = None,
) -> str:
    """SHA-256 hex over the content; `digests` [N, 32] are the SHA-256 of each picture's pixels (see `picture_digests`).

    `given_pictures` are the shape (H, W, C') of the given pictures and their digests [N, 32]; without any, the fingerprint is
    that of a set prepared before there were given pictures.
    """
    head = {"shape": list(shape), "splits": {name: [rows.start, rows.stop] for name, rows in splits.items()}}
    whole = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    whole.update(np.ascontiguousarray(digests).tobytes())
    whole.update(b"-" if labels is None else labels.astype("<i8").tobytes())
    whole.update(b"-" if captions is None else json.dumps(list(captions)).encode())
    if given_pictures is not None:
        given_shape, given_digests = given_pictures
        whole.update(json.dumps({"given": list(given_shape)}).encode())
        whole.update(np.ascontiguousarray(given_digests).tobytes())
    return whole.hexdigest()


def grey_rows(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """[n]: which of the pictures [n, H, W, C] have equal red, green and blue at every pixel; all that have one channel."""
    if pixels.shape[-1] == 1:
        return np.ones(len(pixels), np.bool_)
    flat = pixels.reshape(len(pixels), -1, pixels.shape[-1])
    grey: NDArray[np.bool_] = ((flat[..., 0] == flat[..., 1]) & (flat[..., 1] == flat[..., 2])).all(axis=1)
    return grey


def picture_digests(pixels: NDArray[np.uint8], grey: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
    """[n, 32]: SHA-256 of the pixels of each picture [n, H, W, C]; of one channel for a picture of three that is `grey` [n]."""
    if pixels.shape[-1] != 3:
        return _digests(list(pixels))
    grey = grey_rows(pixels) if grey is None else grey
    return _digests([one[..., :1] if is_grey else one for one, is_grey in zip(pixels, grey.tolist(), strict=True)])


def given_digests(pixels: NDArray[np.uint8], transparent: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """[n, 32]: SHA-256 of each given picture: of all of [n, H, W, C] where it is `transparent` [n], else of its one grey
    channel or its three colours."""
    colours = pixels[..., :3]
    rows = zip(pixels, transparent.tolist(), grey_rows(colours).tolist(), strict=True)
    return _digests([one if is_clear else one[..., :1] if is_grey else one[..., :3] for one, is_clear, is_grey in rows])


def fingerprint_of_arrays(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64] | None,
    captions: Sequence[str] | None,
    splits: Mapping[str, range],
    given_pictures: tuple[NDArray[np.uint8], NDArray[np.bool_]] | None,
) -> str:
    """`fingerprint_of` prepared arrays: `images` [N, H, W, C], and the given pictures [N, H, W, C'] with which of them are
    transparent [N]. Every byte is read."""
    height, width, channels = images.shape[1:]
    given_part = None
    if given_pictures is not None:
        pictures, transparent = given_pictures
        parts = [given_digests(pictures[rows], transparent[rows]) for rows in _blocks(len(pictures))]
        given_height, given_width, given_channels = pictures.shape[1:]
        given_part = ((given_height, given_width, given_channels), np.concatenate(parts))
    digests = np.concatenate([picture_digests(images[rows]) for rows in _blocks(len(images))])
    return fingerprint_of((height, width, channels), digests, labels, captions, splits, given_part)


def _blocks(count: int) -> list[slice]:
    return [slice(start, start + _ROWS_AT_ONCE) for start in range(0, max(count, 1), _ROWS_AT_ONCE)]


def _digests(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    joined = b"".join([hashlib.sha256(np.ascontiguousarray(one).data).digest() for one in pictures])
    return np.frombuffer(joined, np.uint8).reshape(len(pictures), 32)

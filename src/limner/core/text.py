"""Captions as numbers: the bytes of their UTF-8 text, so that no vocabulary has to be learned, stored or shipped.

A byte b is the number b + 1, and 0 fills up what is shorter than the others: 257 values in all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.core.config import MAX_CAPTION_BYTES

TEXT_VOCABULARY = 257
"""How many values a number of an encoded caption may take."""


def caption_bytes(text: str) -> bytes:
    """The UTF-8 bytes of `text`; half of a surrogate pair, which has none, becomes a question mark."""
    return text.encode("utf-8", "replace")


def longest_caption(texts: Sequence[str]) -> int:
    """Bytes of the longest of `texts`, at most `MAX_CAPTION_BYTES`; 0 where all are empty.

    >>> longest_caption(["red", "grün"])
    5
    """
    return min(max((len(caption_bytes(text)) for text in texts), default=0), MAX_CAPTION_BYTES)


def encode_captions(texts: Sequence[str], length: int) -> NDArray[np.int64]:
    """[N, length]: byte + 1 at each place, 0 after the end. What is longer is cut, never within a character.

    >>> encode_captions(["ab", "é", ""], 3).tolist()
    [[98, 99, 0], [196, 170, 0], [0, 0, 0]]
    >>> decode_captions(encode_captions(["aé"], 2))
    ['a']
    """
    cut = [caption_bytes(text)[:length].decode("utf-8", "ignore").encode() for text in texts]
    values = np.frombuffer(b"".join(text.ljust(length, b"\0") for text in cut), np.uint8).reshape(len(cut), length)
    ends = np.array([len(text) for text in cut], np.int64)
    inside = np.arange(length) < ends[:, None]
    return np.where(inside, values.astype(np.int64) + 1, 0)


def decode_captions(encoded: NDArray[np.integer]) -> list[str]:
    """The texts of `encoded` [N, length]: the inverse of `encode_captions`, but for what was cut.

    Bytes that are no UTF-8, as a model may write them, become the replacement character U+FFFD.
    """
    return [(row[row > 0] - 1).astype(np.uint8).tobytes().decode("utf-8", "replace") for row in np.asarray(encoded)]


@dataclass(frozen=True)
class Captions:
    """Some captions of training pictures, as a run folder holds them: one is drawn where nobody gives a text."""

    texts: tuple[str, ...]
    length: int
    """Bytes of the longest caption of the data set: what the method was built for."""
    labels: tuple[int, ...] | None = None
    """The class of each caption's picture, -1 for none; None where the data set has no classes."""

    def as_json(self) -> dict[str, Any]:
        """As ``captions.json`` of a run holds them."""
        return {"length": self.length, "texts": list(self.texts), "labels": None if self.labels is None else list(self.labels)}

    @staticmethod
    def of_json(tree: Mapping[str, Any]) -> Captions:
        """The inverse of `as_json`. Errors: `KeyError`, `TypeError` or `ValueError` for anything else."""
        labels = tree["labels"]
        return Captions(
            tuple(map(str, tree["texts"])), int(tree["length"]), None if labels is None else tuple(map(int, labels))
        )

"""The data sets that ship with the package: `digits` and `clothes`.

`digits`: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Repository, 1998 (CC BY 4.0);
its test part, as scikit-learn's `load_digits` gives it. The stored values 0..16 become 0..255.

`clothes`: the first 9,000 training pictures and the first 1,000 test pictures of Fashion-MNIST (H. Xiao, K. Rasul, R. Vollgraf,
2017), under the MIT licence that lies beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from limner.core.files import sha256
from limner.data.listing import Arrays, Listing
from limner.data.options import SPLITS
from limner.data.splits import choose


@dataclass(frozen=True)
class ShippedSet:
    """A data set in a file of the package, ``NAME.npz`` with `images` [N, H, W] uint8 and `labels` [N] uint8."""

    line: str
    classes: tuple[str, ...]
    maximum: int
    """The largest value that is stored; it becomes 255."""
    test: int
    """Pictures of the test split."""
    ends_with_test: bool
    """Whether the last pictures are the test split; else it is chosen, of every class about as many."""


SHIPPED_SETS: Mapping[str, ShippedSet] = {
    "digits": ShippedSet(
        line="1,797 handwritten digits, 8x8 grey, 10 classes; ships with limner",
        classes=tuple("0123456789"),
        maximum=16,
        test=180,
        ends_with_test=False,
    ),
    "clothes": ShippedSet(
        line="10,000 pictures of Fashion-MNIST, 28x28 grey, 10 classes; ships with limner",
        classes=("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        maximum=255,
        test=1000,
        ends_with_test=True,
    ),
}


def _file(name: str) -> Path:
    return Path(__file__).with_name(f"{name}.npz")


def content_of(name: str) -> str:
    """SHA-256 of the file of the set called `name`."""
    return sha256(_file(name))


def load(name: str, *, labelled: bool = True) -> Listing:
    """All of the set called `name`. Which pictures are `test` depends on nothing, not even the seed.

    >>> load("clothes").hints.tolist().count(SPLITS.index("test"))
    1000
    """
    shipped = SHIPPED_SETS[name]
    with np.load(_file(name), allow_pickle=False) as stored:
        values, labels = stored["images"], stored["labels"].astype(np.int64)
    scale = shipped.maximum
    pixels = ((values.astype(np.int64) * 255 + scale // 2) // scale).astype(np.uint8)[..., None]
    if shipped.ends_with_test:
        is_test = np.arange(len(labels)) >= len(labels) - shipped.test
    else:
        is_test = choose(np.arange(len(labels)), labels, shipped.test, 0, name)
    height, width = values.shape[1:]
    return Listing(
        Arrays((height, width, 1), lambda rows: pixels[rows]),
        np.where(is_test, SPLITS.index("test"), SPLITS.index("train")).astype(np.int8),
        labels if labelled else None,
        shipped.classes if labelled else (),
        published=True,
    )

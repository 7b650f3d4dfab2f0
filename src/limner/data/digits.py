"""The 1,797 handwritten digits, 8x8 grey, of the UCI repository: small enough to ship with the package.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998 (CC BY 4.0);
these are its test part, as scikit-learn's `load_digits` gives them. The stored values 0..16 become 0..255.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from limner.core.files import sha256
from limner.data.listing import Arrays, Listing
from limner.data.options import SPLITS
from limner.data.splits import choose

LINE = "1,797 handwritten digits, 8x8 grey, 10 classes; ships with limner"
_TEST = 180
_FILE = Path(__file__).with_name("digits.npz")


def content() -> str:
    """SHA-256 of the file that ships with limner."""
    return sha256(_FILE)


def load(*, labelled: bool = True) -> Listing:
    """All of it. 180 pictures, 18 of each class or nearly so, are `test`; which ones depends on nothing, not even the seed."""
    with np.load(_FILE, allow_pickle=False) as stored:
        values, labels = stored["images"], stored["labels"].astype(np.int64)
    pixels = ((values.astype(np.int64) * 255 + 8) // 16).astype(np.uint8)[..., None]
    test = choose(np.arange(len(labels)), labels, _TEST, 0, "digits")
    return Listing(
        Arrays((8, 8, 1), lambda rows: pixels[rows]),
        np.where(test, SPLITS.index("test"), SPLITS.index("train")).astype(np.int8),
        labels if labelled else None,
        tuple("0123456789") if labelled else (),
        published=True,
    )

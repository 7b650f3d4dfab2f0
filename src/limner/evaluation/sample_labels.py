"""The classes of limner's own samples, which their files say, so that samples of a class are understood as that class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limner.data.dataset import Dataset, is_prepared
from limner.data.folders import ImageSource
from limner.data.origin import class_of_sample
from limner.data.sources import find_source

LABEL_PROBES = 16
"""Files whose text is looked at, spread over a folder, before that of all is read for the class."""


def labels_in_samples(path: Path, folder: Dataset, classes: Sequence[str]) -> NDArray[np.int64] | None:
    """[N]: the classes that were requested of limner's own samples at `path`, which their files say, as indices into `classes`.

    −1 stands for none. None where no file says a class, and for what was prepared before, whose files are not there.
    """
    names = [row["file"] for row in folder.manifest["files"]]
    source = find_source(path)
    if is_prepared(path) or not isinstance(source, ImageSource) or len(names) != len(folder.images):
        return None
    tree = source.tree
    if not {entry.name for entry in tree.entries()}.issuperset(names):
        return None  # names that are no UTF-8 stand in the manifest as escapes
    probe = names[:: -(-len(names) // LABEL_PROBES)]
    if not any(class_of_sample(payload) for _, payload in tree.read(probe)):
        return None
    requested = {name: class_of_sample(payload) for name, payload in tree.read(names)}
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers.get(requested[name] or "", -1) for name in names], np.int64)
    return labels if (labels >= 0).any() else None

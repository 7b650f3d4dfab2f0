"""What stands in for a condition that nobody requested: the caption, class and given picture of a real picture, drawn by seed.

Previews, scores and samples need conditions of the kind that a method was trained with. Text, class and given picture of one
draw come from one and the same picture, since they speak of the same thing.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core.cond import Cond
from limner.core.config import ConditionKind
from limner.core.images import batches_of, to_tensor, to_uint8
from limner.core.method import Method
from limner.core.sampling import generate
from limner.core.seeds import fold
from limner.core.text import Captions, encode_captions
from limner.data.dataset import Dataset, Images
from limner.data.splits import order

MAX_STORED_CAPTIONS = 1000
"""Captions that a run folder holds, so that pictures can be drawn without the data."""
PASSES_AT_ONCE = 32
"""Passes of a method whose conditions and pictures are in memory together."""


def pick_captions(dataset: Dataset, seed: int, count: int = MAX_STORED_CAPTIONS) -> Captions | None:
    """At most `count` training captions, picked by `seed`; None where no training picture has one."""
    rows = _captioned(dataset)
    if not len(rows):
        return None
    rows = rows[order(len(rows), seed, "captions")[:count]]
    texts = tuple((dataset.captions or ())[row] for row in rows)
    labels = None if dataset.labels is None else tuple(dataset.labels[rows].tolist())
    return Captions(texts, dataset.caption_length, labels)


@dataclass(frozen=True)
class _Pool:
    """P pictures whose conditions may be drawn."""

    labels: NDArray[np.int64] | None
    """[P], -1 for none."""
    text: Tensor | None
    """[P, L] int16, encoded."""
    given_images: Images | None
    rows: NDArray[np.int64]
    """[P]: where each stands in `given_images`."""

    def place(self, seed: int, label: int) -> int:
        """Which of them `seed` draws: one of the class `label`, where that is not -1 and there are any."""
        number = fold("condition", seed)
        if label >= 0 and self.labels is not None:
            members = np.flatnonzero(self.labels == label)
            if len(members):
                return int(members[number % len(members)])
        return number % len(self.rows)


class Conditions:
    """The conditions of real pictures, one of them for each seed.

    Where the method needs a given picture, all conditions come from the judged split, so that samples can be compared with its
    pictures. Otherwise captions come from training pictures, since a model may not know words that stand only elsewhere.
    """

    def __init__(
        self,
        dataset: Dataset | None,
        split: str | None = None,
        captions: Captions | None = None,
        caption_length: int | None = None,
    ) -> None:
        """`split` is the judged one: val by default, or train where there is no val. `captions` stand for those of all training
        pictures; they suffice where there is no `dataset`, but for given pictures. `caption_length` is what the method was
        built for, where that is not the length of this data set's longest caption.
        """
        self.dataset, self.split, self.captions = dataset, split, captions
        self.caption_length = caption_length

    @cached_property
    def _captioned(self) -> _Pool | None:
        """Training pictures that have a caption."""
        captions = self.captions
        if captions is None and self.dataset is not None:
            captions = pick_captions(self.dataset, 0, len(self.dataset.images))
        if captions is None or not captions.texts:
            return None
        labels = None if captions.labels is None else np.array(captions.labels, np.int64)
        text = self._encode(captions.texts, captions.length)
        return _Pool(labels, text, None, np.arange(len(captions.texts)))

    @cached_property
    def _paired(self) -> _Pool | None:
        """Pictures of the judged split, where the data set has given pictures."""
        dataset = self.dataset
        if dataset is None or dataset.given_images is None:
            return None
        rows = dataset.indices(self.split or ("val" if "val" in dataset.splits else "train"))
        text = None
        if dataset.captions is not None:
            text = self._encode([dataset.captions[row] for row in rows], dataset.caption_length)
        labels = None if dataset.labels is None else dataset.labels[rows]
        return _Pool(labels, text, dataset.given_images, rows)

    def _encode(self, texts: Sequence[str], length: int) -> Tensor:
        return torch.from_numpy(encode_captions(texts, self.caption_length or length).astype(np.int16))

    def draw(self, seeds: Sequence[int], accepts: Set[ConditionKind], requested: Cond | None = None) -> Cond:
        """The conditions for `seeds`, on the CPU: what was `requested`, and what a method `accepts` beside it.

        Row i depends on seeds[i] and on row i of the request alone. A class that is requested (not -1) picks among pictures of
        that class, where there are any. For methods that accept labels alone nothing is drawn: they draw those themselves.
        """
        requested = requested or Cond()
        draws_image = "image" in accepts and requested.image is None and self._paired is not None
        draws_text = "text" in accepts and requested.text is None
        pool = self._paired if draws_image else self._captioned if draws_text else None
        if pool is None:
            return requested
        classes = np.full(len(seeds), -1) if requested.label is None else requested.label.cpu().numpy()
        places = np.array([pool.place(seed, label) for seed, label in zip(seeds, classes.tolist(), strict=True)], np.int64)
        cond = requested
        if draws_image and pool.given_images is not None:
            cond = replace(cond, image=to_tensor(pool.given_images.gather(pool.rows[places])))
        if draws_text and pool.text is not None:
            cond = replace(cond, text=pool.text[torch.from_numpy(places)].to(torch.int64))
        if "label" in accepts and pool.labels is not None:
            cond = replace(cond, label=torch.from_numpy(np.where(classes >= 0, classes, pool.labels[places])))
        return cond


def takes_text_or_image(method: Method) -> bool:
    """Whether there are conditions that the method does not draw itself; labels it does."""
    return bool(method.accepts & {"text", "image"})


def generate_images(method: Method, seeds: Sequence[int], conditions: Conditions) -> NDArray[np.uint8]:
    """[len(seeds), H, W, C]: the picture of each seed under the conditions that it draws, in passes of a fixed size."""
    if not takes_text_or_image(method):
        return to_uint8(generate(method, seeds))
    images = []
    for part in batches_of(len(seeds), PASSES_AT_ONCE * method.chunk):
        some = seeds[part]
        images.append(to_uint8(generate(method, some, conditions.draw(some, method.accepts).to(method.device))))
    return np.concatenate(images)


def _captioned(dataset: Dataset) -> NDArray[np.int64]:
    """The training rows that have a caption."""
    captions = dataset.captions
    rows = dataset.splits.get("train", range(0))
    return np.array([row for row in rows if captions is not None and captions[row]], np.int64)

"""From a prepared set to the batches of a training run: a gather from the memory map, nothing else.

Small sets on an accelerator are kept there whole, so that the loop never waits for the host.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core import seeds
from limner.core.cond import Batch, Cond
from limner.core.config import ConditionKind
from limner.core.environment import free_memory
from limner.core.images import to_tensor
from limner.core.text import encode_captions
from limner.data.dataset import Dataset, Images
from limner.data.latents import Encode, RememberedLatents, cache_file

MAX_CARD_SHARE = 0.25
"""An array of pictures that needs at most this share of the card's free memory lives there."""
LABELS: frozenset[ConditionKind] = frozenset({"label"})
"""The conditions that batches bring where nobody says what is accepted: they cost nothing."""


class Feed:
    """An endless shuffled reading of one split; where it stands is an argument, not a state. It is a `PictureSet` too."""

    # Many parameters: which pictures, where they go, how they are drawn, and which conditions come with them.
    def __init__(
        self,
        dataset: Dataset,
        split: str,
        device: torch.device,
        seed: int,
        mirror: bool = False,
        accepts: Set[ConditionKind] = LABELS,
    ) -> None:
        """`mirror`: each picture, and its given picture with it, is mirrored in every second draw."""
        self.dataset, self.rows = dataset, dataset.indices(split)
        self.device, self.seed, self.mirror = device, seed, mirror
        self.identity = (dataset.fingerprint, split, mirror)
        self.memory: RememberedLatents | None = None
        self._pictures = _Pictures(dataset.images, self.rows, device)
        self._labels: Tensor | None = None
        self._text: Tensor | None = None
        self._given_pictures: _Pictures | None = None
        self.accepts: frozenset[ConditionKind] = frozenset()
        self.accept(accepts)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def count(self) -> int:
        """Pictures that batches are drawn from: those of the split, and as many again where they are mirrored."""
        return 2 * len(self.rows) if self.mirror else len(self.rows)

    @property
    def labels(self) -> Tensor | None:
        """[count] int64: the class of each picture, −1 for none; None where batches bring no labels."""
        if self._labels is None:
            return None
        return torch.cat([self._labels, self._labels]) if self.mirror else self._labels

    def accept(self, kinds: Set[ConditionKind]) -> None:
        """From here on, batches bring the conditions of these `kinds`, as far as the data set has them, and no others."""
        if kinds == self.accepts:
            return
        dataset, self.accepts = self.dataset, frozenset(kinds)
        self._labels = self._text = self._given_pictures = None
        if "label" in kinds and dataset.labels is not None:
            self._labels = torch.from_numpy(dataset.labels[self.rows].copy())
        if "text" in kinds and dataset.captions is not None:
            captions = [dataset.captions[row] for row in self.rows]
            self._text = torch.from_numpy(encode_captions(captions, dataset.caption_length).astype(np.int16))
            if self._pictures.on_card is not None:
                self._text = self._text.to(self.device)
        if "image" in kinds and dataset.given_images is not None:
            self._given_pictures = _Pictures(dataset.given_images, self.rows, self.device)

    def remember(self, encode: Encode | None, codec: str | None = None) -> None:
        """From here on, batches come with the latents that `encode` gives for their images; None: without.

        With `codec`, the digest of all that `encode` depends on, those that are in the cache are read from there, and `keep`
        adds to them. A mirrored picture is another one.
        """
        path = None if codec is None else cache_file(codec, self.identity)
        self.memory = None if encode is None else RememberedLatents(encode, self.count, self.device, path)

    def keep(self) -> None:
        """Writes the latents remembered so far into the cache. Errors: `InputError` where they cannot be written."""
        if self.memory is not None:
            self.memory.save()

    def draw(self, stream: int, start: int, size: int) -> Batch:
        """`size` images from place `start` of reading `stream` (each stream is a shuffling of its own)."""
        places = seeds.order(self.seed, stream, start, size, len(self.rows))
        return self._gather(places, torch.rand(size, device=self.device) < 0.5 if self.mirror else None)

    def take(self, places: Tensor) -> Batch:
        """The pictures at `places` [B] int64; from the number of pictures of the split on, mirrored ones."""
        numbers = places.cpu().numpy()
        flipped = torch.from_numpy(numbers >= len(self.rows)).to(self.device) if self.mirror else None
        return self._gather(numbers % len(self.rows), flipped)

    def _gather(self, places: NDArray[np.int64], flipped: Tensor | None) -> Batch:
        """The pictures at `places` [B] of the split; those that are `flipped` [B] mirrored."""
        pixels = self._pictures.take(places)
        given_images = None if self._given_pictures is None else self._given_pictures.take(places)
        label = None if self._labels is None else self._labels[torch.from_numpy(places)].to(self.device)
        text = None
        if self._text is not None:
            text = self._text[torch.from_numpy(places).to(self._text.device)].to(self.device, torch.int64)
        if flipped is not None:
            pixels = _mirrored(pixels, flipped)
            given_images = None if given_images is None else _mirrored(given_images, flipped)
            if self.memory is not None:
                places = places + len(self.rows) * flipped.cpu().numpy()
        batch = Batch(pixels, Cond(label, text, given_images), pictures=self)
        return batch if self.memory is None else replace(batch, latents=partial(self.memory.recall, places, pixels))


class _Pictures:
    """The `rows` of an array of pictures as tensors: read as they are needed, or kept on the card where they fit there."""

    def __init__(self, images: Images, rows: NDArray[np.int64], device: torch.device) -> None:
        self.images, self.rows, self.device = images, rows, device
        self.on_card: Tensor | None = None
        if device.type != "cpu":
            height, width, channels = images.shape[1:]
            if len(rows) * height * width * channels < MAX_CARD_SHARE * free_memory(device):
                self.on_card = torch.from_numpy(images.gather(rows)).to(device)

    def take(self, places: NDArray[np.int64]) -> Tensor:
        """[B, C, H, W] float32 in [-1, 1]: the pictures at `places` [B] among the rows."""
        if self.on_card is None:
            return to_tensor(self.images.gather(self.rows[places]), self.device)
        pixels = self.on_card.index_select(0, torch.from_numpy(places).to(self.device, non_blocking=True))
        return pixels.permute(0, 3, 1, 2).to(torch.float32).mul_(2 / 255).sub_(1)


def _mirrored(images: Tensor, flipped: Tensor) -> Tensor:
    """[B, C, H, W], those that are `flipped` [B] from left to right."""
    return torch.where(flipped.view(-1, 1, 1, 1), images.flip(3), images)

"""From a prepared set to the batches of a training run: a gather from the memory map, nothing else.

Small sets on an accelerator are kept there whole, so that the loop never waits for the host.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import torch

from limner.core import images, seeds
from limner.core.cond import Batch, Cond
from limner.core.environment import free_memory
from limner.data.dataset import Dataset
from limner.data.latents import Encode, Memory, kept_at

SHARE_OF_CARD = 0.25
"""A set that needs at most this share of the card's free memory lives there."""


class Feed:
    """An endless shuffled reading of one split; where it stands is an argument, not a state."""

    def __init__(self, dataset: Dataset, split: str, device: torch.device, seed: int, mirror: bool = False) -> None:
        self.images, self.rows = dataset.images, dataset.indices(split)
        self.labels = None if dataset.labels is None else torch.from_numpy(dataset.labels[self.rows].copy())
        self.device, self.seed, self.mirror = device, seed, mirror
        self.pictures = (dataset.fingerprint, split, mirror)
        self.memory: Memory | None = None
        self.on_card: torch.Tensor | None = None
        if device.type != "cpu":
            height, width, channels = dataset.shape
            if len(self.rows) * height * width * channels < SHARE_OF_CARD * free_memory(device):
                self.on_card = torch.from_numpy(self.images.gather(self.rows)).to(device)

    def __len__(self) -> int:
        return len(self.rows)

    def remember(self, encode: Encode | None, codec: str | None = None) -> None:
        """From here on, batches come with the latents that `encode` gives for their images; None: without.

        With `codec`, the digest of all that `encode` depends on, those that are in the cache are read from there, and `keep`
        adds to them. A mirrored picture is another one.
        """
        count = 2 * len(self.rows) if self.mirror else len(self.rows)
        path = None if codec is None else kept_at(codec, self.pictures)
        self.memory = None if encode is None else Memory(encode, count, self.device, path)

    def keep(self) -> None:
        """The latents remembered so far, in the cache. Errors: `InputError` where they cannot be written."""
        if self.memory is not None:
            self.memory.keep()

    def draw(self, stream: int, start: int, size: int) -> Batch:
        """`size` images from place `start` of reading `stream` (each stream is a shuffling of its own)."""
        places = seeds.order(self.seed, stream, start, size, len(self.rows))
        if self.on_card is None:
            pixels = images.to_tensor(self.images.gather(self.rows[places]), self.device)
        else:
            picked = self.on_card.index_select(0, torch.from_numpy(places).to(self.device, non_blocking=True))
            pixels = picked.permute(0, 3, 1, 2).to(torch.float32).mul_(2 / 255).sub_(1)
        label = None if self.labels is None else self.labels[torch.from_numpy(np.asarray(places))].to(self.device)
        if self.mirror:
            flipped = torch.rand(size, device=self.device) < 0.5
            pixels = torch.where(flipped.view(-1, 1, 1, 1), pixels.flip(3), pixels)
            if self.memory is not None:
                places = places + len(self.rows) * flipped.cpu().numpy()
        batch = Batch(pixels, Cond(label=label))
        return batch if self.memory is None else replace(batch, latents=partial(self.memory.recall, places, pixels))

"""From a prepared set to the batches of a training run: a gather from the memory map, nothing else.

Small sets on an accelerator are kept there whole, so that the loop never waits for the host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core import images, seeds
from limner.core.cond import Batch, Cond
from limner.data.dataset import Dataset

SHARE_OF_CARD = 0.25
"""A set that needs at most this share of the card's free memory lives there."""
PASS = 64
"""Images that a codec is given at once. A convolution may round differently in a batch of another size, and a code that lies
between two would be one or the other: with one size for all, what is remembered is what a resumed run finds anew."""
MOST = 2**31
"""Bytes that remembered latents may take; larger sets are encoded anew in every epoch."""

Encode = Callable[[Tensor], Tensor]


class Memory:
    """What a frozen codec makes of the images of a split, each encoded when it is first met. Mirrored ones are others."""

    def __init__(self, encode: Encode, count: int, mirror: bool) -> None:
        self.encode = encode
        self.known = np.zeros(2 * count if mirror else count, bool)
        self.held: Tensor | None = None

    def recall(self, places: NDArray[np.int64], images: Tensor) -> Tensor:
        """The latents of `images` [B, C, H, W], which stand at `places`."""
        fresh = np.flatnonzero(~self.known[places])
        if len(fresh):
            found = self._encode(images[torch.from_numpy(fresh).to(images.device)])
            if self.held is None:
                if found[0].numel() * found.element_size() * len(self.known) > MOST:
                    return found if len(fresh) == len(places) else self._encode(images)
                self.held = torch.empty(len(self.known), *found.shape[1:], dtype=found.dtype, device=found.device)
            self.held[torch.from_numpy(places[fresh]).to(found.device)] = found
            self.known[places[fresh]] = True
        assert self.held is not None
        return self.held[torch.from_numpy(places).to(self.held.device)]

    @torch.no_grad()
    def _encode(self, images: Tensor) -> Tensor:
        rows: list[Tensor] = []
        with torch.autocast(images.device.type, enabled=False):
            for start in range(0, len(images), PASS):
                part = images[start : start + PASS]
                padded = torch.cat([part, part[-1:].expand(PASS - len(part), *part.shape[1:])])
                rows.append(self.encode(padded.contiguous(memory_format=torch.channels_last))[: len(part)])
        return torch.cat(rows)


class Feed:
    """An endless shuffled reading of one split; where it stands is an argument, not a state."""

    def __init__(self, dataset: Dataset, split: str, device: torch.device, seed: int, mirror: bool = False) -> None:
        self.images, self.rows = dataset.images, dataset.indices(split)
        self.labels = None if dataset.labels is None else torch.from_numpy(dataset.labels[self.rows].copy())
        self.device, self.seed, self.mirror = device, seed, mirror
        self.memory: Memory | None = None
        self.on_card: torch.Tensor | None = None
        if device.type == "cuda":
            height, width, channels = dataset.shape
            if len(self.rows) * height * width * channels < SHARE_OF_CARD * torch.cuda.mem_get_info(device)[0]:
                self.on_card = torch.from_numpy(self.images.gather(self.rows)).to(device)

    def __len__(self) -> int:
        return len(self.rows)

    def remember(self, encode: Encode | None) -> None:
        """From here on, batches come with the latents that `encode` gives for their images; None: without."""
        self.memory = None if encode is None else Memory(encode, len(self.rows), self.mirror)

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

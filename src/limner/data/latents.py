"""What a frozen codec makes of the training pictures: encoded once, remembered, and kept in the cache for the next run.

Values are the same bits whether they are remembered, read from the cache or made anew, so that no run depends on what lies in
the cache. Nothing is pickled: a file is safetensors, with a checksum of what it holds.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core import precision
from limner.core.files import cache_folder
from limner.core.passes import fixed_passes
from limner.core.tensor_cache import read_tensors, write_tensors

VERSION = "latents-2"
"""To be raised whenever a codec with the same weights and settings encodes otherwise."""
PASS = 64
"""Images that a codec is given at once. A convolution may round differently in a batch of another size, and a code that lies
between two would be one or the other: with one size for all, what is remembered is what a resumed run finds anew."""
MOST = 2**31
"""Bytes that remembered latents may take; larger sets are encoded anew in every epoch."""
MOST_KEPT = 2**32
"""Bytes of all files in the cache; those longest unused go first."""

Encode = Callable[[Tensor], Tensor]


def kept_at(codec: str, pictures: Sequence[object]) -> Path:
    """The cache's file for the latents of `pictures` (what they are, as JSON can say it) by the codec of that digest.

    Whatever rounds otherwise has a file of its own: another processor, number of threads or version of torch.
    """
    told = [VERSION, codec, *pictures, PASS, torch.__version__, precision.processor(), torch.get_num_threads()]
    return cache_folder() / "latents" / f"{hashlib.sha256(json.dumps(told).encode()).hexdigest()[:24]}.safetensors"


class Memory:
    """The latents of `count` pictures, each encoded when it is first met."""

    def __init__(self, encode: Encode, count: int, device: torch.device, path: Path | None = None) -> None:
        """With `path`, what an earlier run kept there is known already."""
        self.encode, self.path = encode, path
        self.known, self.held = np.zeros(count, bool), None
        found = None if path is None else _read(path)
        if found is not None and found[0].shape == self.known.shape:
            self.known, self.held = found[0], found[1].to(device)
        self.kept = int(self.known.sum())

    def recall(self, places: NDArray[np.int64], images: Tensor) -> Tensor:
        """The latents of `images` [B, C, H, W], which stand at `places`."""
        fresh = np.flatnonzero(~self.known[places])
        if len(fresh):
            found = self._encode(images[torch.from_numpy(fresh).to(images.device)])
            if self.held is None:
                if found[0].numel() * found.element_size() * len(self.known) > MOST:
                    return found if len(fresh) == len(places) else self._encode(images)
                self.held = torch.zeros(len(self.known), *found.shape[1:], dtype=found.dtype, device=found.device)
            self.held[torch.from_numpy(places[fresh]).to(found.device)] = found
            self.known[places[fresh]] = True
        assert self.held is not None
        return self.held[torch.from_numpy(places).to(self.held.device)]

    def _encode(self, images: Tensor) -> Tensor:
        latents: list[Tensor] = []
        with precision.exact(images.device.type):
            for rows, meant in fixed_passes(len(images), PASS, images.device):
                latents.append(self.encode(images[rows].contiguous(memory_format=torch.channels_last))[:meant])
        return torch.cat(latents)

    def keep(self) -> None:
        """Writes what is known to the cache, where that is more than the file was read or written with.

        Several runs may write the same file: each writes a whole one, and the last stays. Errors: `InputError` (a full disk).
        """
        known = int(self.known.sum())
        if self.path is None or self.held is None or known == self.kept:
            return
        write_tensors(self.path, {"known": torch.from_numpy(self.known), "latents": self.held})
        self.kept = known
        _make_room(self.path)


def _read(path: Path) -> tuple[NDArray[np.bool_], Tensor] | None:
    """Which are known [N], and the latents [N, …]; None where there is no such file, or it is damaged and is made anew."""
    found = read_tensors(path)
    if found is None:
        return None
    with suppress(OSError):
        os.utime(path)  # used just now
    tensors, _ = found
    return tensors["known"].numpy(), tensors["latents"]


def _make_room(newest: Path) -> None:
    """Removes the files longest unused, `newest` never, until all take no more than `MOST_KEPT`."""
    files = []
    for path in newest.parent.glob("*.safetensors"):
        with suppress(OSError):  # another run was quicker
            files.append((path.stat().st_mtime, path.stat().st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total > MOST_KEPT and path != newest:
            with suppress(OSError):
                path.unlink()
            total -= size

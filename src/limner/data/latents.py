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
PASS_SIZE = 64
"""Images that a codec is given at once. A convolution may round differently in a batch of another size, and a code that lies
between two would be one or the other: with one size for all, a resumed run encodes to what was remembered before."""
MAX_BYTES = 2**31
"""Bytes that remembered latents may take in memory; larger sets are encoded anew in every epoch."""
MAX_CACHE_BYTES = 2**32
"""Bytes of all files in the cache; those longest unused go first."""

Encode = Callable[[Tensor], Tensor]


def cache_file(codec: str, pictures: Sequence[object]) -> Path:
    """The cache's file for the latents of `pictures` (what they are, as JSON can say it) by the codec of that digest.

    Another processor, number of threads or version of torch may round differently, and so has a file of its own.
    """
    key = [VERSION, codec, *pictures, PASS_SIZE, torch.__version__, precision.processor(), torch.get_num_threads()]
    return cache_folder() / "latents" / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]}.safetensors"


class RememberedLatents:
    """The latents of `count` pictures, each encoded when it is first met."""

    def __init__(self, encode: Encode, count: int, device: torch.device, path: Path | None = None) -> None:
        """With `path`, latents that an earlier run saved there need not be encoded again."""
        self.encode, self.path = encode, path
        self.is_encoded = np.zeros(count, bool)
        self.latents: Tensor | None = None
        saved = None if path is None else _read(path)
        if saved is not None and saved[0].shape == self.is_encoded.shape:
            self.is_encoded, self.latents = saved[0], saved[1].to(device)
        self.saved_count = int(self.is_encoded.sum())

    def recall(self, places: NDArray[np.int64], images: Tensor) -> Tensor:
        """The latents of `images` [B, C, H, W], which stand at `places`."""
        new = np.flatnonzero(~self.is_encoded[places])
        if len(new):
            encoded = self._encode(images[torch.from_numpy(new).to(images.device)])
            if self.latents is None:
                count = len(self.is_encoded)
                if encoded[0].numel() * encoded.element_size() * count > MAX_BYTES:
                    return encoded if len(new) == len(places) else self._encode(images)
                self.latents = torch.zeros(count, *encoded.shape[1:], dtype=encoded.dtype, device=encoded.device)
            self.latents[torch.from_numpy(places[new]).to(encoded.device)] = encoded
            self.is_encoded[places[new]] = True
        assert self.latents is not None
        return self.latents[torch.from_numpy(places).to(self.latents.device)]

    def _encode(self, images: Tensor) -> Tensor:
        latents: list[Tensor] = []
        with precision.exact(images.device.type):
            for rows, count in fixed_passes(len(images), PASS_SIZE, images.device):
                latents.append(self.encode(images[rows].contiguous(memory_format=torch.channels_last))[:count])
        return torch.cat(latents)

    def save(self) -> None:
        """Writes all latents encoded so far to the cache, where that is more than the file was read or written with.

        Several runs may write the same file: each writes a whole one, and the last stays. Errors: `InputError` (a full disk).
        """
        count = int(self.is_encoded.sum())
        if self.path is None or self.latents is None or count == self.saved_count:
            return
        write_tensors(self.path, {"known": torch.from_numpy(self.is_encoded), "latents": self.latents})
        self.saved_count = count
        _make_room(self.path)


def _read(path: Path) -> tuple[NDArray[np.bool_], Tensor] | None:
    """Which are encoded [N], and the latents [N, …]; None where there is no such file, or it is damaged and is made anew."""
    stored = read_tensors(path)
    if stored is None:
        return None
    with suppress(OSError):
        os.utime(path)  # used just now
    tensors, _ = stored
    return tensors["known"].numpy(), tensors["latents"]


def _make_room(newest: Path) -> None:
    """Removes the files longest unused, `newest` never, until all take no more than `MAX_CACHE_BYTES`."""
    files = []
    for path in newest.parent.glob("*.safetensors"):
        with suppress(OSError):  # another run was quicker
            files.append((path.stat().st_mtime, path.stat().st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total > MAX_CACHE_BYTES and path != newest:
            with suppress(OSError):
                path.unlink()
            total -= size

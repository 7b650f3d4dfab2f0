"""The conditions of pictures, and the batches on which a Method computes its losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

Draw = Callable[[tuple[int, ...], torch.device], Tensor]
"""Draws standard normal noise of a shape on a device. Tests replace it where they need the same noise twice."""


def _normal(shape: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.randn(shape, device=device)


@dataclass(frozen=True)
class Cond:
    """The conditions of B pictures: classes, captions, given pictures. Each is None where there is none.

    >>> Cond(label=torch.tensor([3])).repeat(2).label
    tensor([3, 3])
    """

    label: Tensor | None = None
    """[B] int64: the number of the class; −1: no label."""
    text: Tensor | None = None
    """[B, L] int64: the caption's bytes, each + 1, and 0 after its end (`limner.core.text`); L is `DataSpec.caption_length`."""
    image: Tensor | None = None
    """[B, C', H, W] float32 in [-1, 1]: the given picture, such as an outline or a picture with a hole."""

    def to(self, device: torch.device) -> Cond:
        """The same conditions on `device`."""
        return self._each(lambda part: part.to(device))

    def rows(self, rows: Tensor) -> Cond:
        """The conditions of the pictures with the indices `rows` [R] int64."""
        return self._each(lambda part: part[rows.to(part.device)])

    def repeat(self, count: int) -> Cond:
        """The conditions of one picture, repeated for `count` pictures."""
        return self._each(lambda part: part.expand(count, *part.shape[1:]))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Cond:
        parts = (self.label, self.text, self.image)
        return Cond(*(None if part is None else change(part) for part in parts))


class PictureSet(Protocol):
    """All pictures that batches are drawn from, each as often as the others; mirrored ones stand as pictures of their own."""

    @property
    def count(self) -> int:
        """How many there are, mirrored ones among them."""

    @property
    def labels(self) -> Tensor | None:
        """[count] int64 on the CPU: the class of each, −1 for none; None where batches bring no labels."""

    def take(self, places: Tensor) -> Batch:
        """The pictures at `places` [B] int64, from 0 to `count` − 1, with what else a batch has."""


@dataclass(frozen=True)
class Batch:
    """A chunk of training data, on the device that computes."""

    images: Tensor
    """[B, C, H, W] float32 in [-1, 1]."""
    cond: Cond = Cond()
    draw: Draw = _normal
    """The source of all noise."""
    latents: Callable[[], Tensor] | None = None
    """Gives the latents [B, *codec.shape] of the images, where these are cached (see `Method.encoded`)."""
    pictures: PictureSet | None = None
    """All pictures that this batch was drawn from; None where it was made by other means (see `Method.read_pictures`)."""

    def __len__(self) -> int:
        return self.images.shape[0]

    def noise(self, *shape: int) -> Tensor:
        """Standard normal noise [B, *shape] on the device of the images. Every draw of a loss comes from here."""
        return self.draw((len(self), *shape), self.images.device)

    def uniform(self, *shape: int) -> Tensor:
        """Numbers uniform in [0, 1), [B, *shape]: the normal distribution function of `noise`."""
        uniform: Tensor = torch.special.ndtr(self.noise(*shape))
        return uniform.clamp(max=1 - 2**-24)

    def drawing(self, draw: Draw) -> Batch:
        """The same batch with another source of noise."""
        return replace(self, draw=draw)

"""What a method is told of its data before it is built. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ConditionKind = Literal["label", "text", "image"]
"""What a picture may be conditioned on: a class, a caption, a given picture."""


@dataclass(frozen=True)
class DataSpec:
    """The pictures that a method is built for, and the conditions that come with them."""

    shape: tuple[int, int, int]
    """(C, H, W) of the pictures."""
    classes: tuple[str, ...] = ()
    caption_length: int = 0
    """Bytes of the longest caption, at most 256; 0 where there are no captions."""
    condition_shape: tuple[int, int, int] | None = None
    """(C', H, W) of the given pictures; None where there are none."""

"""What a person may ask of `prepare`: checked once, here, and hashed into the name of the prepared folder."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from limner.core.errors import InputError, nearest

Fit = Literal["crop", "pad", "stretch"]
Channels = Literal[1, 3, 4]
SPLITS = ("train", "val", "test")
"""The splits a data set may have, in the order in which their rows are stored."""

_SPLIT_WORDS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_LARGEST_SIDE = 8192


def split_of(folder: str) -> str | None:
    """The split that a folder of this name stands for (``Validation`` is ``val``), or None."""
    return _SPLIT_WORDS.get(folder.lower())


def parse_size(text: str) -> tuple[int, int]:
    """``"64"`` is (64, 64); ``"64x96"`` is height 64, width 96. Errors: `InputError` for anything else."""
    found = re.fullmatch(r"\s*(\d{1,9})(?:\s*[xX×]\s*(\d{1,9}))?\s*", text)
    if not found:
        raise InputError(f"size '{text}' is not a size; write one number of pixels (64) or HEIGHTxWIDTH (64x96)")
    return check_size((int(found[1]), int(found[2] or found[1])))


def check_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) in pixels. Errors: `InputError` unless both are whole numbers from 1 to 8192."""
    pair: tuple[Any, ...] = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) for side in pair):
        raise InputError(f"size {size!r} is not a size; give one whole number of pixels or (height, width)")
    height, width = pair
    if not (1 <= height <= _LARGEST_SIDE and 1 <= width <= _LARGEST_SIDE):
        raise InputError(f"size {height}x{width} is out of range; both sides must be from 1 to {_LARGEST_SIDE} pixels")
    return int(height), int(width)


@dataclass(frozen=True)
class SplitRule:
    """How rows are dealt out: `shares` (val[, test]) are drawn anew, `only` keeps one part, `whole` holds nothing out."""

    shares: tuple[float, ...] = ()
    only: str | None = None
    whole: bool = False

    @staticmethod
    def parse(text: str | None) -> SplitRule:
        """None, ``"none"``, a split's name, ``"0.1"`` (val) or ``"0.1,0.1"`` (val, test). Errors: `InputError`."""
        if text is None:
            return SplitRule()
        word = text.strip().lower()
        if word == "none":
            return SplitRule(whole=True)
        if split_of(word):
            return SplitRule(only=split_of(word))
        try:
            shares = tuple(float(part) for part in word.split(","))
        except ValueError:
            known = ("none", *_SPLIT_WORDS)
            hint = nearest(word, known) or "; give a share (0.1), two shares (0.1,0.1: val, test), 'none' or a split's name"
            raise InputError(f"split '{text}' is not understood{hint}") from None
        if len(shares) > 2 or not all(0 < share < 1 for share in shares) or sum(shares) >= 1:
            raise InputError(f"split '{text}' is out of range; give one or two shares above 0 that sum to less than 1")
        return SplitRule(shares=shares)


@dataclass(frozen=True)
class Options:
    """The choices that decide the content of a prepared folder; equal options and equal sources give equal folders."""

    size: tuple[int, int] | None = None
    fit: Fit = "crop"
    channels: Channels | None = None
    background: str = "white"
    split: str | None = None
    limit: int | None = None
    labels: Literal["auto", "none"] = "auto"
    seed: int = 0
    binary: bool = False

    @staticmethod
    def of(
        *,
        size: int | tuple[int, int] | None = None,
        fit: Fit = "crop",
        channels: Channels | None = None,
        background: str = "white",
        split: str | None = None,
        limit: int | None = None,
        labels: Literal["auto", "none"] = "auto",
        seed: int = 0,
        binary: bool = False,
    ) -> Options:
        """Checks every value. Errors: `InputError` that names the value, and what may stand in its place."""
        for name, value, known in (
            ("fit", fit, ("crop", "pad", "stretch")),
            ("channels", channels, (None, 1, 3, 4)),
            ("labels", labels, ("auto", "none")),
        ):
            if value not in known:
                choices = ", ".join(str(one) for one in known if one is not None)
                raise InputError(f"{name} {value!r} is not one of {choices}{nearest(str(value), [str(one) for one in known])}")
        SplitRule.parse(split)
        if limit is not None and limit < 2:
            raise InputError(f"limit {limit} is too small; at least 2 pictures are needed")
        if binary and channels not in (None, 1):
            raise InputError(f"binary pictures have one channel, not {channels}; leave channels out")
        if not 0 <= seed < 2**63:
            raise InputError(f"seed {seed} is out of range; give a whole number from 0 to 2^63 - 1")
        side = None if size is None else check_size(size)
        return Options(side, fit, 1 if binary else channels, background, split, limit, labels, seed, binary)

    @property
    def rule(self) -> SplitRule:
        return SplitRule.parse(self.split)

    def as_json(self) -> dict[str, Any]:
        """Plain values, as they stand in the manifest."""
        plain = asdict(self) | {"size": None if self.size is None else list(self.size)}
        if not self.binary:  # what there was before this choice keeps its name
            del plain["binary"]
        return plain

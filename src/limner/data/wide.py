"""Pictures of more than 8 bits a channel: which of their values become black and white.

A file of 16 bits often holds values of 8, 10, 12 or 14 bits, as cameras and microscopes give them, and says so nowhere; a file
of floating point or of signed numbers has no scale at all. So the values of the whole set decide (`range_of`), and all of its
pictures share one scale. Pillow reads colours of 16 bits as their upper 8; the lower ones are read here in a second pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Range = tuple[float, float]
"""The values that become black and white."""

WIDE_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes of one channel of more than 8 bits."""
NOT_FINITE = "holds values that are not finite numbers"
_FULL_SCALES = (255, 1023, 4095, 16383, 65535)  # of 8, 10, 12, 14 and 16 bits
_DECLARED_SCALE = {"PPM": 65535, "JPEG2000": 65535}  # Pillow has already scaled these by what the file declares
_OTHER_HALF = {";16B": ";16L", ";16L": ";16B", ";16N": ";16B"}  # the raw mode that gives the other byte of each value
_STRIP_PIXELS = 2**20


class NotFinite(ValueError):
    """A picture holds values that are no finite numbers."""


def range_of(low: float, high: float, *, is_real: bool) -> Range:
    """The values that become black and white, of pictures whose values lie from `low` to `high`.

    Whole numbers from 0 take the scale of 8, 10, 12, 14 or 16 bits that holds them; floating point (`is_real`) that from 0 to 1
    or from 0 to 255. Anything else has no usual scale: the smallest value becomes black and the largest white.

    >>> range_of(3, 4000, is_real=False), range_of(-1024, 3071, is_real=False), range_of(0, 0.9, is_real=True)
    ((0, 4095), (-1024, 3071), (0, 1))
    """
    scales = (1, 255) if is_real else _FULL_SCALES
    top = next((scale for scale in scales if high <= scale), None)
    return (low, high) if low < 0 or top is None else (0, top)


@dataclass(frozen=True)
class WidePicture:
    """A decoded picture of more than 8 bits a channel."""

    upper: Image.Image
    """All of the values, or the upper 8 bits of the values where `lower` has the other ones."""
    lower: Image.Image | None
    clear: tuple[int, ...] | None
    """The value of pixels that are transparent (a PNG's chunk tRNS)."""
    full_scale: int | None
    """The largest possible value, where the file declares it."""
    is_inverted: bool
    """Whether 0 is white."""
    is_grey_with_alpha: bool = False
    """Whether `upper` holds the bytes of grey and of alpha, two for each, as if they were four channels."""

    @property
    def is_real(self) -> bool:
        """Whether the values are floating point."""
        return self.upper.mode == "F"

    def span(self) -> Range | None:
        """The smallest and the largest value of what is not clear; None where the file declares its scale.

        Errors: `NotFinite`.
        """
        lows: list[float] = []
        highs: list[float] = []
        for _, values, alpha in self._strips():
            if not np.isfinite(values).all():
                raise NotFinite(NOT_FINITE)
            visible = values if alpha is None else values[alpha > 0]
            if visible.size:
                lows.append(float(visible.min()))
                highs.append(float(visible.max()))
        if self.full_scale is not None:
            return None
        return (min(lows), max(highs)) if lows else (0.0, 0.0)

    def in_eight_bits(self, limits: Range) -> Image.Image:
        """L, LA, RGB or RGBA: `limits` become 0 and 255, values outside are cut off there."""
        low, high = (0, self.full_scale) if self.full_scale is not None else limits
        scale = 255.0 / max(high - low, 1e-30)
        sheet: Image.Image | None = None
        for top, values, alpha in self._strips():
            grey_levels = np.rint((values.astype(np.float64) - low) * scale).clip(0, 255).astype(np.uint8)
            if self.is_inverted:
                grey_levels = 255 - grey_levels
            strip = Image.fromarray(grey_levels[..., 0] if grey_levels.shape[2] == 1 else grey_levels)
            if alpha is not None:
                strip.putalpha(Image.fromarray(alpha))
            if sheet is None:
                sheet = Image.new(strip.mode, self.upper.size)
            sheet.paste(strip, (0, top))
        assert sheet is not None
        sheet.info = {key: value for key, value in self.upper.info.items() if key != "transparency"}
        return sheet

    def _strips(self) -> Iterator[tuple[int, NDArray[Any], NDArray[np.uint8] | None]]:
        """(first row, values [h, W, 1 or 3], alpha [h, W] or None), a few rows at a time: the whole would take much memory."""
        width, height = self.upper.size
        rows = max(1, _STRIP_PIXELS // width)
        for top in range(0, height, rows):
            box = (0, top, width, min(top + rows, height))
            values = np.asarray(self.upper.crop(box))
            values = values.reshape(*values.shape[:2], -1)
            alpha: NDArray[np.uint8] | None = None
            if self.is_grey_with_alpha:
                alpha = values[..., 2]
                values = values[..., :1].astype(np.uint16) << 8 | values[..., 1:2]
            elif self.lower is not None:
                if values.shape[2] == 4:
                    alpha = np.ascontiguousarray(values[..., 3])
                values = values[..., :3].astype(np.uint16) << 8 | np.asarray(self.lower.crop(box))[..., :3]
            if self.clear is not None and alpha is None:
                alpha = np.where((values == np.array(self.clear)).all(axis=2), 0, 255).astype(np.uint8)
            yield top, values, None if alpha is None else np.ascontiguousarray(alpha)


def open_wide(image: Image.Image, reopen: Callable[[], Image.Image]) -> WidePicture | None:
    """The picture, decoded, if it has more than 8 bits a channel; None, and `image` as it is, for any other.

    `image` is opened and not decoded yet; `reopen` opens the same file once more. Errors: those of Pillow's decoders, and
    `ValueError` for a layout that they mistake.
    """
    raw_mode = _raw_mode(image)
    if image.mode in WIDE_MODES:
        full_scale = 4095 if raw_mode == "I;12" else _DECLARED_SCALE.get(image.format or "")
        # TIFF 6.0, tag 262: 0 is WhiteIsZero, which Pillow inverts for 8 bits alone.
        is_inverted = image.format == "TIFF" and getattr(image, "tag_v2", {}).get(262) == 0
        image.load()
        return WidePicture(image, None, _clear_value(image), full_scale, is_inverted)
    if _has_planes(image):
        if raw_mode in ("R", "G", "B", "A"):  # Pillow would take bytes of two values for one
            raise ValueError("16-bit colours in separate planes cannot be read; save the file again, compressed or interleaved")
        return None  # of compressed planes Pillow gives the upper bytes alone
    if image.format not in ("PNG", "TIFF") or image.mode not in ("RGB", "RGBA") or raw_mode[-4:] not in _OTHER_HALF:
        return None
    if raw_mode == "LA;16B":
        _set_raw_mode(image, "RGBA")
        image.load()
        return WidePicture(image, None, None, None, False, is_grey_with_alpha=True)
    if "a" in raw_mode:  # colours that are multiplied by alpha already: Pillow divides, so their lower bits are not to be had
        return None
    other = reopen()
    _set_raw_mode(other, raw_mode[:-4] + _OTHER_HALF[raw_mode[-4:]])
    image.load()
    other.load()
    return WidePicture(image, other, _clear_value(image), None, False)


def _has_planes(image: Image.Image) -> bool:
    """Whether a TIFF keeps each colour of 16 bits in a plane of its own (TIFF 6.0, tags 284 and 258)."""
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    return tags.get(284) == 2 and max(tags.get(258, (8,))) > 8


def _clear_value(image: Image.Image) -> tuple[int, ...] | None:
    """The value of a PNG's pixels that are transparent, which its chunk tRNS names; None where there is none."""
    value = image.info.get("transparency") if image.format == "PNG" else None
    return (value,) if isinstance(value, int) else value


def scale_by_file(image: Image.Image) -> Image.Image:
    """Wide grey values in 8 bits, by rules 1: by this file alone.

    Whole numbers within 0..65535 are 16-bit light (/257); floats within 0..1 or 0..255 keep that scale; anything else is
    stretched from its smallest to its largest value. Errors: `NotFinite`.
    """
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise NotFinite(NOT_FINITE)
    low, high = float(values.min()), float(values.max())
    if image.mode != "F" and low >= 0 and high <= 65535:
        return Image.fromarray(((values.astype(np.int64) + 128) // 257).astype(np.uint8))
    if image.mode == "F" and low >= 0 and high <= 255:
        scaled = values.astype(np.float64) * (255.0 if high <= 1 else 1.0)
    else:
        scaled = (values.astype(np.float64) - low) * (255.0 / max(high - low, 1e-30))
    return Image.fromarray(np.rint(scaled).clip(0, 255).astype(np.uint8))


def _raw_mode(image: Any) -> str:
    """How the pixels lie in the file, in Pillow's words; "" where the decoder decides."""
    arguments = image.tile[0][3] if getattr(image, "tile", None) else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _set_raw_mode(image: Any, raw_mode: str) -> None:
    tiles = []
    for tile in image.tile:
        codec, extents, offset, arguments = tile
        arguments = (raw_mode, *arguments[1:]) if isinstance(arguments, tuple) else raw_mode
        tiles.append(tile._replace(args=arguments) if hasattr(tile, "_replace") else (codec, extents, offset, arguments))
    image.tile = tiles

"""One picture: bytes of any format and mode that Pillow opens -> equal-sized uint8 pixels.

The order matters: orientation, then transparency on its background at full size, then one antialiased resize. Resizing before
compositing would mix the meaningless colour of clear pixels into the edges (halos); resizing twice would blur.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, UnidentifiedImageError

from limner.core.errors import InputError
from limner.data.options import Fit

PIXEL_LIMIT = 89_478_485
"""Pictures with more pixels are refused from their header: the mark where Pillow warns of a decompression bomb."""

# EPS and WMF start other programs; the rest are stubs that only say which other program could open them.
_REFUSED_FORMATS = frozenset({"EPS", "WMF", "MPEG", "HDF5", "GRIB", "BUFR", "PDF"})
_TURNS = {  # EXIF 2.3, tag 0x0112: where row 0 and column 0 of the stored picture lie
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WIDE_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


class Unreadable(Exception):
    """This one picture cannot be used; the message is the reason, for the list of what was set aside."""


@dataclass(frozen=True)
class Shaping:
    """What every picture becomes: (height, width), how it is fitted, 1, 3 or 4 channels, and what lies under clear pixels."""

    size: tuple[int, int]
    fit: Fit
    channels: int
    background: tuple[int, int, int]
    binary: int | None = None
    """The seed by which pixels become black or white, where they do."""


@dataclass(frozen=True)
class PictureInfo:
    """A picture as it is stored: upright height and width in pixels, and Pillow's mode."""

    height: int
    width: int
    mode: str
    transparent: bool = False
    """Whether any pixel lets through what lies below; only known of what was read with four channels."""


def parse_background(text: str) -> tuple[int, int, int]:
    """A colour name or ``#rrggbb`` as red, green, blue in 0..255. Errors: `InputError`."""
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError:
        raise InputError(f"background '{text}' is not a colour; give a name (white) or #rrggbb") from None
    return red, green, blue


@cache
def openable() -> tuple[tuple[str, ...], frozenset[str]]:
    """The formats that may be opened, and the file extensions (lower case, with the dot) that stand for a picture."""
    Image.init()
    formats = tuple(sorted(set(Image.OPEN) - _REFUSED_FORMATS))
    return formats, frozenset(end for end, form in Image.registered_extensions().items() if form in formats)


def look(data: bytes) -> PictureInfo:
    """Height, width and mode from the header alone. Errors: `Unreadable`."""
    image, turn = _open(data)
    width, height = image.size if turn < 5 else image.size[::-1]
    return PictureInfo(height, width, image.mode)


def read(data: bytes, shaping: Shaping) -> tuple[NDArray[np.uint8], PictureInfo]:
    """Decodes one file into [H, W, C] uint8 pixels as `shaping` says. Errors: `Unreadable` with the reason."""
    image, turn = _open(data)
    stored = image.size
    _draft(image, turn, shaping)
    mode = image.mode
    try:
        image.load()
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged bytes; the reason is kept, not hidden
        raise Unreadable(_reason(error)) from error
    upright: Image.Image = image.transpose(_TURNS[turn]) if turn in _TURNS else image
    width, height = stored if turn < 5 else stored[::-1]
    plain = _plain(upright, shaping)
    transparent = plain.mode == "RGBA" and bool((np.asarray(plain.getchannel("A")) < 255).any())
    return fit_to_shape(plain, shaping), PictureInfo(height, width, mode, transparent)


def fit_to_shape(image: Image.Image, shaping: Shaping) -> NDArray[np.uint8]:
    """One resize of an L, RGB or RGBA image to [H, W, C]; RGBA is resized premultiplied (Pillow does so by itself)."""
    height, width = shaping.size
    if image.size != (width, height):
        box: tuple[float, float, float, float] = (0, 0, image.width, image.height)
        place, inner = (0, 0), (width, height)
        scale = width / image.width, height / image.height
        if shaping.fit == "crop":
            across, down = width / max(scale), height / max(scale)
            left, top = max(0.0, (image.width - across) / 2), max(0.0, (image.height - down) / 2)  # rounding may pass the edge
            box = left, top, min(left + across, image.width), min(top + down, image.height)
        elif shaping.fit == "pad":
            inner = max(1, round(image.width * min(scale))), max(1, round(image.height * min(scale)))
            place = (width - inner[0]) // 2, (height - inner[1]) // 2
        image = image.resize(inner, Image.Resampling.LANCZOS, box=box)
        if inner != (width, height):
            sheet = Image.new(image.mode, (width, height), _margin(image.mode, shaping.background))
            sheet.paste(image, place)
            image = sheet
    if shaping.channels == 3 and image.mode == "L":
        image = image.convert("RGB")
    return np.asarray(image, dtype=np.uint8).reshape(height, width, shaping.channels)


def from_pixels(pixels: NDArray[np.uint8], shaping: Shaping) -> NDArray[np.uint8]:
    """The same for pixels that need no decoding: [H', W', 1, 3 or 4] uint8 -> [H, W, C] uint8."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    return fit_to_shape(_plain(image, shaping), shaping)


def _open(data: bytes) -> tuple[Image.Image, int]:
    """Reads the header: the image, not decoded yet, and its EXIF orientation (1 where there is none)."""
    if not data:
        raise Unreadable("the file is empty")
    try:
        image = Image.open(io.BytesIO(data), formats=openable()[0])
    except Image.DecompressionBombError as error:
        raise Unreadable(f"too many pixels to open safely (more than {PIXEL_LIMIT:,})") from error
    except Exception as error:  # see `read`
        raise Unreadable(_reason(error)) from error
    if image.width * image.height > PIXEL_LIMIT:
        raise Unreadable(f"{image.width}x{image.height} pixels are too many to open safely (more than {PIXEL_LIMIT:,})")
    return image, _orientation(image)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation of an image, 2 to 8; 1 where it is upright or does not say."""
    try:
        turn = int(image.getexif().get(0x0112, 1))
    except Exception:  # a damaged EXIF block says nothing about the pixels: the picture stays as it is stored
        turn = 1
    return turn if turn in _TURNS else 1


def upright(image: Image.Image) -> Image.Image:
    """A copy of the image, decoded and turned as its EXIF orientation says. Errors: `Unreadable` where it cannot be decoded."""
    turn = _orientation(image)
    try:
        copy = image.transpose(_TURNS[turn]) if turn in _TURNS else image.copy()
    except Exception as error:  # see `read`
        raise Unreadable(_reason(error)) from error
    for key in ("exif", "xmp", "XML:com.adobe.xmp"):  # a writer would keep them, and a reader turn the picture once more
        copy.info.pop(key, None)
    return copy


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a picture in a format that can be opened"
    return " ".join(f"{error or type(error).__name__}".split())[:200]


def _draft(image: Image.Image, turn: int, shaping: Shaping) -> None:
    """Lets libjpeg decode at 1/2, 1/4 or 1/8 where that still leaves twice the pixels that the resize needs."""
    height, width = shaping.size if turn < 5 else shaping.size[::-1]
    need = max(width / image.width, height / image.height) * 2
    if image.format == "JPEG" and need < 0.5:
        image.draft(image.mode, (int(np.ceil(image.width * need)), int(np.ceil(image.height * need))))


def _plain(image: Image.Image, shaping: Shaping) -> Image.Image:
    """Any mode -> L, RGB or (where 4 channels are asked for) RGBA, with transparency laid on the background."""
    if image.mode in _WIDE_MODES:
        image = Image.fromarray(_eight_bits(image))
    try:
        if shaping.channels == 4:
            return image.convert("RGBA")
        if image.has_transparency_data or image.mode in ("La", "RGBa"):
            # Image.composite is exact per channel; convert("RGB") would simply drop the alpha.
            over = image.convert("RGBA")
            image = Image.composite(over.convert("RGB"), Image.new("RGB", over.size, shaping.background), over.getchannel("A"))
        if shaping.channels == 1 or image.mode in ("1", "L"):
            return image.convert("L")
        return image.convert("RGB")
    except ValueError as error:  # a mode without a way to RGB, such as LAB
        raise Unreadable(f"mode {image.mode} cannot be turned into colours") from error


def _eight_bits(image: Image.Image) -> NDArray[np.uint8]:
    """Wide grey values [H, W] in 8 bits.

    Whole numbers within 0..65535 are 16-bit light (/257); floats within 0..1 or 0..255 keep that scale; anything else has no
    scale of its own and is stretched from its smallest to its largest value.
    """
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise Unreadable("holds values that are not finite numbers")
    low, high = float(values.min()), float(values.max())
    if image.mode != "F" and low >= 0 and high <= 65535:
        return ((values.astype(np.int64) + 128) // 257).astype(np.uint8)
    if image.mode == "F" and low >= 0 and high <= 255:
        scaled = values.astype(np.float64) * (255.0 if high <= 1 else 1.0)
    else:
        scaled = (values.astype(np.float64) - low) * (255.0 / max(high - low, 1e-30))
    return np.rint(scaled).clip(0, 255).astype(np.uint8)


def _margin(mode: str, background: tuple[int, int, int]) -> int | tuple[int, ...]:
    """The background in this mode; clear where alpha is kept."""
    if mode == "L":
        return Image.new("RGB", (1, 1), background).convert("L").tobytes()[0]
    return (*background, 0) if mode == "RGBA" else background


def binarised(pixels: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """[n, H, W, C] -> the same shape of 0 and 255: a pixel is white with probability grey/255.

    The draws of a picture are a function of its own pixels and of `seed`, so that they depend on no order; they are raw PCG64
    bits, the same on every machine.
    """
    binary = np.empty_like(pixels)
    for row, picture in enumerate(pixels):
        key = np.frombuffer(hashlib.sha256(picture.tobytes()).digest(), "<u4")
        bits = np.random.PCG64(np.random.SeedSequence([seed, *key.tolist()])).random_raw(picture.size)
        uniform = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
        binary[row] = np.where(uniform.reshape(picture.shape) * 255 < picture, 255, 0)
    return binary

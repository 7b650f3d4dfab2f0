"""One picture: bytes of any format and mode that Pillow opens -> equal-sized uint8 pixels.

The order matters: 8 bits, then sRGB, then transparency on its background at full size, then orientation, then one antialiased
resize. Resizing before compositing would mix the meaningless colour of clear pixels into the edges (halos); resizing twice
would blur.

A set that was prepared before there were rules 2 keeps its pixels (`Shaping.rules`): then profiles are not asked for, values
of more than 8 bits are scaled by their own file, and the orientation of a TIFF, which Pillow applies itself, is applied twice.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, UnidentifiedImageError

from limner.core.errors import InputError
from limner.core.picture_texts import SHEET_KEY, SHEET_REASON
from limner.data.colours import UnusableProfile, embedded_profile, to_srgb
from limner.data.options import RULES, Fit
from limner.data.threads import ByteBudget
from limner.data.unread import HEIF_REASON, is_heif
from limner.data.wide import WIDE_MODES, NotFinite, Range, WidePicture, open_wide, range_of, scale_by_file

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
_DECODING = ByteBudget(2**30)  # bytes: of the pictures that all threads decode at the same time
_STRIP_PIXELS = 2**22
# Bytes for each pixel that decoders take beside the picture itself, as measured.
_DECODER_BYTES = {"WEBP": 12, "AVIF": 12, "JPEG2000": 32}
_MODE_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}  # all others take 4
_SUB_BYTE_WHITE = {"L;2": 85, "L;4": 17}  # what Pillow multiplies grey values of so few bits by
# Formats whose first frame is the whole picture; layers of a PSD and the views of an MPO are something else.
_ANIMATIONS = frozenset({"GIF", "PNG", "WEBP", "AVIF", "TIFF", "FLI", "DCX"})
_LATE_ORIENTATION = (b"eXIf", b"XML:com.adobe.xmp", b"Raw profile type")  # PNG chunks that may follow the pixels

ProfileUse = Literal["none", "used", "unusable"]
"""What became of the colour profile of a picture."""


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
    rules: int = RULES
    """`DataOptions.rules`."""
    whole_range: Range | None = None
    """Of whole numbers of more than 8 bits, those that become black and white; None: each picture by itself."""
    real_range: Range | None = None
    """The same of floating point."""


@dataclass(frozen=True)
class PictureInfo:
    """A picture as it is stored: upright height and width in pixels, and Pillow's mode."""

    height: int
    width: int
    mode: str
    transparent: bool = False
    """Whether any pixel lets through what lies below."""
    values: Range | None = None
    """The smallest and the largest value, where it has more than 8 bits a channel and does not say which of them is white."""
    profile: ProfileUse = "none"
    """Whether it was brought from its colour profile to sRGB, or has one that is damaged or for other colours."""
    blank: bool = False
    """Whether all pixels became equal."""
    animated: bool = False
    """Whether the file holds further frames or pages, which are left out."""

    @property
    def is_real(self) -> bool:
        """Whether its values are floating point."""
        return self.mode == "F"

    @property
    def own_range(self) -> Range | None:
        """The range that its own values ask for; None where it has no `values`."""
        return None if self.values is None else range_of(*self.values, is_real=self.is_real)


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


def look(data: bytes, rules: int = RULES) -> PictureInfo:
    """Height, width and mode from the header alone. Errors: `Unreadable`."""
    image = _open(data)
    width, height = image.size
    if rules == 1:
        turn = _orientation(image)
    else:
        # The size of a TIFF is upright already in some versions of Pillow: its tags (256, 257) hold the stored one.
        tags = getattr(image, "tag_v2", None)
        width, height = (width, height) if tags is None else (int(tags[256]), int(tags[257]))
        is_known = image.format != "PNG" or "exif" in image.info or any(mark in data for mark in _LATE_ORIENTATION)
        turn = _orientation(image) if is_known else 1
    return PictureInfo(*((height, width) if turn < 5 else (width, height)), image.mode)


def read(data: bytes, shaping: Shaping) -> tuple[NDArray[np.uint8], PictureInfo]:
    """Decodes one file into [H, W, C] uint8 pixels as `shaping` says. Errors: `Unreadable` with the reason."""
    image = _open(data)
    stored = image.size
    turn = _orientation(image) if image.format == "JPEG" or shaping.rules == 1 else 1
    _draft(image, turn, shaping)
    with _DECODING.hold(_bytes_to_decode(image, stored)):
        mode, is_drafted = image.mode, image.size != stored
        wide = _decode(image, data, shaping)
        if shaping.rules > 1:
            turn = _orientation(image)  # now that it is decoded: Pillow has turned a TIFF, and read all chunks of a PNG
        values = None if wide is None else _span(wide)
        narrow = image if wide is None else _in_eight_bits(wide, values, shaping)
        profile = embedded_profile(image, narrow.mode) if shaping.rules > 1 else None
        plain, transparent, profile_use = _plain(narrow, shaping, profile)
        animated = _has_more_frames(image)
        del image, wide, narrow
        upright = plain.transpose(_TURNS[turn]) if turn in _TURNS else plain
        del plain
        pixels = fit_to_shape(upright, shaping)
        # The orientation of a file that was decoded at a part of its size, or by rules 1, is that of its header.
        by_header = is_drafted or shaping.rules == 1
        width, height = upright.size if not by_header else stored if turn < 5 else stored[::-1]
    blank = bool(is_blank(pixels[None])[0])
    return pixels, PictureInfo(height, width, mode, transparent, values, profile_use, blank, animated)


def is_blank(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """[n] of [n, H, W, C]: whether a picture has one colour all over, or nothing that can be seen."""
    blank: NDArray[np.bool_] = (pixels == pixels[:, :1, :1]).all(axis=(1, 2, 3))
    return blank | ~pixels[..., 3].any(axis=(1, 2)) if pixels.shape[3] == 4 else blank


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
    return fit_to_shape(_plain(image, shaping)[0], shaping)


def _open(data: bytes) -> Image.Image:
    """Reads the header: the image is not decoded yet. Errors: `Unreadable`."""
    if not data:
        raise Unreadable("the file is empty")
    try:
        image = Image.open(io.BytesIO(data), formats=openable()[0])
    except Image.DecompressionBombError as error:
        raise Unreadable(f"too many pixels to open safely (more than {PIXEL_LIMIT:,})") from error
    except Exception as error:  # see `_decode`
        raise Unreadable(HEIF_REASON if is_heif(data) else _reason(error)) from error
    if image.format == "PNG" and SHEET_KEY in image.info:
        raise Unreadable(SHEET_REASON)
    if image.width * image.height > PIXEL_LIMIT:
        raise Unreadable(f"{image.width}x{image.height} pixels are too many to open safely (more than {PIXEL_LIMIT:,})")
    return image


def _bytes_to_decode(image: Image.Image, stored: tuple[int, int]) -> int:
    """About as many bytes as decoding and turning this picture takes at its peak."""
    pixels = image.width * image.height
    decoder = _DECODER_BYTES.get(image.format or "", 0)
    if image.format == "JPEG" and image.info.get("progressive"):
        decoder = 6  # all coefficients, of 2 bytes each, whatever the size that is asked for
    return pixels * (_MODE_BYTES.get(image.mode, 4) + 8) + stored[0] * stored[1] * decoder


def _decode(image: Image.Image, data: bytes, shaping: Shaping) -> WidePicture | None:
    """Decodes `image` in place; a picture of more than 8 bits a channel is also the answer. Errors: `Unreadable`."""
    try:
        if shaping.rules > 1:
            _mend_clear_value(image)
            wide = open_wide(image, lambda: _open(data))
            if wide is not None:
                return wide
        image.load()
    except Unreadable:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged bytes; the reason is kept, not hidden
        raise Unreadable(_reason(error)) from error
    return None


def _mend_clear_value(image: Any) -> None:
    """Scales the clear value of a grey PNG of 2 or 4 bits as Pillow scales its pixels; otherwise it would meet none of them."""
    if image.format == "PNG" and image.mode == "L" and isinstance(image.info.get("transparency"), int):
        image.info["transparency"] *= _SUB_BYTE_WHITE.get(image.tile[0][3], 1)


def _span(wide: WidePicture) -> Range | None:
    try:
        return wide.span()
    except NotFinite as error:
        raise Unreadable(str(error)) from error


def _in_eight_bits(wide: WidePicture, values: Range | None, shaping: Shaping) -> Image.Image:
    """The picture by the range of its set, or by its own `values` where that is not known."""
    limits = shaping.real_range if wide.is_real else shaping.whole_range
    return wide.in_eight_bits(limits or range_of(*(values or (0, 65535)), is_real=wide.is_real))


def _has_more_frames(image: Image.Image) -> bool:
    try:
        return image.format in _ANIMATIONS and bool(getattr(image, "is_animated", False))
    except Exception:  # what follows the first frame is damaged: the first one is all there is
        return False


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation of an image, 2 to 8; 1 where it is upright or does not say."""
    try:
        turn = int(image.getexif().get(0x0112, 1))
    except Exception:  # a damaged EXIF block says nothing about the pixels: the picture stays as it is stored
        turn = 1
    return turn if turn in _TURNS else 1


def upright(image: Image.Image) -> Image.Image:
    """A copy of the image, decoded and turned as its EXIF orientation says. Errors: `Unreadable` where it cannot be decoded."""
    try:
        image.load()
        turn = _orientation(image)  # not before it is decoded: see `read`
        copy = image.transpose(_TURNS[turn]) if turn in _TURNS else image.copy()
    except Exception as error:  # see `_decode`
        raise Unreadable(_reason(error)) from error
    profile = embedded_profile(image, image.mode)
    for key in ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"):  # a reader would turn the picture once more
        copy.info.pop(key, None)
    if profile:
        copy.info["icc_profile"] = profile  # also one that only the chunks of a PNG stated
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


def _plain(image: Image.Image, shaping: Shaping, profile: bytes | None = None) -> tuple[Image.Image, bool, ProfileUse]:
    """Any mode -> L, RGB or (where 4 channels are asked for) RGBA, with transparency laid on the background.

    Also whether any pixel is transparent, and what became of the colour profile. Errors: `Unreadable`.
    """
    if image.mode in WIDE_MODES:
        image = _scaled_by_file(image)  # by rules 1 alone: by others they are scaled before
    use: ProfileUse = "none" if profile is None else "used"
    if profile is not None:
        try:
            to_srgb(image.crop((0, 0, 1, 1)), profile)
        except UnusableProfile:
            profile, use = None, "unusable"
    transparent = False

    def convert(strip: Image.Image) -> Image.Image:
        nonlocal transparent
        strip, is_transparent = _flat(strip if profile is None else to_srgb(strip, profile), shaping)
        transparent |= is_transparent
        return strip

    try:
        return _in_strips(image, convert), transparent, use
    except ValueError as error:  # a mode without a way to RGB, such as LAB without a profile
        raise Unreadable(f"mode {image.mode} cannot be turned into colours") from error


def _in_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """`convert`, which works on each pixel alone, of a few rows of a large picture at a time: the steps in it need memory."""
    rows = max(1, _STRIP_PIXELS // image.width)
    if image.height <= rows:
        return convert(image)
    sheet: Image.Image | None = None
    for top in range(0, image.height, rows):
        strip = convert(image.crop((0, top, image.width, min(top + rows, image.height))))
        if sheet is None:
            sheet = Image.new(strip.mode, image.size)
        sheet.paste(strip, (0, top))
    assert sheet is not None
    return sheet


def _flat(image: Image.Image, shaping: Shaping) -> tuple[Image.Image, bool]:
    """L, RGB or RGBA as `shaping` asks for, and whether any pixel is transparent.

    Errors: `ValueError` for a mode that has no way to colours.
    """
    transparent = False
    if image.has_transparency_data or image.mode in ("La", "RGBa"):
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        transparent = bool(alpha.getextrema()[0] < 255)  # type: ignore[operator]  # one channel has one pair of numbers
        if shaping.channels != 4:
            # Image.composite is exact per channel; convert("RGB") would simply drop the alpha.
            sheet = Image.new("RGB", image.size, shaping.background)
            image = Image.composite(image.convert("RGB"), sheet, alpha)
    if shaping.channels == 4:
        return image.convert("RGBA"), transparent
    return image.convert("L" if shaping.channels == 1 or image.mode in ("1", "L") else "RGB"), transparent


def _scaled_by_file(image: Image.Image) -> Image.Image:
    try:
        return scale_by_file(image)
    except NotFinite as error:
        raise Unreadable(str(error)) from error


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

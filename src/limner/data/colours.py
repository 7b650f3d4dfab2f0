"""Colour profiles: what a file embeds is converted to sRGB, so that colours are those that a browser shows.

An ICC profile counts, and without one the chunks gAMA and cHRM of a PNG, unless its chunk sRGB says that it is sRGB already
(PNG specification, third edition, section 4.3). Everything else is taken for sRGB.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Conversion = Callable[[Image.Image], Image.Image]

_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK", "LAB": "Lab"}
"""Mode -> the colour space that a profile for it states (ICC.1:2022, table 19)."""
_D50 = np.array([0.9642, 1.0, 0.8249])  # ICC.1:2022, 6.3.4.3: the white of the profile connection space
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])  # ICC.1:2022, annex E
_SRGB_WHITE_AND_PRIMARIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)  # IEC 61966-2-1, as the chunk cHRM orders them
_SRGB_GAMMA = 0.45455  # the gAMA that goes with the chunk sRGB (PNG specification, 11.3.2.5)
_PROBE_STEPS = 9


class UnusableProfile(Exception):
    """A profile that is damaged, or is for other colours than those of the picture."""


def embedded_profile(image: Image.Image, mode: str) -> bytes | None:
    """The ICC profile of a picture file, or one made from its PNG chunks; None where there is none, b"" where it is damaged.

    `mode` is that in which its pixels will be converted.
    """
    if "icc_profile" in image.info:
        profile = image.info["icc_profile"]
        return profile if isinstance(profile, bytes) else b""
    if mode == "LAB":
        return _lab_profile()
    gamma, chromaticity = image.info.get("gamma"), image.info.get("chromaticity")
    if image.format != "PNG" or "srgb" in image.info or (gamma is None and chromaticity is None):
        return None
    try:
        return _png_profile(gamma, chromaticity, is_grey=mode in ("1", "L", "LA", "I", "I;16"))
    except (ArithmeticError, ValueError, struct.error, np.linalg.LinAlgError):  # numbers that no picture can have
        return b""


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """An image in any mode of 8 bits, as L, LA, RGB or RGBA in sRGB. Errors: `UnusableProfile`."""
    alpha = None
    if image.has_transparency_data or image.mode in ("La", "RGBa"):
        image = image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA")
        alpha = image.getchannel("A")
        image = image.convert("L" if image.mode == "LA" else "RGB")
    elif image.mode in ("P", "YCbCr", "HSV", "RGBX"):
        image = image.convert("RGB")
    elif image.mode == "1":
        image = image.convert("L")
    convert = _conversion(profile, image.mode)
    if convert is not None:
        image = convert(image)
    if alpha is not None:
        image.putalpha(alpha)
    return image


@lru_cache(maxsize=32)
def _conversion(profile: bytes, mode: str) -> Conversion | None:
    """A function that converts images of `mode` from `profile` to sRGB; None where it would change no colour visibly.

    A picture that is sRGB already keeps its pixels to the bit, whoever made its profile. Errors: `UnusableProfile`.
    """
    from PIL import ImageCms  # Pillow can be built without it

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != _SPACES.get(mode):
            raise UnusableProfile(f"a profile for {source.profile.xcolor_space.strip()} in a picture of the mode {mode}")
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ImportError, ValueError, TypeError) as error:
        raise UnusableProfile(str(error)) from error
    if mode == "L":
        ramp = transform.apply(Image.fromarray(np.arange(256, dtype=np.uint8)[None]))
        table = np.asarray(ramp)[0, :, 1]  # one channel for all three, so that grey stays grey
        if np.abs(table.astype(int) - np.arange(256)).max() <= 1:
            return None
        values = table.tolist()
        return lambda image: image.point(values)
    if mode == "RGB":
        steps = np.rint(np.linspace(0, 255, _PROBE_STEPS)).astype(np.uint8)
        probe = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(_PROBE_STEPS, -1, 3)
        if np.abs(np.asarray(transform.apply(Image.fromarray(probe))).astype(int) - probe).max() <= 1:
            return None
    return transform.apply


def _lab_profile() -> bytes:
    from PIL import ImageCms

    try:
        return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    except ImportError:
        return b""


def _png_profile(gamma: float | None, chromaticity: tuple[float, ...] | None, *, is_grey: bool) -> bytes | None:
    """The ICC profile that says what gAMA and cHRM say; None where they say what is assumed anyway. Errors: `ValueError`."""
    if gamma is not None and not 0.05 <= gamma <= 20:
        raise ValueError(f"a gamma of {gamma}")
    is_usual_curve = gamma is None or abs(gamma - _SRGB_GAMMA) < 0.01
    white = None if is_grey else chromaticity
    is_usual_white = white is None or np.allclose(white, _SRGB_WHITE_AND_PRIMARIES, atol=0.002)
    if is_usual_curve and is_usual_white:
        return None
    # A parametric curve (ICC.1:2022, 10.18): of type 3 for sRGB, of type 0 for a plain power.
    srgb_curve = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    parameters = srgb_curve if is_usual_curve or gamma is None else (1 / gamma,)
    curve = b"para\0\0\0\0" + struct.pack(">HH", 3 if len(parameters) == 5 else 0, 0) + b"".join(map(_fixed, parameters))
    tags = {b"wtpt": _xyz(_D50)}
    if is_grey:
        tags |= {b"kTRC": curve}
    else:
        columns = _primaries(white or _SRGB_WHITE_AND_PRIMARIES).T
        tags |= {name: _xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return _icc_file(b"GRAY" if is_grey else b"RGB ", tags)


def _primaries(chromaticity: tuple[float, ...]) -> NDArray[np.float64]:
    """[3, 3] from linear red, green, blue to XYZ under D50, of the white and the primaries (x, y each) of a chunk cHRM."""
    pairs = np.asarray(chromaticity, np.float64).reshape(4, 2)
    white, *primaries = np.stack([pairs[:, 0], pairs[:, 1], 1 - pairs.sum(axis=1)], axis=1) / pairs[:, 1:]
    matrix = np.stack(primaries, axis=1)
    matrix = matrix * np.linalg.solve(matrix, white)
    gains = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adapted: NDArray[np.float64] = np.linalg.solve(_BRADFORD, gains[:, None] * (_BRADFORD @ matrix))
    if not np.isfinite(adapted).all():
        raise ValueError("primaries that are no colours")
    return adapted


def _icc_file(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """The bytes of a display profile (ICC.1:2022, 7.2 and 7.3)."""
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        padded = value + b"\0" * (-len(value) % 4)
        table += name + struct.pack(">II", offset + len(body), len(value))
        body += padded
    head = struct.pack(">I4sI4s4s4s", offset + len(body), b"lcms", 0x04200000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28 + b"".join(map(_fixed, _D50))
    return head.ljust(128, b"\0") + table + body


def _xyz(values: NDArray[np.float64]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(_fixed, values))


def _fixed(value: float) -> bytes:
    """A number as ICC's s15Fixed16Number."""
    return struct.pack(">i", round(float(value) * 65536))

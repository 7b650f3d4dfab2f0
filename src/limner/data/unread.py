"""Pictures in formats that Pillow does not read, or not in every build of it, so that they can be named as what they are."""

from __future__ import annotations

# ISO/IEC 23008-12, annex B: the brands of pictures that are compressed by HEVC. Those of AVIF are others.
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
HEIF_REASON = "a HEIF picture (.heic), which is not read; convert it to JPEG or PNG"
"""Why the picture of a telephone was set aside."""
UNREAD_ENDINGS = frozenset(
    (
        *(".heic", ".heif", ".hif", ".avif", ".jxl", ".webp", ".svg", ".psb", ".xcf", ".kra"),
        *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),  # raw files of cameras
    )
)
"""Endings of pictures, in lower case. Some builds of Pillow read some of them: those that `openable` names."""


def is_heif(data: bytes) -> bool:
    """Whether this is a file of HEIF pictures, as telephones write them, whatever its name.

    >>> is_heif(bytes(4) + b"ftypheic"), is_heif(bytes(4) + b"ftypavif")
    (True, False)
    """
    return data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS

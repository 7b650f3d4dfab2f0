"""What limner's own picture files say about their origin: which of them are sheets of many pictures, and of which class one is.

Samples come back as input: they are judged, compared, or trained on. A sheet that lies among them is no sample.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

from PIL import Image

from limner.core.picture_texts import ORIGIN_KEYS
from limner.data.listing import Payload, Tree
from limner.data.pictures import Unreadable
from limner.data.reading import bytes_of

_SHEET_NAMES = frozenset({"grid.png", "sheet.png"})
_REQUEST_FILE = "request.json"
_SAMPLE_NAME = re.compile(r"seed\d{6,}\.png")


def texts_of(payload: Payload) -> dict[str, str]:
    """The texts of a PNG file, by name; none of another file, or of one that cannot be read."""
    try:
        with Image.open(io.BytesIO(bytes_of(payload)), formats=["PNG"]) as image:
            return {name: text for name, text in image.info.items() if isinstance(name, str) and isinstance(text, str)}
    except (Unreadable, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return {}  # the picture is set aside, with the reason, when it is decoded


def find_sheets(tree: Tree, names: Sequence[str]) -> frozenset[str]:
    """Those of the files `names` in `tree` that are sheets by their name and their surroundings.

    That is how sheets are recognised that have no text which says so: those of versions before 2026-12, whose text has recipe
    and model, and those without metadata, beside which limner's samples or its ``request.json`` lie.
    """
    candidates = [name for name in names if name.rpartition("/")[2] in _SHEET_NAMES]
    if not candidates:
        return frozenset()
    own_folders = {
        folder
        for folder, _, file in (name.rpartition("/") for name in names)
        if file == _REQUEST_FILE or _SAMPLE_NAME.fullmatch(file)
    }
    elsewhere = [name for name in candidates if name.rpartition("/")[0] not in own_folders]
    by_text = {name for name, payload in tree.read(elsewhere) if texts_of(payload).keys() >= ORIGIN_KEYS}
    return frozenset(set(candidates) - set(elsewhere) | by_text)


def class_of_sample(payload: Payload) -> str | None:
    """The class that was requested of a sample, as its text has it; None where there is no such text."""
    texts = texts_of(payload)
    return texts.get("label") if texts.keys() >= ORIGIN_KEYS else None

"""What a person should know about the pictures of a set before training on them, with the settings that change it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from limner.core.picture_texts import TRANSPARENCY_WORDS
from limner.data.options import DataOptions
from limner.data.pictures import PictureInfo, Shaping
from limner.data.reading import Reading
from limner.data.wide import range_of

_BLANK_SHARE = 0.05  # of pictures that are of one colour all over; fewer are left unsaid
_CROPPED_SHARE = 0.02  # of a picture's area that a crop cuts off; less is rounding
_USUAL_SIZES = (128, 96, 64, 48, 32)


def picture_notes(reading: Reading, rows: NDArray[np.int64], shaping: Shaping, options: DataOptions) -> tuple[str, ...]:
    """Sentences about the pictures of the `rows` [N] of what was read."""
    infos = [reading.infos[row] for row in rows.tolist()]
    given_infos = [reading.given_infos[row] for row in rows.tolist() if row in reading.given_infos]
    distinct = len(np.unique(reading.signatures.digest[rows], axis=0))
    animated = sum(info.animated for info in infos)
    return (
        *_blank_notes(infos, distinct, shaping),
        *_transparency_notes(infos, shaping),
        *_size_notes(infos, shaping),
        *_value_notes([*infos, *given_infos], options),
        *_profile_notes([*infos, *given_infos]),
        *([f"{_of(animated, infos)} hold several frames or pages; the first of each is taken"] if animated else []),
    )


def suggested_size(infos: Sequence[PictureInfo]) -> int:
    """The largest usual size that at least half of the pictures fill without being enlarged."""
    short = sorted(min(one.height, one.width) for one in infos)
    median = (short[(len(short) - 1) // 2] + short[len(short) // 2]) / 2
    return next((side for side in _USUAL_SIZES if side <= median), int(median))


def _blank_notes(infos: Sequence[PictureInfo], distinct: int, shaping: Shaping) -> list[str]:
    """Pictures that are all alike, or of one colour, as white shapes on clear ground are on a white background."""
    blank = [info for info in infos if info.blank]
    if distinct > 1 and (len(blank) < 2 or len(blank) < _BLANK_SHARE * len(infos)):
        return []
    what = f"all {len(infos):,} pictures are alike" if distinct == 1 else f"{_of(len(blank), infos)} are blank"
    if blank:
        what += ", of one colour all over"
    if shaping.channels == 4 or not any(info.transparent for info in blank):
        return [f"{what}; there is little to learn from them"]
    red, green, blue = shaping.background
    other = "black" if (77 * red + 150 * green + 29 * blue) >> 8 > 127 else "white"
    cause = "their shapes have the colour that fills clear pixels"
    return [f"{what}: {cause}; data.background={other} shows them, and data.channels=4 keeps transparency"]


def _transparency_notes(infos: Sequence[PictureInfo], shaping: Shaping) -> list[str]:
    transparent = sum(info.transparent for info in infos)
    if shaping.channels == 4:
        return [] if transparent else ["no picture has a transparent pixel; data.channels=3 says the same in less"]
    if not transparent:
        return []
    colour = "#{:02x}{:02x}{:02x}".format(*shaping.background)
    help_text = "data.channels=4 keeps transparency, data.background=COLOUR fills them with another colour"
    return [f"{_of(transparent, infos)} {TRANSPARENCY_WORDS} {colour}; {help_text}"]


def _size_notes(infos: Sequence[PictureInfo], shaping: Shaping) -> list[str]:
    """How many pictures are cropped, stretched or enlarged, and an example of each."""
    height, width = shaping.size
    notes: list[str] = []
    misshapen = [info for info in infos if _lost_share(info, shaping.size) > _CROPPED_SHARE]
    if misshapen and shaping.fit != "pad":
        one = max(misshapen, key=lambda info: (_lost_share(info, shaping.size), info.height, info.width))
        example = f"{one.height}x{one.width} to {height}x{width}, height x width"
        if shaping.fit == "crop":
            cut_off = f"up to {_lost_share(one, shaping.size):.0%} of a picture is lost, from {example}"
            help_text = "data.fit=pad keeps all of it, within margins"
            notes.append(f"{_of(len(misshapen), infos)} are cropped to their middle ({cut_off}); {help_text}")
        else:
            notes.append(f"{_of(len(misshapen), infos)} change their proportions, such as {example}; data.fit=crop keeps them")
    enlarged = [info for info in infos if _scale(info, shaping) > 1]
    if enlarged:
        one = min(enlarged, key=lambda info: (info.height * info.width, info.height))
        small = suggested_size(infos)
        hint = f"; data.size={small} enlarges less" if small < min(height, width) else ""
        count = _of(len(enlarged), infos)
        notes.append(f"{count} are enlarged, such as {one.height}x{one.width} to {height}x{width}, which adds no detail{hint}")
    return notes


def _lost_share(info: PictureInfo, size: tuple[int, int]) -> float:
    """Of the area of a picture, the share outside the largest middle part of the proportions of `size`."""
    down, across = size[0] / info.height, size[1] / info.width
    return 1 - min(down, across) / max(down, across)


def _scale(info: PictureInfo, shaping: Shaping) -> float:
    """By how much a side of the picture is enlarged."""
    down, across = shaping.size[0] / info.height, shaping.size[1] / info.width
    return min(down, across) if shaping.fit == "pad" else max(down, across)


def _value_notes(infos: Sequence[PictureInfo], options: DataOptions) -> list[str]:
    """Which values of pictures of more than 8 bits became black and white, for each kind of numbers."""
    notes: list[str] = []
    for is_real, what in ((False, "whole numbers"), (True, "floating point")):
        spans = [info.values for info in infos if info.values is not None and info.is_real == is_real]
        if not spans:
            continue
        low, high = min(span[0] for span in spans), max(span[1] for span in spans)
        black, white = options.low_and_high or range_of(low, high, is_real=is_real)
        text = f"{_of(len(spans), infos)} have more than 8 bits a value, {what} from {low:.9g} to {high:.9g}: "
        text += f"{black:.9g} is black and {white:.9g} white"
        if options.low_and_high is None:
            text += "; data.value_range=LOW,HIGH sets others"
        elif low < black or high > white:
            text += ", and what lies outside is cut off"
        notes.append(text)
    return notes


def _profile_notes(infos: Sequence[PictureInfo]) -> list[str]:
    used = sum(info.profile == "used" for info in infos)
    unusable = sum(info.profile == "unusable" for info in infos)
    notes = (
        [f"{_of(unusable, infos)} have a colour profile that is damaged or for other colours; it is ignored"]
        if unusable
        else []
    )
    return [f"{_of(used, infos)} are brought from their colour profile to sRGB", *notes] if used else notes


def _of(count: int, infos: Sequence[PictureInfo]) -> str:
    """``3 of 10 pictures``."""
    return f"{count:,} of {len(infos):,} pictures"

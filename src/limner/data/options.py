"""What may be asked of a prepared set: one model, validated once, whose values name the prepared folder.

A new option is one field here, and the code that does it. The command line imports this module to describe the options, so it
needs neither NumPy nor torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from limner.core.errors import InputError, nearest
from limner.core.fields import Cli, Seed, describe_range
from limner.core.numeric_fields import NumericFields

Fit = Literal["crop", "pad", "stretch"]
Channels = Literal[1, 3, 4]
Size = int | str | tuple[int, int]
SPLITS = ("train", "val", "test")
"""The splits a data set may have, in the order in which their rows are stored."""

_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
# Source: https://huggingface.co/docs/datasets/repository_structure, which reads these words in the names of folders.
_SPLIT_WORDS_BEFORE = ("train", "val", "valid", "validation", "test")  # of rules 1
_FILLER_WORDS = "set|data|dataset|images?|imgs?|pictures?|pics?|photos?|samples?|split|folder|dir|files"
MIN_SIDE, _LARGEST_SIDE = 8, 8192
"""The smallest and the largest side of a picture, in pixels. By rules 1 there were smaller ones."""
RULES = 2
"""The current rules by which files become labelled pictures. A change of what a source becomes raises this number."""
# Named in every prepared folder. Options that came later are named only where they are not the default, so that sets prepared
# before they existed are found again.
_ALWAYS_NAMED = frozenset({"size", "fit", "channels", "background", "split", "limit", "labels", "seed"})


def split_of(folder: str, rules: int = RULES) -> str | None:
    """The split that a folder of this name stands for (``Validation`` is ``val``), or None."""
    word = folder.lower()
    return _SPLIT_WORDS.get(word) if rules >= 2 or word in _SPLIT_WORDS_BEFORE else None


def split_and_rest(folder: str) -> tuple[str | None, str]:
    """The split that a word of a folder's name stands for, or None, and the rest of the name.

    Numbers and words such as "set" and "images" are left out of the rest. Folders are splits together where they have one rest.

    >>> split_and_rest("train2017"), split_and_rest("test_set"), split_and_rest("seg_train"), split_and_rest("training")
    (('train', ''), ('test', ''), ('train', 'seg'), ('train', ''))
    >>> split_and_rest("train_station"), split_and_rest("cats")
    (('train', 'station'), (None, 'cats'))
    """
    words = [re.sub(rf"(?<=.)({_FILLER_WORDS})$", "", word) for word in re.findall(r"[^\W\d_]+", folder.lower())]
    splits = [word for word in words if word in _SPLIT_WORDS]
    rest = " ".join(word for word in words if word not in _SPLIT_WORDS and not re.fullmatch(_FILLER_WORDS, word))
    return (_SPLIT_WORDS[splits[0]], rest) if len(splits) == 1 else (None, folder)


def parse_size(text: str) -> tuple[int, int]:
    """``"64"`` is (64, 64); ``"64x96"`` is height 64, width 96. Errors: `InputError` for anything else."""
    match = re.fullmatch(r"\s*(\d{1,9})(?:\s*[xX×]\s*(\d{1,9}))?\s*", text)
    if not match:
        raise InputError(f"size '{text}' is not a size; write one number of pixels (64) or HEIGHTxWIDTH (64x96)")
    return check_size((int(match[1]), int(match[2] or match[1])))


def check_size(size: object) -> tuple[int, int]:
    """(height, width) in pixels, of one side or of both.

    Errors: `InputError` unless they are whole numbers from 1 to 8192; `ImageOptions` refuses less than `MIN_SIDE`.
    """
    sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) for side in sides):
        raise InputError(f"size {size!r} is not a size; give one whole number of pixels or (height, width)")
    height, width = (int(side) for side in sides)
    if not (1 <= height <= _LARGEST_SIDE and 1 <= width <= _LARGEST_SIDE):
        raise size_out_of_range(height, width)
    return height, width


def size_out_of_range(height: int, width: int) -> InputError:
    """The error about a size that no picture can have."""
    return InputError(f"size {height}x{width} is out of range; both sides must be from {MIN_SIDE} to {_LARGEST_SIDE} pixels")


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
            hint = (
                nearest(word, ("none", *_SPLIT_WORDS))
                or "; give a share (0.1), two shares (0.1,0.1: val, test), 'none' or a split's name"
            )
            raise InputError(f"split '{text}' is not understood{hint}") from None
        if len(shares) > 2 or not all(0 < share < 1 for share in shares) or sum(shares) >= 1:
            raise InputError(f"split '{text}' is out of range; give one or two shares above 0 that sum to less than 1")
        return SplitRule(shares=shares)


class ImageOptions(NumericFields):
    """Which pictures of a source are taken and what they become; a recipe's `data` has these options too.

    Errors: `InputError` for a size, a split or a combination that cannot be; pydantic's `ValidationError` for all else.
    """

    # On the command line, data.split=0.1 and a folder called 2024 look like numbers.
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True, defer_build=True)

    size: Annotated[Size | None, Cli("N|HxW")] = Field(
        None, description="Side in pixels, HxW, or (height, width); default: the size that all share, if at most 128, else 64."
    )
    fit: Fit = Field("crop", description="How a picture of another aspect ratio is made to fit.")
    channels: Channels | None = Field(
        None, description="1 grey, 3 colour, 4 keeps transparency; default: 3, or 1 where all are grey; clear parts are filled."
    )
    background: Annotated[str, Cli("COLOUR")] = Field(
        "white", description="Colour that fills transparent pixels, unless channels is 4: a name or #rrggbb."
    )
    split: Annotated[str | None, Cli("SHARE|NAME|none")] = Field(
        None, description="Held-out shares, 0.1 (val) or 0.1,0.1 (val, test); none; or the only split to use."
    )
    limit: int | None = Field(None, ge=2, description="Use at most this many pictures, spread over splits and classes.")
    labels: Literal["auto", "none"] = Field(
        "auto", description="auto: classes come from sub-folders and tables; none: there are no classes."
    )
    value_range: Annotated[str | tuple[float, float] | None, Cli("LOW,HIGH")] = Field(
        None, description="Values of pictures of more than 8 bits that become black and white; default: by the whole set."
    )
    binary: bool = Field(False, description="Draw each pixel of grey pictures once, white with probability grey/255.")
    rules: int = Field(
        RULES, ge=1, le=RULES, description="Rules by which files become pictures; 1 is how they were read before 2026-12."
    )

    @field_validator("size", mode="before")
    @classmethod
    def _check_size(cls, value: object) -> object:
        _height_and_width(value)
        return value

    @field_validator("value_range", mode="before")
    @classmethod
    def _check_value_range(cls, value: object) -> object:
        return _low_and_high(value)

    @field_validator("split")
    @classmethod
    def _check_split(cls, value: str | None) -> str | None:
        SplitRule.parse(value)
        return value

    @model_validator(mode="after")
    def _check_sides(self) -> ImageOptions:
        size = self.height_and_width
        if self.rules >= 2 and size is not None and min(size) < MIN_SIDE:
            raise size_out_of_range(*size)
        return self

    @model_validator(mode="after")
    def _check_binary(self) -> ImageOptions:
        if self.binary and self.channels not in (None, 1):
            raise InputError(f"binary pictures have one channel, not {self.channels}; leave channels out")
        return self

    @property
    def height_and_width(self) -> tuple[int, int] | None:
        """`size` in pixels, whichever way it was written; None where the pictures decide."""
        return _height_and_width(self.size)

    @property
    def low_and_high(self) -> tuple[float, float] | None:
        """`value_range` as two numbers, whichever way it was written; None where the pictures decide."""
        return _low_and_high(self.value_range)

    @property
    def fixed_channels(self) -> Channels | None:
        """`channels`, which is 1 for binary pictures; None where the pictures decide."""
        return 1 if self.binary else self.channels

    @property
    def split_rule(self) -> SplitRule:
        """`split`, parsed."""
        return SplitRule.parse(self.split)


class DataOptions(ImageOptions):
    """All that decides the content of a prepared folder; equal options and equal sources give equal folders."""

    seed: Seed = Field(0, ge=0, lt=2**63, description="Seed of the split, of the choice by limit, and of binary draws.")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> DataOptions:
        """The options by their names. Errors: `InputError` in one line that names the option and what may stand there."""
        try:
            return cls.model_validate(dict(options))
        except ValidationError as error:
            raise InputError(_one_line(error)) from error

    def values(self) -> dict[str, Any]:
        """Every option as it takes effect: `size` as (height, width), one channel for binary pictures."""
        plain = {name: getattr(self, name) for name in type(self).model_fields}
        return plain | {"size": self.height_and_width, "channels": self.fixed_channels, "value_range": self.low_and_high}

    def as_json(self) -> dict[str, Any]:
        """Plain values, as they stand in the manifest and in the name of the prepared folder."""
        defaults = type(self)().values() | {"rules": 1}  # of sets that were prepared before there were other rules
        options = {name: value for name, value in self.values().items() if name in _ALWAYS_NAMED or value != defaults[name]}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}


def _height_and_width(value: object) -> tuple[int, int] | None:
    if value is None:
        return None
    return parse_size(value) if isinstance(value, str) else check_size(value)


def _low_and_high(value: object) -> tuple[float, float] | None:
    if value is None:
        return None
    parts = value.split(",") if isinstance(value, str) else value
    try:
        low, high = (float(part) for part in parts)  # type: ignore[attr-defined]  # what cannot be iterated over is refused
    except (TypeError, ValueError):
        low = high = 0.0
    if not (low < high and math.isfinite(high - low)):
        raise InputError(f"value_range {value!r} is not a range; give two numbers, the black and the white one, such as 0,4095")
    return low, high


def _one_line(error: ValidationError) -> str:
    """The first of pydantic's errors, as one line that names the option."""
    first = error.errors()[0]
    name, value = str(first["loc"][0]), first["input"]
    if first["type"] == "extra_forbidden":
        names = tuple(DataOptions.model_fields)
        return f"unknown option '{name}'{nearest(name, names)} (there are: {', '.join(names)})"
    if first["type"] == "literal_error":
        expected = first["ctx"]["expected"]
        hint = nearest(str(value), re.findall(r"\w+", expected))
        return f"{name} {value!r} is not one of {expected}{hint}"
    bounds = first["type"].startswith(("greater_than", "less_than"))
    expected = describe_range(DataOptions.model_fields[name]) if bounds else first["msg"].removeprefix("Input should be ")
    return f"{name} {value!r} cannot be: it should be {expected}"

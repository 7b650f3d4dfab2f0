"""The table of detectors, open to those of other packages: how each is recognised by a word or a file, and opened.

A package brings one by an entry point of the group ``limner.detectors`` that names its row, a program by `DETECTORS.register`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from limner.core.errors import InputError, PackageError, nearest
from limner.core.extensions import attribute_errors, module_of, result_error
from limner.core.progress import OnProgress, silent
from limner.core.table import Table

if TYPE_CHECKING:
    from limner.metrics.features.detectors import Detector, Shape


@dataclass(frozen=True)
class DetectorContext:
    """What a detector may need to be opened."""

    shape: Shape
    """Of the pictures that it will be given."""
    judge: Callable[[], Detector]
    """Loads the judge of the data, or trains it where there is none yet."""
    on_progress: OnProgress = silent
    """Hears of downloads."""
    contrast: Callable[[], Detector] | None = None
    """As `judge`, for the one that is trained without labels; None where nobody can train it."""


@dataclass(frozen=True, kw_only=True)
class DetectorRow:
    """One kind of detector. Errors: `ValueError` for a row that nothing can be recognised by, or that says nothing."""

    meaning: str
    """What it is, for a person, in one line."""
    open: Callable[[str, DetectorContext], Detector]
    """Opens the detector that is asked for by this text, its name or a file."""
    is_name: bool = True
    """Whether its name in the table asks for it."""
    suffixes: tuple[str, ...] = ()
    """Files that it opens, by the end of their names in small letters, such as ".onnx"."""

    def __post_init__(self) -> None:
        if not self.meaning.strip():
            raise ValueError("meaning of a detector must not be empty")
        if not self.is_name and not self.suffixes:
            raise ValueError("a detector without a name needs suffixes of the files that it opens")
        if any(not suffix.startswith(".") or suffix != suffix.lower() for suffix in self.suffixes):
            raise ValueError(f"suffixes={self.suffixes} must begin with a dot and be in small letters")


# The functions of the rows import their detectors when they are called: these need torch, and the names and meanings of
# detectors, for help and for `limner define`, do not.


def _open_inception(features: str, context: DetectorContext) -> Detector:
    from limner.metrics.features.inception import load_inception

    return load_inception(context.shape, None if features == "inception" else features, context.on_progress)


def _open_random_conv(_: str, context: DetectorContext) -> Detector:
    from limner.metrics.features.detectors import RandomConv

    return RandomConv(context.shape)


def _open_pixels(_: str, context: DetectorContext) -> Detector:
    from limner.metrics.features.detectors import Pixels

    return Pixels(context.shape)


def _open_onnx(features: str, context: DetectorContext) -> Detector:
    from limner.metrics.features.onnx import Onnx

    return Onnx(features, context.shape)


DETECTORS: Table[DetectorRow] = Table(
    "limner.detectors",
    DetectorRow,
    {
        "judge": DetectorRow(
            meaning="a small network that was trained on the data set itself",
            open=lambda _, context: context.judge(),
        ),
        "contrast": DetectorRow(
            meaning="the same network, trained without labels to distinguish pictures: what classes do not need",
            open=lambda _, context: (context.contrast or context.judge)(),
        ),
        "inception": DetectorRow(
            meaning="the network of the published FID, or a file of its weights",
            open=_open_inception,
            suffixes=(".pth",),
        ),
        "random-conv": DetectorRow(
            meaning="three layers of fixed random convolutions: texture, noise, blur",
            open=_open_random_conv,
        ),
        "pixels": DetectorRow(
            meaning="the picture at 8×8 pixels or less: layout and colour",
            open=_open_pixels,
        ),
        "onnx": DetectorRow(
            meaning="any network in an ONNX file",
            open=_open_onnx,
            is_name=False,
            suffixes=(".onnx",),
        ),
    },
)
"""Name -> detector."""


def detector_name(features: str) -> str:
    """The name in the table of the detector that `features` asks for, a name or a file. Errors: `InputError` for neither.

    >>> detector_name("pixels"), detector_name("some/where.PTH")
    ('pixels', 'inception')
    """
    if features in DETECTORS and DETECTORS[features].is_name:
        return features
    suffix = Path(features).suffix.lower()
    if suffix:
        for name, row in DETECTORS.items():
            if suffix in row.suffixes:
                return name
    names = [name for name, row in DETECTORS.items() if row.is_name]
    files = [f"FILE{suffix}" for row in DETECTORS.values() for suffix in row.suffixes]
    raise InputError(f"unknown features '{features}'{nearest(features, names)} (there are: {', '.join([*names, *files])})")


def open_detector(
    features: str,
    shape: Shape,
    judge: Callable[[], Detector],
    on_progress: OnProgress = silent,
    contrast: Callable[[], Detector] | None = None,
) -> Detector:
    """The detector that `features` asks for, a name or a file, for pictures of `shape` (height, width, channels).

    `judge` and `contrast` give the judges of the data with and without labels, where these are asked for. Errors:
    `InputError` for what is neither, or cannot be opened; `PackageError` for a detector that lacks a part of the interface.
    """
    from limner.metrics.features.detectors import Detector

    name = detector_name(features)
    row, what = DETECTORS[name], f"the detector '{name}'"
    with attribute_errors(what, row.open):
        detector: object = row.open(features, DetectorContext(shape, judge, on_progress, contrast))
    if not isinstance(detector, Detector):
        raise result_error(what, row.open, detector, "a limner.metrics.features.detectors.Detector")
    missing = [part for part in ("name", "shape", "work", "dim", "checksum", "device") if not hasattr(detector, part)]
    if missing:
        raise PackageError(f"{what} lacks {', '.join(missing)}; set them in {type(detector).__name__} of {module_of(row.open)}")
    return detector

"""Which detector is meant: by its name, or by the file it is in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from limner.core.errors import InputError, nearest
from limner.metrics.features.detectors import UNTRAINED, Detector, Shape, untrained
from limner.metrics.features.inception import load_inception
from limner.metrics.features.onnx import Onnx

NAMES = ("judge", "inception", *UNTRAINED)


def resolve(features: str, shape: Shape, judge: Callable[[], Detector]) -> Detector:
    """The detector `features` for pictures of `shape`: one of `NAMES`, FILE.onnx, or FILE.pth of inception's weights.

    `judge` gives the judge of the data, where that is asked for. Errors: `InputError` for a name that is none.
    """
    if features == "judge":
        return judge()
    if features == "inception":
        return load_inception(shape)
    suffix = Path(features).suffix.lower()
    if suffix == ".onnx":
        return Onnx(features, shape)
    if suffix == ".pth":
        return load_inception(shape, features)
    if features in UNTRAINED:
        return untrained(features, shape)
    raise InputError(f"unknown features '{features}'{nearest(features, NAMES)} (there are: {', '.join(NAMES)}, FILE.onnx)")

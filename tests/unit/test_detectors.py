"""A detector by its name, or by its file."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest

from limner.core.errors import InputError
from limner.metrics.features import inception
from limner.metrics.features.detectors import Pixels, Shape
from limner.metrics.features.table import DETECTORS, open_detector

SHAPE: Shape = (8, 8, 1)


def no_judge() -> NoReturn:
    raise AssertionError("no judge was asked for")


def test_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pixels", "random-conv"):
        assert open_detector(name, SHAPE, no_judge).name == name
    judge = Pixels(SHAPE)
    assert open_detector("judge", SHAPE, lambda: judge) is judge
    asked = []
    monkeypatch.setattr(inception, "load_inception", lambda *words: asked.append(words[:2]) or judge)
    assert open_detector("inception", SHAPE, no_judge) is judge
    assert open_detector("some/where.PTH", SHAPE, no_judge) is judge
    assert asked == [(SHAPE, None), (SHAPE, "some/where.PTH")]
    assert [name for name, row in DETECTORS.items() if row.is_name] == [
        "judge",
        "contrast",
        "inception",
        "random-conv",
        "pixels",
    ]


def test_unknown(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"unknown features 'incption'; did you mean 'inception'\? \(there are: .*FILE\.onnx\)"
    ):
        open_detector("incption", SHAPE, no_judge)
    with pytest.raises(InputError, match=r"cannot read .*none\.onnx"):
        open_detector(str(tmp_path / "none.onnx"), SHAPE, no_judge)
    with pytest.raises(InputError, match=r"cannot read .*none\.pth"):
        open_detector(str(tmp_path / "none.pth"), SHAPE, no_judge)


def test_a_name_with_a_wrong_sign_is_hinted_at() -> None:
    with pytest.raises(InputError, match="did you mean 'random-conv'"):
        open_detector("random_conv", SHAPE, no_judge)

"""A detector by its name, or by its file."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest

from limner.core.errors import InputError
from limner.metrics.features import choice
from limner.metrics.features.choice import NAMES, resolve
from limner.metrics.features.detectors import Pixels, Shape

SHAPE: Shape = (8, 8, 1)


def no_judge() -> NoReturn:
    raise AssertionError("no judge was asked for")


def test_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pixels", "random-conv"):
        assert resolve(name, SHAPE, no_judge).name == name
    judge = Pixels(SHAPE)
    assert resolve("judge", SHAPE, lambda: judge) is judge
    asked = []
    monkeypatch.setattr(choice, "load_inception", lambda *words: asked.append(words) or judge)
    assert resolve("inception", SHAPE, no_judge) is judge
    assert resolve("some/where.PTH", SHAPE, no_judge) is judge
    assert asked == [(SHAPE,), (SHAPE, "some/where.PTH")]
    assert NAMES == ("judge", "inception", "random-conv", "pixels")


def test_unknown(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"unknown features 'incption'; did you mean 'inception'\? \(there are: .*FILE\.onnx\)"
    ):
        resolve("incption", SHAPE, no_judge)
    with pytest.raises(InputError, match=r"cannot read .*none\.onnx"):
        resolve(str(tmp_path / "none.onnx"), SHAPE, no_judge)
    with pytest.raises(InputError, match=r"cannot read .*none\.pth"):
        resolve(str(tmp_path / "none.pth"), SHAPE, no_judge)

"""Results answer by name and as objects, and show themselves in one line, as a table and as a picture."""

from __future__ import annotations

import base64
import copy
import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image
from pydantic import ConfigDict, ValidationError

from limner.cli.door import to_jsonable
from limner.core.verb import MAX_PICTURE_BYTES, Result
from limner.evaluation.evaluate import EvaluateResult
from limner.tasks.sample import SampleResult
from limner.training.train import TrainResult

HOSTILE = "<script>alert('x')</script>&\"\n<b>"


class Drawn(Result):
    """A result with a picture, a field that nobody has to set, and more beside."""

    model_config = ConfigDict(extra="allow")
    picture_field: ClassVar[str | None] = "grid"

    files: list[str]
    grid: str | None = None
    note: str = "unset"


def sampled(grid: Path | None, **more: Any) -> SampleResult:
    return SampleResult(
        files=["a.png", "b.png"],
        grid=None if grid is None else str(grid),
        npz=None,
        seeds=list(range(16)),
        label=None,
        text=None,
        given=None,
        sampling={},
        images_per_second=123.456789,
        network_passes=None,
        checkpoint=640,
        checkpoint_notes=[],
        **more,
    )


def test_a_result_answers_by_name() -> None:
    result = sampled(None, truncation=0.5)
    assert result["files"] == result.files == result.get("files") == ["a.png", "b.png"]
    assert result["truncation"] == 0.5
    assert "label" in result
    assert result["label"] is None
    assert result.get("nothing") is None
    assert result.get("nothing", 3) == 3
    assert "nothing" not in result
    assert dict(result) == {**result} == dict(result.items())
    assert list(result) == result.keys() == [*SampleResult.model_fields, "truncation"]
    assert len(result) == 13
    assert to_jsonable(result) == dict(result)


def test_an_unknown_key_is_a_key_error_that_names_the_nearest() -> None:
    result = sampled(None)
    with pytest.raises(KeyError, match=re.escape("file; did you mean 'files'?")):
        result["file"]
    with pytest.raises(AttributeError, match="fils"):
        result.fils  # noqa: B018
    with pytest.raises(KeyError):
        result["model_config"]


def test_what_nobody_set_is_no_key() -> None:
    assert list(Drawn(files=[])) == ["files"]
    assert Drawn(files=[]).note == "unset"
    assert dict(Drawn(files=[], note="set", more=1)) == {"files": [], "note": "set", "more": 1}


def test_a_result_is_not_changed_and_can_be_copied() -> None:
    result = sampled(None, truncation=0.5)
    with pytest.raises(ValidationError):
        result.label = "cat"
    for twin in (copy.deepcopy(result), copy.copy(result), result.model_copy()):
        assert twin == result
        assert dict(twin) == dict(result)


def test_the_line_of_a_result_is_short() -> None:
    path = "/a/very/long/folder" * 9 + "/grid.png"
    result = sampled(Path(path), truncation=0.5)
    assert repr(result) == (
        f"SampleResult(files=['a.png', 'b.png'], grid='…{path[-46:]}', seeds=[16], images_per_second=123.5, checkpoint=640, "
        "truncation=0.5)"
    )
    wild = Drawn(files=[HOSTILE] * 5, array=np.zeros((50, 50)), inner={"a": {"b": 1}, "c": [[1]]}, text=HOSTILE * 9, many=[{}])
    assert repr(wild) == str(wild)
    assert "\n" not in repr(wild)
    assert len(repr(wild)) < 300
    assert repr(Drawn(files=[], grid="", note="x " * 99)) == f"Drawn(note='{('x ' * 99)[:46]}…')"
    assert "files=[5]" in repr(wild)
    assert "inner={'a': {1}, 'c': [1]}" in repr(wild)


def test_a_table_of_a_result_escapes_what_it_shows() -> None:
    wild = Drawn.model_validate({"files": [HOSTILE], "grid": HOSTILE, "<i>key</i>": HOSTILE, "inner": {HOSTILE: HOSTILE}})
    html = wild._repr_html_()
    assert set(re.findall(r"</?(\w+)", html)) == {"table", "tr", "th", "td"}
    assert "&lt;script&gt;" in html
    scores = {"value": 0.5, "error": None, "null": 1.5, "z": None, "p": 0.01}
    reference = {"data": HOSTILE, "split": "test", "count": 3, "fingerprint": "x"}
    result = EvaluateResult(
        metrics={HOSTILE: scores}, count=3, features=None, reference=reference, report=None, page=None, seconds=1.0
    )
    html = result._repr_html_()
    assert set(re.findall(r"</?(\w+)", html)) == {"table", "tr", "th", "td"}
    assert "<td>0.5</td><td>–</td><td>1.5</td><td>–</td><td>0.01</td>" in html


def test_a_notebook_shows_the_sheet(tmp_path: Path) -> None:
    sheet = tmp_path / "grid.png"
    assert sampled(None)._repr_png_() is None
    assert sampled(sheet).picture is None
    assert sampled(sheet)._repr_png_() is None
    Image.new("L", (8, 8)).save(sheet)
    result = sampled(sheet)
    assert result.picture == sheet
    assert result._repr_png_() == sheet.read_bytes()
    encoded = base64.b64encode(sheet.read_bytes()).decode()
    assert f'<img src="data:image/png;base64,{encoded}">' in result._repr_html_()
    sheet.write_bytes(b"x" * (MAX_PICTURE_BYTES + 1))
    assert result._repr_png_() is None
    assert "<img" not in result._repr_html_()
    Image.new("L", (8, 8)).save(tmp_path / "grid.jpg")
    assert sampled(tmp_path / "grid.jpg")._repr_png_() is None


def test_a_training_shows_its_newest_preview(tmp_path: Path) -> None:
    result = TrainResult(
        run=tmp_path,
        images=64,
        seconds=1.0,
        images_per_second=64.0,
        parameters={"total": 3},
        losses={"generator": float("nan")},
        state="stopped",
        preset="dcgan",
        why=("one reason",),
    )
    assert result.exit_code == 130
    assert result._repr_png_() is None
    (tmp_path / "previews").mkdir()
    for images in (16, 64):
        Image.new("L", (images, 8)).save(tmp_path / "previews" / f"{images:09d}.png")
    Image.new("L", (99, 8)).save(tmp_path / "previews" / "reals.png")  # stands behind all numbers, and is no preview
    assert result._repr_png_() == (tmp_path / "previews" / "000000064.png").read_bytes()
    assert to_jsonable(result)["losses"] == {"generator": None}
    assert to_jsonable(result)["run"] == str(tmp_path)

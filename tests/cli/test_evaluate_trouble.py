"""Bad input of `limner evaluate`: one clear line, exit code 2, and nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from limner import evaluate
from limner.core.errors import InputError
from made import encoded, folder, textured, tree_bytes, write

Pixels = NDArray[np.uint8]
Ask = Callable[..., tuple[int, dict[str, Any]]]
PIXELS = ("--data", "digits", "--features", "pixels")

BAD: dict[str, tuple[str, str]] = {
    "one picture": ("one.npz DIGITS", "scores need at least two pictures, and there are 1"),
    "one picture in a folder": ("one DIGITS", "a single usable picture"),
    "three and coverage": ("three.npz DIGITS --metrics coverage", "coverage: fewer than 6 pictures on one side"),
    "empty folder": ("empty DIGITS", "is empty; give a folder or archive with pictures"),
    "no picture in it": ("text DIGITS", "has no usable picture (1 set aside: a.png"),
    "no picture in an array": ("none.npz DIGITS", "scores need at least two pictures, and there are 0"),
    "mixed sizes": ("mixed DIGITS", "has pictures of different sizes (000.png is 8×8, zz.png 9×9)"),
    "not finite": ("nan.npz DIGITS", "must be uint8, not float32; some of them are no finite numbers"),
    "floats": ("float.npz DIGITS", "must be uint8, not float32; round them to 0..255 first"),
    "not an array file": ("bad.npz DIGITS", "holds no array 'images'"),
    "labels out of range": ("labels.npz DIGITS", "'labels' go from 10 to 10; the data have 10 classes"),
    "no labels for accuracy": ("good.npz --data PLAIN --features judge --metrics label_accuracy", "know no classes"),
    "no labels to learn": ("classes.npz --data PLAIN --features pixels --metrics gan_train", "the reference has no labels"),
    "no labels to learn, though samples have some": (
        "classes --data PLAIN --features pixels --metrics gan_test",
        "the reference has no labels",
    ),
    "no classes asked for": ("good.npz DIGITS --metrics gan_test", "what class they show is unknown"),
    "nothing held out": ("good.npz --data PLAIN --features pixels --metrics copies", "20 or more that were held out"),
    "unknown metric": ("good.npz DIGITS --metrics frechett", "unknown metric 'frechett'; did you mean 'frechet'?"),
    "a name of elsewhere": ("good.npz DIGITS --metrics FID", "unknown metric 'FID'; did you mean 'frechet'?"),
    "a file of another kind": ("bad.pth DIGITS", "bad.pth is a file; what can be judged is a run, a folder of pictures or"),
    "another key": ("key.npz DIGITS", "key.npz holds no array 'images' but arr_0; save them by np.savez(FILE, images=…)"),
    "a report among the pictures": ("plain DIGITS --out plain", "plain holds what is judged"),
    "count 0": ("good.npz DIGITS --count 0", "--count 0: give 2 to 1,000,000 pictures"),
    "count -1": ("good.npz DIGITS --count -1", "--count -1: give 2"),
    "count 1": ("good.npz DIGITS --count 1", "--count 1: give 2"),
    "count 2,000,000": ("good.npz DIGITS --count 2000000", "--count 2000000: give 2"),
    "count of letters": ("good.npz DIGITS --count many", "--count"),
    "unknown features": ("good.npz --data digits --features jugde", "unknown features 'jugde'; did you mean 'judge'?"),
    "no such weights": ("good.npz --data digits --features gone.pth", "cannot read gone.pth"),
    "wrong weights": ("good.npz --data digits --features bad.pth", "bad.pth is not the FID network's weights: it has 9 bytes"),
    "no such network": ("good.npz --data digits --features gone.onnx", "cannot read gone.onnx"),
    "no data": ("good.npz", "is not a run, so say what it is to be compared with: --data SRC"),
    "no data for a folder": ("mixed", "is not a run, so say what it is to be compared with: --data SRC"),
    "no such data": ("good.npz --data digist", "did you mean 'digits'"),
    "nothing there": ("gone DIGITS", "gone"),
    "no such array file": ("gone.npz DIGITS", "no file at gone.npz"),
    "all checkpoints of a folder": ("mixed DIGITS --checkpoint all", "--checkpoint all is for a run"),
    "all checkpoints of an array file": ("good.npz DIGITS --checkpoint all", "--checkpoint all is for a run"),
    "a file for a folder": ("good.npz DIGITS --out bad.pth", "a file stands where a folder should"),
    "below a file": ("good.npz DIGITS --out bad.pth/deeper", "a file stands where a folder should"),
    "too long a name": (f"good.npz DIGITS --out {'x' * 300}", "the name is too long"),
}


@pytest.fixture
def bad(fakes: tuple[Pixels, NDArray[np.int64]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    images, _ = fakes
    some = {
        "good": images[:20],
        "one": images[:1],
        "three": images[:3],
        "none": images[:0],
        "float": images.astype(np.float32),
        "nan": np.where(images > 99, np.nan, images).astype(np.float32),
    }
    for name, array in some.items():
        np.savez(tmp_path / f"{name}.npz", images=array)
    np.savez(tmp_path / "key.npz", images[:9])
    np.savez(tmp_path / "labels.npz", images=images[:9], labels=np.full(9, 10))
    np.savez(tmp_path / "classes.npz", images=images[:9], labels=np.zeros(9, np.int64))
    for name in ("bad.npz", "bad.pth"):
        write(tmp_path / name, b"no weight")
    write(tmp_path / "one" / "a.png", encoded(textured(0, 8, 8, 1)))
    write(tmp_path / "text" / "a.png", b"this is no picture")
    (tmp_path / "empty").mkdir()
    folder(tmp_path / "mixed", {"": 4}, height=8, width=8, channels=1)
    write(tmp_path / "mixed" / "zz.png", encoded(textured(9, 9, 9, 1)))
    folder(tmp_path / "plain", {"": 20}, height=8, width=8, channels=1)
    folder(tmp_path / "classes", {"a": 9, "b": 9}, height=8, width=8, channels=1)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("fault", BAD)
def test_bad_input_is_one_line_and_writes_nothing(fault: str, bad: Path, judge: Ask) -> None:
    told, words = BAD[fault]
    before = tree_bytes(bad)
    code, answer = judge(*told.replace("DIGITS", " ".join(PIXELS)).replace("PLAIN", "plain").split())
    assert code == 2, answer
    assert words in answer["error"]
    assert "\n" not in answer["error"]
    assert tree_bytes(bad) == before
    assert sorted(path.name for path in bad.iterdir() if path.is_dir()) == ["classes", "empty", "mixed", "one", "plain", "text"]


def test_an_out_folder_without_permission_is_told_before_the_work(
    places: dict[str, Path], judge: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("limner.core.files.os.access", lambda *_: False)  # root may write anywhere
    monkeypatch.setattr("limner.evaluation.judging.score_samples", lambda *_, **__: pytest.fail("worked in vain"))
    code, answer = judge(places["plain.npz"], *PIXELS, "--out", tmp_path / "locked" / "out")
    assert code == 2
    assert f"no permission to write {tmp_path / 'locked' / 'out'}" in answer["error"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("metrics", [None, []])
def test_what_cannot_be_had_is_left_out_where_nobody_asked(metrics: list[str] | None) -> None:
    black = np.zeros((60, 8, 8, 1), np.uint8)
    found = evaluate(black, data="digits", features="pixels", metrics=metrics)["metrics"]
    assert "vendi" not in found
    assert found["frechet"]["z"] > 100
    assert found["pairwise"]["value"] == 0
    with pytest.raises(InputError, match="vendi: the features of nearly all pictures are zero"):
        evaluate(black, data="digits", features="pixels", metrics=["vendi"])


def test_python_s_words_for_what_is_missing() -> None:
    with pytest.raises(InputError, match="say what the pictures are to be compared with: data=SRC"):
        evaluate(np.zeros((9, 8, 8, 1), np.uint8))
    with pytest.raises(InputError, match="checkpoint=all is for a run"):
        evaluate(np.zeros((9, 8, 8, 1), np.uint8), data="digits", checkpoint="all")


def test_pictures_are_a_path_or_can_be_gone_through() -> None:
    with pytest.raises(InputError, match=r"a folder, an \.npz, an array, or an iterable of arrays, not float"):
        evaluate(3.5, data="digits")  # type: ignore[arg-type]


def test_labels_that_the_data_have_no_classes_for_are_left_aside(bad: Path, judge: Ask) -> None:
    code, answer = judge("classes.npz", "--data", "plain", "--features", "pixels", "--metrics", "frechet")
    assert code == 0, answer
    assert "its labels were left aside, since plain has no classes" in answer["context"]["notes"]

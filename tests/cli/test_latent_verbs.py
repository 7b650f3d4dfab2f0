"""`reconstruct`, `interpolate`, and `sample` with a class or truncation: answers, files, and what happens to bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from limner.cli import main
from made import encoded, textured, write

SMALL = ["--images", "640", "--json", "batch.size=32", "score.points=0", "previews.count=4"]
NARROW = ["method.generator.width=16", "method.generator.widest=32", "method.discriminator.width=8"]
SETTINGS = {"dcgan": NARROW, "cgan": NARROW, "vae": ["method.width=8", "method.latent=8", "method.components=2"]}

Ask = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small finished run of each kind."""
    out = tmp_path_factory.mktemp("runs")
    for preset, settings in SETTINGS.items():
        assert main(["train", "digits", "--preset", preset, "--name", preset, "--out", str(out), *SMALL, *settings]) == 0
    return {path.name.partition("-")[2]: path for path in out.iterdir()}


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Five pictures, of other sizes and modes than the run's data, two of them in a sub-folder, beside a text file."""
    folder = tmp_path / "mine"
    for number in range(3):
        write(folder / f"{number}.png", encoded(textured(number, 20, 30)))
    write(folder / "more" / "grey.jpg", encoded(textured(3, 9, 9, 1), "JPEG"))
    write(folder / "more" / "0.png", encoded(textured(4, 8, 8, 1)))
    write(folder / "notes.txt", b"no picture")
    return folder


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """`ask("sample", …)` is (exit code, the JSON object)."""

    def run(*words: str | Path) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = main([*map(str, words), "--json"])
        seen = capsys.readouterr()
        assert "Traceback" not in seen.out + seen.err
        answer = json.loads(seen.out)
        if code:
            assert set(answer) == {"error"}
            assert "\n" not in answer["error"]
        return code, answer

    return run


def pixels(file: str) -> Any:
    with Image.open(file) as image:
        return np.asarray(image)


@pytest.mark.parametrize(("kind", "method"), [("vae", "encoder"), ("dcgan", "inversion"), ("cgan", "inversion")])
def test_reconstruct(kind: str, method: str, runs: dict[str, Path], mine: Path, ask: Ask, tmp_path: Path) -> None:
    code, answer = ask(
        "reconstruct", runs[kind], mine, mine / "1.png", "--grey", "--steps", "30", "--starts", "3", "--out", tmp_path
    )
    assert code == 0, answer
    assert {"files", "sheet", "errors", "psnr", "seconds", "method"} <= set(answer)
    assert answer["method"] == method
    assert [Path(name).name for name in answer["images"]] == ["0.png", "1.png", "2.png", "0.png", "grey.jpg", "1.png"]
    assert len(set(answer["files"])) == len(answer["errors"]) == len(answer["psnr"]) == 6
    assert answer["errors"][1] == pytest.approx(answer["errors"][5]), "the same picture, twice"
    for error, decibel in zip(answer["errors"], answer["psnr"], strict=True):
        assert decibel == pytest.approx(-10 * np.log10(error / 4), abs=1e-6)
    assert all(pixels(file).shape == (8, 8) for file in answer["files"])
    back = (pixels(answer["files"][3]).astype(float) - pixels(str(mine / "more" / "0.png"))) * 2 / 255
    assert np.square(back).mean() == pytest.approx(answer["errors"][3])
    height, width = pixels(answer["sheet"]).shape
    assert width > 2.5 * height, "six across, two rows"
    assert (answer["classes"] is not None) == (kind == "cgan")
    with Image.open(answer["files"][0]) as image:
        assert image.text["of"] == "0.png"  # type: ignore[attr-defined]


def test_colour_given_to_a_grey_model_is_said(runs: dict[str, Path], mine: Path, ask: Ask) -> None:
    for verb in (["reconstruct", runs["dcgan"], mine / "0.png"], ["interpolate", runs["vae"], mine / "0.png", mine / "1.png"]):
        code, answer = ask(*verb)
        assert code == 2
        assert f"{mine / '0.png'} is in colour" in answer["error"]
        assert "--grey" in answer["error"]
    code, answer = ask("reconstruct", runs["vae"], mine / "more")  # grey in a colour file is grey
    assert code == 0, answer


def test_reconstructions_lie_in_the_run(runs: dict[str, Path], mine: Path, ask: Ask) -> None:
    code, answer = ask("reconstruct", runs["vae"], mine / "0.png", "--grey")
    assert code == 0
    assert Path(answer["files"][0]).parent == runs["vae"] / "reconstructions"


def test_interpolate_between_seeds(runs: dict[str, Path], ask: Ask, tmp_path: Path) -> None:
    code, drawn = ask("sample", runs["cgan"], "--seeds", "3,7,12", "--label", "4", "--out", tmp_path / "drawn")
    assert code == 0
    code, answer = ask(
        "interpolate", runs["cgan"], "--seeds", "3,7,12", "--label", "4", "--steps", "5", "--out", tmp_path / "way"
    )
    assert code == 0, answer
    assert answer["seeds"] == [3, 7, 12]
    assert answer["path"] == "spherical"
    assert len(answer["files"]) == 9
    for frame, file in zip((0, 4, 8), drawn["files"], strict=True):
        assert np.array_equal(pixels(answer["files"][frame]), pixels(file))
    assert pixels(answer["sheet"]).shape[1] > 2 * pixels(answer["sheet"]).shape[0], "two rows of five"


@pytest.mark.parametrize(("kind", "path"), [("vae", "straight"), ("dcgan", "spherical")])
def test_interpolate_between_pictures(
    kind: str, path: str, runs: dict[str, Path], mine: Path, ask: Ask, tmp_path: Path
) -> None:
    ends = [mine / "0.png", mine / "2.png"]
    code, answer = ask("interpolate", runs[kind], *ends, "--grey", "--steps", "3", "--out", tmp_path / "way")
    assert code == 0, answer
    assert answer["images"] == [str(end) for end in ends]
    assert (answer["seeds"], answer["path"], len(answer["files"])) == (None, path, 3)
    _, back = ask("reconstruct", runs[kind], *ends, "--grey", "--out", tmp_path / "back")
    for frame, file in zip((0, 2), back["files"], strict=True):
        assert np.array_equal(pixels(answer["files"][frame]), pixels(file))


def test_for_a_person(runs: dict[str, Path], mine: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for words in (
        ["reconstruct", runs["cgan"], mine / "0.png", "--grey", "--steps", "3"],
        ["interpolate", runs["vae"], "--seeds", "1,2"],
        ["sample", runs["cgan"], "--label", "3", "--truncation", "0.7", "--count", "2"],
    ):
        assert main([*map(str, words), "--out", str(tmp_path)]) == 0
        out = capsys.readouterr().out
        assert out.strip()
        assert "None" not in out


@pytest.mark.parametrize(
    ("kind", "words", "hint"),
    [
        ("cgan", "sample RUN --label 12", "0, 1, 2, 3"),
        ("dcgan", "sample RUN --label 3", "without classes"),
        ("dcgan", "sample RUN --truncation 0", "truncation"),
        ("dcgan", "sample RUN --truncation -0.5", "truncation"),
        ("dcgan", "sample RUN --truncation nan", "truncation"),
        ("dcgan", "sample RUN --truncation few", "--truncation"),
        ("dcgan", "reconstruct RUN", "IMAGES"),
        ("dcgan", "reconstruct RUN nowhere.png", "nowhere.png"),
        ("dcgan", "reconstruct RUN empty", "no picture in empty"),
        ("dcgan", "reconstruct RUN bad.png", "bad.png cannot be used: not a picture"),
        ("dcgan", "reconstruct RUN folder", "folder/bad.png cannot be used: the file is empty"),
        ("dcgan", "reconstruct RUN good.png --starts 0", "at least 1"),
        ("dcgan", "reconstruct RUN good.png --steps 0", "at least 1"),
        ("dcgan", "reconstruct RUN good.png --label 3", "without classes"),
        ("vae", "reconstruct RUN good.png --label 3", "without classes"),
        ("dcgan", "reconstruct RUN good.png --checkpoint 7", "checkpoint"),
        ("dcgan", "reconstruct nowhere good.png", "nowhere"),
        ("dcgan", "interpolate RUN", "two ends"),
        ("dcgan", "interpolate RUN --seeds 3", "two ends"),
        ("dcgan", "interpolate RUN --seeds a,b", "0-15,42"),
        ("dcgan", "interpolate RUN good.png", "two ends"),
        ("dcgan", "interpolate RUN good.png --seeds 3,4", "exclude"),
        ("dcgan", "interpolate RUN --seeds 3,4 --steps 1", "--steps 1"),
        ("dcgan", "interpolate RUN --seeds 3,4 --label 2", "without classes"),
        ("cgan", "interpolate RUN --seeds 3,4 --label x", "knows no class 'x'"),
    ],
)
def test_bad_input_is_named(
    kind: str, words: str, hint: str, runs: dict[str, Path], ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "good.png", encoded(textured(1, channels=1)))
    write(tmp_path / "bad.png", b"this is no picture")
    write(tmp_path / "folder" / "bad.png", b"")
    (tmp_path / "empty").mkdir()
    code, answer = ask(*words.replace("RUN", str(runs[kind])).split())
    assert code == 2, answer
    assert hint in answer["error"]

"""`reconstruct`, `interpolate`, `traverse`, `embed`, `classify`, and `sample` with a class or truncation.

Answers, files, and what happens to bad input.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier

from limner import InputError, classify
from limner.cli import main
from limner.core import images as pictures
from limner.core.cond import Cond
from limner.core.sampling import latents_of, render
from limner.runs.model import load
from limner.tasks.inputs import read_pictures
from made import encoded, textured, write

SMALL = ["--images", "640", "--json", "batch.size=32", "score.points=0", "previews.count=4"]
NARROW = ["method.generator.width=16", "method.generator.widest=32", "method.discriminator.width=8"]
VAE = ["method.width=8", "method.latent=8", "method.components=2"]
SETTINGS = {"dcgan": NARROW, "cgan": NARROW, "vae": VAE, "unlabelled": [*VAE, "data.labels=none"]}
PRESETS = {"unlabelled": "vae"}

Ask = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small finished run of each kind."""
    out = tmp_path_factory.mktemp("runs")
    for name, settings in SETTINGS.items():
        preset = PRESETS.get(name, name)
        assert main(["train", "digits", "--preset", preset, "--name", name, "--out", str(out), *SMALL, *settings]) == 0
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


def pixels(file: str) -> Any:
    with Image.open(file) as image:
        return np.asarray(image)


@pytest.mark.parametrize(("kind", "method"), [("vae", "encoder"), ("dcgan", "inversion"), ("cgan", "inversion")])
def test_reconstruct(kind: str, method: str, runs: dict[str, Path], mine: Path, ask: Ask, tmp_path: Path) -> None:
    words = ["reconstruct", runs[kind], mine, mine / "1.png", "--out", tmp_path / "out"]
    if method == "encoder":
        for option in (["--steps", "30"], ["--starts", "3"], ["--encoder"]):
            code, answer = ask(*words, *option)
            refusal = f"{option[0]} would do nothing here: it belongs to the search for latents, and {runs[kind]} (vae) has an"
            assert (code, answer["error"][: len(refusal)]) == (2, refusal)
            assert not (tmp_path / "out").exists()
    code, answer = ask(*words, *(["--steps", "30", "--starts", "3"] if method == "inversion" else []))
    assert code == 0, answer
    assert {"files", "sheet", "errors", "psnr", "ssim", "prepared", "seconds", "method"} <= set(answer)
    assert answer["method"] == method
    assert [Path(name).name for name in answer["images"]] == ["0.png", "1.png", "2.png", "0.png", "grey.jpg", "1.png"]
    assert len(set(answer["files"])) == len(answer["errors"]) == len(answer["psnr"]) == 6
    assert answer["errors"][1] == pytest.approx(answer["errors"][5]), "the same picture, twice"
    for error, decibel in zip(answer["errors"], answer["psnr"], strict=True):
        assert decibel == pytest.approx(-10 * np.log10(error / 4), abs=1e-6)
    assert answer["ssim"][1] == pytest.approx(answer["ssim"][5])
    assert all(-1 <= index <= 1 for index in answer["ssim"])
    assert all(pixels(file).shape == (8, 8) for file in answer["files"])
    back = (pixels(answer["files"][3]).astype(float) - pixels(str(mine / "more" / "0.png"))) * 2 / 255
    assert np.square(back).mean() == pytest.approx(answer["errors"][3])
    height, width = pixels(answer["sheet"]).shape
    assert width > 2.5 * height, "six across, two rows"
    assert (answer["classes"] is not None) == (kind == "cgan")
    with Image.open(answer["files"][0]) as image:
        assert image.text["of"] == "0.png"  # type: ignore[attr-defined]


COLOUR = "20x30 RGB -> 8x8 grey (crop)"


@pytest.mark.parametrize(
    "words",
    [
        "reconstruct vae",
        "reconstruct dcgan --steps 3 --starts 1",
        "interpolate vae --steps 2",
        "interpolate dcgan --steps 2",
        "traverse vae --steps 2 --latents 0",
        "embed vae",
        "classify vae",
    ],
)
def test_colour_given_to_a_grey_model_is_made_grey_and_it_is_said(
    words: str, runs: dict[str, Path], mine: Path, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files, folders, and colours that a grey picture could not have."""
    monkeypatch.setattr("limner.tasks.inversion.CANDIDATES", 16)
    blue = np.zeros((8, 8, 3), np.uint8)
    blue[..., 2] = 200
    write(mine / "2.png", encoded(blue))
    verb, kind, *more = words.split()
    name = "a.npz" if verb == "embed" else "out"
    files = [mine / "0.png"] if verb == "traverse" else [mine / "0.png", mine / "2.png"]
    code, answer = ask(verb, runs[kind], *files, *more, "--out", tmp_path / name)
    assert code == 0, answer
    said = {str(mine / "0.png"): COLOUR, str(mine / "2.png"): "8x8 RGB -> 8x8 grey"}
    assert answer["prepared"] == {str(file): said[str(file)] for file in files}
    if verb == "traverse":
        return
    code, answer = ask(verb, runs[kind], mine, *more, "--out", tmp_path / f"folder-{name}")
    assert code == 0, answer
    if verb == "embed":  # a folder is a data set, whose pictures are not told one by one
        assert answer["prepared"] == {str(mine): "all pictures -> 8x8 grey (crop)"}
    else:
        assert {**said, str(mine / "1.png"): COLOUR}.items() <= answer["prepared"].items()


def test_grey_is_the_light_of_the_colours(runs: dict[str, Path], mine: Path) -> None:
    model = load(runs["vae"])
    write(mine / "red.png", encoded(np.full((8, 8, 3), [250, 10, 60], np.uint8)))
    given = read_pictures(model, [mine / "red.png"])
    assert given.images.shape == (1, 8, 8, 1)
    assert np.abs(given.images - (0.299 * 250 + 0.587 * 10 + 0.114 * 60)).max() < 1, "ITU-R BT.601, as the data is prepared"


def test_what_was_done_to_a_picture_is_said(
    runs: dict[str, Path], mine: Path, ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, answer = ask("reconstruct", runs["vae"], mine, "--out", tmp_path / "a")
    assert code == 0
    assert answer["prepared"] == {
        **{f"{mine}/{number}.png": COLOUR for number in range(3)},
        f"{mine}/more/grey.jpg": "9x9 L -> 8x8 grey",
    }, "the one that fits is not in it"
    assert main(["reconstruct", str(runs["vae"]), str(mine / "0.png"), "--out", str(tmp_path / "b")]) == 0
    assert f"0.png {COLOUR}" in capsys.readouterr().out
    code, answer = ask("interpolate", runs["vae"], mine / "0.png", mine / "more" / "0.png", "--out", tmp_path / "c")
    assert list(answer["prepared"]) == [str(mine / "0.png")]


def test_reconstructions_lie_in_the_run(runs: dict[str, Path], mine: Path, ask: Ask) -> None:
    code, answer = ask("reconstruct", runs["vae"], mine / "0.png")
    assert code == 0
    folder = Path(answer["files"][0]).parent
    assert folder.parent == runs["vae"] / "made"
    assert re.fullmatch(r"\d{4}-reconstruct", folder.name)


def test_interpolate_between_seeds(runs: dict[str, Path], ask: Ask, tmp_path: Path) -> None:
    code, drawn = ask("sample", runs["cgan"], "--seeds", "3,7,12", "--label", "4", "--out", tmp_path / "drawn")
    assert code == 0
    code, answer = ask(
        "interpolate", runs["cgan"], "--seeds", "3,7,12", "--label", "4", "--steps", "5", "--out", tmp_path / "way"
    )
    assert code == 0, answer
    assert answer["seeds"] == [3, 7, 12]
    assert answer["path"] == "spherical"
    assert answer["labels"] == ["4", "4", "4"]
    assert len(answer["files"]) == 9
    for frame, file in zip((0, 4, 8), drawn["files"], strict=True):
        assert np.array_equal(pixels(answer["files"][frame]), pixels(file))
    assert pixels(answer["sheet"]).shape[1] > 2 * pixels(answer["sheet"]).shape[0], "two rows of five"


@pytest.mark.parametrize(("kind", "path"), [("vae", "straight"), ("dcgan", "spherical")])
def test_interpolate_between_pictures(
    kind: str, path: str, runs: dict[str, Path], mine: Path, ask: Ask, tmp_path: Path
) -> None:
    ends = [mine / "0.png", mine / "2.png"]
    code, answer = ask("interpolate", runs[kind], *ends, "--steps", "3", "--out", tmp_path / "way")
    assert code == 0, answer
    assert answer["images"] == [str(end) for end in ends]
    assert (answer["seeds"], answer["path"], len(answer["files"])) == (None, path, 3)
    _, back = ask("reconstruct", runs[kind], *ends, "--out", tmp_path / "back")
    for frame, file in zip((0, 2), back["files"], strict=True):
        assert np.array_equal(pixels(answer["files"][frame]), pixels(file))


# ---- one latent at a time -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["vae", "dcgan", "cgan"])
def test_traverse_from_a_seed(kind: str, runs: dict[str, Path], ask: Ask, tmp_path: Path) -> None:
    words = ["--latents", "2,0", "--steps", "5", "--span", "2", "--seed", "9"]
    code, answer = ask("traverse", runs[kind], *words, "--out", tmp_path / "way")
    assert code == 0, answer
    assert {"files", "sheet", "latents", "values"} <= set(answer)
    assert answer["latents"] == [2, 0]
    assert answer["label"] == (ask("sample", runs[kind], "--seeds", "9")[1]["labels"] or [None])[0]
    assert (answer["label"] is None) == (kind != "cgan")
    assert np.shape(answer["values"]) == (2, 5)
    assert len(answer["files"]) == 10
    assert np.allclose(answer["deviations"], [-2, -1, 0, 1, 2])
    assert np.allclose(np.ptp(answer["values"], axis=1), 4 * np.array(answer["spread"]))
    shown = np.stack([pixels(file) for file in answer["files"]])
    assert len(np.unique(shown.reshape(10, -1), axis=0)) > 5
    assert pixels(answer["sheet"]).shape[1] > 2 * pixels(answer["sheet"]).shape[0], "two rows of five"
    # A latent that is put where it already is leaves the picture as it was.
    model = load(runs[kind])
    method: Any = model.method
    z = latents_of(method, [9])
    assert answer["own"] == pytest.approx(z[0, [2, 0]].tolist())
    z[0, 2] = answer["values"][0][3]
    back = pictures.to_uint8(render(method, z, method.conditions([9], Cond())))
    assert np.array_equal(back[0, ..., 0], shown[3])


def test_traverse_from_a_picture(runs: dict[str, Path], mine: Path, ask: Ask, tmp_path: Path) -> None:
    code, answer = ask("traverse", runs["vae"], mine / "0.png", "--steps", "3", "--out", tmp_path / "way")
    assert code == 0, answer
    assert answer["image"] == str(mine / "0.png")
    assert answer["prepared"]
    assert sorted(answer["latents"]) == list(range(8)), "all there are"
    assert answer["spread"] == sorted(answer["spread"], reverse=True), "the most active first"
    model = load(runs["vae"])
    own = model.encode_pictures(read_pictures(model, [mine / "0.png"]).images)[0]
    assert answer["own"] == pytest.approx(own[answer["latents"]].tolist())
    train = model.dataset().indices("train")
    means = model.encode_pictures(model.dataset().images.gather(train))
    assert answer["spread"] == pytest.approx(means.std(0)[answer["latents"]].tolist(), rel=1e-4)


# ---- what an earlier call left ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "words", "others"),
    [
        ("reconstruct", "0.png 1.png 2.png", "1.png"),
        ("interpolate", "0.png 1.png --steps 4", "0.png 1.png --steps 2"),
        ("traverse", "--latents 0-2 --steps 3", "--latents 1 --steps 2"),
    ],
)
def test_pictures_of_an_earlier_call_stay(
    verb: str, words: str, others: str, runs: dict[str, Path], mine: Path, ask: Ask, tmp_path: Path
) -> None:
    """In the run each call has a folder of its own; into a named folder another call is refused, and the same one is not."""

    def call(words: str, *out: str | Path) -> tuple[int, dict[str, Any]]:
        return ask(verb, runs["vae"], *(mine / word if word.endswith(".png") else word for word in words.split()), *out)

    contents = []
    for request in (words, others, words):
        code, answer = call(request)
        assert code == 0, answer
        contents.append({file: Path(file).read_bytes() for file in [*answer["files"], answer["sheet"]]})
    assert all(Path(file).read_bytes() == data for content in contents for file, data in content.items())
    assert len({Path(file).parent for content in contents for file in content}) == 3
    named = tmp_path / "named"
    assert call(words, "--out", named)[0] == 0
    before = {path.name: path.read_bytes() for path in named.iterdir()}
    code, answer = call(others, "--out", named)
    assert code == 2
    assert str(named) in answer["error"]
    assert "new or an empty folder" in answer["error"]
    assert call(words, "--out", named)[0] == 0
    assert {path.name: path.read_bytes() for path in named.iterdir()} == before


# ---- latents as arrays --------------------------------------------------------------------------------------------------


def arrays(file: str) -> dict[str, Any]:
    with np.load(file, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def test_embed_a_data_set(runs: dict[str, Path], ask: Ask, tmp_path: Path) -> None:
    code, answer = ask("embed", runs["vae"], "--split", "test")
    assert code == 0, answer
    assert {"file", "count", "shape", "seconds"} <= set(answer)
    assert (answer["count"], answer["shape"]) == (180, [8])
    file = Path(answer["file"])
    assert (file.parent.parent, file.name) == (runs["vae"] / "made", "digits-test.npz")
    assert re.fullmatch(r"\d{4}-embed", file.parent.name)
    found = arrays(answer["file"])
    assert set(found) == {"latents", "shape", "labels", "classes", "indices", "request"}
    model = load(runs["vae"])
    dataset = model.dataset()
    rows = dataset.indices("test")
    assert found["latents"].dtype == np.float32
    assert np.array_equal(found["latents"], model.encode_pictures(dataset.images.gather(rows)))
    assert np.array_equal(found["indices"], rows)
    assert np.array_equal(found["labels"], dataset.labels[rows])  # type: ignore[index]
    assert found["classes"].tolist() == list("0123456789")
    code, whole = ask("embed", runs["vae"], "digits", "--out", tmp_path / "all.npz")
    assert (code, whole["count"], whole["file"]) == (0, 1797, str(tmp_path / "all.npz"))


def test_embed_pictures(runs: dict[str, Path], mine: Path, ask: Ask, tmp_path: Path) -> None:
    names = [str(mine / "0.png"), str(mine / "1.png")]
    code, answer = ask("embed", runs["vae"], *names, "--out", tmp_path / "two.npz")
    assert (code, answer["count"]) == (0, 2), answer
    assert list(answer["prepared"]) == names
    found = arrays(answer["file"])
    assert found["files"].tolist() == names
    assert found["latents"].shape == (2, 8)
    code, answer = ask("embed", runs["vae"], mine, "--out", tmp_path / "folder.npz")  # a folder is a data set
    found = arrays(answer["file"])
    assert sorted(found["files"].tolist()) == ["0.png", "1.png", "2.png", "more/0.png", "more/grey.jpg"]


# ---- labels -------------------------------------------------------------------------------------------------------------


def test_classify(runs: dict[str, Path], ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    model = load(runs["vae"])
    dataset = model.dataset()
    rows = dataset.indices("test")[:6]
    shown = zip(rows, dataset.images.gather(rows), strict=True)
    files = [write(tmp_path / "new" / f"{row}.png", encoded(image)) for row, image in shown]
    code, answer = ask("classify", runs["vae"], *files[:4])
    assert code == 0, answer
    assert set(answer["accuracy"]) == {"probe", "knn", "pixels_probe", "pixels_knn"}
    for one in answer["accuracy"].values():
        assert 0 <= one["low"] < one["value"] < one["high"] <= 1
    assert answer["accuracy"]["pixels_knn"]["value"] > 0.95, "digits are easy"
    assert answer["accuracy"]["knn"]["value"] > 0.5
    assert answer["counts"] == {"train": 1456, "validation": 161, "test": 180}
    assert not answer["cached"]
    assert [row["file"] for row in answer["labels"]] == [str(file) for file in files[:4]]
    for row in answer["labels"]:
        assert row["label"] in dataset.classes
        assert 0 < row["probability"] <= 1
        assert row["label"] == row[answer["by"]]["label"]
    code, again = ask("classify", runs["vae"], *files[2:])
    assert again["cached"]
    assert again["accuracy"] == answer["accuracy"]
    assert [row["label"] for row in again["labels"][:2]] == [row["label"] for row in answer["labels"][2:]]
    code, other = ask("classify", runs["vae"], "--data", "digits", "--checkpoint", "last")
    assert (code, other["labels"], other["cached"]) == (0, [], True), "the same pictures by another name"


def test_classify_by_labels_in_memory(runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data out of Python have no name that could stand in the result or in an error but their type."""
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    dataset = load(runs["vae"]).dataset()
    images = dataset.images.gather(dataset.indices("train")[:200])
    labels = dataset.labels[dataset.indices("train")[:200]]  # type: ignore[index]
    result = classify(runs["vae"], data={"images": images, "labels": labels})
    assert result["prepared"] == {"dict in memory": "all pictures -> 8x8 grey (crop)"}
    with pytest.raises(InputError, match=r"^dict in memory has no labels"):
        classify(runs["vae"], data={"images": images})


def test_classify_says_how_right_it_is(runs: dict[str, Path], ask: Ask) -> None:
    """The accuracy of k nearest neighbours, counted here over all test pictures."""
    _, answer = ask("classify", runs["vae"])
    chosen, model = answer["chosen"]["latents"], load(runs["vae"])
    dataset = model.dataset()
    x, labels = {}, {}
    for split in ("train", "test"):
        rows = dataset.indices(split)
        x[split], labels[split] = model.encode_pictures(dataset.images.gather(rows)), dataset.labels[rows]  # type: ignore[index]
    if chosen["standardised_neighbours"]:
        mean, std = x["train"].mean(0), x["train"].std(0)
        x = {split: (rows - mean) / std for split, rows in x.items()}
    oracle = KNeighborsClassifier(chosen["k"], weights=lambda d: 1 + 1e-6 / (1 + d)).fit(x["train"], labels["train"])
    assert answer["accuracy"]["knn"]["value"] == pytest.approx(oracle.score(x["test"], labels["test"]), abs=0.012)


def test_for_a_person(runs: dict[str, Path], mine: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for number, words in enumerate(
        (
            ["reconstruct", runs["cgan"], mine / "0.png", "--steps", "3"],
            ["interpolate", runs["vae"], "--seeds", "1,2"],
            ["sample", runs["cgan"], "--label", "3", "--truncation", "0.7", "--count", "2"],
            ["traverse", runs["dcgan"], "--steps", "2"],
            ["traverse", runs["vae"], mine / "0.png"],
        )
    ):
        assert main([*map(str, words), "--out", str(tmp_path / f"out{number}")]) == 0
        out = capsys.readouterr().out
        assert out.strip()
        assert "None" not in out
    for words in (["embed", runs["vae"], "--out", tmp_path / "a.npz"], ["classify", runs["vae"], mine]):
        assert main([*map(str, words)]) == 0
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
        ("dcgan", "reconstruct RUN empty", "empty is empty; give a folder or archive with pictures"),
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
        ("vae", "traverse RUN --latents 8", "no latent 8; it has the latents 0-7"),
        ("vae", "traverse RUN --latents x", "--latents 'x'"),
        ("vae", "traverse RUN --steps 1", "--steps 1"),
        ("vae", "traverse RUN --span 0", "--span 0"),
        ("vae", "traverse RUN folder2", "starts from one picture"),
        ("vae", "traverse RUN nowhere.png", "nowhere.png"),
        ("vae", "traverse RUN --label 3", "without classes"),
        ("dcgan", "embed RUN", "no encoder (dcgan)"),
        ("vae", "embed RUN --split tset", "did you mean 'test'"),
        ("vae", "embed RUN good.png --split test", "--split is for data sets"),
        ("vae", "embed RUN nowhere.png", "nowhere.png"),
        ("vae", "embed RUN bad.png", "bad.png cannot be used"),
        ("dcgan", "classify RUN", "no encoder (dcgan)"),
        ("unlabelled", "classify RUN", "without labels; name a labelled set of such pictures with --data"),
        ("vae", "classify RUN --data folder2", "folder2 has no labels"),
        ("vae", "classify RUN nowhere.png", "nowhere.png"),
        ("dcgan", "evaluate RUN --metrics disentanglement", "known factors, such as"),
        ("vae", "evaluate RUN --metrics disentanglment", "did you mean 'disentanglement'"),
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
    for number in range(3):
        write(tmp_path / "folder2" / f"{number}.png", encoded(textured(number, channels=1)))
    code, answer = ask(*words.replace("RUN", str(runs[kind])).split())
    assert code == 2, answer
    assert hint in answer["error"]

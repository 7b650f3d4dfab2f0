"""Where verbs write files, and how their files come back as input: a folder for each call, sheets, classes, odd names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import limner
from limner.cli import main
from limner.data.dataset import Dataset
from limner.data.prepare import check, prepare
from limner.evaluation.inputs import open_images
from limner.runs.outputs import new_numbered_folder
from made import encoded, textured, write

SMALL = ["--images", "64", "score.points=0", "previews.count=4", "batch.size=16"]
NARROW = ["method.generator.width=8", "method.generator.widest=16", "method.discriminator.width=8"]
Ask = Callable[..., tuple[int, dict[str, Any]]]
ARRAY_OPTION = {"sample": "--npz", "embed": "--out"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small finished run with classes, and one with an encoder."""
    out = tmp_path_factory.mktemp("runs")
    settings = {"cgan": NARROW, "vae": ["method.width=8", "method.latent=4", "method.components=2"]}
    for preset, own in settings.items():
        assert main(["train", "digits", "--preset", preset, "--name", preset, "--out", str(out), *SMALL, *own]) == 0
    return {path.name.partition("-")[2]: path for path in out.iterdir()}


@pytest.fixture
def run(runs: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the run with classes, which no other test has written into."""
    return shutil.copytree(runs["cgan"], tmp_path / "run")


def pixels(path: str | Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image)


# ---- seeds --------------------------------------------------------------------------------------------------------------

SEEDS = {
    "range": range(4),
    "numpy": np.arange(4),
    "uint8": np.arange(4, dtype=np.uint8),
    "numpy numbers": list(np.arange(4)),
    "torch": torch.arange(4),
    "torch int32": torch.arange(4, dtype=torch.int32),
    "torch numbers": list(torch.arange(4)),
    "a generator": lambda: (seed for seed in range(4)),
    "text": "0-3",
}
NO_SEEDS = {
    "floats": [0.0, 1.0],
    "an array of floats": np.arange(3.0),
    "a tensor of floats": torch.arange(3.0),
    "truth values": [True, False],
    "an array of truth values": np.array([True, False]),
    "a tensor of truth values": torch.tensor([True]),
    "negative": [0, -1],
    "a negative array": np.array([-1]),
    "two dimensions": np.zeros((2, 2), np.int64),
    "a tensor of two dimensions": torch.zeros(2, 2, dtype=torch.int64),
    "no dimension": np.array(3),
    "one number": 3,
    "texts": ["a", "b"],
    "nested": [[0, 1]],
    "a set": {0, 1},
    "bytes": b"abc",
    "too large": [2**63],
    "an array that is too large": np.array([2**64 - 1], np.uint64),
}


@pytest.mark.parametrize("kind", SEEDS)
def test_seeds_of_every_integer_type_are_the_same_pictures(kind: str, runs: dict[str, Path], tmp_path: Path) -> None:
    model = limner.load(runs["cgan"])
    make = SEEDS[kind] if callable(SEEDS[kind]) else lambda: SEEDS[kind]
    assert np.array_equal(model.sample(make()), model.sample([0, 1, 2, 3]))
    assert torch.equal(model.latents(make()), model.latents([0, 1, 2, 3]))
    answer = limner.sample(runs["cgan"], seeds=make(), out=str(tmp_path / "out"))
    assert answer.seeds == [0, 1, 2, 3]
    assert np.array_equal(pixels(answer.files[3]), model.sample([3])[0, ..., 0])


@pytest.mark.parametrize("kind", NO_SEEDS)
def test_what_is_no_list_of_seeds_is_refused_in_one_line(kind: str, runs: dict[str, Path]) -> None:
    model = limner.load(runs["cgan"])
    for call in (
        lambda: model.sample(NO_SEEDS[kind]),
        lambda: model.latents(NO_SEEDS[kind]),
        lambda: limner.sample(runs["cgan"], seeds=NO_SEEDS[kind]),
        lambda: limner.interpolate(runs["cgan"], seeds=NO_SEEDS[kind]),
    ):
        with pytest.raises(limner.InputError, match="seed") as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", [1.5, True, -1, np.float32(2), "x", [1]])
def test_one_seed_is_a_whole_number_too(seed: Any, runs: dict[str, Path], tmp_path: Path) -> None:
    for call in (
        lambda: limner.traverse(runs["cgan"], seed=seed),
        lambda: limner.prepare("digits", seed=seed),
        lambda: limner.train("digits", seed=seed, out=tmp_path),
        lambda: limner.rate([str(runs["cgan"])], seed=seed, out=tmp_path / "study"),
    ):
        with pytest.raises(limner.InputError, match="seed"):
            call()


# ---- a folder for each call ---------------------------------------------------------------------------------------------


def test_every_call_has_a_folder_with_what_was_requested(run: Path, ask: Ask) -> None:
    for count in (2, 3):
        code, answer = ask("sample", run, "--count", str(count), "--label", "3", "--grid")
        assert code == 0, answer
    folders = sorted((run / "made").iterdir())
    assert [folder.name for folder in folders] == ["0001-sample", "0002-sample"]
    assert [len(list(folder.glob("seed*.png"))) for folder in folders] == [2, 3]
    told = json.loads((folders[1] / "request.json").read_text())
    assert (told["verb"], told["request"]["count"], told["request"]["label"]) == ("sample", 3, "3")
    assert told["model"] == limner.load(run).checkpoint.digest()
    assert {Path(file).parent for file in [*answer["files"], answer["grid"]]} == {folders[1]}


def test_samples_of_another_checkpoint_do_not_come_among_those_of_the_first(run: Path, ask: Ask, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert ask("sample", run, "--count", "2")[0] == ask("sample", run, "--count", "2", "--out", out)[0] == 0
    assert ask("resume", run, "--images", "96")[0] == 0
    assert ask("sample", run, "--count", "2")[0] == 0
    code, answer = ask("sample", run, "--count", "2", "--out", out)
    assert code == 2, "the request is the same, and the weights are others"
    difference = f"{run.name} at 64 images there, {run.name} at 96 here"
    assert f"holds the files of another call of sample ({difference})" in answer["error"]
    models = [{Image.open(file).text["model"] for file in folder.glob("seed*.png")} for folder in (run / "made").iterdir()]  # type: ignore[attr-defined]
    assert [len(model) for model in models] == [1, 1]
    assert models[0] != models[1]


def test_a_folder_with_other_files_is_left_alone(run: Path, ask: Ask, tmp_path: Path) -> None:
    write(tmp_path / "mine" / "seed000000.png", b"mine")
    code, answer = ask("sample", run, "--count", "1", "--out", tmp_path / "mine")
    assert code == 2
    assert "seed000000.png" in answer["error"]
    assert (tmp_path / "mine" / "seed000000.png").read_bytes() == b"mine"
    assert len(list((tmp_path / "mine").iterdir())) == 1
    (tmp_path / "empty").mkdir()
    assert ask("sample", run, "--count", "1", "--out", tmp_path / "empty")[0] == 0
    assert ask("sample", run, "--count", "1", "--grid", "--out", tmp_path / "empty")[0] == 0, "the same, and a sheet"


def test_a_file_of_another_kind_is_not_replaced_by_arrays(runs: dict[str, Path], ask: Ask, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", images=np.zeros((2, 8, 8, 1), np.uint8), labels=np.zeros(2, np.int64))
    before = (tmp_path / "data.npz").read_bytes()
    for words in (("sample", runs["cgan"], "--npz"), ("embed", runs["vae"], "--out")):
        code, answer = ask(*words, tmp_path / "data.npz")
        assert code == 2
        assert "data.npz is there already" in answer["error"]
        assert (tmp_path / "data.npz").read_bytes() == before
        for _ in range(2):
            assert ask(*words, tmp_path / f"{words[0]}.npz")[0] == 0, "its own file is written again"


def test_an_array_file_of_another_call_is_left_alone(runs: dict[str, Path], ask: Ask, tmp_path: Path) -> None:
    """It was overwritten without a word. The same call writes the same again."""
    write(tmp_path / "one.png", encoded(textured(0, 8, 8, 1)))
    file = tmp_path / "a.npz"
    for first, second, difference in (
        (("sample", "cgan", "--count", "2"), ("sample", "cgan", "--count", "3"), "count: 2 there, 3 here"),
        (("sample", "cgan", "--truncation", ".5"), ("sample", "cgan"), "sampling: {'truncation': 0.5} there, {} here"),
        (("embed", "vae", tmp_path / "one.png"), ("embed", "vae"), "sources: ["),
        (("sample", "cgan"), ("embed", "vae"), "a call of sample"),
    ):
        file.unlink(missing_ok=True)
        one, other = ((words[0], runs[words[1]], *words[2:], ARRAY_OPTION[str(words[0])], file) for words in (first, second))
        assert ask(*one)[0] == ask(*one)[0] == 0
        before = file.read_bytes()
        code, answer = ask(*other)
        assert code == 2
        assert f"{file} is there already and holds the files of a" in answer["error"]
        assert difference in answer["error"]
        assert answer["error"].endswith("; give another name, or remove it first")
        assert file.read_bytes() == before
        with np.load(file, allow_pickle=False) as arrays:
            stored = json.loads(str(arrays["request"]))
        assert (stored["verb"], stored["model"]) == (first[0], limner.load(runs[str(first[1])]).checkpoint.digest())
        assert not {"run", "out", "npz", "grid"} & stored["request"].keys(), "no path of this machine goes with the arrays"


@pytest.mark.parametrize("damage", ["cut", "not a zip", "an npy", "no request", "a damaged request"])
def test_a_damaged_array_file_is_left_alone(damage: str, runs: dict[str, Path], ask: Ask, tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    assert ask("sample", runs["cgan"], "--count", "2", "--npz", file)[0] == 0
    if damage == "no request":
        np.savez(file, images=np.zeros((2, 8, 8, 1), np.uint8), seeds=np.arange(2))
    elif damage == "a damaged request":
        np.savez(file, request=np.array("[" * 100_000))
    else:
        whole = file.read_bytes()
        np.save(tmp_path / "b.npy", np.arange(3))
        npy = (tmp_path / "b.npy").read_bytes()
        file.write_bytes({"cut": whole[: len(whole) // 2], "not a zip": b"mine", "an npy": npy}[damage])
    before = file.read_bytes()
    code, answer = ask("sample", runs["cgan"], "--count", "2", "--npz", file)
    assert (code, answer["error"]) == (2, f"{file} is there already; give another name, or remove it first")
    assert file.read_bytes() == before


# ---- what a picture is, beside its pixels -------------------------------------------------------------------------------


def test_the_class_that_a_seed_drew_is_told(runs: dict[str, Path], ask: Ask, tmp_path: Path) -> None:
    """In the result, in the array file and in each PNG; each of them draws the very picture when it is asked for."""
    model = limner.load(runs["cgan"])
    code, answer = ask("sample", runs["cgan"], "--count", "12", "--npz", tmp_path / "a.npz", "--out", tmp_path / "out")
    assert (code, answer["label"]) == (0, None)
    numbers = model.method.conditions(range(12), model.request()).label
    assert numbers is not None
    assert answer["labels"] == [model.recipe.data.classes[number] for number in numbers.tolist()]
    assert len(set(answer["labels"])) > 3
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert (arrays["labels"].dtype, arrays["labels"].tolist()) == (np.int64, numbers.tolist())
        assert tuple(arrays["classes"].tolist()) == model.recipe.data.classes
        assert json.loads(str(arrays["sampling"])) == {"truncation": 1.0} == answer["sampling"]
        images = arrays["images"]
    for seed, (label, file) in enumerate(zip(answer["labels"], answer["files"], strict=True)):
        with Image.open(file) as picture:
            text = picture.text  # type: ignore[attr-defined]
            assert (text["label"], text["seed"], text["truncation"]) == (label, str(seed), "1")
            assert np.array_equal(np.asarray(picture), images[seed, ..., 0])
        assert np.array_equal(model.sample([seed], label=label)[0], images[seed])
    named = limner.sample(runs["cgan"], seeds=[3, 4], label="7", truncation=0.5, npz=tmp_path / "b.npz")
    assert (named.label, named.labels, named.texts, named.sampling) == ("7", ["7", "7"], None, {"truncation": 0.5})
    with np.load(tmp_path / "b.npz", allow_pickle=False) as arrays:
        assert arrays["labels"].tolist() == [7, 7]


def test_a_model_without_classes_tells_of_none(runs: dict[str, Path], tmp_path: Path) -> None:
    answer = limner.sample(runs["vae"], count=2, npz=tmp_path / "a.npz", out=tmp_path / "out")
    assert (answer.labels, answer.texts, answer.sampling) == (None, None, {"truncation": 1.0})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"images", "seeds", "sampling", "request"}
    with Image.open(answer.files[0]) as picture:
        assert "label" not in picture.text  # type: ignore[attr-defined]


def test_an_array_file_of_samples_is_judged_with_its_classes_by_name(runs: dict[str, Path], tmp_path: Path) -> None:
    """Of a data set whose classes stand in another order, or are fewer."""
    names = limner.sample(runs["cgan"], count=12, npz=tmp_path / "a.npz", out=tmp_path / "out").labels
    digits = prepare("digits")
    for classes in (digits.classes, digits.classes[::-1], digits.classes[:4], ("a", "7", "3")):
        dataset = replace(digits, classes=classes)
        wanted = [classes.index(name) if name in classes else -1 for name in names or ()]
        for source in ("a.npz", "out"):
            labels = open_images(tmp_path / source, dataset).labels
            assert labels is not None
            assert labels.tolist() == wanted, (classes, source)
    none = open_images(tmp_path / "a.npz", replace(digits, classes=("a", "b")))
    assert none.labels is None
    assert "its labels were left aside, since none of its classes is one of digits" in none.notes


def test_a_budget_that_is_no_whole_number_of_batches_is_said(ask: Ask, tmp_path: Path) -> None:
    words = ["digits", "--preset", "vae", *SMALL[2:], "method.width=8", "method.latent=4", "--out", tmp_path]
    code, plan = ask("train", *words, "--images", "40", "--dry-run")
    assert (code, plan["images"]) == (0, 48)
    assert "images 48: 40 are no whole number of batches of 16" in plan["why"]
    code, answer = ask("train", *words, "--images", "40")
    assert (code, answer["images"]) == (0, 48)
    assert "images 48: 40 are no whole number of batches of 16" in answer["why"]
    status = json.loads((Path(answer["run"]) / "status.json").read_text())
    assert (status["images"], status["total"]) == (48, 48), "progress does not end beyond the total"
    code, answer = ask("resume", answer["run"], "--images", "50")
    assert (code, answer["images"], answer["why"]) == (0, 64, ["images 64: 50 are no whole number of batches of 16"])


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc")
@pytest.mark.parametrize("words", ["--out /proc/nope/a", "--npz /proc/nope.npz", "--npz /proc/nope/a.npz"])
def test_where_nothing_can_be_made_is_said_in_one_line(words: str, run: Path, ask: Ask) -> None:
    code, answer = ask("sample", run, "--count", "1", *words.split())
    assert (code, answer["error"].startswith("cannot write /proc/nope")) == (2, True), answer


def test_a_damaged_request_is_that_of_another_call(run: Path, ask: Ask, tmp_path: Path) -> None:
    """Also one whose brackets are nested deeper than Python's parser goes."""
    for number, text in enumerate(("[" * 100_000, "{", "[]", '{"request": 3}')):
        folder = tmp_path / f"out{number}"
        folder.mkdir()
        (folder / "request.json").write_text(text)
        code, answer = ask("sample", run, "--count", "1", "--out", folder)
        assert (code, "holds files of something else" in answer["error"]) == (2, True), answer


def test_a_failure_leaves_no_folder(run: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise limner.InputError("no space left")

    monkeypatch.setattr("limner.tasks.sampling.save_png", fail)
    assert ask("sample", run, "--count", "1")[0] == 2
    assert not list((run / "made").iterdir())


def test_embeddings_and_classifications_have_folders_too(runs: dict[str, Path], ask: Ask, tmp_path: Path) -> None:
    run = shutil.copytree(runs["vae"], tmp_path / "run")
    write(tmp_path / "one.png", encoded(textured(0, 8, 8, 1)))
    files = [ask("embed", run, tmp_path / "one.png")[1]["file"] for _ in range(2)]
    files += [ask("classify", run, tmp_path / "one.png")[1]["file"] for _ in range(2)]
    names = [Path(file).parent.name for file in files]
    assert names == ["0001-embed", "0002-embed", "0003-classify", "0004-classify"]
    assert json.loads(Path(files[3]).read_text())["labels"][0]["file"] == str(tmp_path / "one.png")


def test_calls_at_once_get_folders_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        names = [folder.name for folder in pool.map(lambda _: new_numbered_folder(tmp_path, "sample"), range(40))]
    assert sorted(names) == [f"{number:04d}-sample" for number in range(1, 41)]


def test_a_secret_of_an_address_is_not_written_down(tmp_path: Path, run: Path) -> None:
    from limner.runs.model import load
    from limner.runs.outputs import Call
    from limner.tasks.embed import EmbedRequest

    call = Call(EmbedRequest.of({"run": run, "sources": ["https://anna:geheim@host/a.zip?signature=5f"]}), load(run))
    assert call.as_json()["request"]["sources"] == ["https://host/a.zip"]


@pytest.mark.parametrize(
    "words",
    ["sample RUN", "interpolate RUN --seeds 1,2", "traverse RUN", "train digits", "data prepare digits", "classify RUN"],
)
@pytest.mark.parametrize("name", ["film.gif", "out.PNG", "film.mp4", "a.zip"])
def test_a_folder_is_not_called_like_a_film(words: str, name: str, runs: dict[str, Path], ask: Ask, tmp_path: Path) -> None:
    code, answer = ask(*words.replace("RUN", str(runs["cgan"])).split(), "--out", tmp_path / name)
    assert code == 2
    assert f"{name} is the name of a file" in answer["error"]
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["film.gif", "latents.npy", "latents.csv"])
def test_an_array_file_is_not_called_like_another(name: str, runs: dict[str, Path], ask: Ask, tmp_path: Path) -> None:
    for words in (("embed", runs["vae"], "--out"), ("sample", runs["cgan"], "--npz")):
        code, answer = ask(*words, tmp_path / name)
        assert code == 2
        assert name in answer["error"]


def test_classes_with_names_alike_have_two_folders(ask: Ask, tmp_path: Path) -> None:
    for number, name in enumerate(("a b", "a-b")):
        for image in range(12):
            write(tmp_path / "n" / name / f"{image}.png", encoded(textured(20 * number + image, 8, 8, 1)))
    words = ["train", tmp_path / "n", "--preset", "cgan", "--out", tmp_path / "runs", *SMALL, *NARROW]
    code, answer = ask(*words)
    assert code == 0, answer
    files = [ask("sample", answer["run"], "--label", name, "--count", "1")[1]["files"][0] for name in ("a b", "a-b")]
    assert len(set(files)) == 2
    assert [Image.open(file).text["label"] for file in files] == ["a b", "a-b"]  # type: ignore[attr-defined]


# ---- limner's own files as input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("metadata", [(), ("--no-metadata",)])
@pytest.mark.parametrize("verb", ["evaluate", "data prepare", "compare", "embed", "zip"])
def test_a_sheet_is_no_sample(
    verb: str, metadata: tuple[str, ...], run: Path, runs: dict[str, Path], ask: Ask, tmp_path: Path
) -> None:
    assert ask("sample", run, "--count", "12", "--grid", *metadata)[0] == 0
    samples = run / "made" / "0001-sample"
    assert (samples / "grid.png").is_file()
    if verb == "evaluate":
        code, answer = ask("evaluate", samples, "--data", "digits", "--metrics", "frechet", "--features", "pixels")
        assert (code, answer["count"]) == (0, 12), answer
        assert answer["rejected"][0]["file"] == "grid.png"
        assert "grid.png" in " ".join(answer["context"]["notes"])
        assert "grid.png" not in " ".join(answer["warnings"])
    elif verb == "compare":
        words = ("--data", "digits", "--metrics", "frechet", "--features", "pixels", "--count", "12")
        code, answer = ask("compare", samples, shutil.copytree(samples, tmp_path / "other"), *words)
        assert (code, answer["count"]) == (0, 12), answer
    elif verb == "embed":
        code, answer = ask("embed", runs["vae"], samples, "--out", tmp_path / "a.npz")
        assert (code, answer["count"]) == (0, 12), answer
    else:
        source = shutil.make_archive(str(tmp_path / "s"), "zip", samples) if verb == "zip" else samples
        code, answer = ask("data", "prepare", source, "--split", "none", "--out", tmp_path / "set")
        assert (code, answer["images"], answer["shape"]) == (0, 12, [8, 8, 1]), answer
        assert [one["file"] for one in answer["rejected"]] == ["grid.png"]


def test_sheets_of_all_verbs_are_recognised(runs: dict[str, Path], run: Path, ask: Ask, tmp_path: Path) -> None:
    """Of other verbs, under another name, from before they said so themselves; and the previews of a run."""
    write(tmp_path / "one.png", encoded(textured(0, 8, 8, 1)))
    for words in (("reconstruct", tmp_path / "one.png"), ("interpolate", "--seeds", "1,2,3"), ("traverse", "--steps", "3")):
        code, answer = ask(words[0], runs["vae"], *words[1:], "--out", tmp_path / words[0])
        assert code == 0, answer
        Path(answer["sheet"]).rename(tmp_path / words[0] / "renamed.png")
        write(tmp_path / words[0] / "more.png", encoded(textured(1, 8, 8, 1)))
        report = check(tmp_path / words[0], split="none")
        assert (report.images, [one.file for one in report.rejected]) == (len(answer["files"]) + 1, ["renamed.png"])
    with pytest.raises(limner.InputError, match="a sheet of several pictures"):
        check(run / "previews")
    old = tmp_path / "old"
    origin = {"recipe": "{}", "model": "5f", "seeds": "0-3"}
    for number in range(4):
        write(old / f"frame{number:04d}.png", encoded(textured(number, 8, 8, 1)))
    from limner.core.images import save_png

    save_png(old / "sheet.png", textured(9, 30, 30, 1), origin)
    assert check(old, split="none").images == 4
    assert check(old, split="none", rules=1).images == 5, "for runs of before it stays what it was"


def test_a_picture_called_grid_is_a_picture(tmp_path: Path) -> None:
    for name in ("grid.png", "sheet.png", "other.png"):
        write(tmp_path / "mine" / name, encoded(textured(len(name), 8, 8, 1)))
    assert check(tmp_path / "mine").images == 3


@pytest.mark.parametrize("verb", ["reconstruct", "classify"])
def test_a_sheet_in_a_folder_of_pictures_is_passed_over(verb: str, runs: dict[str, Path], ask: Ask, tmp_path: Path) -> None:
    assert ask("sample", runs["cgan"], "--count", "3", "--grid", "--out", tmp_path / "s")[0] == 0
    code, answer = ask(verb, runs["vae"], tmp_path / "s", "--out", tmp_path / "out")
    assert code == 0, answer
    assert len(answer["images" if verb == "reconstruct" else "labels"]) == 3
    code, answer = ask(verb, runs["vae"], tmp_path / "s" / "grid.png", "--out", tmp_path / "out2")
    assert code == 2
    assert "a sheet of several pictures" in answer["error"]


def labels_of(path: Path, dataset: Dataset) -> list[int]:
    labels = open_images(path, dataset).labels
    assert labels is not None
    return labels.tolist()


def test_samples_of_a_class_are_understood_as_that_class(run: Path, ask: Ask) -> None:
    """Of one call, of several calls at once, and in an archive: never by the names of the folders of calls."""
    for label in ("3", "4"):
        assert ask("sample", run, "--label", label, "--count", "12")[0] == 0
    digits = prepare("digits")
    assert set(labels_of(run / "made" / "0001-sample", digits)) == {3}
    assert sorted(labels_of(run / "made", digits)) == [3] * 12 + [4] * 12
    words = ("--data", "digits", "--metrics", "label_accuracy")
    code, one = ask("evaluate", run / "made" / "0001-sample", *words)
    assert code == 0, one
    code, both = ask("evaluate", run / "made", *words)
    assert (code, both["count"]) == (0, 24), both
    archive = shutil.make_archive(str(run / "both"), "zip", run / "made")
    code, packed = ask("evaluate", archive, *words)
    assert code == 0, packed
    assert packed["metrics"] == both["metrics"]
    assert one["metrics"].keys() == {"label_accuracy"}


@pytest.mark.parametrize("verb", ["embed", "classify", "reconstruct"])
@pytest.mark.parametrize("place", ["folder", "archive", "array"])
def test_a_folder_of_one_picture_is_one_picture(verb: str, place: str, runs: dict[str, Path], ask: Ask, tmp_path: Path) -> None:
    write(tmp_path / "one" / "0.png", encoded(textured(0, 8, 8, 1)))
    source: str | Path = tmp_path / "one"
    if place == "archive":
        source = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "one")
    elif place == "array":
        np.savez(tmp_path / "one.npz", images=textured(0, 8, 8, 1)[None])
        source = tmp_path / "one.npz"
    out = tmp_path / ("a.npz" if verb == "embed" else "out")
    code, answer = ask(verb, runs["vae"], source, "--out", out)
    assert code == 0, answer
    assert answer.get("count", 1) == 1
    if verb == "embed":
        with np.load(out) as arrays:
            assert np.array_equal(arrays["latents"], limner.load(runs["vae"]).encode_pictures(textured(0, 8, 8, 1)[None]))


# ---- what was set aside is said -----------------------------------------------------------------------------------------


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Forty digits, ten of which are cut short."""
    digits = prepare("digits")
    for number, image in enumerate(digits.images.gather(digits.indices("test")[:40])):
        write(tmp_path / "damaged" / f"{number:02d}.png", encoded(image)[: 40 if number < 10 else None])
    return tmp_path / "damaged"


def test_training_says_what_was_set_aside(damaged: Path, ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", str(damaged), "--preset", "dcgan", "--out", str(tmp_path / "runs"), *SMALL, *NARROW]
    assert main(words) == 0
    captured = capsys.readouterr()
    sentence = "10 files were set aside and 30 pictures are used"
    assert sentence in captured.out
    assert sentence in captured.err
    (run,) = (tmp_path / "runs").iterdir()
    assert sentence in (run / "log.txt").read_text()
    assert sentence in (run / "report.html").read_text()
    code, answer = ask("resume", run, "--images", "96")
    assert code == 0, answer
    assert sentence in answer["notes"][0]
    assert "00.png" in answer["notes"][0]


def test_judging_says_what_was_set_aside(damaged: Path, ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--data", "digits", "--metrics", "frechet", "--features", "pixels", "--out", tmp_path / "report")
    code, answer = ask("evaluate", damaged, *words)
    assert code == 0, answer
    assert len(answer["rejected"]) == 10
    sentence = "10 files were set aside and 30 pictures are used"
    assert sentence in " ".join(answer["warnings"])
    assert sentence in (tmp_path / "report" / "report.html").read_text()
    assert main(["evaluate", str(damaged), *map(str, words)]) == 0
    assert sentence in capsys.readouterr().out
    other = shutil.copytree(damaged, tmp_path / "other")
    code, answer = ask("compare", damaged, other, *words[:-2])
    assert code == 0, answer
    assert sum(sentence in note for note in answer["notes"]) == 2
    code, answer = ask("rate", damaged, "--data", "digits", "--count", "2", "--tasks", "untimed", "--out", tmp_path / "study")
    assert code == 0, answer
    assert sentence in " ".join(answer["warnings"])
    real = ask("evaluate", damaged, "--data", other, *words[2:6])[1]
    assert "the real pictures" in " ".join(real["context"]["notes"])


@pytest.mark.parametrize(("preset", "way"), [("dcgan", "method.labels=true"), ("vae", "preset cgan"), ("cgan", None)])
def test_training_says_that_classes_are_not_used(preset: str, way: str | None, ask: Ask, tmp_path: Path) -> None:
    code, answer = ask("train", "digits", "--preset", preset, "--dry-run", "--images", "64", "--out", tmp_path)
    assert code == 0, answer
    if way is None:
        assert answer["notes"] == []
    else:
        assert "10 classes of digits are not used" in answer["notes"][0]
        assert way in answer["notes"][0]


# ---- Python -------------------------------------------------------------------------------------------------------------


def test_settings_are_a_mapping_too(tmp_path: Path) -> None:
    settings = {
        "score.points": 0,
        "batch": {"size": 16},
        "data.mirror": True,
        "data.split": "0.1",
        "previews.count": np.int64(4),
    }
    plan = limner.train("digits", preset="vae", images=64, settings=settings, dry_run=True)
    recipe = plan.recipe  # type: ignore[union-attr]
    assert (recipe["score"]["points"], recipe["batch"]["size"], recipe["data"]["mirror"]) == (0, 16, True)
    assert (recipe["data"]["split"], recipe["previews"]["count"]) == ("0.1", 4)
    with pytest.raises(limner.InputError, match=r"unknown setting 'batch\.siez'"):
        limner.train("digits", settings={"batch": {"siez": 3}}, out=tmp_path)
    with pytest.raises(limner.InputError, match="is no value of a setting"):
        limner.train("digits", settings={"batch.size": object()}, out=tmp_path)


def test_pictures_are_understood_by_their_type(runs: dict[str, Path]) -> None:
    model = limner.load(runs["vae"])
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    latents = model.encode(images)
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    assert torch.equal(model.encode(tensor), latents)
    assert torch.allclose(model.encode(tensor / 127.5 - 1), latents, atol=1e-5)
    for wrong in (images / 255, images.astype(np.float32), images.astype(np.int64), images[0], [1, 2], "a.png", tensor.float()):
        with pytest.raises(limner.InputError) as caught:
            model.encode(wrong)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
    with pytest.raises(limner.InputError, match="uint8"):
        model.reconstruct(images / 255)  # type: ignore[arg-type]
    assert torch.equal(model.decode(latents.numpy()), model.decode(latents))
    for wrong_latents in ([1.0], torch.zeros(2, 99), np.zeros(4)):
        with pytest.raises(limner.InputError, match="latents"):
            model.decode(wrong_latents)  # type: ignore[arg-type]


def test_a_run_that_is_not_there_is_said_at_once(runs: dict[str, Path], tmp_path: Path) -> None:
    assert limner.Run(str(runs["vae"])).checkpoints()  # type: ignore[arg-type]
    with pytest.raises(limner.InputError, match="no run at"):
        limner.Run(str(tmp_path / "0001"))  # type: ignore[arg-type]
    for use in (limner.Run.recipe, limner.Run.checkpoint):
        with pytest.raises(limner.InputError, match="no run at"):
            use(limner.Run(tmp_path / "0001"))
    for wrong in (7.5, None, ["a"]):
        with pytest.raises(limner.InputError, match="named by a path"):
            limner.load(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("upscale a.png", "nothing here enlarges"),
        ("generate runs/1", "Did you mean 'sample'?"),
        ("data convert x", "Did you mean 'prepare'?"),
        ("train digits --epochs 5", "--images"),
        ("train digits --lr 3", "method.optimiser.lr="),
        ("train digits --colour", "data.channels="),
        ("sample runs/1 --n 5", "--count"),
        ("sample runs/1 --step 5", "--steps"),
        ("train digits data.colour=1", "'data.channels'"),
        ("train digits epochs=5", "'budget.images'"),
        ("train digits data.resolution=32", "'data.size'"),
        ("data prepare digits --resolution 5", "--size"),
    ],
)
def test_what_is_nearest_in_meaning_is_proposed(words: str, hint: str, ask: Ask) -> None:
    code, answer = ask(*words.split())
    assert code == 2
    assert hint in answer["error"]
    assert answer["error"].count("did you mean") <= 1


def test_python_proposes_what_is_nearest_in_meaning() -> None:
    with pytest.raises(limner.InputError, match="unknown option 'epochs'; did you mean 'images'"):
        limner.train("digits", epochs=3)
    with pytest.raises(limner.InputError, match="unknown option 'step'; did you mean 'steps'"):
        limner.sample("runs/1", step=3)
    with pytest.raises(limner.InputError, match=r"did you mean the setting 'method\.optimiser\.lr'"):
        limner.train("digits", lr=3)


def test_a_page_of_an_earlier_comparison_stays(
    runs: dict[str, Path], ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--metrics", "frechet", "--features", "pixels", "--count", "12", "--html")
    for out in ((), ("--out", tmp_path / "one")):
        pages = [Path(ask("compare", runs["cgan"], runs["vae"], *words, *out)[1]["page"]) for _ in range(2)]
        names = {path.name for path in pages[0].parent.iterdir()}
        assert names == {"compare.html", "compare.png", "compare-1.html", "compare-1.png"}

"""`limner evaluate` and `limner.evaluate`: any source of pictures, any detector, the report and its page, and bad input."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from contract.helpers import run_of, torchrun
from limner import evaluate, load
from limner.cli import main
from limner.core.files import checksum_fits
from limner.core.progress import Progress
from limner.core.seeds import SCORED_SEEDS
from limner.data.dataset import Images
from limner.data.prepare import prepare
from limner.evaluation import sample_scores
from limner.evaluation.report_page import display_name
from limner.judges.judge import judge_for
from limner.metrics.distribution.frechet import Null, frechet_null
from limner.metrics.features import inception
from limner.metrics.measure import metrics_of
from limner.metrics.memorisation.memorisation import contact_sheet, suspects
from limner.metrics.memorisation.nearest import nearest
from limner.metrics.metric import SampleMetric
from limner.pages.numbers import format_number
from limner.runs.run import Run
from made import folder, textured, tree_bytes, write
from made_inception import published_weights

Pixels = NDArray[np.uint8]
Ask = Callable[..., tuple[int, dict[str, Any]]]
PIXELS = ("--data", "digits", "--features", "pixels")
KEYS = {"value", "error", "null", "z", "p"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three checkpoints, of which the first and the last differ."""
    settings = ("checkpoints.every=0.5", "checkpoints.keep=9", "method.labels=true")
    return run_of("dcgan", tmp_path_factory.mktemp("runs"), *settings, images=320)


# ---- sources ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", ["judge", "pixels"])
def test_a_folder_an_array_file_and_arrays_get_the_same_numbers_to_the_last_digit(
    features: str, places: dict[str, Path], fakes: tuple[Pixels, NDArray[np.int64]], judge: Ask
) -> None:
    images, _ = fakes

    def singles() -> Iterator[Pixels]:
        yield from images

    def batches() -> Iterator[Pixels]:
        yield images[:50]
        yield images[50:]

    found = [judge(places[name], "--data", "digits", "--features", features) for name in ("folder", "plain.npz")]
    assert [code for code, _ in found] == [0, 0]
    answers = [answer for _, answer in found]
    answers += [evaluate(each, data="digits", features=features) for each in (images, singles(), batches())]
    for answer in answers[1:]:
        assert answer["metrics"] == answers[0]["metrics"]
        assert answer["count"] == len(images)
        assert (answer["features"], answer["reference"]) == (answers[0]["features"], answers[0]["reference"])
    expected = [name for name, row in metrics_of(SampleMetric).items() if row.default and name != "label_accuracy"]
    if features == "pixels":
        expected.remove("class_distance")
    assert list(answers[0]["metrics"]) == expected


def test_what_an_answer_says(places: dict[str, Path], judge: Ask, tmp_path: Path) -> None:
    code, answer = judge(places["plain.npz"], "--data", "digits", "--out", tmp_path / "out")
    assert code == 0
    assert {"metrics", "count", "features", "reference", "warnings", "context", "report", "page", "seconds"} <= set(answer)
    assert all(set(one) - {"p_floor"} == KEYS for one in answer["metrics"].values())
    data = prepare("digits")
    assert answer["reference"] == {"data": "digits", "fingerprint": data.fingerprint, "split": "test", "count": 180}
    known = judge_for(data)
    told = answer["features"]
    assert (told["name"], told["checksum"], told["dimensions"]) == ("judge", known.checksum, 64)
    assert told["held_out_accuracy"] == known.card.held_out_accuracy > 0.9
    assert told["about"] == {"resize": "none", "range": "-1..1"}
    note = "the real pictures were prepared at 8×8×1, as those that are judged are"
    assert answer["context"] == {"quantisation": "uint8, rounded", "seed": 0, "features_kept": [161, 180], "notes": [note]}
    assert any("161 samples are few" in text for text in answer["warnings"])
    assert answer["report"] == str(tmp_path / "out" / "report.json")
    stored = json.loads((tmp_path / "out" / "report.json").read_text())
    assert checksum_fits(stored)
    assert {key: value for key, value in stored.items() if key != "checksum"} == answer
    assert answer["classes"].keys() == {"samples", "real"}
    assert sum(answer["classes"]["real"].values()) == pytest.approx(1)
    noisy = answer["metrics"]
    assert answer["views"]["random-conv"]["z"] > 4
    assert abs(noisy["precision"]["z"]) > 4
    assert noisy["precision"]["p"] == pytest.approx(1 / 11)
    assert noisy["two_sample"]["p"] < 1e-3


def test_without_out_pictures_leave_nothing(places: dict[str, Path], judge: Ask, tmp_path: Path) -> None:
    before = tree_bytes(places["folder"].parent)
    code, answer = judge(places["folder"], *PIXELS)
    assert (code, answer["report"], answer["page"]) == (0, None, None)
    assert tree_bytes(places["folder"].parent) == before


def test_classes_come_from_an_array_file_and_from_sub_folders(
    places: dict[str, Path], fakes: tuple[Pixels, NDArray[np.int64]], judge: Ask
) -> None:
    images, labels = fakes
    logits = judge_for(prepare("digits")).logits(images)
    assert logits is not None
    expected = float((logits.argmax(1).numpy() == labels).mean())
    for name in ("labelled.npz", "sorted"):
        code, answer = judge(places[name], "--data", "digits", "--metrics", "label_accuracy")
        assert code == 0, answer
        assert answer["metrics"]["label_accuracy"]["value"] == pytest.approx(expected, abs=1e-12)
        assert 0.9 < answer["metrics"]["label_accuracy"]["null"] <= 1
    wrong = places["plain.npz"].with_name("wrong.npz")
    np.savez(wrong, images=images, labels=(labels + 1) % 10)
    assert judge(wrong, "--data", "digits", "--metrics", "label_accuracy")[1]["metrics"]["label_accuracy"]["value"] < 0.1


def test_fewer_are_the_first_in_a_seeded_order(places: dict[str, Path], judge: Ask) -> None:
    code, answer = judge(places["plain.npz"], *PIXELS, "--count", "50", "--metrics", "frechet")
    assert (code, answer["count"]) == (0, 50)
    assert judge(places["folder"], *PIXELS, "--count", "50", "--metrics", "frechet")[1]["metrics"] == answer["metrics"]
    code, answer = judge(places["plain.npz"], *PIXELS, "--count", "5000", "--metrics", "frechet")
    assert (code, answer["count"]) == (0, 161), "there are no more"


def test_a_prepared_folder_and_one_of_another_size(places: dict[str, Path], judge: Ask, tmp_path: Path) -> None:
    _, as_it_is = judge(places["folder"], *PIXELS)
    prepare(places["folder"], size=(8, 8), channels=1, split="none", out=tmp_path / "made")
    assert judge(tmp_path / "made", *PIXELS)[1]["metrics"] == as_it_is["metrics"]
    folder(tmp_path / "large", {"": 20}, height=16, width=16, channels=3)
    code, answer = judge(tmp_path / "large", *PIXELS)
    assert code == 0
    assert answer["context"]["notes"] == ["pictures were brought from 16×16 to 8×8 (crop, Lanczos)"]


def test_a_run_is_judged_by_its_samples(run: Run, judge: Ask) -> None:
    code, answer = judge(run.path, "--count", "120")
    assert code == 0, answer
    assert (answer["count"], answer["images_seen"], answer["run"]) == (120, 320, str(run.path))
    assert answer["report"] == str(run.path / "evaluations" / "000000320" / "report.json")
    assert Path(answer["page"]).is_file()
    samples = load(run.path).sample(range(SCORED_SEEDS, SCORED_SEEDS + 120))
    of_array = evaluate(samples, data="digits")["metrics"]
    assert set(answer["metrics"]) == {*of_array, "label_accuracy"}
    assert evaluate(samples, data="digits", metrics="frechet,mmd")["metrics"].keys() == {"frechet", "mmd"}
    for name, one in of_array.items():
        if name not in ("two_sample", "copies", "copies_double", "copies_nearer"):  # which depend on the order of pictures
            assert answer["metrics"][name]["value"] == pytest.approx(one["value"], rel=1e-9), name
            assert answer["metrics"][name]["null"] == one["null"]


def test_a_report_of_another_question_is_kept(places: dict[str, Path], judge: Ask, tmp_path: Path) -> None:
    def ask(*words: str) -> dict[str, Any]:
        code, answer = judge(places["plain.npz"], *PIXELS, "--out", tmp_path, *words)
        assert code == 0, answer
        return answer

    first = ask("--metrics", "frechet,mmd")
    page = Path(first["page"]).read_text()
    ask("--metrics", "frechet,mmd")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json", "samples.png"], "the same again"
    last = ask("--metrics", "frechet", "--count", "50")
    kept = json.loads((tmp_path / "report-1.json").read_text())
    assert checksum_fits(kept), "it names its new place, so it needs a new checksum"
    assert kept["metrics"] == first["metrics"]
    assert kept["report"] == str(tmp_path / "report-1.json")
    assert "mmd" in page
    assert ">mmd<" in Path(kept["page"]).read_text()
    assert json.loads((tmp_path / "report.json").read_text())["metrics"] == last["metrics"]
    ask("--metrics", "mmd")
    assert (tmp_path / "report-2.json").is_file()


def test_a_report_over_time_replaces_none_of_one_checkpoint(run: Run, judge: Ask, tmp_path: Path) -> None:
    words = ("--count", "64", "--features", "pixels", "--metrics", "frechet", "--out", tmp_path)
    alone = judge(run.path, *words)[1]
    judge(run.path, *words, "--checkpoint", "all")
    assert json.loads((tmp_path / "report-1.json").read_text())["metrics"] == alone["metrics"]
    assert "checkpoints" in json.loads((tmp_path / "report.json").read_text())


@pytest.mark.parametrize(("metrics", "said"), [(None, True), ("frechet", False)])
def test_what_few_pictures_leave_out_is_said_where_it_was_asked_for(metrics: str | None, said: bool) -> None:
    answer = evaluate(
        np.stack([textured(seed, 8, 8, 1) for seed in range(4)]), data="digits", features="pixels", metrics=metrics
    )
    told = "precision, recall, density, coverage need more than 5 pictures on both sides: left out"
    assert (told in answer["warnings"]) is said


def test_it_says_what_it_is_at(
    places: dict[str, Path], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    events: list[Progress] = []
    evaluate(run.path, count=40, features="pixels", metrics="frechet,copies", out=tmp_path, on_progress=events.append)
    assert list(dict.fromkeys(event.what for event in events)) == [
        "preparing the data",
        "drawing 40 samples",
        "preparing the features: pixels",
        "computing features of 180 real pictures",
        "computing features of the 40 pictures to be judged",
        "searching the training pictures for copies",
        "measuring frechet",
        "measuring copies",
    ]
    drawing = [event for event in events if event.what == "drawing 40 samples"]
    assert [(event.done, event.total) for event in drawing][-1] == (40, 40)
    for quiet, lines in ((0.0, 3), (1e9, 0)):  # in a log, only what comes after a while
        monkeypatch.setattr("limner.cli.progress.MIN_STAGE_SECONDS", quiet)
        assert main(["evaluate", str(places["plain.npz"]), *PIXELS, "--metrics", "frechet"]) == 0
        assert (
            len([line for line in capsys.readouterr().err.splitlines() if line.startswith(("computing features", "measuring"))])
            == lines
        )


def test_the_order_of_files_changes_no_digit(fakes: tuple[Pixels, NDArray[np.int64]], judge: Ask, tmp_path: Path) -> None:
    images, labels = fakes
    there = []
    for name, rows in (("one", np.arange(len(images))), ("other", np.random.default_rng(7).permutation(len(images)))):
        np.savez(tmp_path / f"{name}.npz", images=images[rows], labels=labels[rows])
        code, answer = judge(tmp_path / f"{name}.npz", "--data", "digits", "--count", "150")
        assert code == 0, answer
        there.append(answer["metrics"])
    assert there[0] == there[1]


def test_no_more_than_some_pictures_are_held_at_a_time(judge: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a data set that is read from disk, as many as make some megabytes, whatever is asked of them."""
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    np.savez(tmp_path / "some.npz", images=np.stack([textured(seed, 64, 64) for seed in range(40)]))
    most, original = [0], Images.gather

    def gather(self: Images, indices: NDArray[np.int64]) -> Pixels:
        most.append(len(indices))
        return original(self, indices)

    monkeypatch.setattr(Images, "gather", gather)
    code, answer = judge(tmp_path / "some.npz", *PIXELS, "--metrics", "frechet,mmd,coverage,copies,data_copying,sliced")
    assert code == 0, answer
    assert 1 < max(most) <= (1 << 23) // (64 * 64 * 3) < len(prepare("digits").indices("train"))


def test_every_checkpoint_over_time(run: Run, judge: Ask, tmp_path: Path) -> None:
    words = ("--count", "64", "--features", "pixels", "--metrics", "frechet,coverage")
    code, answer = judge(run.path, *words, "--checkpoint", "all", "--out", tmp_path / "out")
    assert code == 0, answer
    there = [checkpoint.images for checkpoint in run.checkpoints()]
    assert [row["images"] for row in answer["checkpoints"]] == there
    assert len(there) >= 2
    for row in answer["checkpoints"]:
        assert row["report"] == str(tmp_path / "out" / f"{row['images']:09d}" / "report.json")
        alone = judge(run.path, *words, "--checkpoint", str(row["images"]), "--out", tmp_path / "alone")[1]
        assert alone["metrics"] == row["metrics"] == json.loads(Path(row["report"]).read_text())["metrics"]
    assert answer["metrics"] == answer["checkpoints"][-1]["metrics"] != answer["checkpoints"][0]["metrics"]
    assert answer["report"] == str(tmp_path / "out" / "report.json")
    assert json.loads(Path(answer["report"]).read_text())["checkpoints"] == answer["checkpoints"]
    page = Path(answer["page"]).read_text()
    for row in answer["checkpoints"]:
        for name, one in row["metrics"].items():
            assert f"{name} {one['value']:.4g} at {row['images']:,} images" in page
        assert f'aria-label="enlarge: samples at {row["images"]:,} images"' in page


# ---- detectors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", ["pixels", "random-conv"])
def test_features_that_learned_nothing(features: str, places: dict[str, Path], judge: Ask) -> None:
    code, answer = judge(places["plain.npz"], "--data", "digits", "--features", features)
    assert (code, answer["features"]["name"]) == (0, features)
    assert "classes" not in answer
    assert answer["metrics"]["frechet"]["z"] > 4


def test_features_of_an_onnx_file(
    places: dict[str, Path], fakes: tuple[Pixels, NDArray[np.int64]], judge: Ask, tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    make = onnx.helper

    def file(name: str, shape: list[Any]) -> Path:
        inside, outside = (make.make_tensor_value_info(one, 1, of) for one, of in (("x", shape), ("y", None)))
        graph = make.make_graph([make.make_node("Identity", ["x"], ["y"])], "made", [inside], [outside])
        built = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
        return write(tmp_path / name, built.SerializeToString())

    def asked(path: Path) -> tuple[int, dict[str, Any]]:
        return judge(places["plain.npz"], "--data", "digits", "--features", path)

    path = file("same.onnx", ["N", 1, 8, 8])
    code, answer = asked(path)
    assert code == 0, answer
    assert answer["features"]["name"] == "same.onnx"
    pixels = judge(places["plain.npz"], *PIXELS)[1]["metrics"]  # of 8×8 pictures, pixels are the pictures as well
    for name in ("frechet", "mmd", "coverage", "pairwise"):
        assert answer["metrics"][name]["value"] == pytest.approx(pixels[name]["value"], rel=1e-4)
    large = asked(file("large.onnx", ["N", 3, 16, 12]))[1]["features"]
    assert (large["dimensions"], large["about"]["resize"]) == (3 * 16 * 12, "antialiased bilinear to 16×12")
    for wrong, words in (
        (write(tmp_path / "damaged.onnx", path.read_bytes()[:40]), "is no ONNX file that onnxruntime"),
        (file("four.onnx", ["N", 4, 8, 8]), "sees pictures of 4 channels, and these have 1"),
        (file("open.onnx", ["N", 1, "height", 8]), "leaves the size of its pictures open"),
    ):
        code, answer = asked(wrong)
        assert code == 2
        assert words in answer["error"]


def test_only_inception_s_distance_is_called_fid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, judge: Ask) -> None:
    weights = published_weights()
    monkeypatch.setattr("limner.metrics.features.inception._read", lambda _: weights)

    def short_null(features: Tensor, n: int, repeats: int, seed: int, m: int) -> Null:
        """Each repeat takes seconds for the eigenvectors of 2,048 dimensions."""
        return frechet_null(features, n, min(repeats, 2), seed, m=m)

    monkeypatch.setattr("limner.metrics.sample_metrics.frechet_null", short_null)
    data = folder(tmp_path / "data", {"": 24}, height=16, width=16)
    np.savez(tmp_path / "some.npz", images=np.stack([textured(100 + seed, 16, 16) for seed in range(12)]))
    words = (tmp_path / "some.npz", "--data", data, "--metrics", "frechet,mmd")
    code, answer = judge(*words, "--features", tmp_path / "any.pth", "--out", tmp_path / "inception")
    assert code == 0, answer
    assert (answer["features"]["name"], answer["features"]["checksum"]) == ("inception", inception.WEIGHTS.sha256)
    page = Path(answer["page"]).read_text()
    assert ">FID<" in page
    assert ">KID<" in page
    _, other = judge(*words, "--features", "pixels", "--out", tmp_path / "pixels")
    words_alone = re.sub(r"base64,[\w+/=]+", "", Path(other["page"]).read_text())  # a picture may spell anything
    assert "FID" not in words_alone
    assert [display_name("frechet", features) for features in ("inception", "judge", None)] == ["FID", "frechet", "frechet"]


# ---- what is kept -------------------------------------------------------------------------------------------------------


def test_the_second_time_the_reference_is_read(places: dict[str, Path], judge: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    _, first = judge(places["plain.npz"], "--data", "digits")

    def never(*_: object, **__: object) -> Any:
        raise AssertionError("computed anew")

    for name in ("references.summarise", "references.radii", "references.nearest", "judge.train_judge"):
        monkeypatch.setattr(f"limner.judges.{name}", never)
    for name in ("frechet_null", "mmd2_null", "neighbour_null", "diversity_null", "sliced.null"):
        monkeypatch.setattr(f"limner.metrics.sample_metrics.{name}", never)
    code, again = judge(places["plain.npz"], "--data", "digits")
    assert code == 0, again
    assert {**again, "seconds": 0} == {**first, "seconds": 0}


def test_another_count_has_nulls_of_its_own(places: dict[str, Path], judge: Ask) -> None:
    nulls = [judge(places["plain.npz"], *PIXELS, "--count", count)[1]["metrics"]["frechet"]["null"] for count in ("40", "160")]
    assert nulls[0] > 1.5 * nulls[1], "the distance is biased by about 1/N"


def test_one_damaged_byte_is_found_and_mended(
    places: dict[str, Path], judge: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    words = (places["plain.npz"], *PIXELS, "--count", "60")
    _, first = judge(*words)
    files = [path for path in (tmp_path / "cache" / "references").rglob("*") if path.is_file()]
    assert len(files) >= 8
    for path in files:
        whole = path.read_bytes()
        for place in (len(whole) // 2, len(whole) - 3):
            data = bytearray(whole)
            data[place] ^= 1
            path.write_bytes(data)
            code, again = judge(*words)
            assert code == 0, (path.name, again)
            assert again["metrics"] == first["metrics"], path.name
            assert path.read_bytes() == whole


# ---- faults (of MNIST: tests/slow/test_planted_faults.py) -----------------------------------------------------------------


def planted(fault: str) -> Pixels:
    data = prepare("digits")
    fine, learned = (data.images.gather(data.indices(split)) for split in ("val", "train"))
    noise = np.random.default_rng(0).normal(0, 40, fine.shape)
    made: Pixels = {
        "none": lambda: fine,
        "noise": lambda: (fine + noise).clip(0, 255).round().astype(np.uint8),
        "repeated": lambda: np.repeat(fine[:16], 10, axis=0),
        "copies": lambda: np.concatenate((learned[:16], fine[16:])),
        "mirrored": lambda: np.concatenate((learned[:16, :, ::-1], fine[16:])),
    }[fault]()
    return made


@pytest.mark.parametrize(
    ("fault", "far", "unlikely", "view"),
    [
        ("none", (), (), None),
        ("noise", ("precision", "coverage", "pairwise"), ("two_sample",), "random-conv"),
        ("repeated", ("sliced", "recall", "coverage", "vendi"), ("two_sample",), "pixels"),
        ("copies", (), ("copies", "copies_double", "copies_nearer"), None),
        ("mirrored", (), ("copies", "copies_double", "copies_nearer"), None),
    ],
)
def test_what_is_planted_in_digits_is_seen(
    fault: str, far: tuple[str, ...], unlikely: tuple[str, ...], view: str | None
) -> None:
    """By scores in the judge's features, or by the view that sees most: the judge alone cannot tell 161 noisy digits."""
    answer = evaluate(planted(fault), data="digits")
    found = answer["metrics"]
    sees_most = max(answer["views"], key=lambda name: answer["views"][name]["z"])
    assert (sees_most if answer["views"][sees_most]["z"] > 6 else None) == view
    assert {name for name in found if found[name]["z"] and abs(found[name]["z"]) > 6} >= set(far)
    assert {name for name in found if found[name]["p"] is not None and found[name]["p"] < 1e-3} == set(unlikely)
    if fault == "none":
        assert abs(found["frechet"]["z"]) < 4


# ---- the page -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "mirrored"), [("copies", 0), ("mirrored", 16)])
def test_the_page_says_of_what_kind_copies_are(fault: str, mirrored: int, judge: Ask, tmp_path: Path) -> None:
    np.savez(tmp_path / "some.npz", images=planted(fault))
    code, answer = judge(tmp_path / "some.npz", "--data", "digits", "--metrics", "copies", "--out", tmp_path / "out")
    assert code == 0, answer
    said = re.search(r"samples (\d+) are as near .* is: (\d+) of these", Path(answer["page"]).read_text())
    assert said is not None
    assert int(said[1]) >= 16
    assert abs(int(said[2]) - mirrored) <= 2
    assert any(
        re.match(r"\d+\.\d% of the samples are as near to a training picture as copies are", w) for w in answer["warnings"]
    )


def test_the_page_holds_every_number_and_nothing_that_runs(judge: Ask, tmp_path: Path) -> None:
    data = folder(tmp_path / "a<u>&c", {"<i>x": 60, "y&'z": 60}, height=8, width=8, channels=1)
    np.savez(tmp_path / "some.npz", images=np.stack([textured(500 + seed, 8, 8, 1) for seed in range(40)]))
    code, answer = judge(tmp_path / "some.npz", "--data", data, "--out", tmp_path / "out")
    assert code == 0, answer
    page = Path(answer["page"]).read_text()
    assert page.startswith("<!doctype html>")
    assert "default-src 'none'" in page
    assert "<script" not in page.lower()
    assert not re.search(r"https?:|//[a-z]|javascript:|\son\w+=", re.sub(r"data:image/png;base64,[^\"]*", "", page))
    assert "<u>" not in page
    for raw, escaped in (("<i>", "&lt;i&gt;"), ("y&'", "y&amp;&#39;")):
        assert raw not in page
        assert escaped in page
    rows = dict(re.findall(r"<tr><th>([a-z_]+)</th>(.*?)</tr>", page))
    for name, one in answer["metrics"].items():
        cells = re.findall(r"<td>(.*?)</td>", rows[name])
        assert cells[:5] == [format_number(one[key]) for key in ("value", "error", "null", "z", "p")], name
        assert cells[5], f"nothing says what {name} means"
    assert page.count("data:image/png;base64,") >= 2
    for heading in ("Scores", "Classes", "Precision and recall", "Facts", "Before you believe the numbers"):
        assert heading in page


def test_the_picture_of_precision_and_recall_says_what_the_scores_say(
    fakes: tuple[Pixels, NDArray[np.int64]], tmp_path: Path
) -> None:
    many = np.concatenate([fakes[0], prepare("digits").images.gather(np.arange(200))])  # more than there are real ones
    answer = evaluate(many, data="digits", features="pixels", out=tmp_path)
    page = Path(answer["page"]).read_text()
    for words, name in (("samples among real pictures", "precision"), ("real pictures that samples reach", "recall")):
        assert f"{words} <b>{answer['metrics'][name]['value']:.0%}</b>" in page


def test_the_page_shows_the_nearest_training_pictures(tmp_path: Path) -> None:
    data = prepare("digits")
    train = data.indices("train")
    samples = data.images.gather(data.indices("val"))
    samples[40] = data.images.gather(train[[7]])[0, :, ::-1]  # a mirrored copy
    page = Path(evaluate(samples, data="digits", features="pixels", out=tmp_path)["page"]).read_text()
    section = page.partition("<section><h2>Nearest training pictures</h2>")[2].partition("</section>")[0]
    (coded,) = re.findall(r'src="data:image/png;base64,([^"]*)"', section)
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(coded))))[..., None]
    found = nearest(samples, data.images, train)
    assert suspects(found, 1).tolist() == [40], "the copy comes first"
    assert np.array_equal(shown, contact_sheet(samples, data.images, found))
    assert (
        "Nearest training pictures"
        not in Path(
            evaluate(samples, data="digits", features="pixels", metrics=["frechet"], out=tmp_path / "less")["page"]
        ).read_text()
    ), "nobody asked"


def test_for_a_person(places: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(places["plain.npz"]), *PIXELS]) == 0
    out = capsys.readouterr().out
    assert "161 pictures against 180 real ones (digits, test)" in out
    assert "features  pixels" in out
    assert "beware    161 samples are few" in out
    assert not re.search(r"[{}]|None|nan", out)


# ---- processes ----------------------------------------------------------------------------------------------------------


def test_two_processes_answer_as_one(places: dict[str, Path], run: Run, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    words = (str(run.path), "--count", "300", "--features", "random-conv")
    code, out, err = torchrun("-m", "limner", "evaluate", *words, "--out", str(tmp_path / "two"), "--json")
    assert code == 0, err[-3000:]
    answer = json.loads(out)  # one object, of one process
    alone = evaluate(run.path, count=300, features="random-conv", out=tmp_path / "one")
    assert answer["metrics"] == alone["metrics"]
    assert answer["report"] == str(tmp_path / "two" / "report.json")
    assert (tmp_path / "two" / "samples.png").read_bytes() == (tmp_path / "one" / "samples.png").read_bytes()


def test_of_two_processes_one_has_stdout(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RANK", "1")
    assert main(["evaluate", "nowhere", "--json"]) == 2
    seen = capsys.readouterr()
    assert seen.out == ""
    assert "nowhere" in seen.err


# ---- gates --------------------------------------------------------------------------------------------------------------


def test_a_verdict_comes_with_the_judge_alone(places: dict[str, Path], judge: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for other features, or for single metrics, waits for no judge to be trained."""
    assert judge(places["plain.npz"], "--data", "digits")[1]["verdict"][0].startswith(("Far", "Recognisable"))
    monkeypatch.setattr(sample_scores, "judge_for", lambda *_: pytest.fail("nobody asked for the judge"))
    assert "verdict" not in judge(places["plain.npz"], *PIXELS)[1]
    assert "verdict" not in judge(places["plain.npz"], *PIXELS, "--metrics", "frechet")[1]


def test_a_gate_exits_with_3_after_the_report(places: dict[str, Path], judge: Ask, tmp_path: Path) -> None:
    plain = (places["plain.npz"], *PIXELS, "--metrics", "frechet,coverage")
    code, answer = judge(*plain, "--out", tmp_path / "a", "--fail-if", "frechet > 1000 or coverage > 0")
    assert code == 3
    assert answer["gate"] == {"condition": "frechet > 1000 or coverage > 0", "holds": True}
    assert Path(answer["report"]).is_file()
    assert answer["metrics"]["frechet"]["p_floor"] >= 1 / 101
    code, answer = judge(*plain, "--fail-if", "frechet > 1000")
    assert (code, answer["gate"]["holds"]) == (0, False)
    code, answer = judge(*plain, "--fail-if", "frechet.p < .001")
    assert (code, "is never below" in answer["error"]) == (2, True)
    code, answer = judge(*plain, "--fail-if", "vendi < 3")
    assert (code, "'vendi', which is not measured here" in answer["error"]) == (2, True)
    assert "gate" not in judge(*plain)[1]

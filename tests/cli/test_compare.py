"""`limner compare` as a person uses it: what is claimed and what is not, reports that are read again, pages, and bad input."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from limner import InputError, compare, evaluate
from limner.cli import main
from limner.core.images import grid
from limner.core.progress import OnProgress, Progress, silent
from limner.data.dataset import Dataset
from limner.data.prepare import prepare
from limner.evaluation import comparison
from limner.metrics.features.detectors import Detector
from limner.metrics.scores import METRICS_VERSION
from limner.metrics.stats.intervals import Estimate, difference
from limner.runs.model import load

SMALL = ["batch.size=32", "previews.count=4", "method.generator.width=16", "method.discriminator.width=8"]
QUICK = ["--features", "pixels", "--metrics", "frechet,coverage,vendi", "--count", "100"]
NONE = "no difference can be claimed"

Ask = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def ask(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """`ask(WHAT, …)` asks `compare`, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return partial(ask, "compare")


def train(out: Path, name: str, *words: str) -> Path:
    before = set(out.iterdir())
    given = ["train", "digits", "--preset", "dcgan", "--name", name, "--out", str(out), "--json", *SMALL, "score.points=3"]
    assert main([*given, "score.count=64", *words]) == 0
    (made,) = set(out.iterdir()) - before
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two trainings of one recipe, one of a shorter one, a run of other data; pictures as good and as bad as can be."""
    out = tmp_path_factory.mktemp("runs")
    found = {
        "one": train(out, "one", "--images", "640", "--seed", "0"),
        "two": train(out, "two", "--images", "640", "--seed", "1"),
        "short": train(out, "short", "--images", "64", "--seed", "0"),
        "other": train(out, "other", "--images", "64", "data.limit=400"),
        "colour": train(out, "colour", "--images", "64", "data.channels=3"),
    }
    digits = prepare("digits")
    real = digits.images.gather(digits.indices("train")[:400])
    files = tmp_path_factory.mktemp("files")
    for name, pictures in {
        "good": real[:150],
        "as good": real[150:350],
        "<b>bad & ugly": np.random.default_rng(0).integers(0, 256, (120, 8, 8, 1), np.uint8),
    }.items():
        np.savez(files / f"{name}.npz", images=pictures)
        found[name] = files / f"{name}.npz"
    (files / "folder").mkdir()
    for row, picture in enumerate(real[350:390]):
        Image.fromarray(picture[..., 0]).save(files / "folder" / f"{row}.png")
    found["folder"] = files / "folder"
    return found


@pytest.fixture
def fresh(made: dict[str, Path], tmp_path: Path) -> list[Path]:
    """Copies of two runs that nobody judged yet."""
    copies = [Path(shutil.copytree(made[name], tmp_path / "fresh" / made[name].name)) for name in ("one", "two")]
    for copy in copies:
        shutil.rmtree(copy / "evaluations")
    return copies


def words_of(answer: dict[str, Any], metric: str) -> list[str]:
    return [row["words"] for row in answer["differences"] if row["metric"] == metric]


# ---- what is claimed


def test_good_and_bad_are_told_apart_and_good_and_good_are_not(ask: Ask, made: dict[str, Path]) -> None:
    names = ["good", "as good", "<b>bad & ugly"]
    code, answer = ask(*(made[name] for name in names), "--data", "digits", *QUICK[:4])
    assert code == 0
    good, also, bad = (f"{name}.npz" for name in names)
    assert [row["name"] for row in answer["table"]] == [good, also, bad]
    assert words_of(answer, "frechet") == [
        f"{good} and {also}: {NONE}",
        f"{good} is better than {bad}",
        f"{also} is better than {bad}",
    ]
    assert [row["claim"] for row in answer["differences"] if row["metric"] == "coverage"] == [None, good, also]
    assert [row["claim"] for row in answer["differences"] if row["metric"] == "vendi"] == [None, None, None]
    assert answer["count"] == 120
    assert answer["notes"][0] == f"all are judged at 120 pictures, since {bad} has no more"
    assert answer["groups"] == []
    assert [row["verdict"] for row in answer["table"]] == [[], [], []], "the judge was not asked for"
    first = answer["table"][0]["metrics"]["frechet"]
    assert {"value", "error", "null", "z", "p", "p_floor", "low", "high"} == set(first)
    assert first["low"] < first["value"] < first["high"]
    assert (answer["page"], answer["sheet"]) == (None, None)


def test_single_runs_say_nothing_of_their_recipes(ask: Ask, made: dict[str, Path]) -> None:
    code, answer = ask(made["one"], made["short"], *QUICK)
    assert code == 0
    assert (answer["groups"], answer["group_differences"]) == ([], [])
    assert any("says nothing about their recipes" in note for note in answer["notes"])
    assert [(row["preset"], row["seed"], row["images"]) for row in answer["table"]] == [("dcgan", 0, 640), ("dcgan", 0, 64)]
    assert all(row["seconds"] > 0 for row in answer["table"])


def test_two_seeds_of_one_recipe_are_a_group(ask: Ask, made: dict[str, Path]) -> None:
    """One from each recipe would be no group; and a group alone has nothing to be compared with."""
    _, answer = ask(made["one"], made["two"], *QUICK)
    (group,) = answer["groups"]
    assert group["runs"] == [made["one"].name, made["two"].name]
    assert answer["group_differences"] == []
    assert not any("recipe" in note for note in answer["notes"])
    values = [row["metrics"]["frechet"]["value"] for row in answer["table"]]
    found = group["metrics"]["frechet"]
    assert found["mean"] == pytest.approx(np.mean(values))
    errors = [row["metrics"]["frechet"]["error"] for row in answer["table"]]
    error = max(
        abs(values[0] - values[1]) / 2, np.hypot(*errors) / 2
    )  # of two, the deviation of the mean is half of what they differ
    assert found["high"] - found["mean"] == pytest.approx(12.7062 * error, rel=1e-4), "Student's t of one degree of freedom"

    _, answer = ask(made["one"], made["two"], made["short"], *QUICK)
    assert [group["runs"] for group in answer["groups"]] == [[made["one"].name, made["two"].name]]
    assert any("recipes" in note for note in answer["notes"]), "the third is a single one"


def test_groups_are_compared_by_their_trainings(made: dict[str, Path], tmp_path: Path) -> None:
    """A second seed of the short recipe: 640 images beat 64 by the spread of trainings, not by that of samples."""
    (tmp_path / "more").mkdir()
    more = [train(tmp_path / "more", f"short{seed}", "--images", "64", "--seed", str(seed)) for seed in (1, 2)]
    answer = compare([made["one"], made["two"], made["short"], *more], features="pixels", metrics=["frechet"], count=100)
    long, short = answer["groups"]
    assert [len(long["runs"]), len(short["runs"])] == [2, 3]
    (row,) = answer["group_differences"]
    told = [each["metrics"]["frechet"] for each in answer["table"]]
    values = np.array([one["value"] for one in told])
    spread = [np.hypot.reduce([one["error"] for one in part]) / len(part) for part in (told[:2], told[2:])]
    over = [
        Estimate(float(part.mean()), max(float(part.std(ddof=1)) / len(part) ** 0.5, sampling), len(part) - 1)
        for part, sampling in zip((values[:2], values[2:]), spread, strict=True)
    ]
    assert row["difference"] == pytest.approx(over[0].value - over[1].value)
    assert row["p"] == pytest.approx(difference(*over).p)
    assert (row["low"], row["high"]) == pytest.approx(difference(*over).interval())
    assert not any("single run" in note for note in answer["notes"])


def test_a_model_and_pictures_side_by_side(ask: Ask, made: dict[str, Path]) -> None:
    code, answer = ask(made["one"], made["good"], made["folder"], *QUICK)
    assert code == 0
    assert answer["count"] == 40
    assert answer["notes"][0] == "all are judged at 40 pictures, since folder has no more"
    assert answer["reference"]["fingerprint"] == load(made["one"]).recipe.data.fingerprint
    claimed = {(row["a"], row["b"]): row["claim"] for row in answer["differences"] if row["metric"] == "frechet"}
    assert claimed[made["one"].name, "good.npz"] == "good.npz"
    assert claimed["good.npz", "folder"] is None


# ---- reports that are read again


def reused(answer: dict[str, Any]) -> list[bool]:
    return [row["reused"] for row in answer["table"]]


def test_a_report_is_read_again_where_it_says_the_same(ask: Ask, fresh: list[Path]) -> None:
    _, first = ask(*fresh, *QUICK)
    _, again = ask(*fresh, *QUICK)
    assert (reused(first), reused(again)) == ([False, False], [True, True])
    for key in ("differences", "groups", "notes"):
        assert first[key] == again[key]
    _, part = ask(*fresh, *QUICK[:2], "--metrics", "coverage", "--count", "100")
    assert reused(part) == [True, True]
    assert list(part["table"][0]["metrics"]) == ["coverage"]


def test_a_damaged_report_is_measured_anew(ask: Ask, fresh: list[Path]) -> None:
    _, first = ask(*fresh, *QUICK)
    (report,) = fresh[0].glob("evaluations/*/compared/report.json")
    text = report.read_text()
    value = str(json.loads(text)["metrics"]["frechet"]["value"])
    report.write_text(text.replace(value, f"9{value}"))
    _, again = ask(*fresh, *QUICK)
    assert reused(again) == [False, True]
    assert again["table"][0]["metrics"] == first["table"][0]["metrics"]


def test_scores_computed_in_another_way_are_measured_anew(ask: Ask, fresh: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the version of the scores, and not by the text of the source files, which a comment changes."""
    words = (*fresh, *QUICK[:2], "--metrics", "coverage", "--count", "60")
    ask(*words)
    (report,) = fresh[0].glob("evaluations/*/compared/report.json")
    assert json.loads(report.read_text())["limner"] == METRICS_VERSION
    for module in ("judging", "comparison"):
        monkeypatch.setattr(f"limner.evaluation.{module}.METRICS_VERSION", "another")
    assert [reused(ask(*words)[1]) for _ in range(2)] == [[False, False], [True, True]]


def test_a_persons_own_report_is_read_and_stays(ask: Ask, fresh: list[Path]) -> None:
    evaluate(fresh[0], features="pixels", metrics=["frechet", "coverage", "vendi"], count=100)
    (own,) = fresh[0].glob("evaluations/*/report.json")
    before = own.read_bytes()
    assert reused(ask(*fresh, *QUICK)[1]) == [True, False]
    assert reused(ask(*fresh, *QUICK[:4], "--count", "90")[1]) == [False, False]
    assert own.read_bytes() == before


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("limner",), "0" * 64),
        (("checkpoint",), "0" * 64),
        (("count",), 99),
        (("features", "checksum"), "0" * 64),
        (("reference", "fingerprint"), "0" * 64),
        (("reference", "split"), "val"),
        (("context", "seed"), 1),
        (("metrics",), {}),
        ((), None),
    ],
    ids=str,
)
def test_a_stale_report_is_not(ask: Ask, fresh: list[Path], place: tuple[str, ...], value: Any) -> None:
    """The number that it holds is wrong as well, and must not be believed."""
    _, first = ask(*fresh, *QUICK[:2], "--metrics", "frechet,coverage", "--count", "100")
    (path,) = fresh[0].glob("evaluations/*/compared/report.json")
    report = json.loads(path.read_text())
    del report["checksum"]  # as in a report of before there were any, which is believed as far as its facts are right
    report["metrics"]["frechet"]["value"] = 123.0
    path.write_text(json.dumps(report))
    believed = ask(*fresh, *QUICK[:2], "--metrics", "frechet,coverage", "--count", "100")[1]
    assert believed["table"][0]["metrics"]["frechet"]["value"] == 123.0
    inner = report
    for key in place[:-1]:
        inner = inner[key]
    if place:
        inner[place[-1]] = value
    path.write_text(json.dumps(report) if place else "{cut off")
    words = ["--metrics", "frechet,coverage"]
    _, again = ask(*fresh, *QUICK[:2], *words, "--count", "100")
    assert reused(again) == [False, True]
    assert again["table"][0]["metrics"] == first["table"][0]["metrics"]


def test_a_report_of_one_score_is_not_that_of_all(ask: Ask, fresh: list[Path]) -> None:
    evaluate(fresh[0], features="pixels", metrics=["frechet"], count=100)
    _, answer = ask(*fresh, "--features", "pixels", "--count", "100")
    assert reused(answer) == [False, False]
    assert {"frechet", "mmd", "recall", "copies"} <= set(answer["table"][0]["metrics"])
    assert reused(ask(*fresh, "--features", "pixels", "--count", "100")[1]) == [True, True]


def test_other_weights_are_judged_anew(ask: Ask, fresh: list[Path], made: dict[str, Path]) -> None:
    _, first = ask(*fresh, *QUICK)
    for name in ("one", "two"):
        other = "two" if name == "one" else "one"
        here = next(path for path in fresh if path.name == made[name].name)
        shutil.rmtree(here / "checkpoints")
        shutil.copytree(made[other] / "checkpoints", here / "checkpoints")
    _, again = ask(*fresh, *QUICK)
    assert reused(again) == [False, False]
    assert [row["metrics"] for row in again["table"]] == [row["metrics"] for row in first["table"]][::-1]


# ---- pages


def test_a_page(ask: Ask, made: dict[str, Path]) -> None:
    ugly = "<b>bad & ugly"
    code, answer = ask(made["one"], made["two"], made[ugly], *QUICK, "--html")
    assert code == 0
    name = f"comparisons/{made['one'].name}-{made['two'].name}-{ugly}.npz"
    assert answer["page"] == f"{name}/compare.html"
    text = Path(answer["page"]).read_text()
    assert "<script" not in text
    assert "default-src 'none'" in text
    assert not re.search(r"https?://", text)
    assert "<b>bad" not in text
    assert "&lt;b&gt;bad &amp; ugly.npz" in text
    assert f"{made['one'].name} is better than {ugly}.npz".replace("<b>bad & ", "&lt;b&gt;bad &amp; ") in text
    assert f"{made['one'].name} and {made['two'].name}: {NONE}" in text
    assert text.count('alt="pictures of ') == 3
    assert "Fréchet distance over images seen" in text, "two curves of training"
    assert f"recipe of {made['one'].name}" in text

    sheet = np.asarray(Image.open(answer["sheet"]))[..., None]
    for row, run in enumerate((made["one"], made["two"])):
        shown = grid(load(run).sample(range(36)))
        place = row * (shown.shape[1] + 12)
        assert (sheet[26 : 26 + shown.shape[0], place : place + shown.shape[1]] == shown).all(), "the first 36 seeds"


def test_where_it_is_asked_for(ask: Ask, made: dict[str, Path], tmp_path: Path) -> None:
    _, answer = ask(made["good"], made["as good"], "--data", "digits", *QUICK[:4], "--out", tmp_path / "here")
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["compare.html", "compare.png"]
    assert "Over time" not in (tmp_path / "here" / "compare.html").read_text(), "files were never trained"


def test_for_a_person(made: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["compare", str(made["one"]), str(made["two"]), str(made["good"]), *QUICK]) == 0
    out = capsys.readouterr().out
    assert re.search(rf"frechet .*good.npz is better than {made['one'].name}, {made['two'].name}", out)
    assert f"{made['one'].name} and {made['two'].name}: {NONE}" in out
    assert "100 pictures of each against 180 real ones (digits, test)" in out
    assert not re.search(r"[{}]|None|Path\(", out)


def test_how_near_each_is_stands_beside_the_claims(
    made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the view that sees most, as `evaluate` says it, where the judge and its metrics were asked for."""
    names = ["good", "<b>bad & ugly"]
    monkeypatch.chdir(tmp_path)
    words = ["compare", *(str(made[name]) for name in names), "--data", "digits", "--count", "60", "--html"]
    assert main(words) == 0
    out = capsys.readouterr().out
    lines = re.sub(r"\n {8,}", " ", out)
    assert re.search(r"^good\.npz +Copies: \d+\.\d% .*\. Too few to say: with 60 pictures ", lines, re.M), out
    assert re.search(r"^<b>bad & ugly\.npz +Far: taken together they are not like the real pictures", out, re.M)
    assert "&lt;b&gt;bad &amp; ugly.npz</th><td>Far: " in next(Path("comparisons").glob("*/compare.html")).read_text()


def test_reconstructions_are_compared_picture_by_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another seed of the same autoencoder: each mean is known to .3 dB or so, their difference far better."""
    monkeypatch.setattr("limner.methods.vae.base.PRIOR_IMAGES", 128)  # nothing is drawn from the prior
    given = [
        "train",
        "digits",
        "--preset",
        "vae",
        "--images",
        "3200",
        "score.points=0",
        *("method.components=2", "previews.count=4", "previews.every=1", "checkpoints.every=1"),  # each fits a mixture
        "--out",
        str(tmp_path / "runs"),
        "--json",
    ]
    for seed in ("0", "1"):
        assert main([*given, "--seed", seed]) == 0
    answer = compare(sorted((tmp_path / "runs").iterdir()), metrics=["psnr"], out=tmp_path / "page")
    assert (answer["features"], answer["reference"]["count"]) == (None, 180)
    (row,) = answer["differences"]
    apart = np.hypot(*(one["metrics"]["psnr"]["error"] for one in answer["table"]))
    assert 0 < row["high"] - row["low"] < 2 * apart, "half of what it would be of different pictures"
    assert row["difference"] == pytest.approx((row["low"] + row["high"]) / 2)
    assert "Student" in (tmp_path / "page" / "compare.html").read_text()


def test_data_by_name_are_still_those_that_were_trained_on(made: dict[str, Path], tmp_path: Path) -> None:
    """So that copies can be looked for; of other data nobody knows."""
    found = evaluate(made["one"], data="digits", features="pixels", metrics=["copies"], count=50, out=tmp_path)
    assert 0 <= found["metrics"]["copies"]["value"] <= 1
    with pytest.raises(InputError, match="copies"):
        evaluate(made["other"], data="digits", features="pixels", metrics=["copies"], count=50, out=tmp_path)


def test_two_processes_give_the_numbers_of_one(made: dict[str, Path], tmp_path: Path) -> None:
    """600 pictures are three chunks: in the last round the second process has none, and must know that there are classes."""
    words = ["compare", str(made["one"]), str(made["two"]), "--count", "600", "--metrics", "frechet,class_distance", "--json"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "limner", *words]
    done = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    shared = json.loads(done.stdout)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compare.html", "compare.png"]
    for name in ("one", "two"):
        shutil.rmtree(made[name] / "evaluations")
    alone = compare([made["one"], made["two"]], count=600, metrics=["frechet", "class_distance"])
    assert reused(alone) == [False, False]
    for one, other in zip(shared["table"], alone["table"], strict=True):
        assert one["metrics"]["class_distance"] == other["metrics"]["class_distance"]
        assert one["metrics"]["frechet"]["value"] == pytest.approx(other["metrics"]["frechet"]["value"], rel=1e-9)


# ---- what cannot be compared


def test_what_cannot_be_compared_is_said(ask: Ask, made: dict[str, Path], tmp_path: Path) -> None:
    one, two = made["one"], made["two"]
    twin = Path(shutil.copytree(one, tmp_path / "twin"))
    np.savez(tmp_path / "large.npz", images=np.zeros((9, 12, 12, 1), np.uint8))
    for number in (0, 1):
        np.savez(tmp_path / f"has{number}.npz", images=np.zeros((number, 8, 8, 1), np.uint8))
    for words, told in (
        ([one], "two runs or more"),
        ([one, one], "named twice"),
        ([one, one.parent / "." / one.name], "named twice"),
        ([one, twin], "the same weights"),
        ([one, made["other"]], "were not trained on the same pictures: data.limit is not set and 400; name one set"),
        ([one, tmp_path / "nowhere"], "no run at"),
        ([made["good"], made["as good"]], "--data SRC"),
        ([one, tmp_path / "large.npz"], "12×12×1"),
        ([one, tmp_path / "has1.npz"], "has1.npz has 1 picture, which is too few"),
        ([made["good"], tmp_path / "has1.npz", "--data", "digits"], "has1.npz has 1 picture, which is too few"),
        ([one, tmp_path / "has0.npz"], "has0.npz has no picture"),
        ([one, tmp_path / "has1.npz", "--count", "9"], "has1.npz has 1 picture, which is too few"),
        ([one, two, "--count", "1"], "--count 1"),
        ([one, two, "--metrics", "frechett"], "did you mean 'frechet'"),
        ([one, two, "--metrics", "disentanglement"], "comes without an error"),
        ([one, two, "--metrics", "elbo"], "bounds no likelihood"),
        ([one, two, "--features", "judg"], "did you mean 'judge'"),
        ([one, two, "--checkpoint", "7"], "no checkpoint '7'"),
    ):
        code, answer = ask(*words)
        assert code == 2, words
        assert told in answer["error"], answer


def test_runs_of_other_channels_compare_in_the_way_that_the_error_says(
    ask: Ask, made: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    one, colour = made["one"], made["colour"]
    for words in ((colour, one), (one, colour, "--data", "digits")):
        code, answer = ask(*words)
        assert code == 2
        assert ("(data.channels is 3 and 1)" in answer["error"]) == (len(words) == 2), "with --data the shapes alone matter"
        assert "8×8×3" in answer["error"]
        sample, compare_words = re.findall("`limner (.*?)`", answer["error"])
        assert sample == f"sample {colour} --count 1000 --out FOLDER"
        assert compare_words == f"compare {one} FOLDER"
    assert main(sample.replace("1000", "40").split()) == 0
    capsys.readouterr()
    code, answer = ask(*compare_words.split()[1:], *QUICK)
    assert code == 0
    assert answer["count"] == 40


def test_runs_of_different_data_compare_where_one_is_named(ask: Ask, made: dict[str, Path]) -> None:
    code, answer = ask(made["one"], made["other"], "--data", "digits", *QUICK)
    assert [row["settings"]["data.limit"] for row in answer["table"]] == [None, 400]
    assert code == 0
    assert answer["reference"]["fingerprint"] == prepare("digits").fingerprint
    text = compare([made["one"], made["other"]], data="digits", features="pixels", metrics=["frechet"], count=100, html=True)[
        "page"
    ]
    assert "Over time" not in Path(text).read_text(), "their own scores are against different pictures"


def test_a_gate_names_the_runs_that_fail(ask: Ask, made: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    names = ["good", "as good", "<b>bad & ugly"]
    what = [str(made[name]) for name in names]
    code, answer = ask(*what, "--data", "digits", *QUICK[:4], "--fail-if", "coverage < .2")
    assert code == 3
    assert answer["gate"] == {"condition": "coverage < .2", "holds": True, "runs": ["<b>bad & ugly.npz"]}
    assert main(["compare", *what[:2], "--data", "digits", *QUICK[:4], "--fail-if", "last.frechet > 9 * first.frechet"]) == 0
    assert "gate      passes: not last.frechet > 9 * first.frechet" in capsys.readouterr().out


def test_compare_says_what_it_does(made: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """It was silent for the minutes in which a judge was trained and thousands of samples were drawn."""
    open_detector = comparison.open_detector_for

    def train_first(dataset: Dataset, features: str, on_progress: OnProgress = silent) -> Detector:
        on_progress(Progress("training the judge", 1, 2))
        return open_detector(dataset, features)

    monkeypatch.setattr(comparison, "open_detector_for", train_first)
    events: list[Progress] = []
    options = {"features": "pixels", "metrics": ["frechet"], "count": 90}
    compare([made["one"], made["short"]], **options, on_progress=events.append)
    stages = list(dict.fromkeys(event.what for event in events))
    assert stages[0] == "opening what is compared"
    for run in ("one", "short"):
        names = [stage.partition(": ")[2] for stage in stages if stage.partition(":")[0].endswith(f"-{run}")]
        assert names[:2] == ["preparing the features: pixels", "training the judge"]
        assert "drawing 90 samples" in names
    assert any(event.done == event.total == 90 for event in events)
    assert stages[-1] == "comparing"

"""`limner rate` as a person uses it: a study of two runs, people who answer, what is said of them; and bad input on the way."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import raters
from limner.cli import main
from limner.evaluation.human.pictures import FIRST_STUDY_SEED, SEEDS_PER_STUDY
from limner.evaluation.human.records import read_judgement, read_key
from limner.pages.numbers import format_number
from limner.runs.model import load
from raters import Rater

SMALL = ["batch.size=32", "score.points=0", "previews.count=4", "method.generator.width=16", "method.discriminator.width=8"]

Ask = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    def run(*words: str | Path) -> tuple[int, dict[str, Any], str]:
        code = main(["rate", *map(str, words), "--json"])
        seen = capsys.readouterr()
        assert "Traceback" not in seen.out + seen.err
        answer = json.loads(seen.out)
        if code:
            assert set(answer) == {"error"}
            assert seen.err.splitlines()[-1] == f"limner: {answer['error']}"
        return code, answer, seen.err

    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    out = tmp_path_factory.mktemp("runs")
    for name, seed in (("one", 0), ("two", 1)):
        words = ["train", "digits", "--preset", "dcgan", "--images", "320", "--seed", str(seed), "--name", name]
        assert main([*words, "--out", str(out), "--json", *SMALL]) == 0
    return sorted(out.iterdir())


@pytest.fixture(scope="module")
def study(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies") / "study"
    assert main(["rate", *map(str, runs), "--count", "6", "--out", str(folder), "--json"]) == 0
    return folder


def answered(folder: Path, rater: Rater, people: int, seed: int = 0) -> Path:
    """People sit at the study, and each sends a file."""
    key, rng = read_key(folder), np.random.default_rng(seed)
    for number in range(people):
        rows = raters.sitting(key, rater.differing(rng, 0.2, 0.3), rng)
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "answers" / f"{seed}-{number}.jsonl").write_text(lines)
    return folder / "answers"


@pytest.mark.parametrize(("split", "warned"), [("none", True), ("0.3", False)])
def test_real_pictures_that_are_trained_on_are_warned_of(split: str, warned: bool, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 1), dtype=np.uint8)
    (tmp_path / "real").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(tmp_path / "real" / f"{number}.png")
    assert main(["data", "prepare", str(tmp_path / "real"), "--split", split, "--out", str(tmp_path / "set"), "--json"]) == 0
    np.savez(tmp_path / "made.npz", images=images)
    words = [tmp_path / "made.npz", "--data", tmp_path / "set", "--count", "2", "--out", tmp_path / "study"]
    made = subprocess.run(
        [sys.executable, "-m", "limner", "rate", *map(str, words)], capture_output=True, text=True, check=True
    ).stdout
    assert ("nothing of" in made) == warned
    assert (read_key(tmp_path / "study").reals.split == "train") == warned


def test_another_checkpoint_at_the_same_path_is_another_study(runs: list[Path], tmp_path: Path, ask: Ask) -> None:
    keys = []
    for number, run in enumerate((*runs, runs[0])):
        shutil.rmtree(tmp_path / "it", ignore_errors=True)
        shutil.copytree(run, tmp_path / "it")
        assert ask(tmp_path / "it", "--count", "2", "--out", tmp_path / str(number))[0] == 0
        keys.append(read_key(tmp_path / str(number)))
    first, second, again = keys
    assert (first.runs[0].path, first.runs[0].checkpoint) == (second.runs[0].path, second.runs[0].checkpoint)
    assert first.study != second.study
    assert first == again


def test_samples_are_of_seeds_that_nobody_was_shown(runs: list[Path], study: Path) -> None:
    key = read_key(study)
    held = json.loads((study / "study.html").read_text().split('application/json">')[1].split("</script>")[0])
    for number, run in enumerate(runs):
        model = load(run)
        seen = {name: one.number for name, one in key.pictures.items() if one.run == number}
        assert all(FIRST_STUDY_SEED <= seed < FIRST_STUDY_SEED + SEEDS_PER_STUDY for seed in seen.values())
        assert key.runs[number].checkpoint == model.checkpoint.images
        assert key.runs[number].digest == model.checkpoint.digest()
        drawn = model.sample(list(seen.values()))
        for picture, name in zip(drawn, seen, strict=True):
            text = held["pictures"][held["names"].index(name)]
            assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) == picture[..., 0]).all()


def test_from_runs_to_a_claim(ask: Ask, runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, made, _ = ask(*runs, "--count", "6")
    assert code == 0
    assert made["study"] == "studies/0001-digits"
    assert made["runs"] == [run.name for run in runs]
    assert [row["task"] for row in made["table"]] == ["timed", "untimed", "pairs"]
    assert made["reals"] == {"data": "digits", "split": "test"}
    assert ask(*runs, "--count", "6", "--seed", "1")[1]["study"] == "studies/0002-digits"

    folder = Path(made["study"])
    answered(folder, Rater((2.2, 0.3), (-0.8, 0.8)), 25)
    code, answer, _ = ask(folder, "--analyse")
    assert code == 0
    assert answer["people"]["kept"] == 25
    assert [row["claim"] for row in answer["comparisons"]] == [runs[1].name] * 3
    assert len(answer["table"]) == 6
    assert json.loads(Path(answer["report"]).read_text()) == answer
    files = sorted((folder / "answers").glob("*.jsonl"))
    assert ask("--analyse", *files)[1]["table"] == answer["table"]

    (other := tmp_path / "same").mkdir()
    code, made, _ = ask(*runs, "--count", "6", "--tasks", "pairs", "--out", other / "study")
    answered(other / "study", Rater((1.0, 1.0), (0.0, 0.0)), 12)
    code, answer, _ = ask(other / "study", "--analyse")
    assert answer["comparisons"][0]["claim"] is None
    assert "no difference can be claimed" in answer["comparisons"][0]["words"]


def test_what_came_out_as_a_page(ask: Ask, runs: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "study"
    np.savez(tmp_path / "<i>ink.npz", images=np.random.default_rng(0).integers(0, 256, (99, 8, 8, 1), np.uint8))
    ask(*runs, tmp_path / "<i>ink.npz", "--count", "6", "--out", folder)
    answered(folder, Rater((2.2, 0.0, 2.2), (-0.8, 0.8, -0.8)), 30)
    code, answer, _ = ask(folder, "--analyse", "--html")
    assert code == 0
    assert answer["page"] == str(folder / "analysis.html")
    text = (folder / "analysis.html").read_text()
    assert "<script" not in text
    assert "default-src 'none'" in text
    assert "<i>" not in text
    one, two = (run.name for run in runs)
    assert f"{two} is preferred to &lt;i&gt;ink.npz" in text
    assert f"{one} and &lt;i&gt;ink.npz: no difference can be claimed" in text
    assert f"{two} is harder to tell from real pictures than {one}" in text
    for row in answer["table"]:
        shown = row["strength"] if row["task"] == "pairs" else row["d_prime"]
        assert f"[{format_number(shown['low'])}, {format_number(shown['high'])}]" in text
    assert text.count("<figure") == 3 * 2 + 1, "three numbers of either way to look, and strengths"

    few = tmp_path / "few"
    ask(*runs, "--count", "6", "--out", few)
    answered(few, Rater((1.0, 1.0), (0.0, 0.0)), 5)
    ask(few, "--analyse", "--html")
    text = (few / "analysis.html").read_text()
    assert "Of fewer than 8 people no interval is known, and so nothing is claimed." in text
    assert "[" not in text.split("<main>")[1]
    assert ask(few, "--analyse")[1]["page"] is None


def test_for_a_person(runs: list[Path], study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rate", str(runs[0]), "--count", "4", "--out", str(tmp_path / "one")]) == 0
    out = capsys.readouterr().out
    assert "study.html" in out
    assert "about 3 minutes" in out
    assert "Ctrl-C" not in out, "nothing is served"
    files = sorted(answered(study, Rater((2.0, 0.0), (-1.0, 1.0)), 10, seed=1).glob("1-*.jsonl"))
    lazy = [row | {"answer": "generated"} for row in map(json.loads, files[0].read_text().splitlines())]
    files[0].write_text("".join(json.dumps(row) + "\n" for row in lazy if row["task"] != "pairs") + "{\n")
    assert main(["rate", str(study), *map(str, files), "--analyse"]) == 0
    out = capsys.readouterr().out
    assert "9 of 10 people" in out
    assert "left out" in out
    assert "set aside: 1 not a judgement" in out
    assert f"{runs[1].name} is preferred to {runs[0].name}" in out
    assert f"timed: {runs[1].name}: against real pictures, no difference can be claimed" in out
    assert "None" not in out


def browse(page: Path, profile: Path, milliseconds: int) -> str:
    """The page as it stands after so much time in a narrow browser."""
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    command += ["--window-size=400,700", f"--virtual-time-budget={milliseconds}", "--dump-dom", f"file://{page}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


BROWSER = pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")


@pytest.mark.slow
@BROWSER
def test_a_browser_runs_the_page_from_disk(study: Path, tmp_path: Path) -> None:
    """Its content policy lets its own script run, which shows the first screen and the examples."""
    page = browse(study / "study.html", tmp_path, 4000)
    assert '<section id="welcome">' in page, "shown"
    assert '<section id="trial" aria-labelledby="question" hidden="">' in page, "hidden"
    assert page.count('alt="real picture ') == 8
    assert "stay in this browser until you send them" in page
    assert "about 5 minutes" in page


FRAMES = "<script>requestAnimationFrame = (next) => setTimeout(() => next(performance.now()), 16);</script>"
"""A browser that dumps a page draws no frames."""
PERSON = """<script>
const widths = {one: new Set(), two: new Set()}, tops = new Set();
const going = setInterval(() => {
  if (!$("trial").hidden) tops.add($("a").getBoundingClientRect().top + scrollY);
  if (!$("trial").hidden && $("tie").hidden)
    for (const id of ["one", "two"]) if (!$(id).hidden) widths[id].add($(id).getBoundingClientRect().width);
  if (!$("done").hidden) {
    clearInterval(going);
    const seen = {picture: [...widths.one], mask: [...widths.two], tops: [...tops], text: $("text").value};
    document.body.dataset.seen = btoa(JSON.stringify(seen));
  } else if (!$("welcome").hidden) $("begin").click();
  else if (!$("brief").hidden) $("start").click();
  else if (!$("on").hidden) $("on").click();
  else if ($("a").getAttribute("aria-disabled") === "false")
    dispatchEvent(new KeyboardEvent("keydown", {key: $("tie").hidden ? "ArrowLeft" : "ArrowDown"}));
}, 10);
</script>"""


@pytest.mark.slow
@BROWSER
def test_a_person_sits_through_the_page(runs: list[Path], tmp_path: Path) -> None:
    """By keys alone, to the end. The mask covers the picture, buttons stay where they are, and every line fits the key."""
    words = ["rate", *map(str, runs), "--count", "2", "--exposure", "100", "--out", str(tmp_path / "study")]
    assert main([*words, "--json"]) == 0
    text = (tmp_path / "study" / "study.html").read_text()
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', FRAMES, text).replace("</body>", PERSON + "</body>")
    (tmp_path / "sat.html").write_text(text)
    found = re.search(r'data-seen="([^"]+)"', browse(tmp_path / "sat.html", tmp_path / "profile", 120_000))
    assert found is not None, "came to the end"
    seen = json.loads(base64.b64decode(found[1]))
    assert len(seen["picture"]) == 1
    assert seen["mask"] == seen["picture"]
    assert len(seen["tops"]) == 1, seen["tops"]
    key = read_key(tmp_path / "study")
    judgements = [read_judgement(line) for line in seen["text"].splitlines()]
    assert [key.fault(one) for one in judgements] == [None] * len(key.forms[0])
    assert [one.trial for one in judgements] == list(range(len(key.forms[0])))
    said = {one.answer for one in judgements if one.task != "pairs"}
    assert said == {"generated" if judgements[0].form % 2 else "real"}, "the left one"
    assert {one.answer for one in judgements if one.task == "pairs"} == {"tie"}
    assert all(one.exposure is not None and 90 <= one.exposure <= 160 for one in judgements if one.task == "timed")


def test_served_until_it_is_stopped(study: Path) -> None:
    command = [sys.executable, "-m", "limner", "rate", str(study), "--serve", "--port", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    assert process.stdout is not None
    try:
        answer = json.loads(process.stdout.readline())
        assert answer["url"].startswith("http://127.0.0.1:")
        line = http.client.HTTPConnection(answer["url"].split("/")[2], timeout=30)
        line.request("GET", "/")
        assert line.getresponse().read() == (study / "study.html").read_bytes()
        row = next(raters.sitting(read_key(study), Rater((1.0, 1.0), (0.0, 0.0)), np.random.default_rng(0)))
        line.request("POST", "/judgements", json.dumps(row), {"Content-Type": "application/json"})
        assert line.getresponse().status == 204
        line.close()
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out == "", "one object, and it was read"
    assert "1 judgements added" in err
    assert "Traceback" not in err
    kept = study / "answers" / "served.jsonl"
    assert [json.loads(one) for one in kept.read_text().splitlines()] == [row]
    kept.unlink()


def test_what_was_mistyped_is_said(ask: Ask, runs: list[Path], study: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "key.json").write_text("{}")
    for words, told in (
        ([], "nothing to rate"),
        ([tmp_path / "nowhere"], "no run at"),
        ([study], "--serve"),
        ([*runs, "--out", study], "is there already"),
        ([runs[0], runs[0]], "named twice"),
        ([*runs, "--count", "0"], "--count 0"),
        ([*runs, "--count", "100"], "smaller --count"),
        ([*runs, "--tasks", "pears"], "did you mean 'pairs'"),
        ([runs[0], "--tasks", "pairs"], "two runs or more"),
        ([*runs, "--seed", "-3"], "--seed -3"),
        ([*runs, "--data", "mnits"], "mnits"),
        ([*runs, "--checkpoint", "7"], "7"),
        ([study, "--serve", "--port", "99999"], "--port"),
        ([tmp_path / "broken", "--serve"], "damaged"),
        ([study, "--analyse", "--serve"], "--analyse reads"),
        ([*runs, "--html"], "--analyse"),
        (["--analyse"], "no study"),
        ([tmp_path / "broken", "--analyse"], "damaged"),
        ([study, tmp_path / "empty.jsonl", "--analyse"], "empty"),
        ([study, tmp_path / "none.jsonl", "--analyse"], "none.jsonl"),
        ([*runs, "--count", "many"], "--count"),
    ):
        code, answer, _ = ask(*words)
        assert code == 2, words
        assert told in answer["error"], answer
        assert "\n" not in answer["error"]


def test_runs_of_different_data_need_to_be_told_what_is_real(
    ask: Ask, runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "digits", "--preset", "dcgan", "--images", "64", "--name", "few", "data.limit=300"]
    assert main([*words, "--out", str(tmp_path / "runs"), "--json", *SMALL]) == 0
    few = next((tmp_path / "runs").iterdir())
    capsys.readouterr()
    code, answer, _ = ask(runs[0], few, "--count", "2", "--out", tmp_path / "study")
    assert code == 2
    assert "--data SRC" in answer["error"]
    code, answer, _ = ask(runs[0], few, "--count", "2", "--out", tmp_path / "study", "--data", "digits")
    assert code == 0

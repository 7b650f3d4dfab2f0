"""The scores of a run's checkpoints, as every verb tells them: which one was used, on which pictures, and which is better."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import limner
from limner.cli import main
from limner.cli.show.tables import format_value
from limner.core.files import write_json
from limner.runs.evaluations import EvaluatedDistance, describe_report, latest_distance
from limner.runs.listing import list_runs
from limner.runs.report import render_report
from limner.runs.run import Run
from limner.runs.validation import ValidationScores, describe_checkpoint
from parsed_page import Page

SMALL = ["batch.size=32", "previews.count=4", "score.points=2", "score.count=40", "checkpoints.every=0.5", "checkpoints.keep=3"]
SCORED_ON = {"split": "val", "pictures": 360}


def row(images: int, frechet: float, error: float | None = 0.5) -> dict[str, float]:
    own = {"images": images, "frechet": frechet, "null": 6.84, "seconds": 1.0}
    return own if error is None else own | {"error": error}


@pytest.mark.parametrize(
    ("last", "error", "better"),
    [(44.6, 0.5, True), (42.8, 0.5, False), (44.6, 1.5, False), (44.6, None, False), (44.6, 0.0, False)],
    ids=["beyond the errors", "within them", "large errors", "errors unknown", "too few samples for an error"],
)
def test_the_best_checkpoint_is_better_only_beyond_the_errors(last: float, error: float | None, better: bool) -> None:
    scores = ValidationScores.of([row(500, 41.6, error), row(640, last, error)], (500, 640), SCORED_ON)
    assert scores is not None
    assert scores.best_is_better is better
    assert (scores.hint() is not None) is better


def test_scores_of_checkpoints_that_are_gone_do_not_count() -> None:
    rows = [row(100, 30.0), row(500, 41.6), row(640, 44.6)]
    scores = ValidationScores.of(rows, (500, 640, 700), SCORED_ON)
    assert scores is not None
    assert (scores.best.images, scores.last, scores.last_images) == (500, None, 700)
    assert not scores.best_is_better, "nobody scored the last one"
    assert ValidationScores.of(rows, (700,), SCORED_ON) is None
    assert ValidationScores.of([], (700,), SCORED_ON) is None
    damaged = [{"images": "many", "frechet": 1.0}, {"images": 3, "frechet": None}, {}]
    assert ValidationScores.of(damaged, (), SCORED_ON) is None


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two checkpoints, of 32 and 64 images."""
    out = tmp_path_factory.mktemp("runs")
    assert main(["train", "digits", "--preset", "gan", "--images", "64", "--out", str(out), *SMALL]) == 0
    return next(out.iterdir())


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Run:
    """A copy of it whose last checkpoint scored clearly worse than the first."""
    run = Run(Path(shutil.copytree(trained, tmp_path / "0001-digits")))
    (run.path / "scores.jsonl").write_text("".join(json.dumps(one) + "\n" for one in (row(32, 41.6), row(64, 44.6))))
    return run


LAST = "the last checkpoint, at 64 images; Fréchet distance while training 44.6 ± 0.5 (real pictures get 6.84)"
BETTER = "the best checkpoint, at 32 images, scored clearly better while training: Fréchet distance 41.6 ± 0.5"


def test_training_records_errors_and_its_end_tells_the_score(trained: Path) -> None:
    scores = Run(trained).scores()
    assert [one["images"] for one in scores] == [32, 64]
    assert all(0 < one["error"] < one["frechet"] for one in scores)
    (line, *_) = describe_checkpoint(Run(trained), 64)
    assert f"by {Run(trained).provenance()['scored_on']['pictures']} pictures of the validation split" in line
    assert line in (trained / "log.txt").read_text(), "the end of training says it"


def test_resuming_a_finished_run_tells_it(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resume", str(run.path)]) == 0
    out = capsys.readouterr().out
    assert LAST in out
    assert BETTER in out
    assert "take it with --checkpoint best" in out


def test_every_verb_on_a_model_says_which_checkpoint_it_used(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["sample", str(run.path), "--count", "2"], ["interpolate", str(run.path), "--seeds", "0,1", "--steps", "2"]):
        assert main(words) == 0
        out = capsys.readouterr().out
        assert LAST in out
        assert BETTER in out
        assert main([*words, "--checkpoint", "best"]) == 0
        out = capsys.readouterr().out
        assert "the best checkpoint, at 32 images; Fréchet distance while training 41.6 ± 0.5" in out
        assert "take it with" not in out, "it is taken"
    notes = limner.sample(run.path, count=1)["checkpoint_notes"]
    assert [note.split(";")[0] for note in notes] == ["the last checkpoint, at 64 images", notes[1].split(";")[0]]
    (run.path / "scores.jsonl").write_text("{broken\n")
    assert limner.sample(run.path, count=1)["checkpoint_notes"] == ["the last checkpoint, at 64 images"]


def test_evaluate_page_list_and_comparison_tell_one_story(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", str(run.path), "--count", "40", "--metrics", "frechet"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert LAST in out
    assert BETTER in out
    page = Page(render_report(run.path)).text
    for text in (
        "best Fréchet distance",
        "last Fréchet distance",
        "of the validation split. Verbs such as sample and evaluate use the last checkpoint, at 64 images",
        BETTER[1:],
        "As evaluated after 64 images, 40 samples against 180 pictures of the test split: Fréchet distance",
    ):
        assert text in page, text
    (listed,) = list_runs(run.path.parent)
    report = json.loads(next(run.path.glob("evaluations/*/report.json")).read_text())
    assert (listed["score"], listed["best_score"], listed["real_score"]) == (44.6, 41.6, 6.84)
    assert listed["evaluated"] == report["metrics"]["frechet"]["value"]
    assert listed["evaluated_count"] == 40
    assert main(["runs", str(run.path.parent)]) == 0
    out = capsys.readouterr().out
    assert "last score" in out
    assert f" {format_value(listed['evaluated'])} (40)" in out
    assert "evaluated on held-out pictures by `limner evaluate`" in out
    twin = Path(shutil.copytree(run.path, run.path.parent / "0002-twin"))
    shutil.rmtree(twin / "checkpoints" / f"{64:09d}")
    quick = ["--count", "40", "--features", "pixels", "--metrics", "frechet"]
    assert main(["compare", str(run.path), str(twin), *quick]) == 0
    assert f"0001-digits: {BETTER}" in capsys.readouterr().out


def test_reports_in_other_features_or_on_other_data_are_not_the_score_of_the_list(run: Run) -> None:
    folder = run.path / "evaluations" / f"{64:09d}"
    for name, features, fingerprint in (("a", "pixels", "own"), ("b", "judge", "other")):
        report = {
            "features": {"name": features},
            "metrics": {"frechet": {"value": 7.0}},
            "reference": {"fingerprint": fingerprint, "split": "test", "count": 9},
            "count": 5,
        }
        write_json(folder / f"report-{name}.json", report)
        assert latest_distance(run.path, "own") is None
    write_json(folder / "compared" / "report.json", report | {"reference": {"fingerprint": "own"}})
    assert latest_distance(run.path, "own") is None, "that is of a comparison, at its number of pictures"
    assert describe_report(report) == "5 samples against 9 pictures of the test split: Fréchet distance 7"
    assert describe_report({}) == describe_report({"features": [], "metrics": 3, "reference": None}) == ""


def test_a_quick_look_does_not_take_the_place_of_an_evaluation(run: Run) -> None:
    """`limner evaluate RUN --count 5` became the run's verdict, and its distance in the list, beside which no number stood."""
    reference = {"fingerprint": "own", "split": "test", "count": 9}

    def write(name: str, hour: int, count: int, distance: float, **more: Any) -> None:
        report = {
            "features": {"name": "judge"},
            "metrics": {"frechet": {"value": distance}},
            "reference": reference,
            "count": count,
            "images_seen": 64,
            "checkpoint": "a",
            "verdict": [f"The verdict of {count}."],
            **more,
        }
        file = run.path / "evaluations" / name / "report.json"
        write_json(file, report)
        os.utime(file, (3600 * hour, 3600 * hour))

    write("one", 1, 5_000, 45.0)
    write("two", 2, 5_000, 44.0)
    write("three", 3, 5, 190.0)
    assert latest_distance(run.path, "own") == EvaluatedDistance(44.0, 5_000), "the newest of those by the most"
    page = Page(render_report(run.path)).text
    assert "The verdict of 5000." in page
    assert "5,000 samples against 9 pictures of the test split: Fréchet distance 44" in page
    assert "The verdict of 5." not in page
    write("four", 4, 4, 200.0, images_seen=128, checkpoint="b")
    assert latest_distance(run.path, "own") == EvaluatedDistance(200.0, 4), "another checkpoint, with its number"
    assert "after 128 images, 4 samples against" in Page(render_report(run.path)).text
    write("five", 5, 3, 9.0, reference={**reference, "fingerprint": "other"})
    assert latest_distance(run.path, "own") == EvaluatedDistance(200.0, 4), "on other pictures"

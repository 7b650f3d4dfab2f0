"""A run is scored by one judge: the one that it began with, as long as that is there."""

from __future__ import annotations

from pathlib import Path

import pytest

import limner
from limner.core.files import write_json
from limner.data.prepare import prepare
from limner.judges.judge import JUDGE_SEED, SHIPPED_JUDGES, judge_for
from limner.metrics.features.judge import judge_key, load_judge
from limner.runs.run import Run

SETTINGS = (
    "batch.size=16",
    "score.count=64",
    "score.points=1",
    "score.share=1",
    "previews.count=4",
    "method.generator.width=4",
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run of 32 images whose scores are by the judge of an older limner."""
    fingerprint = prepare("digits").fingerprint
    earlier = load_judge(SHIPPED_JUDGES / f"{judge_key(fingerprint, JUDGE_SEED, 'judge-1')}.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr("limner.training.scorer.judge_for", lambda *_, **__: earlier)
        result = limner.train("digits", preset="dcgan", settings=SETTINGS, images=32, seed=1, out=tmp_path)
    assert Run(result.run).provenance()["judge"] == earlier.checksum
    return Run(result.run)


def test_a_run_goes_on_with_its_judge(run: Run) -> None:
    judge = run.provenance()["judge"]
    before = run.scores()
    limner.resume(run.path, images=64)
    assert run.provenance()["judge"] == judge != judge_for(prepare("digits")).checksum
    assert [row["images"] for row in run.scores()] == [*(row["images"] for row in before), 64]


def test_scores_of_a_judge_that_is_gone_are_set_aside(run: Run) -> None:
    """Scores of two judges in one file would decide by their difference which checkpoint is the best."""
    write_json(run.path / "provenance.json", run.provenance() | {"judge": "0" * 64})
    before = (run.path / "scores.jsonl").read_text()
    limner.resume(run.path, images=64)
    assert run.provenance()["judge"] == judge_for(prepare("digits")).checksum
    assert (run.path / "scores-1.jsonl").read_text() == before
    assert [row["images"] for row in run.scores()] == [64]
    assert run.best() == 64
    assert "those are in scores-1.jsonl" in (run.path / "log.txt").read_text()


def test_nothing_is_set_aside_before_the_first_score(run: Run) -> None:
    write_json(run.path / "provenance.json", run.provenance() | {"judge": "0" * 64})
    (run.path / "scores.jsonl").unlink()
    limner.resume(run.path, images=64)
    assert not (run.path / "scores-1.jsonl").exists()
    assert "is gone" not in (run.path / "log.txt").read_text()

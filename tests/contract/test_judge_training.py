"""A judge that has to be trained is no silent part of `train`: it is reported, logged and foretold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import limner
from contract.helpers import narrowed
from limner.core.progress import OnProgress, Progress, silent
from limner.data.dataset import Dataset
from limner.data.prepare import prepare
from limner.judges import judge
from limner.judges.judge import SHIPPED_JUDGES, TRAINING_STAGE
from limner.metrics.features.judge import Judge, judge_key, load_judge

SETTINGS = narrowed("gan", "batch.size=16", "precision=fp32", "previews.every=1", "score.points=1", "score.count=16")


@pytest.fixture
def no_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Dataset]:
    """The sets for which a judge was trained to the end: none ships or is cached. Its training reports thirty seconds more."""
    trained: list[Dataset] = []
    digits = load_judge(SHIPPED_JUDGES / f"{judge_key(prepare('digits').fingerprint, judge.JUDGE_SEED)}.safetensors")

    def train_judge(*_: object, on_progress: OnProgress) -> Judge:
        raise AssertionError("called by train_judge_for alone")

    def train_judge_for(dataset: Dataset, on_progress: OnProgress = silent, labelled: bool = True) -> Judge:
        on_progress(Progress("training", 4, 10, seconds_left=30.0))
        trained.append(dataset)
        return digits

    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(judge, "SHIPPED_JUDGES", tmp_path)
    monkeypatch.setattr(judge, "MIN_TIMED_SECONDS", 0.0)
    monkeypatch.setattr(judge, "train_judge", train_judge)
    monkeypatch.setattr(judge, "train_judge_for", train_judge_for)
    return trained


def test_training_says_that_it_trains_a_judge_first(no_judge: list[Dataset], tmp_path: Path) -> None:
    """`train --minutes 1.3` took 6 min 48 s, five of them silent."""
    for number in (1, 2):
        events: list[Progress] = []
        run = limner.train(
            "digits", preset="gan", settings=SETTINGS, images=32, out=tmp_path / "runs", on_progress=events.append
        ).run
        stages = [event for event in events if event.what == TRAINING_STAGE]
        log = (run / "log.txt").read_text()
        if number == 1:
            assert stages[0].note
            assert (stages[-1].done, stages[-1].total, stages[-1].seconds_left) == (4, 10, 30.0)
            assert len(re.findall(r"a judge of these pictures was trained in \d+\.\d s", log)) == 1
            assert log.index("a judge of these") < log.index("training from 0 images")
        else:
            assert stages == []
            assert "was trained in" not in log
    assert len(no_judge) == 1


def test_a_dry_run_says_how_long_the_judge_takes(
    no_judge: list[Dataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = limner.train("digits", preset="gan", settings=SETTINGS, images=320, dry_run=True)
    assert plan.judge_seconds == pytest.approx(30, abs=5)
    assert no_judge == [], "it is begun, not trained"
    assert not list((tmp_path / "cache").glob("judges/*"))
    assert (
        limner.train("digits", preset="gan", settings=(*SETTINGS, "score.points=0"), images=320, dry_run=True).judge_seconds
        == 0
    )
    from limner.cli import main

    assert main(["train", "digits", "--preset", "gan", "--images", "320", "--dry-run", *SETTINGS]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("judge ")]
    assert "is trained on these pictures in about 3" in line


def test_a_judge_that_is_there_costs_nothing() -> None:
    assert limner.train("digits", preset="gan", settings=SETTINGS, images=320, dry_run=True).judge_seconds == 0

"""What a run does at its milestones costs a small share of its time, and is done where it counts."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import limner
from contract.helpers import ask_to_stop, at_images, run_of, weights
from limner.core.cond import Batch
from limner.core.progress import Progress
from limner.methods.vae.base import AutoencoderBase
from limner.runs.run import Run
from limner.training import milestones
from limner.training.monitor import Monitor
from limner.training.stages import Training
from limner.training.step import Stepper

FIT_SECONDS = 0.1
MANY = ("checkpoints.every=0.1", "checkpoints.keep=20")


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Images at each fit; each takes a tenth of a second, and a run may spend half of that for nothing."""
    images: list[int] = []
    original, fit_training = AutoencoderBase.fit_at_checkpoint, Training.fit_at_checkpoint

    def slow_fit(self: AutoencoderBase, batches: Iterable[Batch]) -> None:
        original(self, itertools.islice(batches, 2))
        time.sleep(FIT_SECONDS)

    def counted_fit(self: Training, method: AutoencoderBase) -> None:
        images.append(self.state.images)
        fit_training(self, method)

    monkeypatch.setattr(AutoencoderBase, "fit_at_checkpoint", slow_fit)
    monkeypatch.setattr(Training, "fit_at_checkpoint", counted_fit)
    monkeypatch.setattr(milestones, "FREE_FIT_SECONDS", FIT_SECONDS / 2)
    return images


def images_of(run: Run) -> list[int]:
    return [checkpoint.images for checkpoint in run.checkpoints()]


@pytest.mark.parametrize("preset", ["vae", "autoencoder"])
def test_a_short_run_fits_at_its_first_and_last_checkpoint(preset: str, fits: list[int], tmp_path: Path) -> None:
    """Of a run of a minute nine tenths went to ten fits."""
    run = run_of(preset, tmp_path, *MANY, images=320)
    assert images_of(run) == fits == [32, 320]
    assert (run.path / "log.txt").read_text().count("checkpoints come less often") == 1
    state = run.checkpoint().state()
    assert 2 * FIT_SECONDS < state["fit_seconds"] < state["seconds"]


def test_a_run_of_seconds_has_all_of_its_checkpoints(fits: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(milestones, "FREE_FIT_SECONDS", 60.0)
    run = run_of("vae", tmp_path, *MANY, images=320)
    assert images_of(run) == fits == list(range(32, 321, 32))


@pytest.mark.parametrize(("share", "seconds", "affordable"), [(0.05, 230, False), (0.05, 250, True), (0.2, 70, True)])
def test_fits_take_their_share_with_one_more_for_the_end(share: float, seconds: float, affordable: bool) -> None:
    """After one of 4 s, two more would make 12 s."""
    recipe = SimpleNamespace(checkpoints=SimpleNamespace(share=share))
    run: Any = SimpleNamespace(
        training=SimpleNamespace(recipe=recipe),
        state=SimpleNamespace(fit_seconds=4.0, seconds=seconds),
        _fit_seconds=4.0,
        _leaves_out_saves=True,
    )
    assert milestones.Milestones._can_afford_fit(run) == affordable


def test_what_is_ordered_or_scored_is_fitted(fits: list[int], tmp_path: Path) -> None:
    def order(_: object) -> None:
        (next(tmp_path.glob("*/control")) / "save-now").touch()
        time.sleep(0.6)  # until the folder is looked at again

    with at_images(160, order):
        run = run_of("vae", tmp_path, *MANY, "score.points=10", "score.count=16", images=320)
    assert set(images_of(run)) <= set(fits)
    assert {32, 176, 320} <= set(fits)
    assert set(fits) >= {row["images"] for row in run.scores()}


def test_a_run_that_was_interrupted_ends_alike(fits: list[int], tmp_path: Path) -> None:
    whole = run_of("vae", tmp_path / "whole", *MANY, images=320)
    with at_images(160, ask_to_stop):
        run = run_of("vae", tmp_path / "two", *MANY, images=320)
    spent = run.checkpoint().state()["fit_seconds"]
    limner.resume(run.path)
    assert images_of(run) == [32, 176, 320]
    assert run.checkpoint().state()["fit_seconds"] > spent
    assert weights(run) == weights(whole)


def test_a_method_that_fits_nothing_keeps_its_schedule(fits: list[int], tmp_path: Path) -> None:
    run = run_of("gan", tmp_path, *MANY, images=320)
    assert images_of(run) == list(range(32, 321, 32))


@pytest.mark.parametrize("scores", ["score.points=0", "score.points=2"])
def test_the_end_of_a_run_is_reserved(scores: str, fits: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a budget in minutes is overrun by the last fit, score and checkpoint."""
    reserves: list[float] = []
    original = milestones.Milestones.after_step

    def after_step(self: milestones.Milestones, images_before: int, orders: set[str]) -> None:
        original(self, images_before, orders)
        reserves.append(self.control.reserve)

    monkeypatch.setattr(milestones.Milestones, "after_step", after_step)
    run_of("vae", tmp_path, *MANY, scores, "score.count=16", images=96)
    assert reserves[-2] > FIT_SECONDS


@pytest.mark.parametrize(("preview_seconds", "count"), [(4.0, 1), (0.05, 0), (0.5, 0)])
def test_previews_that_take_most_of_the_time_are_said(
    preview_seconds: float, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten steps of .1 s with a preview after each: those of seconds took nearly all of the time without a word. A run that is
    over after a few seconds has no need of one."""
    now = 0.0
    step, preview = Stepper.step, Monitor.preview

    def slow_step(self: Stepper, *words: Any) -> Any:
        nonlocal now
        now += 0.1
        return step(self, *words)

    def slow_preview(self: Monitor, *words: Any) -> Any:
        nonlocal now
        now += preview_seconds
        return preview(self, *words)

    monkeypatch.setattr(Stepper, "step", slow_step)
    monkeypatch.setattr(Monitor, "preview", slow_preview)
    monkeypatch.setattr("limner.training.logger.time", SimpleNamespace(monotonic=lambda: now))
    events: list[Progress] = []
    settings = ["score.points=0", "batch.size=16", "previews.every=0.1", "previews.count=2", "checkpoints.every=1"]
    answer = limner.train("digits", preset="gan", images=160, settings=settings, out=tmp_path, on_progress=events.append)
    notes = [event.note for event in events if "previews, scores and checkpoints took" in event.note]
    assert len(notes) == count
    assert (answer.run / "log.txt").read_text().count("larger previews.every and checkpoints.every") == count
    if notes:  # the first quarter ends with the third step, after three previews
        assert notes[0].startswith("previews, scores and checkpoints took 12 s of 12 s so far")

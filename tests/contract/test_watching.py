"""Watching moves nothing, and what it sees and says is in the files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import limner
from contract.helpers import (
    ALONE,
    ask_to_stop,
    at_images,
    composed,
    drawer,
    every_preset,
    pictures_like,
    run_of,
    settled,
    stepper_of,
)
from limner.core.cond import Batch, Cond
from limner.core.config import DataSpec, Sampling
from limner.core.method import StepContext
from limner.core.sampling import generate
from limner.core.seeds import SCORED_SEEDS
from limner.data.feed import Feed
from limner.data.prepare import prepare
from limner.methods.gan.gan import Gan
from limner.nets.layers import BatchNorm
from limner.recipes.build import build_method
from limner.runs.report import render_report
from limner.training.monitor import Monitor
from limner.training.step import NORMS_EVERY, Stepper

SHAPE = (8, 8, 1)
VARIANTS = [
    ("dcgan", ("method.updates=alternating", "method.discriminator.norm=batch", "method.r1_gamma=0")),
    ("gan", ("batch.chunks=2",)),
    ("r3gan", ("method.labels=true",)),
    ("r3gan", ("method.augment.kind=adaptive", "method.augment.start=0.5")),
    ("sngan", ("method.labels=true", "method.critic_steps=2", "method.discriminator.normalise=none")),
]


def _labelled(images: torch.Tensor) -> Any:
    draw = drawer(images)

    def labelled(stream: int, start: int, size: int) -> Batch:
        batch = draw(stream, start, size)
        return dataclasses.replace(batch, cond=Cond(label=torch.arange(size, device=images.device) % 3))

    return labelled


def _moved(stepper: Stepper) -> dict[str, torch.Tensor]:
    state = {**stepper.method.state_dict(), **{f"optimiser/{name}": value for name, value in stepper.state().items()}}
    return {name: value.clone() for name, value in state.items()}


def _looked_at(preset: str, settings: tuple[str, ...]) -> Stepper:
    from limner.core.precision import prepare_module
    from limner.recipes.build import build_method

    torch.manual_seed(0)
    recipe = settled(composed(preset, *settings), SHAPE)
    method = build_method(recipe, DataSpec.of_images(SHAPE, ("a", "b", "c")))
    prepare_module(method, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return stepper_of(method.train(), 8, recipe.batch.chunks)


@pytest.mark.parametrize(("preset", "settings"), [*((p, ()) for p in ALONE), *VARIANTS])
def test_looking_moves_nothing_and_sees_the_same_twice(preset: str, settings: tuple[str, ...]) -> None:
    stepper, other = _looked_at(preset, settings), _looked_at(preset, settings)
    draw = _labelled(pictures_like(24, SHAPE, device=stepper.method.device))
    for one in (stepper, other):
        one.step(draw, StepContext(0, 0.2), 0)
    before = _moved(stepper)
    seen = stepper.evaluate_losses(draw, StepContext(8, 0.3), 24)
    assert seen == stepper.evaluate_losses(draw, StepContext(8, 0.3), 24)
    assert all(torch.isfinite(torch.tensor(value)) for value in seen.values())
    after = _moved(stepper)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(layer.pass_moments for layer in stepper.method.modules() if isinstance(layer, BatchNorm))
    assert all(weight.grad is None for weight in stepper.method.parameters())
    logs = [one.step(draw, StepContext(8, 0.3), one.method.phases()[-1].every) for one in (stepper, other)]
    assert all(torch.equal(logs[0][name], logs[1][name]) for name in logs[1])
    assert all(torch.equal(value, _moved(other)[name]) for name, value in _moved(stepper).items())
    assert set(seen) >= {name for name in logs[0] if "/" not in name}, "every loss and log"


def test_looking_is_the_mean_over_its_pictures() -> None:
    from limner.core import seeds

    stepper = _looked_at("vae", ())
    images = pictures_like(24, SHAPE, device=stepper.method.device)
    for count in (8, 24):
        expected = []
        for start in range(0, count, 8):
            seeds.seed_all(stepper.seed, "look", "elbo", start // 8)
            losses = stepper.method.losses("elbo", (Batch(images[start : start + 8]),), StepContext(0, 0.3))
            expected.append(float(losses.of["vae"].detach().mean()))
        assert stepper.evaluate_losses(drawer(images), StepContext(64, 0.3), count)["vae"] == pytest.approx(
            sum(expected) / len(expected), rel=1e-5
        )


@every_preset
def test_what_is_seen_is_in_the_rows(preset: str, tmp_path: Path) -> None:
    run = run_of(preset, tmp_path, "previews.every=0.25", "previews.first=16", images=16 * 2 * NORMS_EVERY)
    rows = run.metrics()
    players = set(rows[-1]["lr"])
    for row in rows:
        assert not any(name.startswith(("gradient_norm", "held_out")) for name in row["losses"])
        assert all(value > 0 for name, value in row["watch"].items() if name.startswith("gradient_norm/"))
    assert {f"gradient_norm/{player}" for player in players} <= set().union(*(row["watch"] for row in rows))
    last = rows[-1]
    for name in last["losses"]:
        assert {f"held_out_{name}", f"gap_{name}"} <= set(last["watch"]), name
    assert last["watch"]["pictures_held_out"] == 161
    assert sum("diversity" in row["watch"] for row in rows) == 5
    assert last["watch"]["diversity"] > 0
    if "right_on_real" in last["losses"]:
        assert 0 <= last["watch"]["held_out_right_on_real"] <= 1
        chart = next(part for part in render_report(run.path).split("<figure") if "held_out_right_on_real" in part)
        assert "right_on_fake" in chart
        assert ">right_on_real" in chart


@every_preset
def test_a_run_that_is_watched_often_is_the_same_run(preset: str, tmp_path: Path) -> None:
    """With scores, previews and looks at every other step, or at the end alone: the same weights, to the bit."""
    seldom = run_of(preset, tmp_path / "seldom", images=160)
    often = run_of(preset, tmp_path / "often", "previews.every=0.2", "previews.first=16", images=160)
    assert len(list((often.path / "previews").iterdir())) > 5
    for part in ("model", "ema", "optim"):
        mine, yours = often.checkpoint().tensors(part), seldom.checkpoint().tensors(part)
        assert all(torch.equal(mine[name], yours[name]) for name in yours), part


def test_small_and_undivided_sets_are_trained_all_the_same(tmp_path: Path) -> None:
    for name, setting in (("none", "data.split=none"), ("few", "data.limit=12")):
        last = run_of("gan", tmp_path / name, setting).metrics()[-1]
        assert not any(name.startswith("held_out") for name in last["watch"])
        assert "diversity" in last["watch"]


@pytest.fixture
def same_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Gan.sample

    def sample(self: Gan, seeds: Any, cond: Cond, sampling: Sampling) -> torch.Tensor:
        return original(self, [0] * len(seeds), cond, sampling)

    monkeypatch.setattr(Gan, "sample", sample)
    monkeypatch.setattr("limner.methods.gan.diagnosis.MIN_IMAGES", 0)  # these runs are too short for any verdict


@pytest.mark.usefixtures("same_picture")
def test_a_generator_that_knows_one_picture_is_reported_once(tmp_path: Path) -> None:
    notes: list[str] = []

    def collect(event: limner.Progress) -> None:
        if event.note and "classes" not in event.note:  # that the classes are not used is another matter
            notes.append(event.note)

    settings = ("previews.every=0.1", "previews.first=16", "previews.count=16")
    with at_images(240, ask_to_stop):
        run = run_of("dcgan", tmp_path, *settings, images=320, on_progress=collect)
    assert run.status()["state"] == "stopped"
    assert [note.partition(":")[0] for note in notes] == ["The generator collapses"]
    assert run.metrics()[-1]["watch"]["diversity"] == 0.0
    limner.resume(run.path, on_progress=collect)
    assert len(notes) == 1, "it was said before"
    status, log = run.status(), (run.path / "log.txt").read_text()
    assert status["state"] == "done"
    ((kind, text),) = [(warning["kind"], warning["text"]) for warning in status["warnings"]]
    assert kind == "collapse"
    assert text == notes[0]
    assert "method.r1_gamma" in text
    assert log.count("warning (collapse)") == 1
    shown = render_report(run.path)
    assert 'class="warnings"' in shown
    assert text.partition(":")[0] in shown


@pytest.mark.usefixtures("same_picture")
def test_what_clears_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from limner.core import diagnosis

    count = iter([0.0] * 6 + [0.9] * 20)
    monkeypatch.setattr(diagnosis, "diversity", lambda made, real: {"diversity": next(count), "twins": 0.0})
    run = run_of("gan", tmp_path, "previews.every=0.1", "previews.first=16", images=320)
    log = (run.path / "log.txt").read_text()
    assert log.index("warning (collapse)") < log.index("no more collapse")
    assert run.status()["warnings"] == []
    assert 'class="warnings"' not in render_report(run.path)


def test_the_monitor_asks_the_method_that_trains_and_names_where_it_is_set(tmp_path: Path) -> None:
    """The same rows are read by the rules of the stage they are of."""
    run = run_of("vqgan", tmp_path)
    recipe, dataset = run.recipe(), prepare("digits")
    rows: list[dict[str, Any]] = []
    for number in range(1, 41):
        norms = {f"gradient_norm/{player}": 1.0 if number < 30 else 900.0 for player in ("codec", "prior")}
        row = {"images": number, "losses": {"codec": 1.0, "prior": 1.0}, "lr": {"codec": 1e-3, "prior": 1e-3}}
        rows.append(row | {"watch": norms | ({"diversity": 0.9, "twins": 0.0} if number % 4 == 0 else {})})
    (run.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monitor = Monitor(run, recipe, dataset, Feed(dataset, "train", torch.device("cpu"), 0))
    for stage, place, rate in ((0, "stages.codec.method", 0.002), (1, "method", 0.0015)):
        method = build_method(recipe, DataSpec.of_images(dataset.shape, dataset.classes), stage)
        monitor.update_warnings(method, stage, 0)
        (warning,) = monitor.active_warnings
        assert warning.kind == "explosion"
        assert f": lower {place}.optimiser.lr (now {rate:g})" in warning.text
        assert monitor.warn(method, stage, 0) == [], "it stands already"
        assert monitor.warn(method, stage, 36) == [], "later rows alone say nothing"


def test_an_infinite_norm_of_a_gradient_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from limner.core import optim

    monkeypatch.setattr(optim, "norm", lambda gradients: torch.tensor(float("inf")))
    run = run_of("gan", tmp_path)
    assert run.status()["state"] == "done"
    for line in (run.path / "metrics.jsonl").read_text().splitlines():
        assert "gradient_norm/generator" not in json.loads(line, parse_constant=pytest.fail)["watch"]


def test_the_best_checkpoint_is_kept_and_scored_within_its_share(tmp_path: Path) -> None:
    run = run_of(
        "cgan", tmp_path, "score.points=10", "score.count=64", "score.share=1", "checkpoints.every=0.5", images=640, name="best"
    )
    scores = {row["images"]: row["frechet"] for row in run.scores()}
    assert len(scores) >= 2, "by the clock, all ten"
    best = min(scores, key=scores.__getitem__)
    assert run.best() == best
    assert {checkpoint.images for checkpoint in run.checkpoints()} == {best, 640}
    assert run.checkpoint("best").images == best


def test_scores_of_a_conditional_model_have_every_class(tmp_path: Path) -> None:
    """Nobody asks for a class when a run is scored: the method draws it, as often as the data has it."""
    run = run_of("cgan", tmp_path)
    method = limner.load(run.path).method
    assert isinstance(method, Gan)
    seeds = range(SCORED_SEEDS, SCORED_SEEDS + 500)
    drawn = method.conditions(seeds, Cond()).label
    assert drawn is not None
    assert (torch.bincount(drawn, minlength=10) > 25).all()
    assert torch.equal(generate(method, seeds[:8]), generate(method, seeds[:8], Cond(label=drawn[:8])))

"""`--dry-run`: every stage is rehearsed, with all its phases, and what is said fits together."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import limner
from contract.helpers import NARROW, narrowed, run_of
from contract.test_codes import BARE, SMALL
from limner.cli import main
from limner.core.method import Method, StepContext
from limner.data.prepare import prepare
from limner.methods.vq.vqvae import VqVae
from limner.recipes.recipe import Recipe
from limner.training.dry_run import MilestoneCosts, Pace, StageEstimate, measure_speed
from limner.training.stages import Training
from limner.training.step import Stepper

FAST = ("batch.size=16", "precision=fp32")


def rehearsed(preset: str, *settings: str, **budget: Any) -> limner.DryRunResult:
    return limner.train("digits", preset=preset, settings=narrowed(preset, *FAST, *settings), dry_run=True, **budget)


class Watch:
    """A clock that stands still but for what the tests say takes time."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def takes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """`takes(codes=0.004, encoding=0.008)`: a step of that phase takes so many seconds and does nothing; a pass of a codec."""
    watch = Watch()
    seconds: dict[str, float] = {}
    encode = VqVae.encode

    def step(self: Stepper, draw: Any, at: StepContext, iteration: int) -> dict[str, torch.Tensor]:
        batch = draw(0, at.images, self.batch)
        if batch.latents is not None:
            batch.latents()
        watch.now += sum(seconds[phase.name] for phase in self.phases if phase.due(iteration, at.progress))
        return {"loss": torch.zeros(())}

    def encoding(self: VqVae, images: torch.Tensor) -> torch.Tensor:
        watch.now += seconds.get("encoding", 0.0)
        return encode(self, images)

    with monkeypatch.context() as patch:

        def start(**given: float) -> None:
            seconds.update(given)
            patch.setattr(Stepper, "step", step)
            patch.setattr(VqVae, "encode", encoding)
            patch.setattr("limner.training.dry_run.time", watch)

        yield start


def test_a_pace_counts_what_is_met_first() -> None:
    pace = Pace(each=0.01, once=0.03, count=100)
    assert pace.seconds(50) == pytest.approx(50 * 0.04)
    assert pace.seconds(300) == pytest.approx(300 * 0.01 + 100 * 0.03)
    for images in (0, 10, 100, 101, 5000):
        assert pace.images(pace.seconds(images)) == pytest.approx(images)


def test_both_stages_are_told(takes: Callable[..., None]) -> None:
    takes(codes=0.004, likelihood=0.016, encoding=0.008)
    images = 16_000
    found = rehearsed("vq-vae", images=images)
    codec, prior = found["stages"]
    assert (codec["name"], prior["name"]) == ("codec", "main")
    assert (codec["images"], prior["images"]) == (6400, 9600)
    assert codec["images_per_second"] == pytest.approx(16 / 0.004)
    # 600 steps, of which the first 91 meet a picture for the first time, and pass it through the codec.
    assert prior["seconds_estimate"] == pytest.approx(600 * 0.016 + 91 * 0.008, abs=0.06)
    assert prior["images_per_second"] == pytest.approx(9600 / prior["seconds_estimate"], rel=0.02)
    assert found["seconds_estimate"] == pytest.approx(codec["seconds_estimate"] + prior["seconds_estimate"], abs=0.2)
    assert found["images_per_second"] == pytest.approx(images / found["seconds_estimate"], rel=0.02)
    assert found["images"] == images
    assert found["parameters"]["total"] == codec["parameters"]["total"] + prior["parameters"]["total"]
    assert found["parameters"]["codec"] == codec["parameters"]["codec"] > 1000
    assert found["parameters"]["prior"] == prior["parameters"]["prior"] > 1000
    assert 0 < codec["memory"] <= prior["memory"] == found["memory"]


def test_a_budget_in_minutes_is_shared_by_time(takes: Callable[..., None]) -> None:
    takes(codes=0.004, likelihood=0.016)
    found = rehearsed("vq-vae", minutes=1.0)
    codec, prior = found["stages"]
    assert codec["seconds_estimate"] == pytest.approx(24)
    assert prior["seconds_estimate"] == pytest.approx(36)
    assert found["seconds_estimate"] == pytest.approx(60)
    assert codec["images"] == pytest.approx(24 / 0.004 * 16, abs=1)
    assert prior["images"] == pytest.approx(36 / 0.016 * 16, abs=1)
    assert found["images"] == codec["images"] + prior["images"]


def test_a_late_player_is_rehearsed(takes: Callable[..., None]) -> None:
    """The discriminator of vqgan begins half-way through its codec's half of the budget."""
    takes(codes=0.004, adversarial=0.020, likelihood=0.004)
    codec, _ = rehearsed("vqgan", images=6400)["stages"]
    assert codec["seconds_estimate"] == pytest.approx(200 * (0.004 + 0.020) / 2)


def test_a_prior_on_a_codec_is_one_stage_and_leaves_the_cache_alone(
    takes: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "warm"))
    codec = run_of("vq-vae", tmp_path / "codec", "stages=[]", f"method={BARE}", narrow=False)
    words = (f"codec={codec.path}", *SMALL)
    run_of("prior", tmp_path / "prior", *words, images=2 * 1456)
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cold"))
    prepare("digits")

    def files() -> list[Path]:
        """All but what is remembered of files that were opened again some time after they were written."""
        return sorted(path for path in tmp_path.rglob("*") if "digests" not in path.parts)

    before = files()
    takes(likelihood=0.004, encoding=0.008)
    cold = rehearsed("prior", *words, images=16_000)
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "warm"))
    warm = rehearsed("prior", *words, images=16_000)
    assert files() == before
    for found, encoding in ((cold, 91 * 0.008), (warm, 0.0)):
        (stage,) = found["stages"]
        assert (stage["name"], stage["images"]) == ("main", 16_000)
        assert found["seconds_estimate"] == stage["seconds_estimate"] == pytest.approx(1000 * 0.004 + encoding, abs=0.06)


def test_what_comes_in_every_eighth_step_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The penalties of r3gan, in every eighth step, were never among the steps whose median was taken: twice too fast."""
    watch = Watch()

    def step(self: Stepper, draw: Any, at: StepContext, iteration: int) -> dict[str, torch.Tensor]:
        penalties = sum(phase.every == 8 and phase.due(iteration, at.progress) for phase in self.phases)
        watch.now += 0.010 + (0.080 if penalties else 0.0)
        return {"loss": torch.zeros(())}

    monkeypatch.setattr(Stepper, "step", step)
    monkeypatch.setattr("limner.training.dry_run.time", watch)
    found = rehearsed("r3gan", images=16_000)
    assert found["seconds_estimate"] == pytest.approx(1000 * (0.010 + 0.080 / 8))


@pytest.mark.parametrize("stated", ["images", "minutes"])
def test_what_comes_between_the_steps_is_counted(stated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run promised 430 images a second where 41 came, since most of the time went to fits of the prior."""
    watch = Watch()

    def step(self: Stepper, draw: Any, at: StepContext, iteration: int) -> dict[str, torch.Tensor]:
        watch.now += 0.1
        return {"loss": torch.zeros(())}

    def generate_images(method: Method, seeds: range, conditions: object) -> None:
        watch.now += 0.01 * len(seeds)

    def fit_at_checkpoint(self: Training, method: Method, count: int | None = None) -> None:
        watch.now += 4.0 * (count or method.fit_images) / method.fit_images

    monkeypatch.setattr(Stepper, "step", step)
    monkeypatch.setattr(Training, "fit_at_checkpoint", fit_at_checkpoint)
    monkeypatch.setattr("limner.training.dry_run.generate_images", generate_images)
    monkeypatch.setattr("limner.training.dry_run.time", watch)
    # Two fits of 4 s and two scores of 100 pictures, at the first point and at the end, and 21 previews of 64.
    others = 2 * 4.0 + 2 * 1.0 + 21 * 0.64
    if stated == "images":
        found = rehearsed("vae", "score.count=100", images=6400)
        assert found["seconds_estimate"] == pytest.approx(400 * 0.1 + others, abs=0.1)
    else:
        found = rehearsed("vae", "score.count=100", minutes=1.0)
        assert found["seconds_estimate"] == pytest.approx(60)
        assert found["images"] == pytest.approx((60 - others) / 0.1 * 16, abs=16)
        recipe, dataset = Recipe.model_validate(found["recipe"]), prepare("digits")
        assert measure_speed(recipe, dataset) == pytest.approx(found["images"] / 60, rel=0.01), "auto counts it as well"
    assert found["milestone_seconds"] == pytest.approx(others, abs=0.1)


@pytest.mark.parametrize(
    ("previews", "scores", "fits", "words"),
    [
        (31.0, 20.0, 1.0, ["previews most of it: previews.count=16 draws fewer"]),
        (1.0, 31.0, 20.0, ["scores most of it: a smaller score.count"]),
        (0.0, 0.0, 31.0, ["the fits of checkpoints most of it: checkpoints.every=1"]),
        (10.0, 10.0, 10.0, []),
    ],
)
def test_a_plan_that_leaves_no_time_to_train_is_said(
    previews: float, scores: float, fits: float, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Previews took nearly all of two minutes, and the plan was accepted without a word."""
    milestones = {"previews": previews, "scores": scores, "fits": fits}
    estimate = StageEstimate("vae", {"total": 1}, 64, 1.0, 60.0, 1, sum(milestones.values()))
    monkeypatch.setattr("limner.training.dry_run._estimate_stage", lambda *_: (estimate, milestones))
    warnings = rehearsed("vae", "score.points=0", images=6400)["time_warnings"]
    text = "more than half of the time would go to previews, scores and checkpoints, "
    assert len(warnings) == len(words)
    assert all(warning.startswith(text + word) for warning, word in zip(warnings, words, strict=True))


def test_milestones_are_estimated_by_kind() -> None:
    """With the usual recipe: a preview at every twentieth of the run and one before, two scores, each with a fit, and one more
    fit that the share of the time allows."""
    costs = MilestoneCosts(fit=2.0, score=1.0, preview=0.5)
    assert costs.parts(Recipe(), 60.0) == {"previews": 0.5 * (1 + 1 / Recipe().previews.every), "scores": 2.0, "fits": 6.0}


def test_times_beside_other_programs_are_said_to_be_unreliable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dry run said 15 minutes for a judge that was trained in 20 s, since another program used the cores."""
    monkeypatch.setattr(os, "getloadavg", lambda: (3.0, 3.0, 3.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr("limner.training.slowdown.own_load", lambda: 0.0)
    assert main(["train", "digits", "--preset", "gan", "--images", "64", "--dry-run", "score.points=0"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "other programs" in line]
    word, text = line.split(maxsplit=1)
    assert word == "beware"
    assert text == (
        "other programs keep about 3 of this machine's 2 cores busy: these times may be several times too long; ask again when "
        "they are done"
    )


def test_a_slow_step_is_timed_on_fewer_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 480x640 eight whole steps would take minutes; two pictures a step say the same."""
    watch, sizes = Watch(), list[int]()

    def step(self: Stepper, draw: Any, at: StepContext, iteration: int) -> dict[str, torch.Tensor]:
        sizes.append(self.batch)
        watch.now += 0.4 * self.batch
        return {"loss": torch.zeros(())}

    monkeypatch.setattr(Stepper, "step", step)
    monkeypatch.setattr("limner.training.dry_run.time", watch)
    found = rehearsed("vae", images=3200)
    assert set(sizes) == {2}
    assert len(sizes) <= 12
    assert found["seconds_estimate"] == pytest.approx(3200 * 0.4)
    assert found["images_per_second"] == pytest.approx(2.5)


def test_a_dry_run_reports_progress() -> None:
    """It was silent for as long as it took."""
    notes: list[str] = []
    limner.train("digits", preset="gan", images=64, dry_run=True, on_progress=lambda event: notes.append(event.what))
    assert "timing some steps" in notes


def test_for_a_person(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["train", "digits", "--preset", "fsq", "--dry-run", "--images", "640", "--out", str(tmp_path / "runs")]
    assert main([*words, *NARROW["fsq"], *FAST]) == 0
    out = capsys.readouterr().out
    above = out.partition("\n\n")[2].partition("\n\n")[0]
    (codec,) = re.findall(r"(?m)^ *codec +([\d,]+) +256 +", above)
    (prior,) = re.findall(r"(?m)^ *main +([\d,]+) +384 +", above)
    assert f"codec {codec}, prior {prior}" in out
    first = out.splitlines()
    assert first[0].split() == ["preset", "fsq"]
    for word in ("speed", "time", "memory", "images"):
        assert any(line.startswith(f"{word} ") for line in first[:10]), "in the first ten lines"
    assert "schema_version" not in out
    assert len(first) < 20
    assert main([*words, "--all", *NARROW["fsq"], *FAST]) == 0
    assert "\nschema_version: 1\n" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()

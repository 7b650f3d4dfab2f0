"""A run that was stopped, killed or made longer ends as the one that nobody touched."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

import limner
from contract.helpers import (
    QUIET,
    ask_to_stop,
    assert_metrics_once,
    assert_same_weights,
    at_images,
    every_preset,
    finished,
    narrowed,
    outcome_of,
    run_of,
    start,
    weights,
)
from limner.runs.run import Run
from limner.training.stages import Training

VARIANTS = {
    "dcgan": (
        "method.updates=alternating",
        "method.discriminator.norm=batch",
        "method.discriminator.dropout=0.3",
        "method.r1_gamma=0",
    ),
    "flow": ("method.pairing=transport", "method.labels=false", "data.mirror=true", "batch.chunks=2"),
    "gan": ("method.r1_gamma=0.5", "method.penalty_every=3", "batch.chunks=2", "data.mirror=true"),
    "r3gan": ("method.labels=true", "method.augment.kind=adaptive", "method.augment.start=0.5", "method.augment.speed=500"),
    "sngan": ("method.labels=true", "method.critic_steps=2", "method.augment.kind=diff"),
    "autoencoder": ("method.networks=mlp", "method.widths=[24]", "method.noise=0.3", "method.hide=0.2"),
    "beta-vae": ("method.capacity.value=9", "method.capacity.warmup=0.5", "method.decoder=logistic"),
    "factor-vae": ("batch.chunks=2", "method.decoder=laplace", "method.blocks=1", "method.block=dense"),
    "tc-vae": (
        "method.broadcast=false",
        "method.map=true",
        "method.prior=normal",
        "method.free_bits=0.1",
        "method.decoder=bernoulli",
    ),
    "vae": ("method.prior=normal", "precision=bf16"),
}
"""A second set of settings per preset: what has state of its own, or counts iterations."""


@pytest.mark.parametrize("varied", [False, True], ids=["preset", "varied"])
@every_preset
def test_stopped_and_resumed_equals_uninterrupted(preset: str, varied: bool, tmp_path: Path) -> None:
    settings = VARIANTS.get(preset, ()) if varied else ()
    if torch.cuda.is_available() and "method.augment.kind=adaptive" in settings:
        settings = ("method.labels=true",)  # there the gradient of `grid_sample` is summed in no order
    whole = run_of(preset, tmp_path / "whole", *settings, images=160)
    with at_images(64, ask_to_stop):
        outcome = outcome_of(preset, tmp_path / "parts", *settings, images=160)
    assert outcome.state == "stopped"
    assert outcome.images == 80  # the step that had begun is finished and saved
    parts = Run(outcome.run)
    assert parts.status()["state"] == "stopped"
    assert [checkpoint.images for checkpoint in parts.checkpoints()] == [80]
    again = limner.resume(parts.path)
    assert (again.state, again.images) == ("done", 160)
    assert_same_weights(parts, whole)
    assert_metrics_once(parts)
    assert parts.recipe() == whole.recipe()
    assert parts.status()["state"] == "done"
    assert (parts.path / "previews" / "000000160.png").read_bytes() == (whole.path / "previews" / "000000160.png").read_bytes()


@every_preset
def test_killed_and_resumed_equals_uninterrupted(preset: str, tmp_path: Path) -> None:
    """kill -9 at a random moment of a process that saves often; the moment is drawn anew in each session, and told."""
    settings = narrowed(preset, *QUIET, "checkpoints.every=0.1", "previews.every=0.1")
    moment = random.uniform(0.0, 1.5)
    code = (
        "import json, sys, limner\n"
        "chosen = json.loads(sys.argv[3])\n"
        "limner.train('digits', preset=sys.argv[1], out=sys.argv[2], images=4800, seed=3, settings=chosen)"
    )
    process = start("-c", code, preset, str(tmp_path / "killed"), json.dumps(settings))
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("killed/*/status.json")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    time.sleep(moment)
    os.killpg(process.pid, signal.SIGKILL)
    _, _, err = finished(process)
    found = list((tmp_path / "killed").iterdir())
    assert len(found) == 1, err
    killed = Run(found[0])
    reached = [checkpoint.images for checkpoint in killed.checkpoints()]
    told = f"killed {moment:.3f} s after it began, with checkpoints at {reached}"
    again = limner.resume(killed.path)
    assert again.images == 4800, told
    whole = run_of(preset, tmp_path / "whole", *settings, images=4800)
    assert weights(killed) == weights(whole), told
    assert_metrics_once(killed)
    assert not list((killed.path / "checkpoints").glob(".*")), "half-written folders are swept"


def test_resume_without_a_checkpoint_starts_from_the_recipe(tmp_path: Path) -> None:
    def die(_: object) -> None:
        raise RuntimeError("a fault made on purpose")

    with at_images(32, die), pytest.raises(RuntimeError, match="on purpose"):
        run_of("gan", tmp_path / "broken")
    (path,) = (tmp_path / "broken").iterdir()
    broken = Run(path)
    assert broken.status()["state"] == "failed"
    assert "Traceback" in (path / "log.txt").read_text()
    assert broken.checkpoints() == []
    limner.resume(path)
    assert_same_weights(broken, run_of("gan", tmp_path / "whole"))


@every_preset
def test_optimiser_state_returns_in_the_weights_memory_order(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Convolution weights lie channels last; state read back in row order would be silently permuted by the fused kernel."""
    from contract.helpers import drawer, method_of, pictures_like, stepper_of
    from limner.core.method import StepContext

    shape = (16, 16, 3)
    method = method_of(preset, shape)
    one = stepper_of(method, 4)
    draw = drawer(pictures_like(8, shape, device=method.device))
    one.step(draw, StepContext(0, 0.2), 0)
    saved = safetensors.torch.load(safetensors.torch.save({k: v.cpu().contiguous() for k, v in one.state().items()}))
    assert saved
    other = stepper_of(method, 4)
    other.load_state(saved)
    for player, optimiser in other.optimisers.items():
        for weight in other.weights[player]:
            slots, mine = optimiser.state[weight], one.optimisers[player].state[weight]
            assert set(slots) == set(mine)
            for key in mine:
                assert torch.equal(slots[key], mine[key]), key
                assert slots[key].stride() == mine[key].stride(), key


def test_resume_goes_on_longer(tmp_path: Path) -> None:
    schedule = "method.generator.optimiser.lr={value: 1.0e-3, decay_from: 0.5}"
    run = run_of("gan", tmp_path, schedule, images=160)
    first = run.metrics()[-1]
    assert first["lr"]["generator"] == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(limner.InputError, match="160 images already"):
        limner.resume(run.path, images=160)
    lrs: list[tuple[int, float]] = []
    original = Training.update_average

    def note(self: Training) -> None:
        before = self.state.images - self.recipe.batch.size
        lrs.append((before, self.stage.stepper.optimisers["generator"].param_groups[0]["lr"]))
        original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "update_average", note)
        outcome = limner.resume(run.path, images=640)
    assert outcome.images == 640
    assert lrs[0] == (160, pytest.approx(1e-3))  # 160/640 of the new budget: not yet decaying
    assert dict(lrs)[480] == pytest.approx(1e-3 * (1 - (480 / 640 - 0.5) / 0.5))
    (segment,) = run.recipe().segments
    assert (segment.start, segment.images) == (160, 640)
    assert run.plan() == [(0, 160), (160, 640)]
    assert_metrics_once(run)
    limner.resume(run.path, images=800)
    assert [(segment.start, segment.images) for segment in run.recipe().segments] == [(160, 640), (640, 800)]


def test_a_longer_run_that_is_stopped_and_resumed_is_exact_too(tmp_path: Path) -> None:
    ends = []
    for name, stops in (("whole", False), ("parts", True)):
        run = run_of("vae", tmp_path / name, images=96)
        if stops:
            with at_images(144, ask_to_stop):
                assert limner.resume(run.path, images=240).state == "stopped"
            limner.resume(run.path)
        else:
            limner.resume(run.path, images=240)
        ends.append(run)
    assert_same_weights(*ends)


def test_a_budget_in_minutes_ends_in_time_and_its_plan_is_replayed(tmp_path: Path) -> None:
    minutes = 0.1
    began = time.monotonic()
    outcome = outcome_of("gan", tmp_path, "checkpoints.every=0.1", "checkpoints.keep=100", images=None, minutes=minutes)
    took = time.monotonic() - began
    # The clock's own exactness is a unit test's matter (test_budget); a machine whose speed changes meanwhile ends elsewhere.
    assert 0.5 < outcome.seconds / (60 * minutes) < 2
    assert took >= outcome.seconds
    run = Run(outcome.run)
    plan = run.plan()
    assert len(plan) >= 3, "a first row after the warm-up, then corrections"
    assert plan[-1][1] == outcome.images
    final = weights(run)
    last = run.checkpoint().path
    # As if it had been killed after an early checkpoint: everything later is lived again, by the written plan.
    early = run.checkpoints()[1]
    assert plan[0][0] < early.images < plan[-1][0]
    import shutil

    for checkpoint in run.checkpoints():
        if checkpoint.images > early.images:
            shutil.rmtree(checkpoint.path)
    again = limner.resume(run.path)
    assert run.plan() == plan
    assert again.images == outcome.images
    assert run.checkpoint().path == last
    assert weights(run) == final
    assert_metrics_once(run)


def test_init_from_takes_the_averaged_weights(tmp_path: Path) -> None:
    old = run_of("vae", tmp_path / "old")
    seen: dict[str, torch.Tensor] = {}

    def look(stepper: object) -> None:
        seen.update({name: value.clone() for name, value in stepper.method.state_dict().items()})  # type: ignore[attr-defined]

    with at_images(0, look):
        new = run_of("vae", tmp_path / "new", f"init_from={old.path}", seed=8)
    mean = old.checkpoint().tensors("ema")
    assert all(torch.equal(seen[name].cpu(), value) for name, value in mean.items())
    assert new.recipe().init_from == str(old.path)
    assert weights(new)["model"] != weights(old)["model"]
    with pytest.raises(limner.InputError, match="does not belong to this recipe"):
        run_of("vae", tmp_path / "wrong", f"init_from={old.path}", "method.latent=5")
    with pytest.raises(limner.InputError, match="no run at"):
        run_of("vae", tmp_path / "none", f"init_from={tmp_path / 'nowhere'}")


@every_preset
def test_one_seed_is_one_file(preset: str, tmp_path: Path) -> None:
    """Two runs in folders of other names, at other times: byte-equal weights. Another seed: others."""
    one = run_of(preset, tmp_path / "here", name="one", images=32)
    other = run_of(preset, tmp_path / "there" / "deeper", name="another", images=32)
    assert weights(one) == weights(other)
    assert weights(run_of(preset, tmp_path / "seed", images=32, seed=4))["model"] != weights(one)["model"]
    with safetensors.safe_open(one.checkpoint().path / "ema.safetensors", "pt") as file:
        told = file.metadata()
    assert list(told) == ["recipe"], "safetensors writes several keys in an order of chance"
    assert str(tmp_path) not in json.dumps(told)

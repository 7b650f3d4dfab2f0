"""Two averages of a run in training: its snapshots, the length that it ends with, its guide."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import limner
from contract.helpers import (
    QUIET,
    ask_to_stop,
    assert_same_weights,
    at_images,
    narrowed,
    outcome_of,
    run_of,
    stepper_of,
    torchrun,
)
from limner.core.errors import InputError
from limner.core.method import StepContext, averaged
from limner.data.feed import Feed
from limner.runs.averages import part_name
from limner.runs.checkpoint import load_weights
from limner.runs.run import Run
from limner.training.averages import SIGMAS, Average, mix_averages
from limner.training.choice import LENGTHS
from limner.training.step import Stepper

POWER = "ema.kind=power"
CONSTANT_RATE = ("method.optimiser.lr.value=1e-3", "method.optimiser.lr.warmup=0", "method.optimiser.lr.decay_from=1")
"""A learning rate by which a step does not depend on the budget."""


def flow_run(out: Path, *settings: str, images: int = 256) -> Run:
    return run_of("flow", out, *settings, images=images)


def snapshot_files(run: Run) -> dict[str, bytes]:
    """Every file of every snapshot."""
    folder = run.path / "averages"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def record_of(run: Run) -> dict[str, Any]:
    """What the run says about the lengths that it compared."""
    record: dict[str, Any] = json.loads((run.path / "averages" / "lengths.json").read_text())
    return record


def tracked(run: Run, sigma: float, which: str = "last") -> dict[str, torch.Tensor]:
    """The average of the length `sigma` in a checkpoint, to the bit."""
    prefix = f"{part_name(sigma)}/"
    tensors = run.checkpoint(which).tensors("averages")
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of sixteen steps."""
    return flow_run(tmp_path_factory.mktemp("whole"))


def test_a_snapshot_at_every_sixteenth(whole: Run) -> None:
    snapshots = whole.snapshots()
    assert [one.images for one in snapshots] == list(range(16, 257, 16))
    assert all(one.sigmas() == SIGMAS for one in snapshots)
    for sigma in SIGMAS:
        last, now = snapshots[-1].weights(sigma), tracked(whole, sigma)
        assert last.keys() == now.keys()
        for name, tensor in now.items():
            assert float((last[name] - tensor).norm()) <= 1e-3 * float(tensor.norm()), name


def test_the_length_is_that_of_the_lowest_loss(whole: Run) -> None:
    record = record_of(whole)
    assert list(record["values"]) == [f"{sigma:g}" for sigma in LENGTHS]
    assert record["by"] == "loss"
    best = min(record["values"], key=record["values"].get)
    assert record["length"] == float(best)
    assert (
        f"average: the length {best} has the lowest loss ({record['pictures']} pictures)"
        in (whole.path / "log.txt").read_text()
    )
    earlier = [
        Average(sigma, one.images, partial(one.weights, sigma)) for one in whole.snapshots()[:-1] for sigma in one.sigmas()
    ]
    now = [Average(sigma, 256, partial(tracked, whole, sigma)) for sigma in SIGMAS]
    expected = mix_averages([*earlier, *now], float(best), 256)
    saved = whole.checkpoint().tensors("ema")
    assert expected.keys() < saved.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(saved[name], tensor, rtol=1e-6, atol=1e-7)


def test_a_length_s_loss_is_that_of_the_average_it_names(whole: Run) -> None:
    """The saved model, loaded anew, has on the same pictures the loss that is recorded for the chosen length."""
    model = limner.load(whole.path)
    method, count = model.method.train().requires_grad_(True), int(record_of(whole)["pictures"])
    held_out = Feed(model.dataset(), "val", method.device, model.recipe.seed, accepts=method.accepts | {"label"})
    losses = stepper_of(method, 16, seed=model.recipe.seed).evaluate_losses(held_out.draw, StepContext(256, 1.0), count)
    assert count == len(held_out)
    assert losses["flow"] == pytest.approx(min(record_of(whole)["values"].values()), rel=1e-5)


def test_trained_weights_do_not_depend_on_the_average(whole: Run, tmp_path: Path) -> None:
    """Although the losses of averages are computed with them in the place of the live weights."""
    other = flow_run(tmp_path, "ema.kind=half-life")
    for part in ("model", "optim"):
        mine, theirs = whole.checkpoint().tensors(part), other.checkpoint().tensors(part)
        assert all(torch.equal(mine[name], tensor) for name, tensor in theirs.items()), part


def test_the_guide_is_the_average_of_an_eighth(tmp_path: Path) -> None:
    run = flow_run(tmp_path, "checkpoints.every=0.125", "checkpoints.keep=99")
    guide = run.guide_weights()
    assert guide is not None
    expected = tracked(run, 0.10, "32")
    assert guide.keys() == expected.keys()
    for name, tensor in expected.items():
        assert guide[name].dtype == torch.float32
        assert float((guide[name] - tensor).norm()) <= 1e-3 * float(tensor.norm()), name
    model = limner.load(run.path)
    load_weights(model.method, guide, run.path, list(guide))
    assert guide.keys() < set(averaged(model.method))


def test_stopped_and_resumed_has_the_same_snapshots(whole: Run, tmp_path: Path) -> None:
    with at_images(100, ask_to_stop):
        outcome = outcome_of("flow", tmp_path, images=256)
    parts = Run(outcome.run)
    assert not (parts.path / "averages" / "lengths.json").exists()
    stopped = parts.checkpoint()
    for name, tensor in tracked(parts, 0.05).items():
        assert torch.equal(stopped.tensors("ema")[name], tensor), "on the way, the shorter average is sampled from"
    limner.resume(parts.path)
    assert_same_weights(parts, whole)
    assert snapshot_files(parts) == snapshot_files(whole)


def test_a_longer_budget_goes_on_from_the_tracked_averages(tmp_path: Path) -> None:
    """And not from the length with which the shorter run had ended."""
    longer, parts = flow_run(tmp_path, *CONSTANT_RATE, images=160), flow_run(tmp_path, *CONSTANT_RATE, images=96)
    first = parts.checkpoint().images
    limner.resume(parts.path, images=160)
    assert first == 96
    for part in ("model", "averages"):
        one, other = parts.checkpoint().tensors(part), longer.checkpoint().tensors(part)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one), part
    assert record_of(parts)["images"] == 160


def test_a_limit_of_the_disk_leaves_the_guide_and_the_newest(tmp_path: Path) -> None:
    run = flow_run(tmp_path, "ema.gigabytes=0")
    assert [one.images for one in run.snapshots()] == [32, 256]
    assert record_of(run)["values"].keys() == {f"{sigma:g}" for sigma in LENGTHS}


def test_a_damaged_snapshot_is_left_out_at_the_end(whole: Run, tmp_path: Path) -> None:
    """The run ends as well as it would without that snapshot."""

    def spoil(_: Stepper) -> None:
        (file,) = tmp_path.glob("*/averages/000000192/sigma-0.050.safetensors")
        file.write_bytes(file.read_bytes()[:-4] + b"abcd")

    with at_images(240, spoil):
        run = flow_run(tmp_path)
    assert run.status()["state"] == "done"
    (line,) = [line for line in (run.path / "log.txt").read_text().splitlines() if "left out" in line]
    assert "averages/000000192/sigma-0.050.safetensors is damaged (its checksum is not that in COMPLETE)" in line
    mine, others = record_of(run)["values"], record_of(whole)["values"]
    assert mine.keys() == others.keys()
    assert mine["0.05"] == others["0.05"]
    assert mine["0.2"] != others["0.2"]
    assert all(mine[length] == pytest.approx(others[length], rel=0.02) for length in mine)


def test_rolled_back_snapshots_go(tmp_path: Path) -> None:
    broken = []

    def spoil(stepper: Stepper) -> None:
        broken.append(True)
        with torch.no_grad():
            next(iter(stepper.weights["flow"])).fill_(float("nan"))

    with at_images(160, spoil):
        run = flow_run(tmp_path, "on_nonfinite=rollback", "checkpoints.every=0.25")
    assert broken
    assert run.checkpoint().state()["rollbacks"] == 1
    for snapshot in run.snapshots():
        for sigma in SIGMAS:
            assert all(bool(tensor.isfinite().all()) for tensor in snapshot.weights(sigma).values()), snapshot.path
    assert [one.images for one in run.snapshots()] == list(range(16, 257, 16))


def test_stages_have_averages_of_their_own(tmp_path: Path) -> None:
    run = run_of("fsq", tmp_path, POWER, images=128)
    snapshots = run.snapshots()
    stages = [one.state()["stage"] for one in snapshots]
    start = run.checkpoint().state()["stage_start"]
    assert stages == [int(one.images > start) for one in snapshots]
    assert set(stages) == {0, 1}
    codec, prior = (next(one for one in snapshots if one.state()["stage"] == stage).weights(0.05) for stage in (0, 1))
    assert not codec.keys() & prior.keys()
    guide = run.guide_weights()
    assert guide is not None
    assert guide.keys() == prior.keys()
    assert {name for name in averaged(limner.load(run.path).method) if not name.startswith("codec.")} >= prior.keys()


def test_a_game_without_scores_keeps_the_shorter_average(tmp_path: Path) -> None:
    run = run_of("gan", tmp_path, POWER)
    saved = run.checkpoint().tensors("ema")
    assert all(torch.equal(saved[name], tensor) for name, tensor in tracked(run, 0.05).items())
    assert "average: its length stays 0.05, since there is nothing to compare lengths by" in (run.path / "log.txt").read_text()
    assert not (run.path / "averages" / "lengths.json").exists()


def test_settings_of_the_other_kind_are_refused(tmp_path: Path) -> None:
    for preset, key, value, kind in (("flow", "ema.half_life", "0.02", "half-life"), ("gan", "ema.snapshots", "8", "power")):
        with pytest.raises(InputError, match=rf"{key} would do nothing here: it belongs to ema.kind={kind}; leave it out"):
            run_of(preset, tmp_path, f"{key}={value}")
    assert not list(tmp_path.iterdir())


def test_the_half_life_writes_no_snapshots(tmp_path: Path) -> None:
    run = run_of("gan", tmp_path)
    assert not (run.path / "averages").exists()
    assert sorted(path.name for path in run.checkpoint().path.iterdir()) == [
        *("COMPLETE", "ema.safetensors", "model.safetensors", "optim.safetensors", "state.json")
    ]


DRIVER = """
import json, sys
from limner import train
from limner.core import parallel
with parallel.processes():
    train("digits", preset="flow", out=sys.argv[1], images=96, seed=3, settings=json.loads(sys.argv[2]))
"""


def test_two_processes_write_the_snapshots_of_one(tmp_path: Path) -> None:
    settings = narrowed("flow", *QUIET, "batch.chunks=2")
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    status, _, err = torchrun(str(script), str(tmp_path / "two"), json.dumps(settings))
    assert status == 0, err[-3000:]
    torch.set_num_threads(1)
    two, one = Run(next((tmp_path / "two").iterdir())), flow_run(tmp_path / "one", "batch.chunks=2", images=96)
    assert [snapshot.images for snapshot in two.snapshots()] == [snapshot.images for snapshot in one.snapshots()]
    for theirs, mine in zip(two.snapshots(), one.snapshots(), strict=True):
        for sigma in SIGMAS:
            weights = theirs.weights(sigma)
            for name, tensor in mine.weights(sigma).items():
                torch.testing.assert_close(weights[name], tensor, rtol=2e-3, atol=1e-5)
    assert record_of(one)["length"] == record_of(two)["length"]

"""Two processes with a chunk each equal one process with both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from contract.helpers import ALONE, QUIET, narrowed, run_of, torchrun
from limner.runs.run import Run

TWO = "batch.chunks=2"
VARIANTS = {
    **{preset: (preset, ()) for preset in ALONE},
    "r3": ("r3gan", ("method.networks=r3", "method.generator.group=8", "method.discriminator.group=8")),
    "r3gan-labels": ("r3gan", ("method.labels=true",)),
    "dcgan-apart": (
        "dcgan",
        ("method.updates=alternating", "method.discriminator.norm=batch", "method.r1_gamma=0", "checkpoints.keep=9"),
    ),
}
DRIVER = """
import json, sys
from limner import resume, train
from limner.core import parallel
with parallel.processes():
    for name, (preset, settings, out) in json.loads(sys.argv[1]).items():
        done = train("digits", preset=preset, out=out, images=96, seed=3, settings=settings)
    print("LONGER", done.run)
    resume(done.run, images=160)
"""
"""Trains every variant in one group of processes, since starting one costs seconds; then goes on with the last of them."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """The runs of two processes."""
    base = tmp_path_factory.mktemp("two")
    script = base / "driver.py"
    script.write_text(DRIVER)
    told = {
        name: (preset, narrowed(preset, *QUIET, TWO, *settings), str(base / name))
        for name, (preset, settings) in VARIANTS.items()
    }
    status, out, err = torchrun(str(script), json.dumps(told))
    assert status == 0, err[-3000:]
    return {name: Run(next((base / name).iterdir())) for name in VARIANTS}


@pytest.mark.parametrize("name", VARIANTS)
def test_two_processes_equal_one(name: str, shared: dict[str, Run], tmp_path: Path) -> None:
    preset, settings = VARIANTS[name]
    torch.set_num_threads(1)
    one, two = run_of(preset, tmp_path, TWO, *settings), shared[name]
    start_of = run_of(preset, tmp_path / "start", TWO, *settings, images=16)
    for part in ("model", "ema"):
        mine, theirs = one.checkpoint("96").tensors(part), two.checkpoint("96").tensors(part) if _has(two) else {}
        if not theirs:
            pytest.fail("the two processes left no checkpoint at 96 images")
        first = start_of.checkpoint().tensors(part)
        for key, value in mine.items():
            if key.startswith("prior"):
                continue  # estimated by expectation-maximisation, which may tip over on a rounding
            before = first.get(key, first.get(key.removeprefix("codec."), torch.zeros_like(value)))  # a later stage's are new
            moved = max(float((value.double() - before.double()).abs().max()), 1e-6)
            differs = float((value.double() - theirs[key].double()).abs().max())
            assert differs <= 0.02 * moved + 1e-6, (
                f"{part} {key}: differs by {differs:.2e} where training moved it by {moved:.2e}"
            )
    assert two.provenance()["hardware"]["processes"] == 2
    a, b = one.metrics()[-1], two.metrics()[0] if two.metrics()[0]["images"] == 96 else two.metrics()[-1]
    assert a["losses"].keys() == b["losses"].keys()
    assert len(two.plan()) >= 1


def _has(run: Run) -> bool:
    return any(checkpoint.images == 96 for checkpoint in run.checkpoints())


def test_a_longer_plan_reaches_both_processes(shared: dict[str, Run]) -> None:
    last = shared[list(VARIANTS)[-1]]
    assert last.plan() == [(0, 96), (96, 160)]
    assert last.status()["images"] == 160
    assert [segment.images for segment in last.recipe().segments] == [160]


def test_more_processes_than_chunks_name_the_setting(tmp_path: Path) -> None:
    status, out, err = torchrun("-m", "limner", "train", "digits", "--images", "64", "--out", str(tmp_path), "score.points=0")
    assert status != 0
    assert "2 processes" in err
    assert "batch.chunks" in err
    assert "Traceback" not in err.split("torch/distributed")[0]
    assert not list(tmp_path.iterdir())


TROUBLE = """
import json, sys
from pathlib import Path
from limner import train
from limner.core import parallel
from limner.training import milestones
from limner.training.logger import NotFiniteError
from limner.training.step import Stepper

step, check = Stepper.step, milestones.check_weights
stopping = False

def stepping(self, draw, at, iteration):
    if stopping and at.images >= 64 and parallel.is_main_process():
        (run,) = Path(sys.argv[1], "stopped").iterdir()
        (run / "control" / "stop").touch()
    return step(self, draw, at, iteration)

def checking(training):
    if training.state.images >= 64 and not training.state.rollbacks:
        raise NotFiniteError("planted")
    check(training)

Stepper.step, milestones.check_weights = stepping, checking
settings = json.loads(sys.argv[2])
with parallel.processes():
    back = train("digits", preset="gan", out=sys.argv[1] + "/back", images=160, settings=[*settings, "on_nonfinite=rollback"])
    milestones.check_weights, stopping = check, True
    stopped = train("digits", preset="gan", out=sys.argv[1] + "/stopped", images=1_000_000, settings=settings)
    mine = [back.state, back.images, stopped.state, stopped.images]
    theirs = parallel.broadcast_object(mine)
    assert mine == theirs, (mine, theirs)
    try:
        train("digits", preset="gan", out=sys.argv[1] + "/thirds", images=96, settings=[*settings, "batch.chunks=3"])
    except Exception as error:
        print(parallel.rank(), "refused:", error)
"""
"""Where only the main process sees trouble (a weight that is not finite, an order to stop), all go back or stop with it."""


def test_what_the_main_process_decides_is_done_by_all(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(TROUBLE)
    settings = narrowed("gan", *QUIET, TWO, "checkpoints.every=0.1", "batch.size=12")
    status, out, err = torchrun(str(script), str(tmp_path), json.dumps(settings))
    assert status == 0, err[-3000:]
    back, stopped = (Run(next((tmp_path / name).iterdir())) for name in ("back", "stopped"))
    assert back.checkpoint().state()["rollbacks"] == 1
    assert back.status()["images"] >= 160
    assert "the loss 'planted' is not finite" in (back.path / "log.txt").read_text()
    assert stopped.status()["state"] == "stopped"
    assert stopped.checkpoint().images == stopped.status()["images"] < 1_000_000
    assert out.count("2 processes cannot share 3 chunk(s) of a batch equally; set batch.chunks=2") == 2
    assert not (tmp_path / "thirds").exists()

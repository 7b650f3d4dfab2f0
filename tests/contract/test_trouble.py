"""What a person can mend is one line, and nothing that was saved is lost."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

import limner
from contract.helpers import (
    NARROW,
    QUIET,
    ask_to_stop,
    assert_metrics_once,
    assert_same_weights,
    at_images,
    every_preset,
    finished,
    outcome_of,
    run_of,
    start,
    weights,
)
from limner.core.method import Losses
from limner.methods.gan.gan import Gan
from limner.runs.run import Run
from limner.training.step import Stepper


def only(folder: Path) -> Run:
    (path,) = folder.iterdir()
    return Run(path)


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def raising(error: Exception) -> Callable[[Stepper], None]:
    def act(stepper: Stepper) -> None:
        raise error

    return act


@every_preset
def test_out_of_memory_names_the_chunks_and_the_run_resumes_with_them(preset: str, tmp_path: Path) -> None:
    with at_images(64, raising(torch.OutOfMemoryError("CUDA out of memory"))), pytest.raises(limner.InputError) as error:
        run_of(preset, tmp_path, "checkpoints.every=0.25")
    run = only(tmp_path)
    line = one_line(error)
    assert f"limner resume {run.path} batch.chunks=2" in line
    assert run.status()["state"] == "failed"
    last = run.checkpoints()[-1].images
    assert last > 0
    outcome = limner.resume(run.path, settings=["batch.chunks=2"])
    assert (outcome.state, outcome.images) == ("done", 96)
    recipe = run.recipe()
    assert recipe.batch.chunks == 2
    assert [(segment.start, segment.chunks) for segment in recipe.segments] == [(last, 2)]


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")],
    ids=["python", "cpu"],
)
def test_every_kind_of_out_of_memory_is_known(error: Exception, tmp_path: Path) -> None:
    with at_images(16, raising(error)), pytest.raises(limner.InputError, match=r"batch\.chunks=3") as told:
        run_of("gan", tmp_path, "batch.size=18", "batch.chunks=2")
    one_line(told)


def test_one_image_at_a_time_cannot_be_cut_further(tmp_path: Path) -> None:
    with at_images(4, raising(torch.OutOfMemoryError())), pytest.raises(limner.InputError, match=r"smaller data\.size"):
        run_of("vae", tmp_path, "batch.size=4", "batch.chunks=4")


def test_only_what_changes_no_weights_may_change_on_resume(tmp_path: Path) -> None:
    with at_images(32, ask_to_stop):
        run = run_of("gan", tmp_path)
    before = (run.path / "recipe.yaml").read_text()
    for setting in ("batch.size=8", "method.latent=3", "seed=2"):
        with pytest.raises(limner.InputError, match="cannot change"):
            limner.resume(run.path, settings=[setting])
    with pytest.raises(limner.InputError, match="does not divide"):
        limner.resume(run.path, settings=["batch.chunks=5"])
    assert (run.path / "recipe.yaml").read_text() == before


def poisoned(times: int, at: int) -> Callable[[Gan, str, Any, Any], Losses]:
    """`Gan.losses` whose loss is not a number at `at` images, the first `times` times it comes there."""
    original, left = Gan.losses, [times]

    def losses(self: Gan, phase: str, batches: Any, where: Any) -> Losses:
        found = original(self, phase, batches, where)
        if where.images == at and left[0]:
            left[0] -= 1
            bad = {name: value * float("nan") for name, value in found.of.items()}
            return Losses(bad, found.logs, found.sums, None if found.joint is None else found.joint * float("nan"))
        return found

    return losses


def test_a_loss_that_is_no_number_stops_and_names_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Gan, "losses", poisoned(1, 64))
    with pytest.raises(limner.InputError) as error:
        run_of("gan", tmp_path, "checkpoints.every=0.3")
    run = only(tmp_path)
    line = one_line(error)
    good = run.checkpoints()[-1]
    assert good.images == 64
    assert str(good.path) in line
    assert "not finite" in line
    assert all(bool(value.isfinite().all()) for value in good.tensors("model").values())
    assert [checkpoint.images for checkpoint in run.checkpoints()] == [64], "nothing is saved after it"
    monkeypatch.undo()
    assert limner.resume(run.path).images == 96


def test_rollback_goes_back_once_with_other_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ("checkpoints.every=0.3", "on_nonfinite=rollback")
    monkeypatch.setattr(Gan, "losses", poisoned(1, 64))
    run = run_of("gan", tmp_path / "once", *settings)
    assert run.status()["state"] == "done"
    assert run.checkpoint().state()["rollbacks"] == 1
    assert "going back once" in (run.path / "log.txt").read_text()
    assert_metrics_once(run)
    monkeypatch.undo()
    calm = run_of("gan", tmp_path / "calm", *settings)
    assert weights(calm)["model"] != weights(run)["model"], "the same draws would lead to the same end"
    monkeypatch.setattr(Gan, "losses", poisoned(2, 64))
    with pytest.raises(limner.InputError, match="not finite"):
        run_of("gan", tmp_path / "twice", *settings)


def test_a_weight_that_is_no_number_is_never_saved(tmp_path: Path) -> None:
    """A finite loss may still have an infinite gradient; the checkpoint before it is then the last good one."""

    def spoil(stepper: Stepper) -> None:
        original = stepper._apply_gradients

        def apply(player: str, gradients: Any, at: Any) -> None:
            original(player, gradients, at)
            with torch.no_grad():
                stepper.weights[player][0].fill_(float("inf"))

        stepper._apply_gradients = apply  # type: ignore[method-assign]

    with at_images(48, spoil), pytest.raises(limner.InputError, match="not finite"):
        run_of("gan", tmp_path, "checkpoints.every=0.01", "checkpoints.keep=99")
    assert [checkpoint.images for checkpoint in only(tmp_path).checkpoints()] == [16, 32, 48]


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.05)


def test_orders_from_outside(tmp_path: Path) -> None:
    """save-now, sample-now, pause and stop, put into ``control/`` while it trains in a thread."""
    found: list[Any] = []
    train = threading.Thread(target=lambda: found.append(outcome_of("gan", tmp_path, images=10_000_000)))
    train.start()
    try:
        wait_for(lambda: tmp_path.exists() and any(tmp_path.glob("*/metrics.jsonl")))
        run = only(tmp_path)
        control = run.path / "control"
        (control / "save-now").touch()
        wait_for(lambda: len(run.checkpoints()) == 1 and not (control / "save-now").exists())
        previews = set((run.path / "previews").glob("0*.png"))
        (control / "sample-now").touch()
        wait_for(lambda: len(set((run.path / "previews").glob("0*.png")) - previews) == 1)
        (control / "pause").touch()
        wait_for(lambda: run.status()["state"] == "paused")
        images = run.status()["images"]
        (control / "save-now").touch()  # kept for when it goes on
        time.sleep(0.7)
        assert run.status()["images"] == images
        (control / "pause").unlink()
        wait_for(lambda: run.status()["state"] == "training")
        wait_for(
            lambda: len({checkpoint.images for checkpoint in run.checkpoints()}) >= 1 and run.checkpoints()[-1].images >= images
        )
        (control / "pause").touch()
        wait_for(lambda: run.status()["state"] == "paused")
        (control / "stop").touch()  # heard in a pause as well
        train.join(30)
        assert not train.is_alive()
    finally:
        if train.is_alive():
            only(tmp_path).path.joinpath("control", "stop").touch()
            only(tmp_path).path.joinpath("control", "pause").unlink(missing_ok=True)
            train.join(30)
    assert found[0].state == "stopped"
    assert run.checkpoints()[-1].images == found[0].images
    assert run.status()["state"] == "stopped"
    assert not (control / "stop").exists()


@pytest.mark.parametrize("count", [2, 4])
def test_too_few_pictures_for_a_judge(count: int, tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)
    with pytest.raises(limner.InputError, match=r"train without scores: score\.points=0") as error:
        limner.train(pictures, preset="gan", images=16, out=tmp_path, settings=NARROW["gan"])
    one_line(error)
    assert limner.train(pictures, preset="gan", images=16, out=tmp_path, settings=[*NARROW["gan"], *QUIET]).state == "done"


def test_sigterm_saves_and_leaves_with_130(tmp_path: Path) -> None:
    words = ("train", "digits", "--preset", "gan", "--images", "100000000", "--out", str(tmp_path), *NARROW["gan"], *QUIET)
    process = start("-m", "limner", *words)
    try:
        wait_for(lambda: process.poll() is not None or any(tmp_path.glob("*/metrics.jsonl")))
        run = only(tmp_path)
        with pytest.raises(limner.InputError, match="being trained by another process"):
            limner.resume(run.path, images=200_000_000)
        assert run.recipe().segments == (), "a refused resume writes nothing"
        assert run.plan() == [(0, 100_000_000)]
        os.kill(process.pid, signal.SIGTERM)
    finally:
        status, _, err = finished(process, 60)
    assert status == 130, err
    assert run.status()["state"] == "stopped"
    assert run.checkpoints()[-1].images == run.status()["images"] > 0
    assert limner.load(run.path).sample([1]).shape == (1, 8, 8, 1)


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    with at_images(32, ask_to_stop):
        run = run_of("gan", tmp_path)
    with run.locked(), pytest.raises(limner.InputError, match="being trained by another process") as error:
        limner.resume(run.path)
    one_line(error)
    assert run.status()["state"] == "stopped", "the refused process has no say in the status"
    assert limner.resume(run.path).state == "done"


def test_a_full_disk_while_saving_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, saved = Path.write_bytes, list[Path]()

    def write_bytes(self: Path, data: bytes) -> int:
        if self.name == "ema.safetensors":
            saved.append(self)
            if len(saved) == 2:
                original(self, data[: len(data) // 2])
                raise OSError(errno.ENOSPC, "No space left on device")
        return original(self, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(limner.InputError, match="no space left") as error:
        run_of("vae", tmp_path / "full", "checkpoints.every=0.3")
    one_line(error)
    monkeypatch.undo()
    run = only(tmp_path / "full")
    (kept,) = run.checkpoints()
    assert sorted(path.name for path in (run.path / "checkpoints").iterdir()) == [kept.path.name]
    assert limner.load(run.path).sample([1]).shape == (1, 8, 8, 1)
    limner.resume(run.path)
    assert_same_weights(run, run_of("vae", tmp_path / "whole", "checkpoints.every=0.3"))


def test_a_really_full_disk(tmp_path: Path) -> None:
    """A file system of 300 kB, where mounting one is allowed."""
    import subprocess

    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(small)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a file system needs more rights")
    try:
        with pytest.raises(limner.InputError, match="no space left") as error:
            run_of("vae", small, "checkpoints.every=0.01", "checkpoints.keep=99")
        one_line(error)
        run = only(small)
        for checkpoint in run.checkpoints():
            checkpoint.tensors("model")
            checkpoint.tensors("optim")
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_of("gan", tmp_path, "checkpoints.every=0.5", "checkpoints.keep=9")


def reshaped(run: Run) -> None:
    path = run.checkpoint().path / "ema.safetensors"
    tensors = safetensors.torch.load_file(path)
    name = next(name for name in tensors if tensors[name].dim() == 2)
    tensors[name] = tensors[name][:-1].clone()
    path.write_bytes(safetensors.torch.save(tensors, {"recipe": "{}"}))
    run.checkpoint().write_marker()


def lacking(run: Run) -> None:
    path = run.checkpoint().path / "ema.safetensors"
    tensors = safetensors.torch.load_file(path)
    tensors.pop(sorted(tensors)[0])
    path.write_bytes(safetensors.torch.save(tensors, {"recipe": "{}"}))
    run.checkpoint().write_marker()


def truncated(run: Run) -> None:
    path = run.checkpoint().path / "ema.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def emptied(run: Run) -> None:
    (run.checkpoint().path / "ema.safetensors").write_bytes(b"")


def gone(run: Run) -> None:
    (run.checkpoint().path / "ema.safetensors").unlink()


def flipped(run: Run) -> None:
    path = run.checkpoint().path / "ema.safetensors"
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)


def of_another_run(run: Run) -> None:
    """Whole, and of the same names and shapes."""
    last, older = run.checkpoints()[-1], run.checkpoints()[0]
    shutil.copy(older.path / "ema.safetensors", last.path / "ema.safetensors")


def without_checksums(run: Run) -> None:
    (run.checkpoint().path / "COMPLETE").write_text('{"sha256": ')


def another_state(run: Run) -> None:
    path = run.checkpoint().path / "state.json"
    path.write_text(path.read_text().replace('"rollbacks": 0', '"rollbacks": 1'))


def unreadable(run: Run) -> None:
    """As without the right to read it, which root always has: no file can be opened there."""
    path = run.checkpoint().path / "ema.safetensors"
    path.unlink()
    path.mkdir()


def not_finite(run: Run) -> None:
    path = run.checkpoint().path / "ema.safetensors"
    tensors = safetensors.torch.load_file(path)
    tensors[sorted(tensors)[0]].view(-1)[0] = float("nan")
    path.write_bytes(safetensors.torch.save(tensors, {"recipe": "{}"}))
    run.checkpoint().write_marker()


def pickled(run: Run) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(run.path / "pwned"),))

    (run.checkpoint().path / "ema.safetensors").write_bytes(pickle.dumps(Bomb()))


def broken_state(run: Run) -> None:
    (run.checkpoint().path / "state.json").write_text('{"images": 4')


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (reshaped, "has shape"),
        (lacking, "lacks"),
        (truncated, "damaged"),
        (emptied, "damaged"),
        (gone, "missing"),
        (flipped, "ema.safetensors is damaged .its checksum is not that in COMPLETE.; bring it back .* checkpoint of [0-9]"),
        (of_another_run, "ema.safetensors is damaged .its checksum"),
        (without_checksums, "COMPLETE is damaged .it holds no checksums"),
        (another_state, "state.json is damaged .its checksum"),
        (unreadable, "ema.safetensors cannot be read .Is a directory.; check that you may read it"),
        (not_finite, "1 of [0-9]+ tensors, '.*' first, hold values that are no finite numbers.*use an older checkpoint"),
        (pickled, "damaged"),
        (broken_state, "damaged"),
    ],
)
def test_a_damaged_checkpoint_is_one_line(damage: Callable[[Run], None], words: str, run: Run) -> None:
    damage(run)
    for use in (lambda: limner.load(run.path), lambda: limner.resume(run.path, images=160)):
        with pytest.raises(limner.InputError, match=words) as error:
            use()
        assert str(run.path) in one_line(error)
    assert not (run.path / "pwned").exists(), "a pickle was run"
    older = run.checkpoints()[0]
    assert limner.load(run.path, str(older.images)).checkpoint == older


def test_optimiser_state_of_another_network_is_refused(run: Run) -> None:
    path = run.checkpoint().path / "optim.safetensors"
    tensors = safetensors.torch.load_file(path)
    path.write_bytes(safetensors.torch.save({f"other.{name}": value for name, value in tensors.items()}))
    run.checkpoint().write_marker()
    with pytest.raises(limner.InputError, match="belongs to no weight"):
        limner.resume(run.path, images=160)


def test_what_lacks_complete_does_not_exist(run: Run, tmp_path: Path) -> None:
    last, older = run.checkpoints()[-1], run.checkpoints()[0]
    (last.path / "COMPLETE").unlink()
    assert run.checkpoint() == older
    with pytest.raises(limner.InputError, match="no checkpoint '96'"):
        limner.load(run.path, "96")
    for name in ("ema.safetensors", "model.safetensors"):
        (last.path / name).write_bytes(b"half")
    (run.path / "checkpoints" / ".000000080.77.tmp").mkdir()
    (run.path / ".status.json.77.tmp").write_text("half")
    (run.path / "previews" / ".x.png.77.tmp").write_text("half")
    expected = run_of("gan", tmp_path / "whole", "checkpoints.every=0.5", "checkpoints.keep=9")
    limner.resume(run.path)
    assert_same_weights(run, expected)
    left = [path for path in run.path.rglob("*") if path.name.endswith(".tmp")]
    assert left == []


def test_no_complete_checkpoint_at_all(run: Run) -> None:
    for checkpoint in run.checkpoints():
        (checkpoint.path / "COMPLETE").unlink()
    with pytest.raises(limner.InputError, match="no complete checkpoint") as error:
        limner.load(run.path)
    assert str(run.path) in one_line(error)


def test_changed_pictures_are_noticed(tmp_path: Path) -> None:
    from made import encoded, textured, write

    folder = tmp_path / "pictures"
    for number in range(12):
        write(folder / f"{number}.png", encoded(textured(number, 8, 8, 1)))
    run = run_of("gan", tmp_path / "runs", "data.size=8", source=folder, images=32)
    write(folder / "3.png", encoded(textured(77, 8, 8, 1)))
    with pytest.raises(limner.InputError, match="fingerprint differs"):
        limner.resume(run.path, images=64)
    shutil.rmtree(folder)
    with pytest.raises(limner.InputError):
        limner.resume(run.path, images=64)


def test_a_grey_model_given_colour_says_so(tmp_path: Path, sources: Mapping[tuple[int, int, int], Path]) -> None:
    grey = run_of("gan", tmp_path / "grey")
    with pytest.raises(limner.InputError, match=r"1 channel\(s\), these have 3; set data\.channels=1") as error:
        run_of("gan", tmp_path / "colour", f"init_from={grey.path}", source=sources[(32, 48, 3)])
    one_line(error)
    assert not (tmp_path / "colour").exists(), "nothing is left behind"

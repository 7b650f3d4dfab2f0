"""The run folder as an interface between processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import filelock
import pytest
import torch

from limner.core import files, process
from limner.core.errors import InputError
from limner.recipes.settings import compose
from limner.runs.checkpoint import TrainState, load_weights
from limner.runs.listing import list_runs, prune
from limner.runs.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "runs", "cats", compose("gan", ["data.source=/pictures/cats"]))


def save(run: Run, images: int, value: float = 0.0) -> None:
    parts = {name: {"w": torch.full((2, 2), value)} for name in ("model", "ema", "optim")}
    run.save(images, parts, {"images": images}, run.recipe())


def test_numbers_and_names(tmp_path: Path) -> None:
    recipe = compose("gan")
    names = [Run.create(tmp_path, name, recipe).path.name for name in ("a", "b / c: ü", "..", "")]
    assert names == ["0001-a", "0002-b-c", "0003-run", "0004-run"]
    (tmp_path / "0041-old").mkdir()
    (tmp_path / "notes").mkdir()
    assert Run.create(tmp_path, "x", recipe).path.name == "0042-x"
    assert Run(tmp_path / "0042-x").recipe() == recipe


def test_open_by_a_unique_beginning(tmp_path: Path) -> None:
    recipe = compose("gan")
    for name in ("a", "b"):
        Run.create(tmp_path, name, recipe)
    assert Run.open(tmp_path / "0002").path == tmp_path / "0002-b"
    assert Run.open(str(tmp_path / "0001-a")).path == tmp_path / "0001-a"
    with pytest.raises(InputError, match=r"several begin so: 0001-a, 0002-b"):
        Run.open(tmp_path / "000")
    with pytest.raises(InputError, match="did you mean '0001-a'"):
        Run.open(tmp_path / "0001-z")
    with pytest.raises(InputError, match="no run at"):
        Run.open(tmp_path / "nowhere" / "x")


def test_checkpoints_last_best_and_by_number(run: Run) -> None:
    with pytest.raises(InputError, match="no complete checkpoint yet"):
        run.checkpoint()
    for images in (300, 1000, 200):
        save(run, images, images)
    assert [checkpoint.images for checkpoint in run.checkpoints()] == [200, 300, 1000]
    assert run.checkpoint().images == run.checkpoint("best").images == 1000
    for images, frechet in ((200, 3.0), (300, 2.0), (400, 1.0), (1000, 2.5)):
        run.append_score({"images": images, "frechet": frechet})
    assert run.best() == 300, "the best of those that are still there"
    assert run.checkpoint("best").tensors("ema")["w"].unique().tolist() == [300.0]
    assert run.checkpoint("200").state() == asdict(TrainState(images=200))
    for wrong in ("400", "newest", "-1"):
        with pytest.raises(InputError, match="there are: last, best, 200, 300, 1000"):
            run.checkpoint(wrong)


@pytest.mark.parametrize(
    ("keep", "left"), [(0, [200, 500]), (1, [200, 400, 500]), (4, [100, 200, 300, 400, 500]), (9, [100, 200, 300, 400, 500])]
)
def test_prune_keeps_last_best_and_the_newest(run: Run, keep: int, left: list[int]) -> None:
    for images in range(100, 600, 100):
        save(run, images)
        run.append_score({"images": images, "frechet": abs(images - 200.0)})
    gone = run.prune(keep)
    assert [checkpoint.images for checkpoint in run.checkpoints()] == left
    assert len(gone) == 5 - len(left)
    assert not any(path.exists() for path in gone)


def test_equal_weights_are_equal_files(run: Run, tmp_path: Path) -> None:
    other = Run.create(tmp_path / "elsewhere", "dogs", compose("gan", ["data.source=/other/place/cats"]))
    digests = set()
    for _ in range(8):  # safetensors writes several metadata keys in an order of chance
        for one in (run, other):
            save(one, 10, 1.5)
            digests.add(one.checkpoint().digest())
            files.shutil.rmtree(one.checkpoint().path)
    assert len(digests) == 1
    save(run, 20, 1.0)
    assert run.checkpoint().digest() not in digests
    assert run.checkpoint().recipe().data.source == "cats"


def test_a_checkpoint_is_whole_or_not_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("killed half-way")

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(RuntimeError):
        save(run, 10)
    assert run.checkpoints() == []
    assert list((run.path / "checkpoints").iterdir()) == []


def test_rows_survive_a_line_cut_short(run: Run) -> None:
    for images in (10, 20):
        run.append_metrics({"images": images})
        run.add_plan(images, images * 10)
    for name in ("metrics.jsonl", "plan.jsonl"):
        with (run.path / name).open("a") as file:
            file.write('{"images": 30, "at"')
    assert [row["images"] for row in run.metrics()] == [10, 20]
    run.append_metrics({"images": 40})
    run.add_plan(40, 400)
    assert [row["images"] for row in run.metrics()] == [10, 20, 40], "the row after a cut one is not swallowed"
    assert run.plan() == [(10, 100), (20, 200), (40, 400)]


def test_forget_what_is_about_to_be_lived_again(run: Run) -> None:
    for images in (10, 20, 30):
        run.append_metrics({"images": images})
        run.append_score({"images": images, "frechet": 1.0})
        (run.path / "previews" / f"{images:09d}.png").write_bytes(b"x")
    (run.path / "previews" / "reals.png").write_bytes(b"x")
    run.delete_after(20)
    assert [row["images"] for row in run.metrics()] == [row["images"] for row in run.scores()] == [10, 20]
    assert sorted(path.name for path in (run.path / "previews").iterdir()) == ["000000010.png", "000000020.png", "reals.png"]


def test_replan(run: Run) -> None:
    for row in ((0, 100), (50, 120), (90, 110)):
        run.add_plan(*row)
    run.replan(50, 400)
    assert run.plan()[-1] == (50, 400)
    assert run.plan()[0] == (0, 100)
    run.replan(0, None)
    assert run.plan() == [], "minutes are measured anew"


def test_orders_are_taken_away_by_asking(run: Run) -> None:
    assert run.take_orders() == set()
    for name in ("pause", "stop", "save-now", "nonsense"):
        (run.path / "control" / name).touch()
    assert run.take_orders() == {"pause", "stop", "save-now"}
    assert run.take_orders() == {"pause"}


def test_status_of_a_new_and_of_a_silent_run(run: Run) -> None:
    assert run.status() == {"state": "new", "images": 0}
    run.write_status("training", images=70)
    with run.locked():
        row = list_runs(run.path.parent)[0]
        assert (row["state"], row["images"], row["preset"], row["data"]) == ("training", 70, "gan", "cats")
    assert list_runs(run.path.parent)[0]["state"] == "interrupted"
    (run.path / "recipe.yaml").write_text("{")
    assert "unreadable" in list_runs(run.path.parent)[0]["state"]
    with pytest.raises(InputError, match="no folder"):
        list_runs(run.path / "nowhere")


HOLDERS = {
    "limner": "from limner.runs.run import Run\nwith Run(Path(sys.argv[1])).locked():\n    hold()",
    "limner of before": (
        "import fcntl\nwith (Path(sys.argv[1]) / '.lock').open('w') as handle:\n"
        "    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)\n    hold()"
    ),
}
"""What holds a run's lock, in a process of its own: `Run.locked`, and the call that it was until version 0.1."""


@pytest.mark.skipif(sys.platform == "win32", reason="flock")
@pytest.mark.parametrize("holder", HOLDERS)
def test_one_process_trains_a_run_and_a_dead_one_does_not(holder: str, run: Run) -> None:
    head = "import sys\nfrom pathlib import Path\ndef hold():\n    print('held', flush=True)\n    sys.stdin.read()\n"
    words = [sys.executable, "-c", head + HOLDERS[holder], str(run.path)]
    assert not run.is_training()
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert run.is_training()
        with pytest.raises(InputError, match="is being trained by another process; wait for it, or stop it first"):
            run.locked().__enter__()
        other.kill()
    assert not run.is_training()
    with run.locked():
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="flock")
def test_a_limner_of_before_is_kept_out(run: Run) -> None:
    import fcntl

    with run.locked(), (run.path / ".lock").open("w") as handle:
        with pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert run.is_training(), "within one process as well"
    assert not run.is_training()


def test_a_lock_that_may_not_be_written_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with pytest.raises(InputError, match="no permission to write"):
        run.locked().__enter__()


def test_a_fault_lets_go_of_the_lock(run: Run) -> None:
    def fail() -> None:
        with run.locked():
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail()
    assert not run.is_training()


def test_prune_of_a_folder_leaves_a_run_in_training_alone(run: Run) -> None:
    for images in (10, 20, 30):
        save(run, images)
    with run.locked():
        result = prune(run.path.parent)
        assert (result["runs"], result["removed"]) == ([str(run.path)], [])
        assert [(one["run"], "being trained" in one["reason"]) for one in result["skipped"]] == [(str(run.path), True)]
    assert len(prune(run.path.parent)["removed"]) == 2


def test_load_weights_copies_all_or_nothing() -> None:
    method = torch.nn.Linear(2, 2)
    before = method.weight.clone()
    good = {"weight": torch.ones(2, 2), "bias": torch.ones(2)}
    for bad, words in (
        ({"weight": good["weight"]}, "lacks 'bias'"),
        (good | {"extra": torch.ones(1)}, "holds an unknown 'extra'"),
        (good | {"weight": torch.ones(3, 2)}, r"'weight' has shape \(3, 2\)"),
    ):
        with pytest.raises(InputError, match=words):
            load_weights(method, bad, Path("here"))  # type: ignore[arg-type]
        assert torch.equal(method.weight, before)
    load_weights(method, {"bias": torch.full((2,), 7.0)}, Path("here"), ["bias"])  # type: ignore[arg-type]
    assert method.bias.tolist() == [7, 7]
    assert torch.equal(method.weight, before)


def test_two_threads_write_one_file(tmp_path: Path) -> None:
    """Each its own temporary file; the one that ends last is what stays."""
    barrier = threading.Barrier(2)

    def write(text: str) -> None:
        with files.atomic(tmp_path / "file") as temporary:
            temporary.write_text(text)
            barrier.wait(10)
            barrier.wait(10)

    with ThreadPoolExecutor(2) as pool:
        assert [future.result() for future in [pool.submit(write, text) for text in ("one", "two")]] == [None, None]
    assert (tmp_path / "file").read_text() in ("one", "two")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_atomic_writes_leave_the_old_file_when_they_fail(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="Out of range"):
        files.write_json(path, {"a": float("nan")})

    def fail_half_way() -> None:
        with files.atomic(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert json.loads(path.read_text()) == {"a": 1}
    assert [entry.name for entry in path.parent.iterdir()] == ["file.json"]


def test_on_windows_no_folder_is_opened_and_files_are_synced_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    opened: list[tuple[Path, int]] = []
    monkeypatch.setattr(files.os, "open", lambda path, flags: opened.append((path, flags)) or os.dup(1))
    monkeypatch.setattr(files.os, "fsync", lambda handle: None)
    for system, expected in (
        ("linux", [(tmp_path, os.O_RDONLY), (tmp_path / "file", os.O_RDONLY)]),
        ("windows", [(tmp_path / "file", os.O_RDWR)]),
    ):
        monkeypatch.setattr(process, "system", lambda system=system: system)
        for path in (tmp_path, tmp_path / "file"):
            files.sync(path)
        assert opened == expected
        opened.clear()


@pytest.mark.parametrize("system", ["linux", "windows"])
def test_on_windows_a_file_that_is_being_read_is_replaced_a_little_later(
    system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals, replace = [PermissionError(13, "read by another")] * 2, os.replace

    def busy(source: Path, target: Path) -> None:
        if refusals:
            raise refusals.pop()
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", busy)
    monkeypatch.setattr(process, "system", lambda: system)
    if system == "linux":  # where nothing but a missing permission says so
        with pytest.raises(InputError, match="no permission"):
            files.write_text(tmp_path / "file", "x")
        assert len(refusals) == 1
    else:
        files.write_text(tmp_path / "file", "x\n")
        assert (tmp_path / "file").read_bytes() == b"x\n"
        refusals += [PermissionError(13, "for ever")] * 100
        monkeypatch.setattr(files.time, "sleep", lambda _: None)
        with pytest.raises(InputError, match="no permission"):
            files.write_text(tmp_path / "file", "y")
        assert (tmp_path / "file").read_bytes() == b"x\n"
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize(
    ("code", "words"), [(28, "no space left"), (122, "no space left"), (13, "no permission"), (30, "no permission")]
)
def test_the_systems_refusals_are_one_line(code: int, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words), files.os_errors_as_input_errors(tmp_path):
        raise OSError(code, "no")
    with pytest.raises(OSError, match="other"), files.os_errors_as_input_errors(tmp_path):
        raise OSError(5, "other")


def test_warnings_stay_in_the_status_until_others_are_given(run: Run) -> None:
    warning = {"kind": "collapse", "text": "all the same"}
    run.write_status("training", images=1, warnings=[warning])
    run.write_status("done", images=2)
    assert run.status()["warnings"] == [warning]
    run.write_status("done", images=2, warnings=[])
    assert run.status()["warnings"] == []

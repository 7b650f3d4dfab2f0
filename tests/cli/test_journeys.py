"""The verbs one after the other, as a person uses them, with budgets of seconds; and what happens to bad input on the way."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from limner.cli import main
from limner.runs.checkpoint import Checkpoint

SMALL = ["batch.size=32", "score.points=0", "previews.count=4", "method.generator.width=16", "method.discriminator.width=8"]

Ask = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """`ask("train", …)` is (exit code, the JSON object, stderr); no traceback ever reaches the terminal."""

    def run(*words: str | Path) -> tuple[int, dict[str, Any], str]:
        code = main([*map(str, words), "--json"])
        seen = capsys.readouterr()
        assert "Traceback" not in seen.out + seen.err
        answer = json.loads(seen.out)
        if code in (1, 2):
            assert set(answer) == {"error"}
            assert "\n" not in answer["error"]
            assert seen.err.splitlines()[-1] == f"limner: {answer['error']}"
        return code, answer, seen.err

    return run


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def pictures(folder: Path, count: int, size: tuple[int, int] = (12, 10)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(draw.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / f"{i:03d}.png")
    return folder


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG that claims to be so large."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 100)
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished run; tests that change one take a copy."""
    out = tmp_path_factory.mktemp("runs")
    assert (
        main(
            ["train", "digits", "--preset", "dcgan", "--images", "640", "--out", str(out), "--name", "small", "--json", *SMALL]
        )
        == 0
    )
    return next(out.iterdir())


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "runs" / trained.name))


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: the kernel refuses the write, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


# ---- the way through ----------------------------------------------------------------------------------------------------


def test_from_pictures_to_pictures(ask: Ask, tmp_path: Path) -> None:
    folder, runs = pictures(tmp_path / "mine", 40), tmp_path / "runs"
    code, answer, _ = ask("data", "check", folder, "--size", "8x12")
    assert code == 0
    assert {"path", "images", "rejected", "duplicates", "classes", "captions", "shape", "fingerprint", "seconds"} <= set(answer)
    assert (answer["images"], answer["shape"]) == (40, [8, 12, 3])

    code, answer, _ = ask("data", "prepare", folder, "--size", "8x12", "--out", tmp_path / "packed")
    assert code == 0
    assert (tmp_path / "packed" / "images.npy").is_file()

    code, answer, err = ask(
        "train", tmp_path / "packed", "--preset", "dcgan", "--images", "320", "--out", runs, "--name", "mine", *SMALL
    )
    assert code == 0, err
    assert {"run", "images", "seconds", "images_per_second", "parameters", "losses"} <= set(answer)
    assert answer["images"] >= 320
    run = Path(answer["run"])
    assert run.parent == runs
    for name in ("recipe.yaml", "provenance.json", "status.json", "metrics.jsonl", "report.html", "previews/reals.png"):
        assert (run / name).is_file(), name

    code, answer, _ = ask("resume", run, "--images", "640")
    assert code == 0
    assert answer["images"] >= 640

    code, answer, _ = ask("sample", run, "--seeds", "0-3,42", "--grid", "--out", tmp_path / "new")
    assert code == 0
    assert answer["seeds"] == [0, 1, 2, 3, 42]
    assert len(answer["files"]) == 5
    with Image.open(answer["files"][0]) as image:
        assert image.size == (12, 8)
        assert image.info
    assert Path(answer["grid"]).is_file()

    code, answer, _ = ask("runs", runs)
    assert code == 0
    (row,) = answer["runs"]
    assert {"run", "preset", "data", "state", "images", "score"} <= set(row)
    assert row["state"] == "done"
    code, answer, _ = ask("runs", "prune", runs)
    assert code == 0
    code, answer, _ = ask("report", run)
    assert (code, answer["report"]) == (0, str(run / "report.html"))


def test_samples_as_an_array(ask: Ask, trained: Path, tmp_path: Path) -> None:
    code, answer, _ = ask("sample", trained, "--count", "5", "--npz", tmp_path / "new.npz")
    assert code == 0
    with np.load(tmp_path / "new.npz", allow_pickle=False) as arrays:
        assert arrays["images"].shape == (5, 8, 8, 1)
        assert arrays["images"].dtype == np.uint8
    assert Path(answer["npz"]) == tmp_path / "new.npz"


def test_metadata_can_be_left_out(ask: Ask, trained: Path, tmp_path: Path) -> None:
    _, answer, _ = ask("sample", trained, "--count", "1", "--no-metadata", "--out", tmp_path)
    with Image.open(answer["files"][0]) as image:
        image.load()
        assert image.info == {}


def test_evaluate(ask: Ask, trained: Path) -> None:
    code, answer, _ = ask("evaluate", trained, "--count", "200", "--features", "pixels", "--metrics", "frechet,coverage")
    assert code == 0
    assert set(answer["metrics"]) == {"frechet", "coverage"}
    assert {"value", "error", "null", "z", "p"} <= set(answer["metrics"]["frechet"])
    assert {"count", "features", "report"} <= set(answer)


def test_a_dry_run_leaves_nothing(ask: Ask, tmp_path: Path) -> None:
    code, answer, err = ask(
        "train", "digits", "--preset", "dcgan", "--dry-run", "--images", "640", "--out", tmp_path / "runs", *SMALL
    )
    assert code == 0, err
    assert {"recipe", "parameters", "memory", "seconds_estimate", "images_per_second"} <= set(answer)
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_of_an_instant_is_no_fault(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a fast machine a short run takes 0.0 s, to the digit that is told; its speed was once divided by that."""
    monkeypatch.setattr("limner.training.dry_run._step_seconds", lambda *_: 1e-5)
    monkeypatch.setattr("limner.training.dry_run._timed", lambda *_: 1e-5)
    words = ("train", "digits", "--preset", "dcgan", "--dry-run", "--images", "640", "--out", tmp_path / "runs", *SMALL)
    code, answer, err = ask(*words)
    assert code == 0, err
    assert answer["seconds_estimate"] == 0.0
    assert answer["images_per_second"] > 1e5


SPOKEN = [
    "runs .",
    "runs prune .",
    "report RUN",
    "evaluate RUN --count 64 --features pixels",
    "sample RUN --count 2",
    "resume RUN",
]


@pytest.mark.parametrize("words", SPOKEN)
def test_for_a_person(words: str, copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same answers without --json: some lines on stdout, and nothing in Python's own words."""
    monkeypatch.chdir(copy.parent)
    assert main(words.replace("RUN", copy.name).split()) == 0
    seen = capsys.readouterr()
    assert seen.out.strip()
    assert not re.search(r"[{}]|None|Path\(", seen.out)


# ---- bad input ----------------------------------------------------------------------------------------------------------


def missing(folder: Path) -> None:
    folder.rmdir()


def empty(folder: Path) -> None:
    pass


def no_picture(folder: Path) -> None:
    (folder / "notes.txt").write_text("no picture")


def only_text(folder: Path) -> None:
    (folder / "a.png").write_text("this is no picture")


def one_picture(folder: Path) -> None:
    pictures(folder, 1)


@pytest.mark.parametrize("fault", [missing, empty, no_picture, only_text, one_picture])
def test_a_source_without_pictures(fault: Callable[[Path], None], ask: Ask, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    fault(folder)
    for words in (["data", "prepare", folder], ["train", folder, "--images", "64", "--out", tmp_path / "runs"]):
        code, answer, _ = ask(*words)
        assert code == 2, answer
        assert "mine" in answer["error"]
    assert not list(tmp_path.glob("runs/*"))


def test_what_cannot_be_read_is_set_aside_by_name(ask: Ask, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "mine", 20)
    whole = folder / "whole.jpg"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 90, 3), dtype=np.uint8)).save(whole)
    (folder / "truncated.jpg").write_bytes(whole.read_bytes()[:900])
    (folder / "text.png").write_text("this is no picture")
    (folder / "bomb.png").write_bytes(png_header(50_000, 50_000))
    code, answer, _ = ask("data", "check", folder, "--size", "16")
    assert code == 0
    assert answer["images"] == 21
    assert sorted(Path(one["file"]).name for one in answer["rejected"]) == ["bomb.png", "text.png", "truncated.jpg"]
    assert all(one["reason"] for one in answer["rejected"])


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["data", "prepare", "digits", "--size", "0"], "0"),
        (["data", "prepare", "digits", "--size", "big"], "64x96"),
        (["data", "prepare", "digits", "--fit", "corp"], "crop"),
        (["data", "check", "fashion-mnits"], "fashion-mnist"),
        (["train", "digits", "--preset", "dcgna"], "did you mean 'dcgan'"),
        (["train", "digits", "bacth.size=3"], "did you mean 'batch.size'"),
        (["train", "digits", "batch.size=-1"], "batch.size"),
        (["train", "digits", "batch.size=many"], "batch.size"),
        (["train", "digits", "data.size=0"], "size"),
        (["train", "digits", "--images", "0"], "images"),
        (["train", "digits", "--minutes", "-1"], "minutes"),
        (["train", "digits", "--minutes", "nan"], "minutes"),
        (["train", "digits", "--seed", "-1"], "seed"),
        (["resume", "nowhere"], "nowhere"),
        (["sample", "nowhere"], "nowhere"),
        (["evaluate", "nowhere"], "nowhere"),
        (["report", "nowhere"], "nowhere"),
        (["runs", "nowhere"], "nowhere"),
    ],
)
def test_what_was_mistyped_is_named(
    words: list[str], hint: str, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, answer, _ = ask(*words)
    assert code == 2, answer
    assert hint in answer["error"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", [["sample"], ["evaluate", "--features", "pixels"]])
def test_a_run_without_a_whole_checkpoint(verb: list[str], ask: Ask, copy: Path) -> None:
    for complete in copy.glob("checkpoints/*/COMPLETE"):
        complete.unlink()
    code, answer, _ = ask(verb[0], copy, *verb[1:])
    assert code == 2, answer
    assert "checkpoint" in answer["error"]


@pytest.mark.parametrize("verb", [["sample"], ["resume", "--images", "1280"]])
def test_a_checkpoint_of_another_shape(verb: list[str], ask: Ask, copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    for path in copy.glob("checkpoints/*/*.safetensors"):
        tensors = {name: value.repeat(2) if value.ndim == 1 else value for name, value in load_file(path).items()}
        save_file(tensors, path)
        Checkpoint(path.parent, int(path.parent.name)).write_marker()
    code, answer, _ = ask(verb[0], copy, *verb[1:])
    assert code == 2, answer
    assert "shape" in answer["error"]


@pytest.mark.parametrize("verb", [["sample"], ["resume", "--images", "1280"]])
def test_a_checkpoint_cut_short(verb: list[str], ask: Ask, copy: Path) -> None:
    for path in copy.glob("checkpoints/*/*.safetensors"):
        path.write_bytes(path.read_bytes()[:1000])
    code, answer, _ = ask(verb[0], copy, *verb[1:])
    assert code == 2, answer
    assert "checkpoints" in answer["error"]


def test_a_full_disk_loses_nothing(ask: Ask, copy: Path) -> None:
    before = {path.name for path in copy.glob("checkpoints/*")}
    with full_disk(20_000):
        code, answer, _ = ask("resume", copy, "--images", "1280")
    assert code == 2, answer
    assert "no space left" in answer["error"]
    assert {path.name for path in copy.glob("checkpoints/*") if (path / "COMPLETE").is_file()} == before
    code, answer, err = ask("resume", copy)
    assert code == 0, err
    assert answer["images"] >= 1280


def test_a_bug_is_1_with_its_traceback_in_the_log(ask: Ask, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from limner.training.step import Stepper

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a bug on purpose")

    monkeypatch.setattr(Stepper, "step", broken)
    code, answer, _ = ask("resume", copy, "--images", "1280")
    assert code == 1
    assert "a bug on purpose" in answer["error"]
    log = (copy / "log.txt").read_text()
    assert str(copy / "log.txt") in answer["error"]
    assert "Traceback" in log
    assert "ZeroDivisionError: a bug on purpose" in log


def test_an_interrupt_leaves_a_run_that_resumes(ask: Ask, tmp_path: Path) -> None:
    words = ["train", "digits", "--preset", "dcgan", "--images", "3200000", "--out", str(tmp_path), "--json", *SMALL]
    process = subprocess.Popen(
        [sys.executable, "-m", "limner", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("training ") and " of " in line:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    answer = json.loads(out)
    assert answer["state"] == "stopped"
    code, again, _ = ask("sample", answer["run"], "--count", "1")
    assert code == 0
    assert len(again["files"]) == 1
    code, row, _ = ask("runs", tmp_path)
    assert row["runs"][0]["images"] == answer["images"] > 0

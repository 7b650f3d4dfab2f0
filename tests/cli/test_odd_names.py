"""File names that no UTF-8 can hold: the whole way from a folder to a run, its report and its pictures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import made
from limner.cli import main

pytestmark = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are Unicode here")
NAME = os.fsdecode(b"caf\xe9")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    made.folder(tmp_path / NAME, {"a": 6}, height=8, width=8)
    os.rename(tmp_path / NAME / "a" / "000.png", tmp_path / NAME / "a" / f"{NAME}.png")
    return tmp_path / NAME


def test_a_run_on_such_a_folder_trains_resumes_and_draws(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["data", "check", NAME],
        ["train", NAME, "--preset", "autoencoder", "--images", "8", "batch.size=4", "score.points=0"],
        ["resume", "runs/0001", "--images", "16"],
        ["runs"],
        ["sample", "runs/0001", "--count", "1", "--out", f"{NAME}-samples"],
        ["reconstruct", "runs/0001", f"{NAME}/a/{NAME}.png"],
    ):
        assert main(words) == 0, capfd.readouterr().err
    assert len(list((folder.parent / f"{NAME}-samples").glob("*.png"))) == 1


def test_a_terminal_shows_such_names_as_escapes(folder: Path) -> None:
    """stdout is a file of this process's encoding here, and not one of pytest's."""
    code = "import sys; from limner.cli import main; sys.exit(main(sys.argv[1:]))"
    for flag in ([], ["--json"]):
        words = [sys.executable, "-c", code, "data", "check", NAME, *flag]
        environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
        answer = subprocess.run(words, check=False, capture_output=True, timeout=120, env=environment)
        assert answer.returncode == 0, answer.stderr
        assert b"caf\\udce9" in answer.stdout
    assert json.loads(answer.stdout)["path"] == NAME

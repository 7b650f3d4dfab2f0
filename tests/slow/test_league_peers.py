"""benchmarks/league.py with a peer that trains nothing: it is asked as all are, and what it answers is judged and told."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import limner
from limner.data.prepare import prepare
from limner.metrics.representation.reconstruction import PSNR_CEILING

pytestmark = pytest.mark.slow
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
COPIER = """
import numpy as np

import convention

task = convention.asked("Copies the pictures that it was given.")
clock = task.clock()
rows = next(task.batches(task.count))
convention.answer(
    task, images=task.train[rows], arrays={"reconstructions": task.test}, images_seen=task.count, seconds=clock.seconds,
    parameters=task.seed, recipe="copies, as nobody documents", drawing=0.0, packages=("numpy",),
)
"""


def league(root: Path, *more: str) -> tuple[int, str, dict[str, Any]]:
    """Its exit code, what it said on the way, and the report."""
    command = [sys.executable, str(root / "benchmarks" / "league.py"), "--data", str(root / "data"), "--presets", ""]
    command += ["--minutes", "0.01", "--seeds", "3,4", "--count", "100", "--threads", "1", "--peers", sys.executable]
    done = subprocess.run([*command, "--out", str(root / "out"), *more], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr, json.loads((root / "out" / "league.json").read_text())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The league with no peer but the copier, and digits of the size that peers are for."""
    root = tmp_path_factory.mktemp("peers")
    (root / "src").symlink_to(Path(limner.__file__).parents[1])
    (root / "benchmarks" / "peers").mkdir(parents=True)
    for name in ("league.py", "common.py", "peers/convention.py"):
        shutil.copy(BENCHMARKS / name, root / "benchmarks" / name)
    (root / "benchmarks" / "peers" / "copier.py").write_text(COPIER)
    prepare("digits", size=(28, 28), out=root / "data")
    return root


def test_a_peer_plays(root: Path) -> None:
    code, said, told = league(root)
    assert code == 0, said
    assert [line for line in said.splitlines() if line.endswith("…")] == [
        f"copier, seed {seed}, 0.01 minutes …" for seed in (3, 4)
    ]
    assert (told["failed"], told["left"]) == ({}, 0)
    dataset = prepare(str(root / "data"))
    train = {one.tobytes() for one in dataset.images.gather(dataset.indices("train"))}
    for seed, row in zip((3, 4), told["rows"], strict=True):
        place = (root / "out" / row["pictures"]).parent
        with np.load(place / "made.npz") as arrays:
            assert arrays["images"].shape == (100, 28, 28, 1)
            assert {one.tobytes() for one in arrays["images"]} <= train
            assert np.array_equal(arrays["reconstructions"], dataset.images.gather(dataset.indices("test")))
        assert (row["row"], row["seed"], row["images"], row["parameters"]) == ("copier", seed, 100, seed)
        report = json.loads((place / "report.json").read_text())
        assert report["features"]["checksum"] == told["judge"]["checksum"]
        assert row["scores"] == {k: report["metrics"][k] for k in row["scores"] if k != "psnr"} | {
            "psnr": {"value": PSNR_CEILING}
        }
        assert abs(row["scores"]["frechet"]["z"]) < 4, "as good as real pictures"
    (entry,) = told["table"]
    assert (entry["row"], entry["seeds"], entry["scores"]["psnr"]["mean"]) == ("copier", [3, 4], PSNR_CEILING)
    text = (root / "out" / "league.md").read_text()
    assert f"copier: copies, as nobody documents (numpy {np.__version__})." in text
    assert "| `copier` |" in text


def test_it_is_not_asked_again_unless_it_changed_and_a_failure_is_told(root: Path) -> None:
    before = league(root)[2]
    assert "…" not in league(root)[1]
    (root / "benchmarks" / "peers" / "copier.py").write_text('raise SystemExit("out of memory")\n')
    code, said, told = league(root, "--seeds", "3")
    assert code == 1
    assert "copier, seed 3 failed: out of memory" in said
    assert told["failed"]["copier, seed 3"].startswith("out of memory")
    assert told["rows"] == []
    (root / "benchmarks" / "peers" / "copier.py").write_text(COPIER)
    code, said, again = league(root)
    assert (code, "…" in said) == (0, False)
    assert again["rows"] == before["rows"]


def test_a_peer_that_draws_slowly_is_judged_by_what_there_is(root: Path) -> None:
    """And the table says by how many."""
    slow = COPIER.replace("images=task.train[rows]", "images=task.train[rows[:40]]")
    (root / "benchmarks" / "peers" / "copier.py").write_text(slow)
    code, said, told = league(root, "--seeds", "3")
    assert code == 0, said
    assert [row["samples"] for row in told["rows"]] == [40]
    assert "Fewer samples, since drawing takes long: copier 40." in (root / "out" / "league.md").read_text()

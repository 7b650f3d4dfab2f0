"""benchmarks/league.py on digits, two presets, seconds each: its table, and what a second start does."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from limner.pages.numbers import format_number

pytestmark = pytest.mark.slow
LEAGUE = Path(__file__).resolve().parents[2] / "benchmarks" / "league.py"


def command(out: Path, *more: str) -> list[str]:
    words = ["--data", "digits", "--minutes", "0.03", "--presets", "gan,vae", "--seeds", "0,1", "--count", "100"]
    return [sys.executable, str(LEAGUE), *words, "--threads", "1", "--set", "score.points=0", "--out", str(out), *more]


def league(out: Path, *more: str) -> str:
    """What it says on the way."""
    return subprocess.run(command(out, *more), capture_output=True, text=True, check=True).stderr


def rows(out: Path) -> dict[str, dict[str, Any]]:
    return {path.parent.name: json.loads(path.read_text()) for path in out.glob("rows/*/row.json")}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("league")
    said = league(out)
    assert [line for line in said.splitlines() if line.endswith("…")] == [
        f"{name}, seed {seed}, 0.03 minutes …" for seed in (0, 1) for name in ("gan", "vae")
    ]
    return out


def test_the_table_holds_the_numbers_of_the_reports(done: Path) -> None:
    told = json.loads((done / "league.json").read_text())
    text, page = (done / "league.md").read_text(), (done / "league.html").read_text()
    assert told["left"] == 0
    assert told["failed"] == {}
    for name in ("gan", "vae"):
        mine = [row for row in told["rows"] if row["row"] == name]
        values = []
        for row in mine:
            report = json.loads((done / row["pictures"]).with_name("report.json").read_text())
            assert report["features"]["checksum"] == told["judge"]["checksum"]
            assert report["reference"]["split"] == "test"
            assert row["scores"] == {key: report["metrics"][key] for key in row["scores"]}
            assert {"frechet", "coverage", "precision", "recall", "class_distance", "copies"} <= row["scores"].keys()
            assert ("psnr" in row["scores"]) == ("nll" in row["scores"]) == (name == "vae")
            values.append(report["metrics"]["frechet"]["value"])
        entry = next(one for one in told["table"] if one["row"] == name)
        half = 12.7062 * statistics.stdev(values) / 2**0.5
        assert entry["scores"]["frechet"]["mean"] == pytest.approx(statistics.fmean(values))
        assert entry["scores"]["frechet"]["half"] == pytest.approx(half, rel=1e-4)
        cell = f"{format_number(statistics.fmean(values))} ± {format_number(entry['scores']['frechet']['half'])}"
        assert f"| {cell} |" in next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
        assert f"<td>{cell}</td>" in page
    assert page.count("data:image/png") == 3  # real pictures, and each row's


def test_what_is_done_is_not_trained_again(done: Path) -> None:
    before, table = rows(done), (done / "league.md").read_text()
    times = {path: path.stat().st_mtime_ns for path in (done / "rows").rglob("*")}
    assert "…" not in league(done)
    assert rows(done) == before
    assert {path: path.stat().st_mtime_ns for path in (done / "rows").rglob("*")} == times
    assert (done / "league.md").read_text() == table


def test_another_setting_is_another_row(done: Path) -> None:
    before = rows(done)
    said = league(done, "--presets", "gan", "--seeds", "0", "--set", "batch.size=32")
    assert said.count("…") == 1
    (new,) = rows(done).keys() - before.keys()
    assert new.startswith("gan-0-")
    assert {name: row for name, row in rows(done).items() if name != new} == before


def test_a_row_that_was_killed_is_trained_anew(tmp_path: Path) -> None:
    more = ("--presets", "gan", "--seeds", "0", "--minutes", "0.05")
    with subprocess.Popen(command(tmp_path, *more), start_new_session=True) as killed:
        wait(lambda: any(tmp_path.glob("rows/gan-0-*/runs/*/metrics.jsonl")))
        os.killpg(killed.pid, signal.SIGKILL)
    (folder,) = tmp_path.glob("rows/gan-0-*")
    assert not (folder / "trained.json").exists()
    left = folder / "runs" / "left behind"
    left.write_text("of the killed run")
    assert "gan, seed 0" in league(tmp_path, *more)
    assert not left.exists()
    (row,) = rows(tmp_path).values()
    assert (folder / row["run"] / "status.json").is_file()
    assert row["images"] == json.loads((folder / row["run"] / "status.json").read_text())["images"]


def test_two_leagues_do_not_train_in_one_place(tmp_path: Path) -> None:
    """Nor does one beside a training that a killed one left running: it would have half of the machine."""
    more = ("--presets", "gan", "--seeds", "0", "--minutes", "0.2")
    with subprocess.Popen(command(tmp_path, *more), start_new_session=True) as first:
        wait(lambda: any(tmp_path.glob("rows/gan-0-*/runs/*/metrics.jsonl")))
        first.kill()
        first.wait()
        second = subprocess.run(command(tmp_path, *more), capture_output=True, text=True, check=False)
        os.killpg(first.pid, signal.SIGKILL)
    assert second.returncode == 1
    assert "is at work in" in second.stderr


def test_rows_at_once(tmp_path: Path) -> None:
    """Told to end, it ends what it trains, in every thread; started again it does the rest, and says that rows share."""
    more = ("--seeds", "0", "--at-once", "2", "--minutes", "0.1")
    with subprocess.Popen(command(tmp_path, *more), start_new_session=True, stderr=subprocess.DEVNULL) as first:
        wait(lambda: len(list(tmp_path.glob("rows/*/runs/*/metrics.jsonl"))) == 2)
        first.terminate()
        assert first.wait(20) == 143
    with pytest.raises(ProcessLookupError):  # nobody is left of its session
        os.killpg(first.pid, 0)
    league(tmp_path, *more)
    told = json.loads((tmp_path / "league.json").read_text())
    assert [row["row"] for row in told["rows"]] == ["gan", "vae"]
    assert "2 at a time, which share it" in (tmp_path / "league.md").read_text()


def wait(there: Any, seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < until
        time.sleep(0.02)

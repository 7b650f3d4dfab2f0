"""What the documentation claims of methods against each other, measured again: hours, on a machine that does nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_independent_latents_are_more_disentangled(tmp_path: Path) -> None:
    """Nine trainings of eight minutes: `factor-vae` and `tc-vae` over `vae`, three seeds; all of the 95 % interval above 0."""
    command = [sys.executable, str(BENCHMARKS / "disentanglement.py"), "--minutes", "8", "--json", "--out", str(tmp_path)]
    told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    for preset in ("factor-vae", "tc-vae"):
        for score in ("mig", "factor_vae"):
            found = told[preset][score]
            assert found["mean"] - found["half"] > 0, (preset, score, found)


def test_the_training_loop_is_timed_beside_a_plain_one(tmp_path: Path) -> None:
    """A second of each: that the program runs, and finds limner's step no slower than half of the plain one's."""
    words = ["--contenders", "limner,limner-r1,eager", "--rounds", "1", "--seconds", "0.5", "--outside-images", "6400"]
    command = [sys.executable, str(BENCHMARKS / "throughput.py"), *words, "--json", str(tmp_path / "told.json")]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    told = json.loads((tmp_path / "told.json").read_text())["contenders"]
    speeds = {name: one["images_per_second"][0] for name, one in told.items()}
    assert speeds.keys() == {"limner", "limner-r1", "eager"}
    assert min(speeds["limner"], speeds["limner-r1"]) > speeds["eager"] / 2


def test_a_flow_is_timed_beside_its_network_in_a_plain_loop(tmp_path: Path) -> None:
    """Half a second of each, without peers: limner trains and draws no slower than half of the plain loop's speed."""
    words = ["--peers", "plain", "--shapes", "28x28x1", "--rounds", "1", "--seconds", "0.5"]
    command = [sys.executable, str(BENCHMARKS / "flow_speed.py"), *words, "--json", str(tmp_path / "told.json")]
    table = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    results = json.loads((tmp_path / "told.json").read_text())
    assert [result["turn"] for result in results] == ["train", "sample"]
    for result in results:
        about, speeds = result["about"], result["images_per_second"]
        assert about["limner"]["parameters"] == about["plain"]["parameters"] > 1e6
        assert about["limner"]["multiply_adds"] == about["plain"]["multiply_adds"] > 5e7
        assert speeds["limner"][0] > speeds["plain"][0] / 2
    assert table.splitlines()[-1].startswith("| 28×28×1 | sampling | `plain` | ")

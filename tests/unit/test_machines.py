"""limner on machines that nobody here has: Windows and macOS, pretended by `elsewhere`. What they lack, it does without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
SCRIPT = """
import importlib, json, os, pkgutil, signal, sys
from pathlib import Path

import elsewhere

system, folder = sys.argv[1], Path(sys.argv[2])
elsewhere.pretend(system)

# The pretence holds: otherwise all of what follows says nothing.
(folder / "careless.py").write_text("import fcntl")
sys.path.insert(0, str(folder))
if system == "windows":
    for module in ("careless", "resource"):
        try:
            importlib.import_module(module)
        except ModuleNotFoundError:
            continue
        raise AssertionError(f"{module} can be imported")
    assert not hasattr(os, "pread") and not hasattr(os, "sysconf") and not hasattr(os, "fork") and not hasattr(signal, "SIGHUP")
assert not Path("/proc/cpuinfo").exists() and not hasattr(os, "sched_getaffinity")

import limner

names = [module.name for module in pkgutil.walk_packages(limner.__path__, "limner.")]
for name in names:
    if name != "limner.__main__":
        importlib.import_module(name)
assert len(names) > 150

from limner.cli import main


def ask(*words):
    code = main([str(word) for word in words])
    assert code == 0, (words, code)


ask("--help")
ask("doctor", "--json")
ask("data", "prepare", "digits", "--json")
small = ["method.generator.widths=[16]", "method.discriminator.widths=[16]", "batch.size=16"]
small += ["score.points=0", "previews.count=4"]
ask("train", "digits", "--preset", "gan", "--images", "64", "--out", folder / "runs", "--json", *small)
ask("resume", folder / "runs" / "0001", "--images", "96", "--json")
ask("sample", folder / "runs" / "0001", "--count", "4", "--out", folder / "made", "--json")

from limner.core.errors import InputError
from limner.evaluation.human.records import Judgement, append_judgement, read_judgement
from limner.runs.run import Run

run = Run.open(folder / "runs" / "0001")
assert run.metrics()[-1]["images"] == run.status()["images"] == 96
assert not run.is_training()
with run.locked():
    assert run.is_training()
    try:
        with run.locked():
            raise AssertionError("locked twice")
    except InputError as error:
        assert "another process" in str(error)
assert not run.is_training()

row = Judgement(
    version=1, study="0" * 16, person="1" * 16, form=0, trial=0, task="untimed", shown=["00000000"], answer="real", ms=5
)
answers = folder / "answers" / "one.jsonl"
append_judgement(answers, row)
with answers.open("ab") as file:
    file.write(b'{"cut sho')
append_judgement(answers, row)
lines = answers.read_bytes().splitlines()
assert [read_judgement(line) for line in (lines[0], lines[2])] == [row, row], lines
print("all of it")
"""


def test_everything_works_where_no_unix_is(tmp_path: Path) -> None:
    assert_works("windows", tmp_path)


def test_everything_works_on_a_mac(tmp_path: Path) -> None:
    assert_works("macos", tmp_path)


def assert_works(system: str, folder: Path) -> None:
    path = os.pathsep.join([str(TESTS.parent / "src"), str(TESTS)])
    told = {"PYTHONPATH": path, "LIMNER_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, system, str(folder)], capture_output=True, text=True, env=os.environ | told, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stdout.splitlines()[-1] == "all of it"
    doctor = next(line for line in done.stdout.splitlines() if line.startswith('{"limner"'))
    assert f'"system": "{system}"' in doctor
    assert "limner was never run on" in doctor


@pytest.mark.parametrize("word", ["careful", "careless"])
def test_a_careless_import_is_noticed(word: str, tmp_path: Path) -> None:
    """What the tests above stand on, alone: a module that begins with `import fcntl` cannot be imported elsewhere."""
    (tmp_path / "careless.py").write_text("import fcntl\n")
    (tmp_path / "careful.py").write_text("try:\n    import fcntl\nexcept ImportError:\n    fcntl = None\n")
    code = f"import elsewhere; elsewhere.take_away(['fcntl']); import {word}"
    there = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(tmp_path)])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=there, check=False)
    assert (done.returncode == 0) == (word == "careful"), done.stderr
    assert ("No module named 'fcntl'" in done.stderr) == (word == "careless")

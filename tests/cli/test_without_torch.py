"""Verbs that need no weights answer without torch, which takes seconds to load."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import made
from limner.verbs import VERBS
from old_runs import record

COMMANDS: dict[str, list[str]] = {
    "data list": [],
    "data check": ["pictures"],
    "data prepare": ["pictures"],
    "methods": [],
    "define": ["coverage", "judge", "heun", "held_out_discriminator"],
    "runs": ["runs", "--where", "state=done", "--sort", "score"],
    "runs note": ["runs/0001-first", "a note"],
    "runs rename": ["runs/0001-first", "second"],
    "runs move": ["runs/0001-second", "runs/old"],
    "runs delete": ["runs/old/0001-second"],
    "runs restore": ["runs/old/0001-second"],
    "runs prune": ["runs"],
    "report": ["runs/old/0001-second"],
    "cache": [],
    "cache clear": ["temporary"],
}
"""Verb -> arguments, in an order in which each finds what the ones before it left."""
NEED_TORCH = {
    "doctor",  # says what torch finds on this machine
    "train",
    "resume",
    "sample",
    "reconstruct",
    "interpolate",
    "traverse",
    "embed",
    "classify",
    "evaluate",
    "compare",
    "rate",
}
PROGRAM = """
import contextlib, io, json, os, sys
sys.modules["torch"] = None  # importing it is an error from here on
from limner.cli import main
os.chdir(sys.argv[2])
results = {}
for verb, arguments in json.loads(sys.argv[1]).items():
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as errors:
        code = main([*verb.split(), *arguments])
    results[verb] = [code, errors.getvalue()[-500:]]
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Verb -> exit code and the end of stderr, in a process of its own that cannot import torch."""
    folder = tmp_path_factory.mktemp("without-torch")
    shutil.copytree(record.HOME / "finished-gan" / "run", folder / "runs" / "0001-first")
    made.folder(folder / "pictures", {"round": 6, "square": 6})
    words = [sys.executable, "-c", PROGRAM, json.dumps(COMMANDS), str(folder)]
    environment = {**os.environ, "LIMNER_CACHE": str(folder / "cache")}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers: dict[str, tuple[int, str]] = json.loads(done.stdout.splitlines()[-1])
    return answers


def test_every_verb_is_tried_or_needs_torch() -> None:
    assert set(COMMANDS) | NEED_TORCH == set(VERBS)


@pytest.mark.parametrize("verb", COMMANDS)
def test_verb_answers_without_torch(verb: str, results: dict[str, tuple[int, str]]) -> None:
    code, errors = results[verb]
    assert code == 0, errors


def test_listing_a_run_leaves_torch_unloaded(tmp_path: Path) -> None:
    """The same, not by blocking torch but by what is loaded afterwards."""
    shutil.copytree(record.HOME / "finished-gan" / "run", tmp_path / "0001-first")
    code = f"import sys; from limner.cli import main; main(['runs', {str(tmp_path)!r}]); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"

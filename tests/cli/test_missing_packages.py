"""A machine that trains and samples, but lacks what judging needs, is told so in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import limner
from limner.core.errors import InputError, require

TESTS = Path(__file__).resolve().parents[1]
PROGRAM = """
import sys
from elsewhere import take_away
take_away(sys.argv[1].split(","))
from limner.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("modules", "verb", "words"),
    [
        ("scipy,sklearn", ["evaluate", "somewhere"], "scipy and scikit-learn are needed here and not installed"),
        (
            "sklearn",
            ["compare", "somewhere", "elsewhere"],
            "scikit-learn is needed here and not installed; pip install scikit-learn",
        ),
        ("scipy", ["classify", "somewhere"], "scipy is needed here and not installed; pip install scipy"),
    ],
    ids=["evaluate", "compare", "classify"],
)
def test_what_judging_needs_and_lacks_is_one_line(modules: str, verb: list[str], words: str, tmp_path: Path) -> None:
    path = os.pathsep.join(str(folder) for folder in (TESTS, Path(limner.__file__).parents[1]))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, modules, *verb, "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert words in json.loads(done.stdout)["error"]


def test_what_is_there_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    require("scipy", "scikit-learn", "numpy")
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(InputError, match=r"^scikit-learn is needed"):
        require("scipy", "scikit-learn")

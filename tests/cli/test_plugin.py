"""A package of others: the example is installed into a fresh environment and used there; one that is broken breaks no more.

What the example does is tested by its own tests (examples/limner-plugin/tests), which run in that environment.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import limner

EXAMPLE = Path(__file__).parents[2] / "examples" / "limner-plugin"
SOURCES = Path(limner.__file__).parents[1]
SMALL = ("data.size=16", "data.limit=60", "batch.size=16", "score.points=0", "previews.count=4", "previews.every=1")

IN_ONE_PROCESS = """
import contextlib, io, json, sys
from limner.cli import main
for words in json.loads(sys.argv[1]):
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        code = main(words)
    print(json.dumps([code, out.getvalue(), error.getvalue()]))
"""

Ask = Callable[..., tuple[int, str, str]]


def run_python(python: Path | str, words: Sequence[str | Path], folder: Path, **environment: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of another Python process in `folder`."""
    command = [str(python), *map(str, words)]
    done = subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of a fresh environment with the example, which sees the packages of this one; made without a network."""
    folder = tmp_path_factory.mktemp("environment")
    builder = venv.EnvBuilder(symlinks=os.name != "nt")
    builder.create(folder)
    python = Path(builder.ensure_directories(folder).env_exe)
    _, site_packages, _ = run_python(python, ["-c", "import sysconfig; print(sysconfig.get_path('purelib'), end='')"], folder)
    outer = dict.fromkeys([str(SOURCES), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    Path(site_packages, "outer.pth").write_text("\n".join(outer), encoding="utf-8")
    install = ["--isolated", "--python", python, "install", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    code, out, error = run_python(sys.executable, ["-m", "pip", *install, EXAMPLE], folder, PYTHONPATH="")
    assert code == 0, out + error
    return python


@pytest.fixture
def ask(python: Path, tmp_path: Path) -> Ask:
    """`ask("sample", …)` runs a command of limner in the fresh environment: (exit code, stdout, stderr)."""
    return lambda *words: run_python(python, ["-m", "limner", *words], tmp_path, PYTHONPATH="", COLUMNS="120")


def test_its_rows_are_listed_and_described(ask: Ask) -> None:
    [row] = [row for row in json.loads(ask("methods", "--json")[1])["methods"] if row["name"] == "letters"]
    assert row["line"] == "the mean picture for the letters of a caption, and noise around it"
    assert re.search(r"\n  average +Draw the mean of many samples\.\n", ask("--help")[1])
    text = ask("average", "--help")[1]
    for words in ("RUN", "--count <int>", "How many samples are averaged.", "[default: 64]", "--out FILE", "--json"):
        assert words in text
    assert "--spread <float>" in ask("sample", "--help")[1]


def test_its_own_tests(python: Path, tmp_path: Path) -> None:
    words = ["-m", "pytest", EXAMPLE / "tests", "--rootdir", EXAMPLE, "-q", "-x", "-p", "no:cacheprovider"]
    code, out, error = run_python(python, words, tmp_path, PYTHONPATH="")
    assert code == 0, out + error
    assert "passed" in out
    assert "skipped" not in out


def test_it_is_used_from_the_command_line(python: Path, tmp_path: Path) -> None:
    run = "runs/0001-scenes-letters"
    commands = [
        ["train", "scenes", "--preset", "letters", "--images", "64", "--json", *SMALL],
        ["sample", run, "--text", "a red star", "--spread", "0", "--count", "2", "--out", "same", "--json"],
        ["average", run, "--count", "3", "--json"],
        ["sample", run, "--sprad", "0"],
    ]
    code, out, error = run_python(python, ["-c", IN_ONE_PROCESS, json.dumps(commands)], tmp_path, PYTHONPATH="", COLUMNS="120")
    assert code == 0, error
    (trained, sampled, averaged, mistyped) = (json.loads(line) for line in out.splitlines())
    for code, _, error in (trained, sampled, averaged):
        assert code == 0, error
    assert json.loads(trained[1])["run"] == run
    answer = json.loads(sampled[1])
    assert (answer["text"], answer["spread"]) == ("a red star", 0)
    one, two = (Path(tmp_path, file).read_bytes() for file in answer["files"])
    assert len(one) > 100
    assert len(two) > 100
    assert json.loads(averaged[1]).keys() == {"file", "count", "brightness"}
    code, out, error = mistyped
    assert (code, out) == (2, "")
    assert "No such option: --sprad" in error
    assert "--spread" in error


# ---- a package that cannot be loaded ------------------------------------------------------------------------------------

GROUPS = ("verbs", "methods", "presets", "metrics", "detectors", "sources")
SHATTERED = (
    "'shattered' of the package 'limner-broken' cannot be loaded (ImportError: no module named frobnicate); repair that "
    "package, or uninstall it"
)
STRANGE = "'strange' of the package 'limner-broken' is no row of limner."


@pytest.fixture
def broken(tmp_path: Path) -> dict[str, str]:
    """An environment beside a package that has two rows of every kind: one fails when it is imported, the other is a number."""
    package = tmp_path / "installed"
    info = package / "limner_broken-1.0.dist-info"
    info.mkdir(parents=True)
    (package / "limner_broken.py").write_text("raise ImportError('no module named\\nfrobnicate')", encoding="utf-8")
    (package / "limner_strange.py").write_text("ROW = 3\n", encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: limner-broken\nVersion: 1.0\n", encoding="utf-8")
    rows = "shattered = limner_broken:ROW\nstrange = limner_strange:ROW\n"
    (info / "entry_points.txt").write_text("\n".join(f"[limner.{group}]\n{rows}" for group in GROUPS), encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(package), str(SOURCES)])}


def test_help_leaves_a_broken_package_out(broken: dict[str, str], tmp_path: Path) -> None:
    code, out, error = run_python(sys.executable, ["-m", "limner", "--help"], tmp_path, **broken)
    assert code == 0
    assert error.splitlines() == [f"limner: {SHATTERED}", f"limner: {STRANGE}verbs: it is int, not Verb"]
    assert "shattered" not in out
    assert "evaluate" in out
    code, out, error = run_python(sys.executable, ["-m", "limner", "shattered", "--json"], tmp_path, **broken)
    assert code == 2
    assert error.splitlines()[-1] == f"limner: {SHATTERED}"
    assert json.loads(out) == {"error": SHATTERED}


def test_a_broken_package_is_named_where_it_is_asked_for_and_breaks_nothing_else(
    broken: dict[str, str], tmp_path: Path
) -> None:
    np.save(tmp_path / "set.npy", np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8))
    Path(tmp_path, "mine.yaml").write_text("method: {kind: shattered}", encoding="utf-8")
    Path(tmp_path, "cats.pox").write_bytes(b"")
    Path(tmp_path, "set").mkdir()
    for name, colour in (("a.png", "red"), ("b.png", "blue")):
        Image.new("RGB", (8, 8), colour).save(tmp_path / "set" / name)
    settings = "batch.size=16 score.points=0 previews.count=4 method.width=8 method.widest=16 method.components=2"
    working = [
        "sample --help",
        "methods",
        "data check set",
        f"train set.npy --preset vae --images 32 --out runs --name a {settings}",
        "sample runs/0001-a --count 1 --truncation 0.5",
        "evaluate runs/0001-a --count 20 --features pixels --metrics frechet",
    ]
    asking = [
        "strange",
        "train set.npy --preset mine.yaml --images 32",
        "train set.npy --preset shattered --images 32",
        "evaluate runs/0001-a --count 20 --features pixels --metrics shattered",
        "evaluate runs/0001-a --count 20 --features shattered --metrics frechet",
        "data check cats.pox",
    ]
    words = json.dumps([line.split() for line in [*working, *asking]])
    code, out, error = run_python(sys.executable, ["-c", IN_ONE_PROCESS, words], tmp_path, **broken)
    assert code == 0, error
    answers = [json.loads(line) for line in out.splitlines()]
    assert len(answers) == len(working) + len(asking)
    for line, (code, _, error) in zip(working, answers, strict=False):
        assert code == 0, (line, error)
    for line, (code, out, error) in zip(asking, answers[len(working) :], strict=True):
        assert (code, out) == (2, ""), (line, error)
        assert (STRANGE if line == "strange" else SHATTERED) in error.splitlines()[-1], (line, error)

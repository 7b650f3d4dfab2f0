"""docs/reference.md and the stub of the package are made from the table of verbs; type checkers know the public names."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import limner

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_reference", ROOT / "docs" / "write_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_stub_and_the_page_are_those_of_the_table(writer: ModuleType) -> None:
    for path, text in ((writer.REFERENCE, writer.write_page()), (writer.STUB, writer.write_stub())):
        assert path.read_text(encoding="utf-8") == text.rstrip() + "\n", "run python docs/write_reference.py"


def test_a_row_of_a_table_is_one_line(writer: ModuleType) -> None:
    """A description that is written over two lines once broke its table."""
    rows = [line for line in writer.write_page().splitlines() if line.startswith("|") or line.endswith(" |")]
    assert len(rows) > 50
    assert [line for line in rows if not (line.startswith("| ") and line.endswith(" |"))] == []


def test_every_public_name_of_the_stub_is_there() -> None:
    stub = (ROOT / "src" / "limner" / "__init__.pyi").read_text(encoding="utf-8")
    names = [
        line.strip().strip('",') for line in stub.partition("__all__ = [")[2].partition("]")[0].splitlines() if line.strip()
    ]
    assert {"train", "sample", "load", "SampleResult", "VERBS"} <= set(names)
    for name in names:
        assert getattr(limner, name) is not None
    assert sorted(names) == limner.__all__, "a type checker and the program know the same names"
    assert set(names) <= set(dir(limner))


USES = {
    "limner.sample('r', seeds=range(4)).files": "",
    "limner.train('digits', minutes=1).run": "",
    "limner.train('digits', dry_run=True).seconds_estimate": "",
    "limner.sample('r', truncation=0.7)": "",
    "limner.evaluate('r', metrics='frechet').metrics": "",
    "limner.smaple('r')": "smaple",
    "limner.sample('r', trunkation=0.7)": "trunkation",
    "limner.sample('r').fils": "fils",
}
"""Code -> what mypy has to complain of."""
CONFIG = """
[mypy]
strict = True
follow_imports = silent
[mypy-torch.*,numpy.*,PIL.*,scipy.*,sklearn.*,safetensors.*,rich.*,typer.*,jinja2.*,fsspec.*,requests.*,pooch.*,filelock.*]
follow_imports = skip
"""
"""Of mypy: what the functions take and return is limner's own, and packages such as torch take half a minute to read."""


def test_a_type_checker_knows_the_names_and_refuses_misspelt_ones(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    lines = ["import limner", *USES]
    (tmp_path / "use.py").write_text("\n".join(lines) + "\n")
    (tmp_path / "mypy.ini").write_text(CONFIG)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), "use.py"],
        cwd=tmp_path,
        env={"MYPYPATH": str(ROOT / "src"), "PATH": "", "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    told = {
        int(line.split(":")[1]): line for line in done.stdout.splitlines() if line.startswith("use.py:") and "error" in line
    }
    for number, (code, word) in enumerate(USES.items(), 2):
        assert (word in told.get(number, "")) if word else number not in told, (code, done.stdout, done.stderr)

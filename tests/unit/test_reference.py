"""docs/reference.md and the stub of the package are made from the table of verbs; type checkers know the public names."""

from __future__ import annotations

import importlib.util
import os
import re
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


def test_the_page_describes_every_public_name_and_what_a_model_can_do() -> None:
    """`limner.load` and `model.sample` stood nowhere."""
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    for name in limner.__all__:
        assert f"limner.{name}`" in page or f"### limner.{name}\n" in page or f"Result `{name}`" in page, name
    assert "`model.sample(seeds: SeedList | None = None, label: str | int | None = None, " in page
    assert "`Run.checkpoint(which: str | int = 'last') -> Checkpoint`\n\nThe checkpoint `which`: " in page
    assert "`model.shape`: (H, W, C) of the model's pictures.\n" in page


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
    "limner.train('digits', settings={'batch.size': 32, 'data': {'size': 64}})": "",
    "limner.train('digits', settings='batch.size=32')": "",
    "limner.train('digits', settings=['batch.size=32'])": "",
    "limner.train('digits', settings=32)": "No overload variant",
    "limner.resume('r', settings={'score.count': 99})": "",
    "limner.reconstruct('r', 'cat.png')": "",
    "limner.interpolate('r', ['a.png', 'b.png'])": "",
    "limner.sample('r', steps=20).sampling['steps']": "",
    "limner.evaluate('r').warnings": "",
    "limner.evaluate('r').context['seed']": "",
    "limner.check('digits').suggested_size": "",
    "limner.Interruption('text', None).result.run": "",
    "limner.Interruption(None)": "Interruption",
}
"""Code -> what mypy has to complain of."""
CONFIG = """
[mypy]
strict = True
plugins = pydantic.mypy
follow_imports = silent
disallow_subclassing_any = False
disallow_untyped_decorators = False
disallow_any_generics = False
warn_return_any = False
[mypy-pages.*]
disallow_untyped_defs = False
disallow_untyped_calls = False
check_untyped_defs = True
[mypy-torch.*,numpy.*,PIL.*,scipy.*,sklearn.*,safetensors.*,rich.*,typer.*,jinja2.*,fsspec.*,requests.*,pooch.*,filelock.*]
follow_imports = skip
"""
"""Of mypy: what the functions take and return is limner's own, and packages such as torch take half a minute to read."""


PAGES = ("README.md", "docs/python.md", "docs/extending.md")
"""Pages whose programs a type checker reads as a reader would write them."""


def programs() -> dict[str, str]:
    """File -> a program of a page. Excerpts of the example stand in its own files, which are checked as well."""
    files = {}
    for page in PAGES:
        text = re.sub(r"<!-- from: .*? -->\n```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.S)
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", text, re.S)):
            files[f"pages/{Path(page).stem.lower()}_{number}.py"] = block
    return files


def test_a_type_checker_knows_the_names_and_refuses_misspelt_ones(tmp_path: Path) -> None:
    """And it accepts every program of the pages, and the example of a package."""
    pytest.importorskip("mypy")
    (tmp_path / "use.py").write_text("\n".join(["import limner", *USES]) + "\n")
    blocks = programs()
    assert len(blocks) >= 6
    (tmp_path / "pages").mkdir()
    for name, code in {"pages/__init__.py": "", **blocks}.items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    (tmp_path / "mypy.ini").write_text(CONFIG)
    example = ROOT / "examples" / "limner-plugin" / "src"
    files = ["use.py", *blocks, *map(str, sorted(example.rglob("*.py")))]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), *files],
        cwd=tmp_path,
        env={"MYPYPATH": os.pathsep.join([str(ROOT / "src"), str(example)]), "PATH": "", "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    of_uses = {int(line.split(":")[1]): line for line in errors if line.startswith("use.py:")}
    for number, (code, word) in enumerate(USES.items(), 2):
        assert (word in of_uses.get(number, "")) if word else number not in of_uses, (code, done.stdout, done.stderr)
    assert [line for line in errors if not line.startswith("use.py:")] == []

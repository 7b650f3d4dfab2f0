"""docs/extending.md is true: its commands and programs run, and its excerpts stand in the files of the example.

Whatever it registers in this process is forgotten again. What an installed package does is in test_plugin.py.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import limner
from limner.cli import main
from limner.core.table import Table

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "limner-plugin"
TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
PROGRAMS = dict(re.findall(r"<!-- run: (\w+) -->\n```\w*\n(.*?)```", TEXT, re.S))
EXCERPTS = re.findall(r"<!-- from: (\S+) -->\n```\w*\n(.*?)```", TEXT, re.S)
TABLES: dict[str, Table[Any]] = {
    "limner.METHODS": limner.METHODS,
    "limner.PRESETS": limner.PRESETS,
    "limner.METRICS": limner.METRICS,
    "limner.DETECTORS": limner.DETECTORS,
    "limner.SOURCES": limner.SOURCES,
    "limner.VERBS": limner.VERBS,
}


def brief(text: str) -> str:
    """The same with a budget of 64 images."""
    return re.sub(r"40_?000", "64", text)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = "data.limit=60 batch.size=16 score.points=0 previews.count=4 previews.every=1 checkpoints.every=1"
    monkeypatch.setenv("LIMNER_SETTINGS", small)


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example can be imported, and is not installed; what is registered meanwhile is forgotten."""
    monkeypatch.syspath_prepend(EXAMPLE / "src")
    before = {name: set(table) for name, table in TABLES.items()}
    yield
    for name, table in TABLES.items():
        for added in set(table) - before[name]:
            table.forget(added)


def test_every_block_is_run_or_is_an_excerpt() -> None:
    assert PROGRAMS.keys() == {"shell", "program", "detector", "preset"}
    assert len(PROGRAMS) + len(EXCERPTS) == len(re.findall(r"```\w*\n.*?```\n", TEXT, re.S))


@pytest.mark.parametrize(("name", "block"), EXCERPTS, ids=[name for name, _ in EXCERPTS])
def test_an_excerpt_stands_in_the_file(name: str, block: str) -> None:
    """Its lines, in their order; the file has others between them, and may indent them more."""
    lines = iter([line.strip() for line in (EXAMPLE / name).read_text(encoding="utf-8").splitlines()])
    for line in filter(None, map(str.strip, block.splitlines())):
        assert line in lines, f"{line!r} is not in {name}, or not behind the line before it"


def test_every_table_of_the_page_is_public_with_that_group_and_row() -> None:
    rows = re.findall(r"^\| [\w ]+ \| `(limner\.\w+)` \| `(limner\.\w+)` \| `([\w.]+)`", TEXT, re.M)
    assert [name for _, name, _ in rows] == list(TABLES)
    for group, name, kind in rows:
        table = TABLES[name]
        assert table.group == group
        module, _, type_name = kind.rpartition(".")
        assert issubclass(getattr(__import__(module, fromlist=[type_name]), type_name), table.kind)


@pytest.mark.usefixtures("importable")
def test_a_program_registers_rows_and_uses_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(brief(PROGRAMS["program"]), names)
    run = Path(names["run"])
    assert limner.Run.open(run).recipe().method.kind == "letters"
    assert {row["name"]: row["family"] for row in limner.list_methods().methods}["letters"] == "letters"
    assert len(list((run / "made").rglob("*.png"))) == 16
    assert np.asarray(Image.open(run / "average.png")).shape == (32, 32, 3)
    assert '"brightness"' in next((run / "evaluations").rglob("report.json")).read_text(encoding="utf-8")
    Image.new("RGB", (16, 16)).save("pets.8x8.sheet.png")
    assert limner.SOURCES["contact-sheet"].matches(Path("pets.8x8.sheet.png"))
    # The rest of the page's commands, with the rows as they were registered.
    sheet = np.random.default_rng(0).integers(0, 256, (32, 24, 3), dtype=np.uint8)
    Image.fromarray(sheet).save("pets.8x6.sheet.png")
    lines = [shlex.split(line, comments=True) for line in brief(PROGRAMS["shell"]).splitlines()]
    assert lines[0] == ["pip", "install", "./examples/limner-plugin"]
    assert (ROOT / lines[0][2] / "pyproject.toml").is_file()
    for words in lines[1:]:
        assert words[0] == "limner"
        capsys.readouterr()
        assert main([word.replace("runs/0001", str(run)) for word in words[1:]]) == 0, words
        if words[1] == "methods":
            assert "letters" in capsys.readouterr().out


@pytest.mark.usefixtures("importable")
def test_a_preset_of_a_family_of_limners_is_registered_and_trained() -> None:
    names: dict[str, Any] = {}
    exec(brief(PROGRAMS["preset"]), names)
    (run,) = Path("runs").iterdir()
    recipe = limner.Run.open(run).recipe()
    assert (run.name, recipe.preset, recipe.data.mirror) == ("0001-digits-drawings", "drawings", True)
    assert (recipe.method.kind, recipe.method.model_dump()["latent"]) == ("gan", 32)


@pytest.mark.usefixtures("importable")
def test_a_detector_is_registered_and_used(capsys: pytest.CaptureFixture[str]) -> None:
    data = limner.prepare("scenes", limit=100, size=16).path
    code = PROGRAMS["detector"].replace('limner.evaluate("runs/0001"', f'result = limner.evaluate(PICTURES, data="{data}"')
    pictures = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    np.savez("pictures.npz", images=pictures)
    names: dict[str, Any] = {"PICTURES": "pictures.npz"}
    exec(code, names)
    assert names["result"].features["name"] == "rows"
    assert set(names["result"].metrics) == {"frechet"}
    detector = limner.DETECTORS["rows"].open("rows", type("Context", (), {"shape": (16, 16, 3)})())
    expected = pictures.mean((2, 3)) / 127.5 - 1
    assert np.allclose(detector.features(pictures), expected, atol=1e-6)

"""docs/architecture.md is true: its rooms, its picture, and every file and function that it names."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from house import SOURCE, Package

DOCS = SOURCE.parents[1] / "docs"
PAGE = (DOCS / "architecture.md").read_text(encoding="utf-8")
LIMNER = Package()


def _drawing() -> ModuleType:
    """The script docs/draw_architecture.py as a module."""
    spec = importlib.util.spec_from_file_location("draw_architecture", DOCS / "draw_architecture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DRAWING = _drawing()
COMMAND = "run `python docs/draw_architecture.py`"


def names_in(path: Path) -> set[str]:
    """The functions and classes of a file, those inside classes as ``Class.function``."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return names


def untrue(text: str) -> list[str]:
    """The files, folders and functions that `text` names in backticks, and that are not there."""
    lines = []
    for quoted in re.findall(r"`([^`]+)`", text):
        path, _, function = quoted.partition(": ")
        if not re.fullmatch(r"[\w/.-]+(/|\.py|\.yaml)", path):
            continue
        file = SOURCE / path
        if "NAME" in path:  # stands for a file that the reader will add
            if not any(file.parent.glob(f"*{file.suffix}")):
                lines.append(f"{path}: no file of this kind is in that folder")
        elif not file.exists() and not (DOCS.parent / path).exists():
            lines.append(f"{path} is not there")
        elif function and function not in names_in(file):
            lines.append(f"{path} has no {function}")
    return lines


def sections(text: str) -> dict[str, str]:
    """Heading -> what stands below it."""
    parts = re.split(r"^## (.+)$", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_table_of_rooms_fits_the_imports() -> None:
    rows = DRAWING.ROOM_ROW.findall(PAGE)
    assert {room: int(floor) for floor, room, _, _ in rows} == LIMNER.floors, COMMAND
    assert DRAWING.page(LIMNER, PAGE) == PAGE, COMMAND
    assert all(holds for _, _, holds, _ in rows)


def test_the_picture_fits_the_imports() -> None:
    assert (DOCS / "architecture.svg").read_text(encoding="utf-8") == DRAWING.picture(LIMNER), COMMAND
    assert LIMNER.floors.keys() <= DRAWING.COLUMNS.keys()
    assert LIMNER.floors.keys() <= DRAWING.CAPTIONS.keys()


def test_every_file_and_function_is_there() -> None:
    assert untrue(PAGE) == []


def test_each_part_names_what_it_speaks_of() -> None:
    """So that the test above cannot be content with a page that names nothing."""
    parts = sections(PAGE)
    for heading in ("How a picture travels", "How a caption travels", "How a seed travels", "How a request travels"):
        steps = re.findall(r"^\d\. (.*(?:\n   .*)*)", parts[heading], re.M)
        assert 3 <= len(steps) <= 6
        assert sum(bool(re.search(r"`[\w/]+\.py: [\w.]+`", step)) for step in steps) >= len(steps) - 1, heading
    rows = re.findall(r"^\| (?!to add|---)(.+?) \| (.+) \|$", parts["To add something"], re.M)
    assert len(rows) >= 6
    for wish, files in rows:
        assert re.search(r"`[\w/.]+(/|\.py|\.yaml)`", files), wish


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("`core/nowhere.py`", "core/nowhere.py is not there"),
        ("`core/seeds.py: nothing`", "core/seeds.py has no nothing"),
        ("`data/feed.py: Feed.nothing`", "data/feed.py has no Feed.nothing"),
        ("`nowhere/`", "nowhere/ is not there"),
        ("`recipes/NAME.yaml`", "recipes/NAME.yaml: no file of this kind is in that folder"),
    ],
)
def test_what_is_not_there_is_noticed(text: str, fault: str) -> None:
    assert untrue(f"See {text}, `limner.train` and `core/seeds.py: noise`.") == [fault]


def test_another_floor_is_noticed(tmp_path: Path) -> None:
    for file, text in {"core/a.py": "", "nets/a.py": "import limner.core.a", "methods/a.py": "import limner.nets.a"}.items():
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).write_text(text)
    other = Package(tmp_path)
    assert DRAWING.page(other, PAGE) != PAGE
    assert DRAWING.picture(other) != DRAWING.picture(LIMNER)
    table = "| 1 | `core` | the ground | nothing |\n| 3 | `nets` | networks | `data` |\n"
    assert DRAWING.page(other, table) == (
        "| 3 | `methods` |  | `nets` |\n| 2 | `nets` | networks | `core` |\n| 1 | `core` | the ground | nothing |\n"
    )


def test_the_readme_leads_here() -> None:
    assert "(docs/architecture.md)" in (DOCS.parent / "README.md").read_text(encoding="utf-8")

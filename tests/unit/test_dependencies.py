"""pyproject.toml says what the code imports: no extra without an importer, no import without a dependency."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

from limner.core.environment import EXTRAS

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULES = {
    "pillow": {"PIL"},
    "pyyaml": {"yaml"},
    "scikit-learn": {"sklearn"},
    "jinja2": {"jinja2", "markupsafe"},
    "pydantic": {"pydantic", "pydantic_core", "typing_extensions"},
    "requests": {"requests", "urllib3"},
}
"""What a distribution brings that is imported, where it is not its own name alone."""


def modules_of(requirements: list[str]) -> set[str]:
    names = [re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-") for requirement in requirements]
    return {module for name in names for module in MODULES.get(name, {name.replace("-", "_")})}


def third_party(folder: Path) -> dict[str, str]:
    """Every foreign package that is imported under `folder`, wherever in a file, and one file that does."""
    found: dict[str, str] = {}
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for top in {name.partition(".")[0] for name in names} - {"limner"} - sys.stdlib_module_names:
                found.setdefault(top, str(path.relative_to(folder)))
    return found


IMPORTED = third_party(ROOT / "src" / "limner")
CORE = modules_of(PROJECT["dependencies"])
OPTIONAL = {name: modules_of(needs) for name, needs in PROJECT["optional-dependencies"].items() if name != "dev"}


def test_every_import_has_a_dependency_or_an_extra() -> None:
    known = CORE.union(*OPTIONAL.values())
    assert {module: where for module, where in IMPORTED.items() if module not in known} == {}


def test_every_dependency_and_every_module_of_an_extra_has_an_importer() -> None:
    assert CORE - IMPORTED.keys() == set()
    assert {name: modules - IMPORTED.keys() for name, modules in OPTIONAL.items() if not modules <= IMPORTED.keys()} == {}


def test_doctor_and_the_advice_to_install_name_the_same_extras() -> None:
    assert {name: set(modules) for name, modules in EXTRAS.items()} == OPTIONAL
    texts = [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
    named = {extra for path in texts for extra in re.findall(r"limner\[([a-z]+)\]", path.read_text(encoding="utf-8"))}
    assert named - {"dev"} == OPTIONAL.keys()

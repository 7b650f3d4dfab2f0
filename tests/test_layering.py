"""The house of the design, held by a test: imports run only downward, nothing runs in a circle, and some packages stay out."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import limner

SOURCE = Path(limner.__file__).parent
LAYERS: tuple[tuple[str, ...], ...] = (  # from the doors down
    ("cli", "studio", "__main__"),
    ("training", "rehearsal", "evaluation", "tasks", "study", "report", "doctor", "__init__"),
    ("loop", "loaded", "judged", "auto", "watching", "pages"),  # what the verbs share
    ("run",),
    ("recipe",),
    ("table",),
    ("methods", "metrics", "data"),
    ("nets",),
    ("core",),
)
DOORS = frozenset(LAYERS[0])
# Neighbours on one floor that must not know each other.
STRANGERS = {("methods", "data"), ("methods", "metrics"), ("metrics", "methods"), ("metrics", "data"), ("data", "methods")}
STRANGERS |= {("data", "metrics")}
BANNED = frozenset({"torchvision", "lightning", "pytorch_lightning", "pickle", "cPickle", "dill", "joblib", "scipy", "sklearn"})
MOST_LINES = 450


@dataclass(frozen=True)
class Import:
    module: str  # who imports, dotted
    target: str  # what, dotted
    line: int
    late: bool  # inside a function, or for the type checker alone: no part of an import circle

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def modules(root: Path) -> dict[str, Path]:
    """Dotted names of all modules under `root`, which is the package `limner`."""
    names = {}
    for path in sorted(root.rglob("*.py")):
        parts = ("limner", *path.relative_to(root).with_suffix("").parts)
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(module: str, path: Path, known: dict[str, Path]) -> Iterator[Import]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    late: set[ast.AST] = set()
    for node in ast.walk(tree):
        checking = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        if checking or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            late.update(ast.walk(node))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            # `from limner import data` names a module, `from limner.data import prepare` a thing inside one
            targets = [f"{source}.{alias.name}" if f"{source}.{alias.name}" in known else source for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "__import__",
            "importlib.import_module",
            "import_module",
        ):
            targets = [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        else:
            continue
        for target in dict.fromkeys(targets):
            yield Import(module, target, node.lineno, node in late)


def part(module: str) -> str:
    """The room a module stands in: `limner.nets.dcgan` is in `nets`, `limner` itself in `__init__`."""
    pieces = module.split(".")
    return pieces[1] if len(pieces) > 1 else "__init__"


def floor(room: str) -> int | None:
    return next((number for number, rooms in enumerate(LAYERS) if room in rooms), None)


def faults(root: Path) -> list[str]:
    """Everything wrong with the house under `root`, one line each."""
    known = modules(root)
    every = [found for module, path in known.items() for found in imports(module, path, known)]
    wrong = [f"{module}: {part(module)} has no place in the house" for module in known if floor(part(module)) is None]
    for module, path in known.items():
        length = len(path.read_text(encoding="utf-8").splitlines())
        if length > MOST_LINES:
            wrong.append(f"{module} has {length} lines, more than {MOST_LINES}")
    for one in every:
        top = one.target.split(".")[0]
        if top in BANNED:
            wrong.append(f"{one}, which is banned")
        if top != "limner":
            continue
        here, there = part(one.module), part(one.target)
        if here == there or floor(here) is None or floor(there) is None:
            continue
        if there in DOORS and here not in DOORS:
            wrong.append(f"{one}: nothing imports a door")
        elif floor(there) < floor(here):
            wrong.append(f"{one}: upward")
        elif (here, there) in STRANGERS:
            wrong.append(f"{one}: {here} must not know {there}")
    wrong += [f"import circle: {' → '.join(circle)}" for circle in circles(known, every)]
    return wrong


def circles(known: dict[str, Path], every: list[Import]) -> list[list[str]]:
    """Circles among the imports that run when a module is loaded."""
    graph: dict[str, set[str]] = {module: set() for module in known}
    for one in every:
        if not one.late and one.target in known and one.target != one.module:
            graph[one.module].add(one.target)
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            found.append([*path[path.index(module) :], module])
        elif module not in done:
            for inner in sorted(graph[module]):
                visit(inner, [*path, module])
            done.add(module)

    for module in sorted(graph):
        visit(module, [])
    return found


def test_the_house_stands() -> None:
    assert faults(SOURCE) == []


MADE: dict[str, tuple[dict[str, str], str]] = {
    "upward": (
        {"nets/a.py": "from limner.methods import gan", "methods/gan.py": ""},
        "limner.nets.a:1 imports limner.methods.gan.gan",
    ),
    "late upward": ({"core/a.py": "def f():\n    import limner.recipes.recipe", "recipe.py": ""}, "upward"),
    "relative": ({"nets/a.py": "from ..run import x", "run.py": "x = 1"}, "limner.nets.a:1 imports limner.runs.run: upward"),
    "door": ({"training.py": "from limner.cli import show", "cli/show.py": ""}, "nothing imports a door"),
    "strangers": ({"methods/gan.py": "import limner.data.prepare", "data/prepare.py": ""}, "methods must not know data"),
    "judge": ({"metrics/a.py": "from limner.methods.gan.gan import x", "methods/gan.py": ""}, "metrics must not know methods"),
    "banned": ({"core/a.py": "def f():\n    from torchvision.utils import save_image"}, "banned"),
    "pickle": ({"run.py": "import pickle as p"}, "banned"),
    "by name": ({"run.py": "import importlib\nimportlib.import_module('torchvision')"}, "banned"),
    "circle": ({"core/a.py": "import limner.core.b", "core/b.py": "from limner.core.a import x"}, "import circle"),
    "long": ({"core/a.py": "\n" * 451}, "451 lines"),
    "homeless": ({"utils.py": ""}, "utils has no place"),
}


@pytest.mark.parametrize("name", MADE)
def test_a_broken_house_is_seen(name: str, tmp_path: Path) -> None:
    files, words = MADE[name]
    for file, text in files.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    found = faults(tmp_path)
    assert len(found) == 1, found
    assert words in found[0]


def test_a_sound_house_is_left_alone(tmp_path: Path) -> None:
    files = {
        "__init__.py": "def __getattr__(name):\n    from limner.training.train import train\n    return train",
        "training.py": "import limner.runs.run\nfrom limner.methods.gan.gan import x\nimport torch",
        "run.py": "from limner import recipe\nfrom limner.core import a",
        "recipe.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from limner.nets import b",
        "methods/gan.py": "from .vae import y\nfrom ..core.a import z",
        "methods/vae.py": "def f():\n    from .gan import x",
        "core/a.py": "",
        "nets/b.py": "",
    }
    for file, text in files.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    assert faults(tmp_path) == []

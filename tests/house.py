"""Reads the rooms of a package, and the arrows between them, out of its source, for the tests of the house and for its picture.

A *room* is a top-level folder, or a loose file of the package. An *arrow* leads from the room that imports to the room that is
imported; an import inside a function and one for the type checker alone count like any other, since a reader follows them too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PACKAGE = "limner"
SOURCE = Path(__file__).parents[1] / "src" / PACKAGE
STANDS_ON_TOP = "__main__"
"""It starts the command line, and counts as no floor."""


@dataclass(frozen=True)
class Import:
    """One imported module."""

    module: str
    """The module that imports, dotted."""
    target: str
    """The module that is imported, dotted."""
    line: int
    is_late: bool
    """Whether it stands inside a function, or is for the type checker alone, and so does not run when the module is loaded."""

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


class Package:
    """The package whose folder is `root`, as it stood when each part was first asked for."""

    def __init__(self, root: Path = SOURCE) -> None:
        self.root = root

    @cached_property
    def modules(self) -> dict[str, Path]:
        """Dotted name -> file."""
        names = {}
        for path in sorted(self.root.rglob("*.py")):
            parts = (PACKAGE, *path.relative_to(self.root).with_suffix("").parts)
            names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        return names

    @cached_property
    def trees(self) -> dict[str, ast.Module]:
        """Dotted name -> syntax tree."""
        return {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in self.modules.items()}

    @cached_property
    def imports(self) -> list[Import]:
        """Every import of every module, of the package's own modules and of others."""
        return [one for module in self.modules for one in self._imports_of(module)]

    def _imports_of(self, module: str) -> Iterator[Import]:
        package = module if self.modules[module].name == "__init__.py" else module.rpartition(".")[0]
        nodes = list(ast.walk(self.trees[module]))
        late: set[ast.AST] = set()
        for node in nodes:
            is_checking = isinstance(node, ast.If) and _last_name(node.test) == "TYPE_CHECKING"
            if is_checking or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                late.update(ast.walk(node))
        for node in nodes:
            for target in dict.fromkeys(_targets(node, package, self.modules)):
                yield Import(module, target, getattr(node, "lineno", 0), node in late)

    @cached_property
    def rooms(self) -> set[str]:
        return {room(module) for module in self.modules}

    @cached_property
    def arrows(self) -> dict[tuple[str, str], list[Import]]:
        """(importing room, imported room) -> the imports that make this arrow."""
        between: dict[tuple[str, str], list[Import]] = {}
        for one in self.imports:
            here, there = room(one.module), room(one.target)
            if one.target.split(".")[0] == PACKAGE and here != there:
                between.setdefault((here, there), []).append(one)
        return between

    @cached_property
    def floors(self) -> dict[str, int]:
        """Room -> 1 where it imports no other, else one more than the highest room that it imports. There must be no circle."""
        graph = graph_of(self.rooms - {STANDS_ON_TOP}, self.arrows.keys())
        numbers: dict[str, int] = {}

        def floor(name: str) -> int:
            if name not in numbers:
                numbers[name] = 1 + max((floor(below) for below in graph[name]), default=0)
            return numbers[name]

        return {name: floor(name) for name in graph}


def _targets(node: ast.AST, package: str, paths: Mapping[str, Path]) -> list[str]:
    """The modules that `node` imports, by a statement or by a call with the module's name."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        source = ".".join([*base, *([node.module] if node.module else [])])
        # `from limner import data` names a module, `from limner.data import prepare` a thing inside one.
        return [f"{source}.{alias.name}" if f"{source}.{alias.name}" in paths else source for alias in node.names]
    if isinstance(node, ast.Call) and _last_name(node.func) in ("__import__", "import_module"):
        return [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    return []


def _last_name(node: ast.expr) -> str:
    """``b`` of ``a.b``."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def room(module: str) -> str:
    """The room a module stands in: `limner.nets.dcgan` is in `nets`, `limner` itself in `__init__`."""
    pieces = module.split(".")
    return pieces[1] if len(pieces) > 1 else "__init__"


def graph_of(names: Set[str], pairs: Set[tuple[str, str]]) -> dict[str, set[str]]:
    """Name -> the names that it leads to."""
    return {name: {there for here, there in pairs if here == name and there in names} for name in sorted(names)}


def circles(graph: Mapping[str, Set[str]]) -> list[list[str]]:
    """Every circle met on a walk through `graph`, its first name repeated at the end."""
    loops: list[list[str]] = []
    finished: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            loops.append([*path[path.index(name) :], name])
        elif name not in finished:
            for inner in sorted(graph[name]):
                visit(inner, [*path, name])
            finished.add(name)

    for name in sorted(graph):
        visit(name, [])
    return loops

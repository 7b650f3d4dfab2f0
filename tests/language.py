"""Counts what makes the source hard to read: names that are participles, constants that are adjectives, missing docstrings.

tests/test_language.py compares the counts of each file with tests/language_baseline.json: they may only fall. After mending a
file, or moving code to another one, write the baseline again, from the folder of the repository::

    python tests/language.py

It refuses where a total would rise.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "limner"
BASELINE = Path(__file__).with_name("language_baseline.json")
COMMAND = "python tests/language.py"

_PARTICIPLES = """
accepted added answered asked begun called caught checked chosen claimed compared drawn examined fitted found given gone guessed
heeded held judged kept known learned listed looked lost made meant met moved named noted observed offered overlooked picked
preferred rated refused said seen settled shown sought spent stated taken taught thought told tried turned wanted written
"""
PARTICIPLES = frozenset(_PARTICIPLES.split())
"""A name of a thing is a noun that says what it is: `candidates`, not `known`; `rows`, not `found`. A flag may be a participle
(`finished`, `restarted`), so those are not among them."""
_ADJECTIVES = """
ABSENT ACROSS ALIKE BARRED COARSE COLD DEAD DOUBLE EXACT FAR FEW FEWEST FIRST FULL HALF LARGE LARGEST LAST LEAST LEFT LIKELY
LONG LOW MANY MENDABLE MOST NARROW NARROWER NEAR NOISY OFF OPEN PROPER QUANTISED QUIET RARE RIGHT SAME SHORT SHORTEST SINGLE
SLOW SMALL SMALLEST SOFT SOME SPARE SURE TINY UNDECIDED UNSURE UNTRAINED WIDE WORST WORTH
"""
ADJECTIVES = frozenset(_ADJECTIVES.split())
"""A constant says of what it is the largest, the first or the smallest: `MIN_IMAGE_SIDE`, not `LEAST`."""
RULES = ("participle as a name", "adjective as a constant", "no docstring")

Counts = dict[str, dict[str, int]]
"""File, as a path below src/limner -> rule -> count, without zeros."""


@dataclass(frozen=True)
class Finding:
    """One place that breaks a rule."""

    file: str
    line: int
    rule: str
    name: str

    def __str__(self) -> str:
        return f"src/limner/{self.file}:{self.line}: {self.rule}: {self.name}"


def _names(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """(name, line) of everything that gets a name: variables, parameters, attributes, functions, classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or (
            isinstance(node, ast.ExceptHandler) and node.name is not None
        ):
            yield node.name, node.lineno


Classes = Mapping[str, tuple[list[str], set[str]]]
"""Name of a class -> (names of its bases, names of its methods with a docstring)."""


def _classes(trees: Mapping[str, ast.Module]) -> Classes:
    classes = {}
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                bases = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
                names = [ast.unparse(base).rpartition(".")[2] for base in bases]
                methods = {one.name for one in node.body if isinstance(one, ast.FunctionDef) and ast.get_docstring(one)}
                classes[node.name] = names, methods
    return classes


def _is_inherited(method: str, bases: list[str], classes: Classes) -> bool:
    """Whether a base class documents `method`. `forward` of a torch module needs no words beside those of its class."""
    if method == "forward":
        return True
    own_classes = [classes[base] for base in bases if base in classes]
    return any(method in methods or _is_inherited(method, above, classes) for above, methods in own_classes)


def _undocumented(body: list[ast.stmt], classes: Classes, owner: ast.ClassDef | None = None) -> Iterator[tuple[str, int]]:
    """(name, line) of public functions, classes and methods without a docstring, where no base class has one for them."""
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if isinstance(node, ast.ClassDef):
            yield from _undocumented(node.body, classes, node)
        elif any(ast.unparse(one).rpartition(".")[2] in ("overload", "setter") for one in node.decorator_list):
            continue
        is_inherited = owner is not None and _is_inherited(node.name, classes[owner.name][0], classes)
        if ast.get_docstring(node) is None and not is_inherited:
            yield (f"{owner.name}.{node.name}" if owner else node.name), node.lineno


def findings(root: Path = SOURCE) -> list[Finding]:
    """Every place below `root` that breaks a rule."""
    paths = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*.py"))}
    trees = {file: ast.parse(path.read_text(encoding="utf-8")) for file, path in paths.items()}
    classes = _classes(trees)
    results = []
    for file, tree in trees.items():
        for name, line in _names(tree):
            word = name.strip("_")
            if word.lower() in PARTICIPLES:
                results.append(Finding(file, line, RULES[0], name))
            elif word in ADJECTIVES:
                results.append(Finding(file, line, RULES[1], name))
        results += [Finding(file, line, RULES[2], name) for name, line in _undocumented(tree.body, classes)]
    return results


def count(results: list[Finding]) -> Counts:
    """How many there are, by file and rule."""
    counts: Counts = {}
    for one in results:
        row = counts.setdefault(one.file, {})
        row[one.rule] = row.get(one.rule, 0) + 1
    return counts


def read_baseline() -> Counts:
    """The counts that may not be exceeded."""
    baseline: Counts = json.loads(BASELINE.read_text(encoding="utf-8"))
    return baseline


def total(counts: Counts, rule: str) -> int:
    """Over all files."""
    return sum(row.get(rule, 0) for row in counts.values())


def exceeding(results: list[Finding], baseline: Counts) -> list[Finding]:
    """The findings of each (file, rule) that has more of them than the baseline allows."""
    counts = count(results)
    return [one for one in results if counts[one.file][one.rule] > baseline.get(one.file, {}).get(one.rule, 0)]


def main() -> int:
    """Writes the baseline again; refuses, with exit code 1, where a total would rise."""
    counts = count(findings())
    if BASELINE.exists():
        before = read_baseline()
        for rule in RULES:
            print(f"{rule}: {total(before, rule)} before, {total(counts, rule)} now")
            if total(counts, rule) > total(before, rule):
                print(*[one for one in exceeding(findings(), before) if one.rule == rule], sep="\n")
                return 1
    BASELINE.write_text(json.dumps(counts, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The house of the design, held by a test: its rooms stand on at most eight floors, and imports run only downward.

The floors are computed from the imports. Each rule is proven by a small package that breaks it alone. `EXCEPTIONS` names what
breaks a rule today: an exception that is no longer needed fails too, so that the lists can only shrink.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import limner
from house import PACKAGE, SOURCE, STANDS_ON_TOP, Package, circles, graph_of, room

MAX_FLOORS = 8
FLOORS: tuple[tuple[str, ...], ...] = (
    ("core",),
    ("nets", "data", "metrics", "pages"),
    ("methods", "judges"),
    ("recipes",),
    ("runs",),
    ("tasks", "training", "evaluation"),
    ("verbs",),
    ("cli", "studio", "__init__"),
)
"""The design's floors, from the ground. A room imports only rooms of lower floors."""
NEIGHBOURS: Mapping[tuple[str, str], str] = {}
"""(importing room, imported room) on one floor -> why the one must know the other."""
LOOSE_FILES = frozenset({"__init__", STANDS_ON_TOP, "verbs"})
VERBS_TABLE, VERB_FLOOR = f"{PACKAGE}.verbs", 6
"""The table of verbs, and the floor of the verbs' own files."""

BANNED = frozenset({"torchvision", "lightning", "pytorch_lightning", "pickle", "cPickle", "dill", "joblib"})
LATE_ONLY = frozenset({"scipy", "sklearn", "jinja2", "pooch", "fsspec"})
"""Imported inside the function that uses them: they cost time, and a machine that only trains may lack them."""

MAX_LINES = 400
LONG_FILE = "# Long file: "
TOP = 40  # lines in which the reason for a long file stands
MAX_PARAMETERS = 6
MANY_PARAMETERS = "# Many parameters: "
FORMATTED_BY_HAND = re.compile(r"#\s*fmt:\s*(skip|off)\b")

MAX_RENAMED_IMPORTS = 0
"""Imports of src that give what they import another name, other than `CONVENTIONAL_NAMES`."""
CONVENTIONAL_NAMES = frozenset(
    {("numpy", "np"), ("numpy.lib.format", "npy"), ("torch.nn.functional", "F"), ("torch.distributed", "dist")}
)

# What breaks a rule today. These lists must shrink: whoever mends a file takes it out.
LONG_FILES: frozenset[str] = frozenset()
"""Modules."""
MANY_PARAMETER_FUNCTIONS: frozenset[str] = frozenset()
"""Functions, as ``module:Class.function``."""
HAND_FORMATTED_FILES: frozenset[str] = frozenset()
"""Modules."""


def faults(package: Package, neighbours: Mapping[tuple[str, str], str]) -> list[str]:
    """Everything wrong with the rooms and their arrows, one line each."""
    return [
        *homeless(package),
        *strangers(package, neighbours),
        *upward(package),
        *circular(package),
        *tall(package),
        *unwelcome(package),
    ]


def homeless(package: Package) -> Iterator[str]:
    """Loose files, and rooms that the design does not have."""
    for name in sorted(package.rooms):
        is_loose = not (package.root / name).is_dir()
        if is_loose and name not in LOOSE_FILES:
            yield f"{name}.py is a loose file; it belongs into a room"
        elif name != STANDS_ON_TOP and floor_of(name) is None:
            yield f"{name} has no place in the house"


def strangers(package: Package, neighbours: Mapping[tuple[str, str], str]) -> Iterator[str]:
    """Arrows between rooms of one floor, other than those that `neighbours` names."""
    for (here, there), imports in package.arrows.items():
        if floor_of(here) == floor_of(there) is not None and (here, there) not in neighbours:
            yield from (f"{one}: {here} must not know {there}, which stands on the same floor" for one in imports)
    for here, there in neighbours.keys() - package.arrows.keys():
        yield f"{here} no longer imports {there}; take the pair out of NEIGHBOURS"


def upward(package: Package) -> Iterator[str]:
    for (here, there), imports in package.arrows.items():
        below, above = floor_of(here), floor_of(there)
        if there == STANDS_ON_TOP or (below is not None and above is not None and above > below):
            yield from (f"{one}: upward, from floor {below} to {above or 'the top'}" for one in imports)


def circular(package: Package) -> Iterator[str]:
    """Circles among rooms; among modules only where no circle of rooms already says it."""
    among_rooms = circles(graph_of(package.rooms, package.arrows.keys()))
    yield from (f"rooms in a circle: {' → '.join(circle)}" for circle in among_rooms)
    pairs = {(one.module, one.target) for one in package.imports if one.module != one.target}
    for circle in circles(graph_of(package.modules.keys(), pairs - hand_overs(package))):
        if len({room(module) for module in circle}) == 1:
            yield f"modules in a circle: {' → '.join(circle)}"


def hand_overs(package: Package) -> set[tuple[str, str]]:
    """(a verb's file, the file of the same room that does its work), where all imports from the one to the other are late.

    A verb's file holds its request, its result and its function, so that help and the table load no torch. The function hands
    the request over to a file that loads it, and that file has to know the request. These arrows alone may close a circle.
    """
    targets = {one.target for one in package.imports if one.module == VERBS_TABLE}
    verb_files = {module for module in targets if floor_of(room(module)) == VERB_FLOOR}
    late: dict[tuple[str, str], bool] = {}
    for one in package.imports:
        if one.module in verb_files and room(one.module) == room(one.target):
            pair = one.module, one.target
            late[pair] = late.get(pair, True) and one.is_late
    return {pair for pair, is_late in late.items() if is_late}


def tall(package: Package) -> Iterator[str]:
    if circles(graph_of(package.rooms, package.arrows.keys())):
        return  # no floors can be counted
    highest = max(package.floors.values(), default=0)
    if highest > MAX_FLOORS:
        yield f"{highest} floors, more than {MAX_FLOORS}: {sorted(package.floors.items(), key=lambda item: item[1])}"


def unwelcome(package: Package) -> Iterator[str]:
    for one in package.imports:
        top = one.target.split(".")[0]
        if top in BANNED:
            yield f"{one}, which is banned"
        elif top in LATE_ONLY and not one.is_late:
            yield f"{one} at the top, and not in the function that uses it"


def floor_of(name: str) -> int | None:
    """The floor that the design gives to a room."""
    return next((number for number, names in enumerate(FLOORS, start=1) if name in names), None)


def long_files(package: Package) -> dict[str, str]:
    """Module -> what is wrong with its length."""
    wrong = {}
    for module, path in package.modules.items():
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) > MAX_LINES and not any(line.startswith(LONG_FILE) for line in lines[:TOP]):
            wrong[module] = f"{len(lines)} lines, more than {MAX_LINES}, and no line '{LONG_FILE}reason' near the top"
    return wrong


def many_parameters(package: Package) -> dict[str, str]:
    """``module:Class.function`` -> what is wrong with its parameters."""
    wrong = {}
    for module, path in package.modules.items():
        lines = path.read_text(encoding="utf-8").splitlines()
        for name, function, is_method in _functions(package.trees[module], ""):
            count = _parameter_count(function, is_method)
            if count > MAX_PARAMETERS and not _has_reason(lines, function):
                wrong[f"{module}:{name}"] = (
                    f"{count} parameters, more than {MAX_PARAMETERS}, and no '{MANY_PARAMETERS}reason' above"
                )
    return wrong


Function = ast.FunctionDef | ast.AsyncFunctionDef


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, Function, bool]]:
    """(dotted name, function, whether it is a method) of every function below `node`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield prefix + child.name, child, isinstance(node, ast.ClassDef)
            yield from _functions(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.ClassDef):
            yield from _functions(child, f"{prefix}{child.name}.")
        else:
            yield from _functions(child, prefix)


def _parameter_count(function: Function, is_method: bool) -> int:
    """All of them, ``*args`` and ``**kwargs`` too, but not the instance or class of a method."""
    given = function.args
    count = len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs) + bool(given.vararg) + bool(given.kwarg)
    is_static = any(isinstance(one, ast.Name) and one.id == "staticmethod" for one in function.decorator_list)
    return count - (is_method and not is_static)


def _has_reason(lines: list[str], function: Function) -> bool:
    """Whether the comment directly above the function, or above its first decorator, gives a reason."""
    row = min([function.lineno, *(one.lineno for one in function.decorator_list)]) - 2
    while row >= 0 and lines[row].strip().startswith("#"):
        if lines[row].strip().startswith(MANY_PARAMETERS):
            return True
        row -= 1
    return False


def hand_formatted(root: Path) -> dict[str, str]:
    """File (below `root`) -> its comments that keep the formatter off."""
    wrong = {}
    for path in sorted(root.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if not FORMATTED_BY_HAND.search(text):
            continue
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        lines = [one.start[0] for one in tokens if one.type == tokenize.COMMENT and FORMATTED_BY_HAND.match(one.string)]
        if lines:
            wrong[path.relative_to(root).as_posix()] = f"the formatter is kept off in lines {lines}"
    return wrong


def renamed_imports(package: Package) -> list[str]:
    """Imports that give what they import another name, where no convention does."""
    found = []
    for module, tree in package.trees.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            source = f"{node.module}." if isinstance(node, ast.ImportFrom) and node.module else ""
            for alias in node.names:
                renames = alias.asname is not None and alias.asname != alias.name
                if renames and (source + alias.name, alias.asname) not in CONVENTIONAL_NAMES:
                    found.append(f"{module}:{node.lineno} {source}{alias.name} as {alias.asname}")
    return found


LIMNER = Package(SOURCE)


def test_the_house_stands() -> None:
    assert faults(LIMNER, NEIGHBOURS) == []


def beyond(wrong: Mapping[str, str], exceptions: frozenset[str]) -> list[str]:
    """What is wrong and no exception, and each exception that is not needed any more."""
    new = [f"{name}: {why}" for name, why in wrong.items() if name not in exceptions]
    return [*new, *(f"{name} is mended; take it out of the exceptions" for name in sorted(exceptions - wrong.keys()))]


def test_files_are_short_or_say_why() -> None:
    assert beyond(long_files(LIMNER), LONG_FILES) == []


def test_functions_have_few_parameters_or_say_why() -> None:
    assert beyond(many_parameters(LIMNER), MANY_PARAMETER_FUNCTIONS) == []


def test_the_formatter_lays_out_every_file() -> None:
    top = SOURCE.parents[1]
    wrong = {
        f"{folder}/{file}": why
        for folder in ("src", "tests", "benchmarks", "docs")
        for file, why in hand_formatted(top / folder).items()
    }
    assert beyond(wrong, HAND_FORMATTED_FILES) == []


def test_few_imports_are_renamed() -> None:
    renamed = renamed_imports(LIMNER)
    assert len(renamed) <= MAX_RENAMED_IMPORTS, renamed


NEEDED_TO_TRAIN = frozenset({"torch", "numpy", "PIL", "pydantic", "safetensors", "yaml"})
COMES_WITH_TORCH = frozenset({"filelock", "torchgen", "functorch"})
LOADED_BY: Mapping[str, frozenset[str]] = {
    "import limner": frozenset(),
    "import limner.verbs": frozenset({"pydantic"}),
    "from limner.cli import main; main(['--help'])": frozenset({"typer", "pydantic"}),
    "import limner.training.session": NEEDED_TO_TRAIN | COMES_WITH_TORCH,
    "import limner.tasks.sampling": NEEDED_TO_TRAIN | COMES_WITH_TORCH,
}
"""What a person waits for at the start -> the packages that it may load, of those that take time or may be absent."""
WATCHED = frozenset(
    {
        "torch",
        "numpy",
        "PIL",
        "pydantic",
        "safetensors",
        "yaml",
        "filelock",
        "typer",
        "rich",
        "onnxruntime",
        *LATE_ONLY,
        *BANNED,
    }
)


@pytest.mark.parametrize("code", LOADED_BY)
def test_what_a_start_loads(code: str) -> None:
    program = f"{code}\nimport sys\nprint('\\nLOADED', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    names = {name.split(".")[0] for name in done.stdout.rpartition("LOADED")[2].split()}
    # Python's own library may load pickle (multiprocessing does, and so does torch); what counts is that we do not.
    loaded = (names & WATCHED) - {"pickle"}
    assert loaded <= LOADED_BY[code], loaded - LOADED_BY[code]


# Each rule is broken alone by a small package, and then spoken of once.

TOWER = {f"room{number}/a.py": f"import limner.room{number - 1}.a" if number > 1 else "" for number in range(1, 10)}
BROKEN: dict[str, tuple[dict[str, str], str]] = {
    "upward": (
        {"nets/a.py": "from limner.methods import gan", "methods/gan.py": ""},
        "limner.nets.a:1 imports limner.methods.gan: upward, from floor 2 to 3",
    ),
    "late and upward": ({"core/a.py": "def f():\n    import limner.recipes.b", "recipes/b.py": ""}, "limner.core.a:2"),
    "relative and upward": ({"nets/a.py": "from ..runs import b", "runs/b.py": ""}, "imports limner.runs.b: upward"),
    "for the type checker, and upward": (
        {
            "core/a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from limner.nets.b import x",
            "nets/b.py": "x = 1",
        },
        "limner.core.a:3 imports limner.nets.b: upward",
    ),
    "by name and upward": (
        {"core/a.py": "import importlib\nimportlib.import_module('limner.nets.b')", "nets/b.py": ""},
        "limner.core.a:2",
    ),
    "the version": (
        {"core/a.py": "from limner import __version__", "__init__.py": ""},
        "limner.core.a:1 imports limner: upward",
    ),
    "a door": ({"training/a.py": "from limner.cli import show", "cli/show.py": ""}, "upward, from floor 6 to 8"),
    "the top": ({"cli/a.py": "import limner.__main__", "__main__.py": ""}, "to the top"),
    "neighbours": (
        {"methods/a.py": "import limner.judges.b", "judges/b.py": ""},
        "methods must not know judges, which stands on the same floor",
    ),
    "doors know no doors": ({"cli/a.py": "import limner", "__init__.py": ""}, "cli must not know __init__"),
    "a circle of modules": (
        {"core/a.py": "import limner.core.b", "core/b.py": "from limner.core.a import x"},
        "modules in a circle: limner.core.a → limner.core.b → limner.core.a",
    ),
    "a late circle of modules": (
        {"core/a.py": "import limner.core.b", "core/b.py": "def f():\n    from .a import x"},
        "modules in a circle",
    ),
    "a loose file": ({"utils.py": ""}, "utils.py is a loose file"),
    "a room that nobody planned": ({"helpers/a.py": ""}, "helpers has no place in the house"),
    "banned": ({"core/a.py": "def f():\n    from torchvision.utils import save_image"}, "banned"),
    "pickle": ({"runs/a.py": "import pickle"}, "banned"),
    "banned, by name": ({"runs/a.py": "import importlib\nimportlib.import_module('torchvision')"}, "banned"),
    "a library at the top": (
        {"metrics/a.py": "def f():\n    import scipy\nfrom sklearn import svm"},
        "limner.metrics.a:3 imports sklearn",
    ),
}


def built(root: Path, files: Mapping[str, str]) -> Package:
    for file, text in files.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text, encoding="utf-8")
    return Package(root)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_house_is_noticed(name: str, tmp_path: Path) -> None:
    files, words = BROKEN[name]
    lines = faults(built(tmp_path, files), {})
    assert len(lines) == 1, lines
    assert words in lines[0]


def test_a_circle_of_rooms_is_noticed(tmp_path: Path) -> None:
    """Though no module is in a circle; one of its arrows leads upward too."""
    files = {"core/a.py": "import limner.nets.a", "nets/a.py": "", "nets/b.py": "import limner.core.b", "core/b.py": ""}
    package = built(tmp_path, files)
    assert list(circular(package)) == ["rooms in a circle: core → nets → core"]
    assert len(faults(package, {})) == 2


def test_a_ninth_floor_is_noticed(tmp_path: Path) -> None:
    package = built(tmp_path / "nine", TOWER)
    assert package.floors == {f"room{number}": number for number in range(1, 10)}
    [fault] = tall(package)
    assert "9 floors" in fault
    eight = {file: text for file, text in TOWER.items() if file != "room9/a.py"}
    on_top = {"__main__.py": "import limner.room8.a"}  # is no floor
    assert list(tall(built(tmp_path / "eight", eight | on_top))) == []


def test_neighbours_are_named_with_a_reason_and_only_while_they_need_it(tmp_path: Path) -> None:
    pair = {("methods", "judges"): "because"}
    package = built(tmp_path, {"methods/a.py": "import limner.judges.b", "judges/b.py": ""})
    assert faults(package, pair) == []
    [fault] = faults(built(tmp_path, {"methods/a.py": ""}), pair)
    assert "take the pair out" in fault


def test_a_sound_house_is_left_alone(tmp_path: Path) -> None:
    files = {
        "__init__.py": "def __getattr__(name):\n    from limner.training.train import train\n    return train",
        "__main__.py": "from limner.cli import main",
        "cli/__init__.py": "from limner import verbs",
        "verbs.py": "def f():\n    from limner.training import train",
        "training/train.py": "import limner.runs.run\nfrom limner.methods.gan.gan import x\nimport torch",
        "runs/run.py": "from limner.recipes import recipe\nfrom limner.core import a",
        "recipes/recipe.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from limner.nets import b",
        "methods/gan/gan.py": "from .losses import y\nfrom ...core.a import z\nx = 1",
        "methods/gan/losses.py": "def f():\n    import scipy",
        "core/a.py": "z = 1",
        "nets/b.py": "",
    }
    assert faults(built(tmp_path, files), {}) == []


VERB_PACKAGE = {
    "verbs.py": "from limner.tasks.draw import draw",
    "tasks/draw.py": "def draw(request):\n    from limner.tasks.drawing import draw_pictures",
    "tasks/drawing.py": "from limner.tasks.draw import DrawRequest",
}


def test_a_verb_hands_its_request_over(tmp_path: Path) -> None:
    assert faults(built(tmp_path, VERB_PACKAGE), {}) == []


@pytest.mark.parametrize(
    "files",
    [
        {"verbs.py": ""},
        {"tasks/draw.py": "import limner.tasks.drawing"},
        {"tasks/draw.py": "import limner.tasks.drawing\n" + VERB_PACKAGE["tasks/draw.py"]},
        {"tasks/drawing.py": "import limner.tasks.other", "tasks/other.py": "def f():\n    import limner.tasks.drawing"},
    ],
    ids=["no verb", "at the top", "at the top too", "not from the verb's file"],
)
def test_nothing_else_closes_a_circle(files: Mapping[str, str], tmp_path: Path) -> None:
    [fault] = faults(built(tmp_path, VERB_PACKAGE | files), {})
    assert fault.startswith("modules in a circle: limner.tasks.")


def test_a_long_file_says_why(tmp_path: Path) -> None:
    files = {"a.py": "\n" * 401, "b.py": f'"""B."""\n{LONG_FILE}one table\n' + "\n" * 399, "c.py": "\n" * 400}
    assert long_files(built(tmp_path, files)).keys() == {"limner.a"}
    late = "\n" * 100 + f"{LONG_FILE}said too late\n" + "\n" * 300
    assert long_files(built(tmp_path, {"a.py": late})).keys() == {"limner.a"}


def test_many_parameters_say_why(tmp_path: Path) -> None:
    seven = "a, b, c, d, e, f, g"
    reason = f"{MANY_PARAMETERS}the paper's own\n# equation has as many.\n"
    files = {
        "a.py": f"def many({seven}): ...\nclass A:\n    def six(self, a, b, c, d, e, f): ...\n    def many(self, {seven}): ...",
        "b.py": "def f():\n    async def inner(a, /, b, *args, c, d, e, **rest): ...",
        "c.py": f"{reason}def f({seven}): ...\n\n{reason}@property\n@another\ndef g({seven}): ...",
        "d.py": f"class D:\n    @staticmethod\n    def f({seven}): ...\n    @classmethod\n    def g(c, a, b, d, e, f, g): ...",
        "e.py": f"{reason}\ndef f({seven}): ...",  # an empty line between
    }
    wrong = many_parameters(built(tmp_path, files))
    assert wrong.keys() == {"limner.a:many", "limner.a:A.many", "limner.b:f.inner", "limner.d:D.f", "limner.e:f"}


def test_the_formatter_is_not_kept_off(tmp_path: Path) -> None:
    files = {
        "a.py": "x = [1,\n 2]  # fmt: skip",
        "b.py": "#fmt:off\nx = 1",
        "c.py": "x = '# fmt: skip'",
        "d.py": "x = 1  # fmt",
    }
    built(tmp_path, files)
    assert hand_formatted(tmp_path).keys() == {"a.py", "b.py"}


def test_renamed_imports_are_counted(tmp_path: Path) -> None:
    files = {
        "a.py": "import numpy as np\nimport torch.nn.functional as F\nfrom x import y as y",
        "c.py": "from torch import distributed as dist\nfrom . import a as other",
        "b.py": "import numpy as n\nfrom limner.a import f as g",
    }
    assert [one.split(" ", 1)[1] for one in renamed_imports(built(tmp_path, files))] == [
        "numpy as n",
        "limner.a.f as g",
        "a as other",
    ]


def test_exceptions_can_only_shrink() -> None:
    assert beyond({"a": "is long"}, frozenset({"a"})) == []
    assert beyond({"a": "is long"}, frozenset()) == ["a: is long"]
    assert beyond({}, frozenset({"a"})) == ["a is mended; take it out of the exceptions"]


def test_the_package_is_the_one_that_is_tested() -> None:
    assert Path(limner.__file__).parent == SOURCE
    assert "limner.core.method" in LIMNER.modules

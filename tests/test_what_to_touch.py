"""What must be touched to add a thing: in how many source files one name is spelled, so that no list grows a twin.

The numbers are today's; beside each table stands what the design asks for. A name that is spelled in one more file fails, and
the message says in which files it is. Whoever makes a number smaller writes the smaller one down.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterator, Mapping

import pytest

from house import Package
from limner.data.options import DataOptions
from limner.data.sources import SOURCES
from limner.metrics.measure import metrics_of
from limner.metrics.metric import SampleMetric
from limner.recipes.registry import PRESETS

Names = Callable[[ast.AST], Iterator[str]]


def strings(tree: ast.AST) -> Iterator[str]:
    """Every text of the code, docstrings and the pieces of f-strings among them, whole."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def identifiers(tree: ast.AST) -> Iterator[str]:
    """Names of variables, parameters, attributes, keywords, functions, and of what is imported from a module."""
    for node in ast.walk(tree):
        for field in ("id", "arg", "attr", "name"):
            if isinstance(name := getattr(node, field, None), str):
                yield name


def differences(counts: Mapping[str, int], package: Package, *kinds: Names) -> list[str]:
    """One line for each name that is not spelled, exactly, in as many modules as `counts` says."""
    words = {module: {word for kind in kinds for word in kind(tree)} for module, tree in package.trees.items()}
    lines = []
    for name, count in counts.items():
        modules = [module for module in words if name in words[module]]
        if len(modules) != count:
            lines.append(f"{name} is spelled in {len(modules)} modules, not in {count}: {', '.join(modules)}")
    return lines


LIMNER = Package()

METHOD_IMPORTERS: Mapping[str, frozenset[str]] = {
    "flow": frozenset({"limner.recipes.registry"}),
    "gan": frozenset({"limner.methods.vq.diagnosis", "limner.recipes.registry", "limner.training.auto"}),
    "vae": frozenset({"limner.evaluation.likelihood", "limner.recipes.registry"}),
    "vq": frozenset({"limner.recipes.registry"}),
}
"""Family -> the modules outside its folder that import it. The design: the registry alone (and `auto`, which chooses one)."""


def test_who_knows_a_method_family() -> None:
    importers: dict[str, set[str]] = {family: set() for family in METHOD_IMPORTERS}
    for one in LIMNER.imports:
        folder, _, rest = one.target.removeprefix("limner.methods.").partition(".")
        if one.target.startswith("limner.methods.") and rest and not one.module.startswith(f"limner.methods.{folder}"):
            importers.setdefault(folder, set()).add(one.module)
    assert importers == METHOD_IMPORTERS


PRESETS_ELSEWHERE: Mapping[str, int] = {
    "autoencoder": 4,
    "dcgan": 4,
    "flow": 4,
    "fsq": 2,
    "gan": 3,
    "prior": 4,
    "r3gan": 2,
    "vae": 4,
}
"""Presets whose name is another word too (a family, a network, a quantiser, a player, a capability), or that `auto` chooses. A
family's `kind` stands in its config, a player of that name in its method, a kind of networks in both. All others: their row."""


def test_a_preset_is_a_file_and_a_row() -> None:
    assert differences(dict.fromkeys(PRESETS, 1) | PRESETS_ELSEWHERE, LIMNER, strings) == []


SCORES: Mapping[str, int] = {
    "frechet": 11,
    "mmd": 2,
    "precision": 9,
    "recall": 3,
    "density": 2,
    "coverage": 7,
    "class_distance": 6,
    "label_accuracy": 1,
    "inception_score": 3,
    "sliced": 2,
    "two_sample": 1,
    "vendi": 2,
    "pairwise": 2,
    "copies": 6,
    "copies_double": 4,
    "copies_nearer": 2,
    "data_copying": 1,
    "gan_train": 2,
    "gan_test": 1,
}
"""Score of samples -> modules that spell it. The design: its file and its row. Some names are words for other things too."""


def test_a_score_is_a_file_and_a_row() -> None:
    assert SCORES.keys() == set(metrics_of(SampleMetric))
    assert differences(SCORES, LIMNER, strings) == []


VERBS: Mapping[str, int] = {
    "reconstruct": 6,
    "interpolate": 4,
    "traverse": 2,
    "embed": 3,
    "classify": 5,
    "compare": 2,
}
"""Verb -> modules that spell it: its file, its row of the table, and whatever else is called so (a loaded model reconstructs,
torch interpolates, the judge embeds and classifies). The design: its file and its row."""


def test_a_verb_is_written_in_few_places() -> None:
    assert differences(VERBS, LIMNER, strings, identifiers) == []


OPTIONS: Mapping[str, int] = {"background": 6, "binary": 9}
"""Data options whose name means nothing else -> modules that spell them. The design: the option, and the code that does it."""


def test_a_data_option_is_written_in_few_places() -> None:
    assert OPTIONS.keys() <= DataOptions.model_fields.keys()
    assert differences(OPTIONS, LIMNER, strings, identifiers) == []


FORMATS: Mapping[str, int] = {"is_archive": 2, "is_cifar": 3, "is_idx_folder": 2, "is_array_source": 2, "IDX_ENDINGS": 2}
"""What tells a kind of source from others -> modules that ask it: the kind's file, and its row in sources. Of archives it is
`remote` that asks, whether one came whole; of CIFAR-10 also `named`, which has the set by that name."""
IN_SOURCES = frozenset({"BuiltInSource"})
"""Opens a kind that has no file of its own."""


def test_a_source_format_is_known_in_few_places() -> None:
    opened = {kind.open.__name__: 2 - (kind.open.__name__ in IN_SOURCES) for kind in SOURCES.own.values()}
    assert len(opened) >= 8
    assert differences({**FORMATS, **opened}, LIMNER, identifiers) == []


@pytest.mark.parametrize(("name", "kinds"), [("wgan-gp", [strings]), ("background", [identifiers])])
def test_one_more_spelling_fails(name: str, kinds: Collection[Names]) -> None:
    package = Package()
    package.trees = {
        "limner.a": ast.parse("TABLE = {'wgan-gp': 1}\ndef prepare(background): ..."),
        "limner.b": ast.parse("'the wgan-gp of a sentence on the background is none'"),
    }
    assert differences({name: 1}, package, *kinds) == []
    package.trees["limner.c"] = ast.parse("prepare(background=choose['wgan-gp'])")
    [line] = differences({name: 1}, package, *kinds)
    assert line == f"{name} is spelled in 2 modules, not in 1: limner.a, limner.c"

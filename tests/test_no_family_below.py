"""No room below the methods, and none between them and the doors, knows a family of methods by name.

What such a room wants to know of a method it asks of the method or of its config (`MethodConfig.makes`, `Method.diagnosis`, the
classes of `core/capabilities.py`), so that a new family needs no change there. Only the registry names families.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import limner
from limner.core.capabilities import CAPABILITIES
from limner.recipes.registry import METHODS

SOURCE = Path(limner.__file__).parent
ROOMS = ("core", "nets", "data", "metrics", "pages", "recipes", "runs")
REGISTRY = "recipes/registry.py"
CLASSES = frozenset(
    alias.name
    for node in ast.walk(ast.parse((SOURCE / REGISTRY).read_text(encoding="utf-8")))
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("limner.methods.")
    for alias in node.names
)
"""The families' configs, sampling settings and methods: all that the registry imports of them."""
CAPABILITY_NAMES = frozenset(CAPABILITIES) | {kind.__name__ for kind in CAPABILITIES.values()}
"""What a method can do: an autoencoder is one, whatever family it is of."""
METRICS = r"gan_train|gan_test|beta_vae|factor_vae"
"""Published metrics that are called after a family: GAN-train and GAN-test (Shmelkov et al. 2018), the scores of the papers of
β-VAE (Higgins et al. 2017) and FactorVAE (Kim & Mnih 2018)."""


def words(name: str) -> set[str]:
    """The words of a snake_case or CamelCase name, in small letters."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)}


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, name) of everything that is called something, and of every string that stands for a value."""
    documentation = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Name):
            yield line, node.id
        elif isinstance(node, ast.Attribute):
            yield line, node.attr
        elif isinstance(node, ast.arg | ast.keyword) and node.arg is not None:
            yield line, node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield line, node.name
        elif isinstance(node, ast.alias):
            yield line, node.asname or node.name.rpartition(".")[2]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield line, node.value if re.fullmatch(r"[\w.]+", node.value) else ""  # a sentence is for a person


def families_named(path: Path, root: Path) -> list[str]:
    """What `path` says of a family of methods, one line each."""
    tree, where = ast.parse(path.read_text(encoding="utf-8")), path.relative_to(root).as_posix()
    wrong = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            package = ["limner", *where.split("/")[:-1]]
            base = package[: len(package) - getattr(node, "level", 0) + 1] if getattr(node, "level", 0) else []
            source = [*base, getattr(node, "module", None) or ""]
            targets = [".".join([*filter(None, source), alias.name]) for alias in node.names]
            wrong += [f"{where}:{node.lineno} imports {one}" for one in targets if f"{one}.".startswith("limner.methods.")]
    for line, name in names(tree):
        if name in CAPABILITY_NAMES and where != REGISTRY:
            continue
        rest = re.sub(METRICS, "", name) if where.startswith("metrics/") else name
        if rest in CLASSES or words(rest) & set(METHODS):
            wrong.append(f"{where}:{line} spells {name}")
    return wrong


def test_no_room_below_or_above_the_methods_names_a_family() -> None:
    paths = [path for room in ROOMS for path in sorted((SOURCE / room).rglob("*.py"))]
    assert len(paths) > 50
    assert [one for path in paths if path != SOURCE / REGISTRY for one in families_named(path, SOURCE)] == []


def test_the_registry_names_them_all() -> None:
    assert {part.__name__ for family in METHODS.values() for part in (family.config, family.sampling)} <= CLASSES
    assert {"Gan", "Vae", "VqVae", "Prior", "PlainAutoencoder"} <= CLASSES
    said = " ".join(families_named(SOURCE / REGISTRY, SOURCE))
    assert all(f"spells {name}" in said for name in [*CLASSES, *METHODS])


@pytest.mark.parametrize(
    ("text", "words_of_it"),
    [
        ("from limner.methods.vq.vqvae import VqVaeConfig", ["imports limner.methods.vq.vqvae", "spells VqVaeConfig"]),
        ("from limner.methods import labels", ["imports limner.methods.labels"]),
        ("from ..methods.labels import draw_labels", ["imports limner.methods.labels"]),
        ("def f(config):\n    import limner.methods.labels", [":2 imports limner.methods.labels"]),
        ("def f(config):\n    return config.kind == 'vqvae'", [":2 spells vqvae"]),
        ("no_prior = 1", ["spells no_prior"]),
        ("class GanCodec: ...", ["spells GanCodec"]),
        ("KEYS = {'method.autoencoder': 1}", ["spells method.autoencoder"]),
        ("class AutoencoderRun: ...", ["spells AutoencoderRun"]),
    ],
)
def test_a_family_that_is_named_is_found(text: str, words_of_it: list[str], tmp_path: Path) -> None:
    path = tmp_path / "core" / "a.py"
    path.parent.mkdir()
    path.write_text(text)
    wrong = families_named(path, tmp_path)
    assert wrong
    for part in words_of_it:
        assert any(part in one for one in wrong), wrong


def test_what_only_sounds_like_one_is_left_alone(tmp_path: Path) -> None:
    text = '"""Of a GAN."""\nfrom limner.core.method import Method\ndcgan = priority = 1\nadvice = "train a vae for one"\n'
    for room, more in (("core", ""), ("metrics", "def gan_train(beta_vae_score): ...\n")):
        path = tmp_path / room / "a.py"
        path.parent.mkdir()
        path.write_text(text + more)
        assert families_named(path, tmp_path) == []

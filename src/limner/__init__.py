"""limner trains, judges and uses image generators on a person's own pictures.

>>> import limner
>>> limner.train("cats", minutes=10)
>>> limner.load("runs/0001").sample(seeds=range(16))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from limner.core.process import configure_process

if TYPE_CHECKING:
    from limner.core.errors import InputError
    from limner.data import prepare
    from limner.evaluation.compare import compare
    from limner.evaluation.evaluate import evaluate
    from limner.recipes.recipe import Recipe
    from limner.runs.model import load
    from limner.runs.run import Run
    from limner.tasks.classify import classify
    from limner.tasks.embed import embed
    from limner.tasks.interpolate import interpolate
    from limner.tasks.invert import invert
    from limner.tasks.reconstruct import reconstruct
    from limner.tasks.sample import sample
    from limner.tasks.traverse import traverse
    from limner.training.train import resume, train

__all__ = [
    "InputError",
    "Recipe",
    "Run",
    "classify",
    "compare",
    "embed",
    "evaluate",
    "interpolate",
    "invert",
    "load",
    "prepare",
    "reconstruct",
    "resume",
    "sample",
    "train",
    "traverse",
]
__version__ = "0.1.0"

configure_process("import")

_HOMES = {
    "InputError": "limner.core.errors",
    "Recipe": "limner.recipes.recipe",
    "Run": "limner.runs.run",
    "classify": "limner.tasks.classify",
    "compare": "limner.evaluation.compare",
    "embed": "limner.tasks.embed",
    "evaluate": "limner.evaluation.evaluate",
    "interpolate": "limner.tasks.interpolate",
    "invert": "limner.tasks.invert",
    "load": "limner.runs.model",
    "prepare": "limner.data",
    "reconstruct": "limner.tasks.reconstruct",
    "resume": "limner.training.train",
    "sample": "limner.tasks.sample",
    "train": "limner.training.train",
    "traverse": "limner.tasks.traverse",
}


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used: `limner --help` must not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'limner' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)

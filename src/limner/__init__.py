"""limner trains, judges and uses image generators on a person's own pictures.

>>> import limner
>>> limner.train("cats", minutes=10)
>>> limner.load("runs/0001").sample(seeds=range(16))
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limner.core.errors import InputError
    from limner.data import prepare
    from limner.evaluation import evaluate
    from limner.loaded import load
    from limner.recipe import Recipe
    from limner.run import Run
    from limner.tasks.classify import classify
    from limner.tasks.embed import embed
    from limner.tasks.interpolate import interpolate
    from limner.tasks.invert import invert
    from limner.tasks.reconstruct import reconstruct
    from limner.tasks.sample import sample
    from limner.tasks.traverse import traverse
    from limner.training import resume, train

__all__ = [
    "InputError", "Recipe", "Run", "classify", "embed", "evaluate", "interpolate", "invert", "load", "prepare", "reconstruct",
    "resume", "sample", "train", "traverse",
]  # fmt: skip
__version__ = "0.1.0"

# torch's threads wait for each other by spinning. Where another process wants a core too, the one they wait for is not running,
# and training was measured ten to twenty times slower; a short spin costs a tenth on a quiet machine (docs/lab-notes.md). It is
# read when torch is loaded, so it stands here; whoever has set it keeps it.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

_HOMES = {
    "InputError": "limner.core.errors", "Recipe": "limner.recipe", "Run": "limner.run", "classify": "limner.tasks.classify",
    "compare": "limner.evaluation",
    "embed": "limner.tasks.embed", "evaluate": "limner.evaluation", "interpolate": "limner.tasks.interpolate",
    "invert": "limner.tasks.invert", "load": "limner.loaded", "prepare": "limner.data",
    "reconstruct": "limner.tasks.reconstruct", "resume": "limner.training", "sample": "limner.tasks.sample",
    "train": "limner.training", "traverse": "limner.tasks.traverse",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used: `limner --help` must not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'limner' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)

"""limner trains, judges and uses image generators on a person's own pictures.

>>> import limner
>>> limner.train("cats", minutes=10)  # doctest: +SKIP
>>> limner.load("runs/0001").sample(seeds=range(16))  # doctest: +SKIP

Every verb of the command line is a function here, made from the same request model: `limner.sample(run, seeds=range(16))`.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "DETECTORS": "limner.metrics.features.table",
    "InputError": "limner.core.errors",
    "Interruption": "limner.core.errors",
    "METHODS": "limner.recipes.registry",
    "METRICS": "limner.metrics.scores",
    "PRESETS": "limner.recipes.registry",
    "Progress": "limner.core.progress",
    "Recipe": "limner.recipes.recipe",
    "Run": "limner.runs.run",
    "SOURCES": "limner.data.sources",
    "VERBS": "limner.verbs",
    "invert": "limner.tasks.inversion",
    "load": "limner.runs.model",
    "open_dataset": "limner.data.dataset",
}
"""Public names that are no verbs, and the modules they stand in."""


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used: `limner --help` must not wait for torch."""
    from importlib import import_module

    if name == "__all__":
        return public_names()
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if not name.startswith("_"):
        from limner.core.verb import keyword_function
        from limner.verbs import VERBS, result_in_python, verb_in_python

        if (verb := verb_in_python(name)) is not None:
            function = keyword_function(name, verb)
            # What was registered may be forgotten again, or another verb be registered under its name.
            return globals().setdefault(name, function) if verb in VERBS.own.values() else function
        if (result := result_in_python(name)) is not None:
            return result
        from limner.core.errors import nearest

        raise AttributeError(f"module 'limner' has no attribute '{name}'{nearest(name, public_names())}")
    raise AttributeError(f"module 'limner' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*globals(), *public_names()]


def public_names() -> list[str]:
    """What ``from limner import *`` brings: the verbs of limner's own table, the types of their results, and the rest."""
    from limner.verbs import VERBS, name_in_python

    verbs = [name_in_python(name) for name in VERBS.own]
    results = [result.__name__ for verb in VERBS.own.values() for result in verb.results]
    return sorted({*_HOMES, *verbs, *results})

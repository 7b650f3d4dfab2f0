"""Examples in docstrings are run: of every module of the package that holds ``>>>``."""

from __future__ import annotations

import doctest
import importlib

import pytest

from house import Package

NOT_RUN = {"limner": "its example trains for minutes; README's commands are run by a test of their own"}
PACKAGE = Package()
MODULES = sorted(
    module for module, path in PACKAGE.modules.items() if module not in NOT_RUN and ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_say_what_happens(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0, "the examples stand where doctest does not look"
    assert result.failed == 0

"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib

import pytest

from house import Package

UNTESTED = {"limner"}
"""Its example trains a model on pictures that are not here."""
LIMNER = Package()
MODULES = [name for name, path in LIMNER.modules.items() if ">>>" in path.read_text(encoding="utf-8") and name not in UNTESTED]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0

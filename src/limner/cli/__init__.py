"""The command line: it parses words, calls one verb and prints the result. Heavy imports wait inside functions."""

from __future__ import annotations

from limner.cli.app import main

__all__ = ["main"]

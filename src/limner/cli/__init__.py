"""The command line. A door: it parses, calls one verb, and prints. No logic lives here, and no heavy import at the top."""

from __future__ import annotations

from limner.cli.app import main

__all__ = ["main"]

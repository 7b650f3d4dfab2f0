"""The command line. A door: it parses, calls one verb, and prints. No logic lives here, and no heavy import at the top.

While modules are loaded, nothing is garbage; looking for it would take a tenth of the time in which help has to appear.
"""

from __future__ import annotations

import gc

gc.disable()

from limner.cli.app import main  # noqa: E402  # after the switch

gc.enable()

__all__ = ["main"]

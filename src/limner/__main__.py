"""`python -m limner` is the command `limner`."""

from __future__ import annotations

import sys

from limner.cli import main

sys.exit(main())

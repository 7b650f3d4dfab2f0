"""How pages and tables spell numbers."""

from __future__ import annotations

import math
from typing import Any


def count(value: float | None) -> str:
    """A whole number with a comma between thousands; nothing for None."""
    return "" if value is None else f"{value:,.0f}"


def number(value: Any) -> float | None:
    """`value` where it is a finite number, else None. True and False are none."""
    finite = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if finite else None


def digits(value: Any) -> str:
    """Three significant digits; a dash for what is no number."""
    known = number(value)
    return "–" if known is None else f"{known:,.0f}" if abs(known) >= 1000 else f"{known:.3g}"


def percent(share: float) -> str:
    """A share from 0 to 1 in whole percent."""
    return f"{share:.0%}"

"""How pages and tables write numbers."""

from __future__ import annotations

from typing import Any

from limner.core.documents import finite_number


def format_count(value: float | None) -> str:
    """A whole number with commas between thousands; an empty text for None.

    >>> format_count(12345.0)
    '12,345'
    """
    return "" if value is None else f"{value:,.0f}"


def format_number(value: Any) -> str:
    """Three significant digits, whole numbers from 1,000 on; a dash for what is not a finite number.

    >>> format_number(0.12345), format_number(1234.5), format_number(None)
    ('0.123', '1,234', '–')
    """
    number = finite_number(value)
    return "–" if number is None else f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"


def format_percent(share: float) -> str:
    """A share from 0 to 1 in whole percent.

    >>> format_percent(0.255)
    '26%'
    """
    return f"{share:.0%}"

"""The sizes of an image that is halved again and again. Without torch, since settings are resolved by it."""

from __future__ import annotations


def halvings(height: int, width: int, smallest: int = 4) -> list[tuple[int, int]]:
    """Sizes from the image's down, halving (rounding up) while both sides stay at `smallest` or more.

    >>> halvings(28, 28)
    [(28, 28), (14, 14), (7, 7)]
    """
    sizes = [(height, width)]
    while min(sizes[-1]) >= 2 * smallest:
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes

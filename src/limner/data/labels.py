"""Class labels out of what a source says of its pictures: numbers, names, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.core.errors import InputError


def natural_order(name: str) -> tuple[int, int, str]:
    """A key to sort class names by: numbers by their value, before words.

    >>> sorted(["10", "cat", "9"], key=natural_order)
    ['9', '10', 'cat']
    """
    return (0, int(name), name) if name.isascii() and name.isdigit() and len(name) < 18 else (1, 0, name)


def labels_of(
    values: Sequence[Any] | NDArray[Any], count: int, classes: Sequence[str] | None, what: str
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Labels [count] int64 and the names of the classes, from one value for each picture.

    A value is a whole number, the name of a class, or no label (-1 or None). Numbers count into `classes`, where these are
    named; otherwise every number or name that occurs is a class, in `natural_order`. As in a folder, a single class tells
    nothing apart and is left out: then the answer is None and ().

    `what` is what the source is called in errors. Errors: `InputError` for another number of values than `count`, values of
    another kind, or a number that has no class.

    >>> labels_of(["cat", None, "dog"], 3, None, "a list")
    (array([ 0, -1,  1]), ('cat', 'dog'))
    """
    plain = _plain_values(values, what)
    if len(plain) != count:
        raise InputError(f"{what} has {len(plain)} labels and {count} pictures; give one label for each picture")
    numbers = [value for value in plain if isinstance(value, int)]
    names = [value for value in plain if isinstance(value, str)]
    if numbers and names:
        raise InputError(f"{what} has labels of two kinds, such as {numbers[0]} and '{names[0]}'; give numbers or names")
    if classes is None:
        ordered = tuple(sorted({str(value) for value in plain if value is not None}, key=natural_order))
        place = {name: number for number, name in enumerate(ordered)}
        labels = [-1 if value is None else place[str(value)] for value in plain]
    else:
        ordered = tuple(map(str, classes))
        if len(set(ordered)) != len(ordered):
            raise InputError(f"{what} names a class twice among its {len(ordered)} classes; give each class a name of its own")
        place = {name: number for number, name in enumerate(ordered)}
        strange = next((value for value in plain if not _is_among(value, place)), None)
        if strange is not None:
            raise InputError(f"{what} has the label {strange!r}, and its classes are {', '.join(ordered) or 'none'}")
        labels = [-1 if value is None else value if isinstance(value, int) else place[value] for value in plain]
    return (np.array(labels, np.int64), ordered) if len(ordered) > 1 else (None, ())


def _is_among(value: int | str | None, place: dict[str, int]) -> bool:
    return value is None or (value in place if isinstance(value, str) else value < len(place))


def _plain_values(values: Sequence[Any] | NDArray[Any], what: str) -> list[int | str | None]:
    """Each value as a Python number or text; None for -1. Errors: `InputError` for one that is neither."""
    if np.ndim(values) != 1:
        raise InputError(f"{what} has labels of {np.ndim(values)} axes; give one whole number or name for each picture")
    plain = values.tolist() if hasattr(values, "tolist") else values  # of an array or a tensor, all at once
    return [plain_label(value, f"{what}: label {row}") for row, value in enumerate(plain)]


def plain_label(value: Any, what: str) -> int | str | None:
    """A label as a Python number from 0, a text, or None where there is no label (None or -1).

    Numbers of NumPy and torch are taken by their value. `what` names the label in errors. Errors: `InputError`.
    """
    if value is None or isinstance(value, str):
        return None if value is None else str(value)
    number = value.item() if getattr(value, "shape", None) == () else value
    if isinstance(number, bool) or not isinstance(number, int) or number < -1:
        raise InputError(f"{what} is {value!r}; labels are whole numbers from 0, names, or -1 for none")
    return None if number == -1 else number

"""Tables that packages of others add rows to: in which order, and what becomes of rows that cannot be used."""

from __future__ import annotations

import importlib.metadata
import sys
import warnings
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from limner.core.errors import InputError
from limner.core.table import PackageWarning, Table

Rows = list[tuple[str, str]]


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    """Entry points of installed packages, (name, what it loads): those that stand there when a table first looks."""
    module = ModuleType("rows_of_others")
    values: Mapping[str, object] = {"FOUR": 4, "FIVE": 5, "TEXT": "5"}
    module.__dict__.update(values)
    monkeypatch.setitem(sys.modules, "rows_of_others", module)
    rows: Rows = []

    def entry_points(*, group: str) -> list[EntryPoint]:
        return [EntryPoint(name, value, group) for name, value in rows]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    return rows


def table() -> Table[int]:
    return Table("limner.numbers", int, {"one": 1})


def test_own_rows_then_packages_then_registered_ones(rows: Rows) -> None:
    rows += [("four", "rows_of_others:FOUR"), ("five", "rows_of_others:FIVE")]
    numbers = table()
    numbers.register("two", 2)
    assert dict(numbers) == {"one": 1, "four": 4, "five": 5, "two": 2}
    assert list(numbers) == ["one", "four", "five", "two"]
    assert len(numbers) == 4
    numbers.forget("two")
    assert "two" not in numbers
    with pytest.raises(KeyError):
        numbers["two"]


def test_a_name_that_is_taken_is_refused(rows: Rows) -> None:
    rows.append(("four", "rows_of_others:FOUR"))
    numbers = table()
    numbers.register("two", 2)
    for name in ("one", "two", "four"):
        with pytest.raises(InputError, match=rf"'{name}' is taken in limner\.numbers; choose another name"):
            numbers.register(name, 3)
    with pytest.raises(InputError, match=r"'six' of what was registered is no row of limner\.numbers: it is str, not int"):
        numbers.register("six", "6")  # type: ignore[arg-type]
    assert "six" not in numbers


def test_of_two_rows_of_one_name_the_first_is_used(rows: Rows) -> None:
    rows += [("one", "rows_of_others:FIVE"), ("four", "rows_of_others:FOUR"), ("four", "rows_of_others:FIVE")]
    numbers = table()
    with pytest.warns(PackageWarning) as warned:
        assert dict(numbers) == {"one": 1, "four": 4}
    taken = "of an installed package is not used, since that name is taken in limner.numbers"
    assert [str(one.message) for one in warned] == [f"'one' {taken}", f"'four' {taken}"]


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("rows_of_nobody:ROW", "cannot be loaded (ModuleNotFoundError: No module named 'rows_of_nobody'); repair that package"),
        ("rows_of_others:SIX", "cannot be loaded (AttributeError: "),
        ("rows_of_others:TEXT", "is no row of limner.numbers: it is str, not int"),
        ("rows_that_exit:ROW", "cannot be loaded (SystemExit: 3)"),
    ],
    ids=["no module", "no row", "of another type", "ends the process"],
)
def test_a_row_that_cannot_be_used(value: str, fault: str, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    if "exit" in value:
        monkeypatch.setattr(EntryPoint, "load", lambda self: sys.exit(3))
    rows.append(("six", value))
    numbers = table()
    for _ in range(2):
        with pytest.raises(InputError) as error:
            numbers["six"]
        assert fault in str(error.value)
    assert "six" in numbers, "so that whoever asks for it is told why it is not there"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it was said already
        assert dict(numbers) == {"one": 1}
        assert fault in numbers.faults()[0]
    listing = table()
    with pytest.warns(PackageWarning) as warned:
        assert list(listing) == list(listing) == ["one"]
    assert len(warned) == 1
    assert fault in str(warned[0].message)


def test_who_finds_a_row_early_loads_no_package(rows: Rows) -> None:
    rows.append(("six", "rows_of_nobody:ROW"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert next(iter(table())) == "one"
        assert table()["one"] == 1


def test_a_warning_is_one_line_and_comes_once(rows: Rows) -> None:
    """Python wrote the line of a source file below it, and each table of a broken package said the same again."""
    rows.append(("seven", "rows_of_nobody:ROW"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            assert list(table()) == ["one"]
    (warning,) = caught
    text = warnings.formatwarning(warning.message, warning.category, warning.filename, warning.lineno)
    assert text == (
        "<limner>:1: PackageWarning: 'seven' of an installed package cannot be loaded (ModuleNotFoundError: No module named "
        "'rows_of_nobody'); repair that package, or uninstall it\n"
    )


def test_a_table_checks_what_comes_from_outside_and_not_its_own_rows(rows: Rows) -> None:
    def check(name: str, row: int) -> None:
        if row > 3:
            raise InputError(f"{row} is too large")

    rows.append(("four", "rows_of_others:FOUR"))
    numbers = Table("limner.numbers", int, {"nine": 9}, check)
    assert numbers["nine"] == 9
    numbers.register("two", 2)
    with pytest.raises(InputError, match=r"^'five' of what was registered cannot be used in limner\.numbers: 5 is too large$"):
        numbers.register("five", 5)
    with pytest.raises(InputError, match=r"^'four' of an installed package cannot be used in limner\.numbers: 4 is too large$"):
        numbers["four"]
    assert "five" not in numbers

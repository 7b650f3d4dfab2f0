"""Tables of methods, presets, metrics, detectors, sources and verbs, to which other packages can add rows.

A table's own rows are literal, so that a reader and a type checker can follow them. More rows come by `register`, or from an
installed package that names them under the table's entry point group: those are loaded when a name is asked for that is not
among the others, or when all rows are.

A package that cannot be loaded takes nothing else with it. Where its row is asked for by name that is an error; where all rows
are, the row is left out with a warning.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

from limner.core.errors import InputError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Row = TypeVar("Row")


class PackageWarning(UserWarning):
    """An installed package names a row of a table that cannot be used."""


_WARNINGS: set[str] = set()
"""The texts of `PackageWarning` that this process has shown: one package may fail in several tables, for the same reason."""


def _warn(text: str) -> None:
    """Warns in one line, once. Python adds the line of a source file where it has one, and none of limner's is the cause."""
    if text not in _WARNINGS:
        _WARNINGS.add(text)
        warnings.warn_explicit(text, PackageWarning, "<limner>", 1, "limner")


class Table(Mapping[str, Row], Generic[Row]):
    """A mapping of names to rows, in this order: the table's own, those of entry points, those that were registered.

    A name in the table whose row cannot be loaded is `in` it, and `table[name]` is an `InputError` that says why; it is not
    among the names that the table lists.

    `rows` are the table's own. `kind` is the type that every row has, and `group` the entry point group whose entries are such
    rows, such as ``limner.metrics``. `check` is called with the name and the row of everything that comes from outside; its
    errors are `InputError`.

    >>> table = Table("limner.examples", int, {"one": 1})
    >>> table.register("two", 2)
    >>> dict(table)
    {'one': 1, 'two': 2}
    """

    def __init__(
        self, group: str, kind: type[Row], rows: Mapping[str, Row], check: Callable[[str, Row], None] | None = None
    ) -> None:
        self.group, self.kind, self.own, self.check = group, kind, dict(rows), check
        self._registered: dict[str, Row] = {}
        self._loaded: dict[str, Row] = {}
        self._faults: dict[str, str] = {}
        self._entries: dict[str, EntryPoint] | None = None

    def register(self, name: str, row: Row) -> None:
        """Adds a row for the rest of this process. Errors: `InputError` for a name that is taken, or no such row."""
        if name in self:
            raise InputError(f"'{name}' is taken in {self.group}; choose another name")
        self._registered[name] = self._check(name, row, "what was registered")

    def forget(self, name: str) -> None:
        """Removes a row that was registered. Errors: `KeyError` where there is none of that name."""
        del self._registered[name]

    def __getitem__(self, name: str) -> Row:
        for rows in (self.own, self._registered, self._loaded):
            if name in rows:
                return rows[name]
        if name in self._faults:
            raise InputError(self._faults[name])
        try:
            self._loaded[name] = self._load(self._entry_points()[name])
        except InputError as fault:
            self._faults[name] = str(fault)
            raise
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in self._registered or name in self._entry_points()

    def __iter__(self) -> Iterator[str]:
        names = dict.fromkeys([*self.own, *self._entry_points(), *self._registered])
        return filter(self._is_usable, names)  # one after the other: whoever finds a row early loads no package

    def __len__(self) -> int:
        return len(list(iter(self)))

    def faults(self) -> list[str]:
        """A sentence about each row of a package that cannot be loaded: whose it is, and why."""
        list(self)  # loads all
        return list(self._faults.values())

    def _is_usable(self, name: str) -> bool:
        """Whether there is a row; warns, once, of a package whose row cannot be loaded."""
        if name in self._faults:
            return False
        try:
            self[name]
        except InputError as fault:
            _warn(str(fault))
            return False
        return True

    def _entry_points(self) -> Mapping[str, EntryPoint]:
        """By name. Of two that have one name the first is taken, and none that has the name of a row of the table's own."""
        if self._entries is None:  # asked once: reading the metadata of every installed package takes milliseconds
            from importlib.metadata import entry_points  # and importing that module takes forty

            entries: dict[str, EntryPoint] = {}  # another thread must not see it half full
            for point in entry_points(group=self.group):
                if point.name in self.own or point.name in entries:
                    _warn(f"'{point.name}' of {_owner(point)} is not used, since that name is taken in {self.group}")
                else:
                    entries[point.name] = point
            self._entries = entries
        return self._entries

    def _load(self, point: EntryPoint) -> Row:
        try:
            row = point.load()
        except (Exception, SystemExit) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError(
                f"'{point.name}' of {_owner(point)} cannot be loaded ({reason}); repair that package, or uninstall it"
            ) from error
        return self._check(point.name, row, _owner(point))

    def _check(self, name: str, row: Row, where: str) -> Row:
        """`row` itself. Errors: `InputError` where it has another type than `kind`, and as `check` has them."""
        if not isinstance(row, self.kind):
            raise InputError(
                f"'{name}' of {where} is no row of {self.group}: it is {type(row).__name__}, not {self.kind.__name__}"
            )
        if self.check is not None:
            try:
                self.check(name, row)
            except InputError as error:
                raise InputError(f"'{name}' of {where} cannot be used in {self.group}: {error}") from error
        return row


def _owner(point: EntryPoint) -> str:
    """The package that names the entry point, for a message."""
    return f"the package '{point.dist.name}'" if point.dist is not None else "an installed package"

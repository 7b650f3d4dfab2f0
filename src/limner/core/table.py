"""Tables of what there is (methods, presets, metrics, detectors, sources, verbs), open to packages of others.

A table's own rows are literal, so that a reader and a type checker can follow them. More rows come by `register`, or from an
installed package that names them under the table's entry point group: those are loaded when a name is asked for that is not
among the others, or when all names are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

from limner.core.errors import InputError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Row = TypeVar("Row")


class Table(Mapping[str, Row], Generic[Row]):
    """Rows by name, in the order: its own, those of entry points, those registered.

    `rows` are the table's own. `kind` is the type that every row has, and `group` the entry point group whose entries are such
    rows, such as ``limner.metrics``.

    >>> table = Table("limner.examples", int, {"one": 1})
    >>> table.register("two", 2)
    >>> dict(table)
    {'one': 1, 'two': 2}
    """

    def __init__(self, group: str, kind: type[Row], rows: Mapping[str, Row]) -> None:
        self.group, self.kind, self.own = group, kind, dict(rows)
        self._registered: dict[str, Row] = {}
        self._loaded: dict[str, Row] = {}
        self._entries: dict[str, EntryPoint] | None = None

    def register(self, name: str, row: Row) -> None:
        """Adds a row for the rest of this process. Errors: `InputError` for a name that is taken, or no row."""
        if name in self.own or name in self._registered:
            raise InputError(f"'{name}' is taken in {self.group}; choose another name")
        self._registered[name] = self._checked(name, row, "what was registered")

    def forget(self, name: str) -> None:
        """Takes away a row that was registered. Errors: `KeyError` where there is none."""
        del self._registered[name]

    def __getitem__(self, name: str) -> Row:
        for rows in (self.own, self._registered, self._loaded):
            if name in rows:
                return rows[name]
        self._loaded[name] = self._load(self._entry_points()[name])
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in self._registered or name in self._entry_points()

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self.own, *self._entry_points(), *self._registered]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _entry_points(self) -> Mapping[str, EntryPoint]:
        if self._entries is None:  # asked once: reading the metadata of every installed package takes milliseconds
            from importlib.metadata import entry_points  # and importing that module takes forty

            self._entries = {point.name: point for point in entry_points(group=self.group)}
        return self._entries

    def _load(self, point: EntryPoint) -> Row:
        where = f"the package '{point.dist.name}'" if point.dist is not None else "an installed package"
        try:
            row = point.load()
        except Exception as error:
            raise InputError(
                f"'{point.name}' of {where} cannot be loaded ({type(error).__name__}: {error}); repair that package, or "
                "uninstall it"
            ) from error
        return self._checked(point.name, row, where)

    def _checked(self, name: str, row: Row, where: str) -> Row:
        if not isinstance(row, self.kind):
            raise InputError(
                f"'{name}' of {where} is no row of {self.group}: it is {type(row).__name__}, not {self.kind.__name__}"
            )
        return row

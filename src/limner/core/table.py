"""Tables of methods, presets, metrics, detectors, sources and verbs, to which other packages can add rows.

A table's own rows are written in the source, so that a reader and a type checker can follow them. More rows come from
`register`, and from the entry points of installed packages (the group of the table in their metadata). Entry points are read
only when a name is looked up that is not among the other rows, or when the table is iterated over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

from limner.core.errors import InputError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Row = TypeVar("Row")


class Table(Mapping[str, Row], Generic[Row]):
    """A mapping of names to rows, in this order: the table's own, those of entry points, those that were registered.

    `rows` are the table's own, `kind` is the type of a row, and `group` is the name of the group of entry points, such as
    ``limner.metrics``.

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
        """Adds a row until the process ends. Errors: `InputError` for a name that is taken, or a `row` of another type."""
        if name in self.own or name in self._registered:
            raise InputError(f"'{name}' is taken in {self.group}; choose another name")
        self._registered[name] = self._check(name, row, "what was registered")

    def forget(self, name: str) -> None:
        """Removes a row that was registered. Errors: `KeyError` where there is none of that name."""
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
        """Name -> entry point. They are read once, since reading the metadata of all packages takes some milliseconds."""
        if self._entries is None:
            from importlib.metadata import entry_points  # here, since importing it takes 40 ms

            self._entries = {point.name: point for point in entry_points(group=self.group)}
        return self._entries

    def _load(self, point: EntryPoint) -> Row:
        """The row of an entry point. Errors: `InputError` where it cannot be imported, or is no row of this table."""
        where = f"the package '{point.dist.name}'" if point.dist is not None else "an installed package"
        try:
            row = point.load()
        except Exception as error:
            raise InputError(
                f"'{point.name}' of {where} cannot be loaded ({type(error).__name__}: {error}); repair that package, or "
                "uninstall it"
            ) from error
        return self._check(point.name, row, where)

    def _check(self, name: str, row: Row, where: str) -> Row:
        """`row` itself. Errors: `InputError` where it has another type than `kind`."""
        if not isinstance(row, self.kind):
            raise InputError(
                f"'{name}' of {where} is no row of {self.group}: it is {type(row).__name__}, not {self.kind.__name__}"
            )
        return row

"""The data sets known by name, and where each lies on this machine."""

from __future__ import annotations


def built_in_sets() -> list[dict[str, str | None]]:
    """Each data set known by name: `name`, one `line` about it, and `where` it is: a folder, or None where it is not here."""
    from limner.data import named
    from limner.data.sources import BUILT_IN

    def place(name: str) -> str | None:
        if name not in named.PUBLISHED_SETS:
            return "built in"
        folder = named.locate(name)
        return None if folder is None else str(folder)

    return [{"name": name, "line": line, "where": place(name)} for name, line in BUILT_IN.items()]

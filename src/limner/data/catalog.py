"""The data sets known by name, and where each lies on this machine."""

from __future__ import annotations


def known_sets() -> list[dict[str, str | None]]:
    """The data sets known by name, each with one line, and the folder it is in: None where it is not at hand."""
    from limner.data import BUILT_IN, named

    def place(name: str) -> str | None:
        if name not in named.KNOWN:
            return "built in"
        found = named.locate(name)
        return None if found is None else str(found)

    return [{"name": name, "line": line, "where": place(name)} for name, line in BUILT_IN.items()]

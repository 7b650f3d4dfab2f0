"""Verbs: show what lies in the cache, and remove it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from limner.core.fields import Cli
from limner.core.progress import OnProgress
from limner.core.verb import Request, Result

CacheKind = Literal["data", "downloads", "judges", "statistics", "temporary", "logs"]
"""Prepared sets; files from the network; judges; statistics, latents and digests; what a killed process left behind; logs."""
KIND_HELP = "Only this kind: data (prepared sets), downloads, judges, statistics, temporary or logs; default: all."


class CacheRequest(Request):
    """Show what lies in the cache: sizes and last use.

    Everything in it can be made or fetched again, as far as its sources are still there. 'limner cache clear' removes it.
    """

    kind: Annotated[CacheKind | None, Cli("KIND", is_argument=True)] = Field(None, description=KIND_HELP)


class CacheResult(Result):
    """`kinds` has a row for every kind of entry, `entries` one for every file or folder, the largest first."""

    folder: str
    kinds: list[dict[str, Any]]
    """`kind`, `what`, the number of `entries`, their `size` in bytes, and the `last_use` of the newest."""
    entries: list[dict[str, Any]]
    """`kind`, `path`, `what`, `size` in bytes, `last_use`, and `obstacle`: why `cache clear` leaves it, or None."""


class ClearRequest(Request):
    """Remove what lies in the cache.

    What is in use stays, as do prepared sets whose source is gone, which could not be made again.
    """

    kind: Annotated[CacheKind | None, Cli("KIND", is_argument=True)] = Field(None, description=KIND_HELP)
    everything: bool = Field(False, description="Also remove prepared sets whose source is gone.")


class ClearResult(Result):
    """`removed` are the paths of the entries that were removed."""

    folder: str
    removed: list[str]
    freed: int
    """In bytes."""
    remaining: list[dict[str, str]]
    """`path` and `reason` of every entry that was left."""


def cache(request: CacheRequest, on_progress: OnProgress) -> CacheResult:
    """Lists what limner itself put into the cache; other files there are not its own and are not shown."""
    from limner.core.files import cache_folder
    from limner.data.cache import PLACES, cache_entries

    entries = [entry.as_row() for entry in cache_entries(request.kind)]
    kinds = []
    for kind in dict.fromkeys(place.kind for place in PLACES):
        rows = [row for row in entries if row["kind"] == kind]
        if rows:
            what = ", ".join(dict.fromkeys(place.what for place in PLACES if place.kind == kind))
            size, last_use = sum(row["size"] for row in rows), max(row["last_use"] for row in rows)
            kinds.append({"kind": kind, "what": what, "entries": len(rows), "size": size, "last_use": last_use})
    return CacheResult(folder=str(cache_folder()), kinds=kinds, entries=entries)


def clear_cache(request: ClearRequest, on_progress: OnProgress) -> ClearResult:
    """Removes entries of the cache that nothing uses. What is needed later is made or fetched again."""
    from limner.core.files import cache_folder
    from limner.data.cache import clear
    from limner.data.listing import printable

    removed, remaining = clear(request.kind, everything=request.everything)
    return ClearResult(
        folder=str(cache_folder()),
        removed=[printable(str(entry.path)) for entry in removed],
        freed=sum(entry.size for entry in removed),
        remaining=[{"path": printable(str(entry.path)), "reason": str(entry.obstacle)} for entry in remaining],
    )

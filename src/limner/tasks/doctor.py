"""Verb: what this machine offers."""

from __future__ import annotations

from typing import Any

from limner.core.progress import OnProgress
from limner.core.verb import Request, Result


class DoctorRequest(Request):
    """Say what this machine offers, and what of it was never tried.

    LIMNER_DEVICE=cpu (or cuda, mps, xpu) in the environment chooses another device than the one that doctor names. mps and xpu
    are taken only in this way, since nobody has tried them yet.
    """


class DoctorResult(Result):
    """The device that limner works on, and what is installed beside it."""

    limner: str
    python: str
    torch: str
    device: str
    device_name: str | None = None
    precision: str
    threads: int
    memory: int | None
    """Bytes."""
    allocator: str
    cache: str
    data: dict[str, str]
    """Data sets at hand, and where they lie."""
    extras: dict[str, bool]
    """Optional packages, and whether each is installed."""
    system: str
    tried: list[dict[str, Any]]
    """Operating systems and devices on which limner was run by those who make it."""
    warnings: list[str]


def doctor(request: DoctorRequest, on_progress: OnProgress) -> DoctorResult:
    """Examines this machine; imports torch for it."""
    from limner.core.environment import examine
    from limner.data.catalog import built_in_sets

    return DoctorResult(**examine({str(one["name"]): str(one["where"]) for one in built_in_sets() if one["where"]}))

"""Verb: describe this machine, as far as limner uses it."""

from __future__ import annotations

from typing import Any

from limner.core.progress import OnProgress
from limner.core.verb import Request, Result


class DoctorRequest(Request):
    """Describe this machine, and what of it was never tested.

    Names the device, its memory, the number format, the versions, and the optional packages that are installed.

    LIMNER_DEVICE=cpu (or cuda, mps, xpu) in the environment chooses another device than the one that doctor names. mps and xpu
    have not been tested yet, so they are used only where this variable names them.
    """


class DoctorResult(Result):
    """The device that limner computes on, the versions, and the optional packages that are installed."""

    limner: str
    python: str
    torch: str
    device: str
    device_name: str | None = None
    precision: str
    """The number format that training uses on this device: "fp32" or "bf16"."""
    threads: int
    memory: int | None
    """In bytes: of the GPU where limner computes on one, otherwise of the machine."""
    allocator: str
    """Of memory on the CPU."""
    cache: str
    """Folder of prepared sets, judges and other files that can be made again."""
    data: dict[str, str]
    """Data set on this machine -> its place."""
    extras: dict[str, bool]
    """Extra -> whether its packages are installed."""
    system: str
    tried: list[dict[str, Any]]
    """Operating systems and devices on which limner was tested by its developers."""
    warnings: list[str]


def doctor(request: DoctorRequest, on_progress: OnProgress) -> DoctorResult:
    """Examines this machine. Imports torch, since only torch knows the devices."""
    from limner.core.environment import examine
    from limner.data.catalog import built_in_sets

    return DoctorResult(**examine({str(one["name"]): str(one["where"]) for one in built_in_sets() if one["where"]}))

"""Verb: the way from one picture to the next through a model's latents."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from limner.core.errors import InputError
from limner.core.fields import Cli, InputPath, OutputFolder, RunPath, Seeds
from limner.core.progress import OnProgress
from limner.core.verb import Request, Result


class InterpolateRequest(Request):
    """Draw the way from one picture to the next.

    Between pictures drawn by their --seeds, or between your own.
    """

    run: Annotated[RunPath, Cli("RUN", is_argument=True)] = Field(description="The folder of a run.")
    images: Annotated[list[InputPath], Cli("IMAGES…", is_argument=True)] = Field(
        default_factory=list, description="Two pictures or more, in the place of --seeds."
    )
    seeds: Annotated[Seeds, Cli("3,7,12")] = Field(default_factory=list, description="The pictures to pass through, by seed.")
    steps: int = Field(8, description="Pictures from one end to the next, both among them.")
    label: Annotated[str | None, Cli("CLASS")] = Field(None, description="Of this class, where the model knows classes.")
    checkpoint: Annotated[str, Cli("last|best|N")] = Field("last", description="Which saved state to use.")
    out: Annotated[OutputFolder | None, Cli("DIR")] = Field(
        None, description="Where pictures go; default: a folder in the run."
    )

    @model_validator(mode="after")
    def _check_ends(self) -> InterpolateRequest:
        if self.images and self.seeds:
            raise InputError("--seeds and pictures exclude each other; give one of them")
        if not self.images and len(self.seeds) < 2:
            raise InputError("an interpolation needs two ends; give --seeds 3,7 or two pictures")
        if not 2 <= self.steps <= 10_000:
            raise InputError(f"--steps {self.steps}: choose 2 to 10,000 pictures from one end to the next")
        return self


class InterpolateResult(Result):
    """The pictures of the way, and what it goes through."""

    picture_field: ClassVar[str | None] = "sheet"

    files: list[str]
    """Every picture once, in order."""
    sheet: str
    """A row for every pair of ends."""
    seeds: list[int] | None
    images: list[str] | None
    """The names of the pictures that are the ends."""
    prepared: dict[str, str]
    """What was done to pictures of another size or mode than the run's data."""
    path: Literal["spherical", "straight"]
    """Spherical where the model's latents are Gaussian."""
    seconds: float
    checkpoint: int


def interpolate(request: InterpolateRequest, on_progress: OnProgress) -> InterpolateResult:
    """From each end to the next, in so many pictures; into ``RUN/interpolations`` or a folder.

    A seed's end is its `sample`, to the bit; a picture's end is its reconstruction. A class that differs between two ends
    changes half-way. Errors: `InputError`.
    """
    from limner.tasks.interpolation import interpolate_pictures

    return interpolate_pictures(request, on_progress)

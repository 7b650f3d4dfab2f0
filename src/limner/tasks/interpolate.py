"""Verb: interpolate between pictures in a model's latents."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from limner.core.errors import InputError
from limner.core.fields import Cli, InputPaths, OutputFolder, Seeds
from limner.core.invocation import option
from limner.core.progress import OnProgress
from limner.core.verb import Result
from limner.tasks.model_request import ConditionalRequest


class InterpolateRequest(ConditionalRequest):
    """Interpolate between pictures in a model's latents.

    The ends are samples, named by their --seeds, or picture files.
    """

    images: Annotated[InputPaths, Cli("IMAGES…", is_argument=True)] = Field(
        default_factory=list, description="Two or more picture files to pass through, instead of --seeds."
    )
    seeds: Annotated[Seeds, Cli("3,7,12")] = Field(
        default_factory=list, description="Two or more samples to pass through, by seed."
    )
    steps: int = Field(8, description="Pictures from one end to the next, both ends included.")
    out: Annotated[OutputFolder | None, Cli("DIR")] = Field(
        None, description="New folder to write pictures to; default: one in RUN/made."
    )

    @model_validator(mode="after")
    def _check_ends(self) -> InterpolateRequest:
        if self.images and self.seeds:
            raise InputError(f"{option('seeds')} and pictures exclude each other; give one of them")
        if not self.images and len(self.seeds) < 2:
            raise InputError(f"an interpolation needs two ends; give {option('seeds', '3,7')} or two pictures")
        if not 2 <= self.steps <= 10_000:
            raise InputError(f"{option('steps')} {self.steps}: choose 2 to 10,000 pictures from one end to the next")
        return self


class InterpolateResult(Result):
    """The pictures of an interpolation, and its ends."""

    picture_field: ClassVar[str | None] = "sheet"

    files: list[str]
    """Every picture once, in order; an end that two pairs share is not repeated."""
    sheet: str
    """One picture with a row for every pair of ends."""
    seeds: list[int] | None
    """The ends, where these are samples."""
    images: list[str] | None
    """The ends, where these are picture files."""
    labels: list[str | None] | None = None
    """The class of each end, by name, requested or drawn by its seed; None for a model that does not draw by class."""
    prepared: dict[str, str]
    """Name -> how a picture of another size or mode than the run's data was changed."""
    path: Literal["spherical", "straight"]
    """On a sphere where the model's latents are standard normal (White 2016, arXiv:1609.04468), otherwise straight."""
    seconds: float
    checkpoint: int
    """Images that the checkpoint had been trained on."""
    checkpoint_notes: list[str] = Field(default_factory=list)
    """Which checkpoint this is and what it scored; where another one is clearly better, also that."""


def interpolate(request: InterpolateRequest, on_progress: OnProgress) -> InterpolateResult:
    """Draws `steps` pictures from each end to the next, into a new folder in ``RUN/made``, or another.

    The end of a seed is the same picture as its `sample`, to the bit; that of a picture file is its reconstruction. Where two
    ends differ in class, the class changes half-way. Errors: `InputError` where the model draws from no vector of latents,
    where there are fewer than two ends, and where a picture cannot be read.
    """
    from limner.tasks.interpolation import interpolate_pictures

    return interpolate_pictures(request, on_progress)

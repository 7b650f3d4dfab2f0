"""Verb: show what a single latent changes in a picture."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from limner.core.errors import InputError
from limner.core.fields import Cli, InputPath, LatentNumbers, OutputFolder, Seed
from limner.core.invocation import option
from limner.core.progress import OnProgress
from limner.core.verb import Result
from limner.tasks.model_request import ConditionalRequest


class TraverseRequest(ConditionalRequest):
    """Show what each latent of a model changes in a picture.

    Each row of the sheet varies one latent and keeps all others.
    """

    image: Annotated[InputPath | None, Cli("IMAGE", is_argument=True)] = Field(
        None, description="A picture file to start from, instead of --seed."
    )
    latents: LatentNumbers | None = Field(
        None, description="Numbers of the latents to vary; default: the ten that vary most over pictures."
    )
    steps: int = Field(7, description="Pictures in a row.")
    span: Annotated[float, Cli("T")] = Field(
        3.0, description="Vary each latent from -T to T standard deviations about its mean."
    )
    seed: Seed = Field(0, ge=0, lt=2**63, description="Seed of the sample to start from.")
    out: Annotated[OutputFolder | None, Cli("DIR")] = Field(
        None, description="New folder to write pictures to; default: one in RUN/made."
    )

    @model_validator(mode="after")
    def _check_range(self) -> TraverseRequest:
        if not 2 <= self.steps <= 1000:
            raise InputError(f"{option('steps')} {self.steps}: choose 2 to 1,000 pictures for each latent")
        if not (math.isfinite(self.span) and self.span > 0):
            raise InputError(f"{option('span')} {self.span:g}: give a number of standard deviations above 0, such as 3")
        return self


class TraverseResult(Result):
    """The pictures, and the values of the latents in them."""

    picture_field: ClassVar[str | None] = "sheet"

    files: list[str]
    sheet: str
    """One picture with a row for every latent, as in Higgins et al. 2017 (beta-VAE), figure 4."""
    latents: list[int]
    """The latents that vary, one for each row."""
    values: list[list[float]]
    """[rows][steps]: the value of the row's latent in each picture."""
    own: list[float]
    """[rows]: the value of the row's latent in the picture from which the traversal starts."""
    deviations: list[float]
    """[steps]: the distance of the values from the latent's mean, in standard deviations."""
    spread: list[float]
    """[rows]: the standard deviation of the row's latent over pictures, measured."""
    seed: int | None
    """Of the sample from which the traversal starts; None where it starts from a picture file."""
    image: str | None
    """The picture file from which it starts; None where it starts from a sample."""
    label: str | None = None
    """The class of the pictures, by name, requested or drawn by the seed; None for a model that does not draw by class."""
    prepared: dict[str, str]
    """Name -> how a picture of another size or mode than the run's data was changed."""
    seconds: float
    checkpoint: int
    """Images that the checkpoint had been trained on."""
    checkpoint_notes: list[str] = Field(default_factory=list)
    """Which checkpoint this is and what it scored; where another one is clearly better, also that."""


def traverse(request: TraverseRequest, on_progress: OnProgress) -> TraverseResult:
    """Varies one latent at a time, from −span to +span standard deviations about its mean over pictures.

    All other latents are those of a picture file, or of a sample. Where no latents are named, the ten with the largest variance
    are taken, the largest first. Pictures go into a new folder in ``RUN/made``, or another. Errors: `InputError` where the
    model draws from no vector of latents or has no such latent, and where the picture cannot be read.
    """
    from limner.tasks.traversal import traverse_latents

    return traverse_latents(request, on_progress)

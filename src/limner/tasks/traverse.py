"""Verb: what each latent changes in a picture when it alone changes."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from limner.core.errors import InputError
from limner.core.fields import Cli, InputPath, LatentNumbers, OutputFolder, RunPath
from limner.core.progress import OnProgress
from limner.core.verb import Request, Result


class TraverseRequest(Request):
    """Turn one latent at a time.

    A sheet with a row for every latent: what changes in the picture when it alone changes.
    """

    run: Annotated[RunPath, Cli("RUN", is_argument=True)] = Field(description="The folder of a run.")
    image: Annotated[InputPath | None, Cli("IMAGE", is_argument=True)] = Field(
        None, description="A picture file to start from, in the place of --seed."
    )
    latents: LatentNumbers | None = Field(None, description="Which latents; default: the most active.")
    steps: int = Field(7, description="Pictures for each latent.")
    span: Annotated[float, Cli("T")] = Field(3.0, description="From -T to T standard deviations about a latent's mean.")
    seed: int = Field(0, description="The picture to start from, by seed.")
    label: Annotated[str | None, Cli("CLASS")] = Field(None, description="Of this class, where the model knows classes.")
    checkpoint: Annotated[str, Cli("last|best|N")] = Field("last", description="Which saved state to use.")
    out: Annotated[OutputFolder | None, Cli("DIR")] = Field(
        None, description="Where pictures go; default: a folder in the run."
    )

    @model_validator(mode="after")
    def _check_range(self) -> TraverseRequest:
        if not 2 <= self.steps <= 1000:
            raise InputError(f"--steps {self.steps}: choose 2 to 1,000 pictures for each latent")
        if not (math.isfinite(self.span) and self.span > 0):
            raise InputError(f"--span {self.span:g}: give a number of standard deviations above 0, such as 3")
        return self


class TraverseResult(Result):
    """The pictures, and the values that each latent takes in them."""

    picture_field: ClassVar[str | None] = "sheet"

    files: list[str]
    sheet: str
    """A row for every latent (Higgins et al. 2017, figure 4)."""
    latents: list[int]
    values: list[list[float]]
    """[rows][steps]: of the latent."""
    own: list[float]
    """[rows]: what the latent is in the picture that is started from."""
    deviations: list[float]
    """[steps]: standard deviations from the latent's mean."""
    spread: list[float]
    """[rows]: the standard deviation of the latent, measured."""
    seed: int | None
    image: str | None
    prepared: dict[str, str]
    """What was done to a picture of another size or mode than the run's data."""
    seconds: float
    checkpoint: int


def traverse(request: TraverseRequest, on_progress: OnProgress) -> TraverseResult:
    """Takes latents from −span to +span measured standard deviations about their means, one at a time.

    All others stay those of a picture file, or of a seed. Where no latents are named, the ten most active ones are taken, the
    most active first. Into ``RUN/traversals`` or a folder. Errors: `InputError`.
    """
    from limner.tasks.traversal import traverse_latents

    return traverse_latents(request, on_progress)

"""Verb: reconstruct pictures with a model, by its encoder or by a search for their latents."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from limner.core.fields import Cli, InputPaths, OutputFolder
from limner.core.progress import OnProgress
from limner.core.verb import Result
from limner.tasks.model_request import ConditionalRequest


class ReconstructRequest(ConditionalRequest):
    """Encode pictures with a model and decode them again.

    The reconstructions show what the model can represent. For a model without an encoder, the latents of each picture are found
    by gradient descent.
    """

    images: Annotated[InputPaths, Cli("IMAGES…", is_argument=True)] = Field(description="Picture files, or folders of them.")
    starts: int = Field(8, description="Starts of the search for latents, for models without an encoder.")
    steps: int = Field(300, description="Steps of that search.")
    encoder: bool = Field(False, description="Train an encoder first, whose prediction is one more start of that search.")
    out: Annotated[OutputFolder | None, Cli("DIR")] = Field(
        None, description="New folder to write pictures to; default: one in RUN/made."
    )


class ReconstructResult(Result):
    """The reconstructions, and how near each is to its picture."""

    picture_field: ClassVar[str | None] = "sheet"

    files: list[str]
    """One PNG for each picture."""
    sheet: str
    """One picture with every original above its reconstruction."""
    images: list[str]
    """The pictures' names."""
    classes: list[str] | None
    """The class as which the search found each picture; None where the model has no classes, or has an encoder."""
    errors: list[float]
    """Mean squared error of each reconstruction, of pixels in [-1, 1]."""
    psnr: list[float]
    """Peak signal-to-noise ratios in dB, at most 100."""
    ssim: list[float]
    """Structural similarities, at most 1."""
    prepared: dict[str, str]
    """Name -> how a picture of another size or mode than the run's data was changed."""
    seconds: float
    method: Literal["encoder", "inversion"]
    """By the model's encoder, or by a search for latents (`limner.tasks.inversion`)."""
    checkpoint: int
    """Images that the checkpoint had been trained on."""
    checkpoint_notes: list[str] = Field(default_factory=list)
    """Which checkpoint this is and what it scored; where another one is clearly better, also that."""


def reconstruct(request: ReconstructRequest, on_progress: OnProgress) -> ReconstructResult:
    """Reconstructs pictures with a run's averaged weights, into a new folder in ``RUN/made``, or another.

    Errors: `InputError` where the model has neither an encoder nor a vector of latents, for an option of the search where it
    has an encoder, and where a picture cannot be read.
    """
    from limner.tasks.reconstruction import reconstruct_pictures

    return reconstruct_pictures(request, on_progress)

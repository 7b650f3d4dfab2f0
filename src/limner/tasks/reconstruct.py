"""Verb: pictures through a model and back, by its encoder or by a search for the latents."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from limner.core.fields import Cli, InputPath, OutputFolder, RunPath
from limner.core.progress import OnProgress
from limner.core.verb import Request, Result


class ReconstructRequest(Request):
    """Pass pictures through a model and back.

    By its encoder where it has one; otherwise the latents are looked for, picture by picture.
    """

    run: Annotated[RunPath, Cli("RUN", is_argument=True)] = Field(description="The folder of a run.")
    images: Annotated[list[InputPath], Cli("IMAGES…", is_argument=True)] = Field(
        description="Picture files, or folders of them."
    )
    starts: int = Field(8, description="Latents that the search starts from, where there is no encoder.")
    steps: int = Field(300, description="Steps of the search, where there is no encoder.")
    encoder: bool = Field(False, description="Train an encoder first, for one more start of the search.")
    label: Annotated[str | None, Cli("CLASS")] = Field(None, description="Of this class, where the model knows classes.")
    checkpoint: Annotated[str, Cli("last|best|N")] = Field("last", description="Which saved state to use.")
    out: Annotated[OutputFolder | None, Cli("DIR")] = Field(
        None, description="Where pictures go; default: a folder in the run."
    )


class ReconstructResult(Result):
    """The reconstructions and how near they are, picture by picture."""

    picture_field: ClassVar[str | None] = "sheet"

    files: list[str]
    """One PNG for each picture."""
    sheet: str
    """Every original above its reconstruction."""
    images: list[str]
    """The pictures' names."""
    classes: list[str] | None
    """The class that the search drew each picture as; None where the model knows none, or has an encoder."""
    errors: list[float]
    """Mean squared errors on [-1, 1]."""
    psnr: list[float]
    """Peak signal-to-noise ratios in dB, at most 100."""
    ssim: list[float]
    """Structural similarities, at most 1."""
    prepared: dict[str, str]
    """What was done to pictures of another size or mode than the run's data."""
    seconds: float
    method: Literal["encoder", "inversion"]
    checkpoint: int


def reconstruct(request: ReconstructRequest, on_progress: OnProgress) -> ReconstructResult:
    """Reconstructs pictures with a run's averaged weights, into ``RUN/reconstructions`` or a folder. Errors: `InputError`."""
    from limner.tasks.reconstruction import reconstruct_pictures

    return reconstruct_pictures(request, on_progress)

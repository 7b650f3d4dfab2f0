"""Verb: sample new pictures by seeds, as files that name their origin, as one sheet, or as an array."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

from limner.core.fields import (
    ArrayFile,
    Cli,
    OutputFolder,
    Seeds,
    choose_seeds,
)
from limner.core.progress import OnProgress
from limner.core.verb import Result
from limner.tasks.model_request import ConditionalRequest


class SampleRequest(ConditionalRequest):
    """Draw new pictures from a trained model."""

    open_field: ClassVar[str | None] = "sampling"

    seeds: Seeds | None = Field(None, description="Seeds of the pictures to draw; one seed is always the same picture.")
    count: int | None = Field(None, description="Draw this many pictures, with the seeds 0, 1, 2 …; default 16.")
    sampling: dict[str, Any] = Field(
        default_factory=dict, description="Sampling settings of the model's family, such as truncation or temperature."
    )
    grid: bool = Field(False, description="Also write all pictures as one sheet.")
    npz: Annotated[ArrayFile | None, Cli("FILE")] = Field(None, description="Write one .npz file instead of picture files.")
    out: Annotated[OutputFolder | None, Cli("DIR")] = Field(
        None, description="New folder to write pictures to; default: one in RUN/made."
    )
    metadata: bool = Field(True, description="Write recipe, seed and hash of the weights into the PNG files.")

    @model_validator(mode="after")
    def _check_seeds(self) -> SampleRequest:
        choose_seeds(self.seeds, self.count)
        return self

    @classmethod
    def open_fields(cls) -> Mapping[str, FieldInfo]:
        """The sampling settings of every family in the table of methods."""
        from limner.recipes.registry import sampling_fields

        return sampling_fields()


class SampleResult(Result):
    """The pictures, and how they were drawn.

    Beside the fields it has a key for every sampling setting of any family, None where the model's family has no such setting.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    picture_field: ClassVar[str | None] = "grid"

    files: list[str]
    """One PNG for each seed; empty where only an array was written."""
    grid: str | None
    """The sheet with all pictures; None where none was requested."""
    npz: str | None
    """The array file: ``images`` [N, H, W, C] uint8 and ``seeds`` [N]."""
    seeds: list[int]
    label: str | None
    """The class that was requested, by name."""
    text: str | None = None
    """The caption that was requested."""
    given: str | None = None
    """The file of the given picture."""
    sampling: dict[str, Any] = Field(default_factory=dict)
    """The sampling settings of the model's family that the pictures were drawn with, defaults included."""
    images_per_second: float
    network_passes: float | None = None
    """Passes of the network for each picture, where it takes several: the mean over the pictures, guidance counted twice."""
    checkpoint: int
    """Images that the checkpoint had been trained on."""
    checkpoint_notes: list[str] = Field(default_factory=list)
    """Which checkpoint this is and what it scored; where another one is clearly better, also that."""


def sample(request: SampleRequest, on_progress: OnProgress) -> SampleResult:
    """Draws a picture for each seed from the averaged weights of a run, into a new folder in ``RUN/made``, another or an array.

    Beside the pictures ``request.json`` says what was requested. The text of each PNG holds the recipe, the seed, a hash of the
    weights, and the conditions and sampling settings that were requested. Errors: `InputError` where there is no such run,
    where the model takes no such condition, for a sampling setting that its family does not have, and for a folder with other
    files.
    """
    from limner.tasks.sampling import draw_samples

    return draw_samples(request, on_progress)

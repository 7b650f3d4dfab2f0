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
    """The array file: ``images`` [N, H, W, C] uint8, ``seeds`` [N], and as JSON ``sampling``, the settings in force, and
    ``request``; of a model that draws by class ``labels`` [N], indices into ``classes``; of one by caption ``texts`` [N]."""
    seeds: list[int]
    label: str | None
    """The class that was requested, by name."""
    labels: list[str | None] | None = None
    """The class of each picture, by name, requested or drawn by its seed; None for a model that does not draw by class."""
    text: str | None = None
    """The caption that was requested."""
    texts: list[str] | None = None
    """The caption of each picture, requested or drawn by its seed; None for a model that does not draw by caption."""
    given: str | None = None
    """The file of the given picture."""
    images_per_second: float
    network_passes: float | None = None
    """Passes of the network for each picture, where it takes several: the mean over the pictures, guidance counted twice."""
    checkpoint: int
    """Images that the checkpoint had been trained on."""
    checkpoint_notes: list[str] = Field(default_factory=list)
    """Which checkpoint this is and what it scored; where another one is clearly better, also that."""
    sampling: dict[str, Any] = Field(default_factory=dict)
    """The sampling settings of the model's family that had an effect, requested or by default."""


def sample(request: SampleRequest, on_progress: OnProgress) -> SampleResult:
    """Draws a picture for each seed from the averaged weights of a run, into a new folder in ``RUN/made``, another or an array.

    Beside the pictures ``request.json`` says what was requested. The text of each PNG holds the recipe, the seed, a hash of the
    weights, the picture's class and caption, and the sampling settings in force. Errors: `InputError` where there is no such
    run, where the model takes no such condition, for a sampling setting that its family does not have or that has no effect
    beside the others, and for a folder or an array file of another call.
    """
    from limner.tasks.sampling import draw_samples

    return draw_samples(request, on_progress)

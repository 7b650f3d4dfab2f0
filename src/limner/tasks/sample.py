"""Verb: new pictures by seeds, as files with their origin in them, as a sheet, or as an array."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

from limner.core.fields import Cli, InputPath, OutputFile, OutputFolder, RunPath, Seeds, choose_seeds
from limner.core.progress import OnProgress
from limner.core.verb import Request, Result


class SampleRequest(Request):
    """Draw new pictures."""

    open_field: ClassVar[str | None] = "sampling"

    run: Annotated[RunPath, Cli("RUN", is_argument=True)] = Field(description="The folder of a run.")
    seeds: Seeds | None = Field(None, description="Which pictures: one seed is one picture.")
    count: int | None = Field(None, description="The first so many seeds; default 16.")
    label: Annotated[str | None, Cli("CLASS")] = Field(None, description="Draw this class, where the model knows classes.")
    text: str | None = Field(None, description="Draw what this says, where the model was trained with captions.")
    given: Annotated[InputPath | None, Cli("FILE")] = Field(
        None, description="Draw what goes with this picture, where the model was trained with given pictures."
    )
    sampling: dict[str, Any] = Field(
        default_factory=dict, description="The model's own choices of how to draw, such as truncation or temperature."
    )
    checkpoint: Annotated[str, Cli("last|best|N")] = Field("last", description="Which saved state to use.")
    grid: bool = Field(False, description="Also lay them out in one picture.")
    npz: Annotated[OutputFile | None, Cli("FILE")] = Field(None, description="Write one array file instead of single pictures.")
    out: Annotated[OutputFolder | None, Cli("DIR")] = Field(
        None, description="Where pictures go; default: a folder in the run."
    )
    metadata: bool = Field(True, description="Write recipe, seed and model hash into the PNGs.")

    @model_validator(mode="after")
    def _check_seeds(self) -> SampleRequest:
        choose_seeds(self.seeds, self.count)
        return self

    @classmethod
    def open_fields(cls) -> Mapping[str, FieldInfo]:
        """The sampling choices of every method that there is."""
        from limner.recipes.registry import sampling_fields

        return sampling_fields()


class SampleResult(Result):
    """Where the pictures are, and how they were drawn. The model's sampling choices stand beside the fields, by their names."""

    model_config = ConfigDict(frozen=True, extra="allow")
    picture_field: ClassVar[str | None] = "grid"

    files: list[str]
    """One PNG for each seed; none where only an array was asked for."""
    grid: str | None
    """The sheet of all."""
    npz: str | None
    """The array file: ``images`` [N, H, W, C] uint8 and ``seeds`` [N]."""
    seeds: list[int]
    label: str | None
    text: str | None = None
    given: str | None = None
    """The file of the given picture."""
    images_per_second: float
    checkpoint: int
    """Images that the checkpoint had been trained on."""


def sample(request: SampleRequest, on_progress: OnProgress) -> SampleResult:
    """Draws one picture per seed from the averaged weights of a run, into ``RUN/samples``, a folder or an array.

    A class has a folder of its own in ``RUN/samples``. Each PNG's text holds recipe, seed, model hash and what was asked for.
    Errors: `InputError` where there is no such run, or its model cannot be asked for that.
    """
    from limner.tasks.sampling import draw_samples

    return draw_samples(request, on_progress)

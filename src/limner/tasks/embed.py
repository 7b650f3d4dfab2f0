"""Verb: write the latents of pictures into one array file, as the input of other programs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from limner.core.fields import ArrayFile, Cli, Source
from limner.core.progress import OnProgress
from limner.core.verb import Result
from limner.tasks.model_request import ModelRequest


class EmbedRequest(ModelRequest):
    """Write the latents of pictures into an array file.

    The pictures are those of a data set, whose labels are written too, or picture files.
    """

    sources: Annotated[list[Source], Cli("SRC|IMAGES…", is_argument=True)] = Field(
        default_factory=list, description="A data set, or picture files; default: the run's own data."
    )
    split: Annotated[str | None, Cli("train|val|test")] = Field(
        None, description="Encode only this split of a data set; default: all splits."
    )
    out: Annotated[ArrayFile | None, Cli("FILE")] = Field(
        None, description="The .npz file to write; default: in a new folder in RUN/made."
    )


class EmbedResult(Result):
    """The array file, and its content."""

    file: str
    count: int
    """Number of encoded pictures."""
    shape: list[int]
    """Shape of the latents of one picture; a row of the array holds them flattened."""
    kind: Literal["codes", "continuous"]
    labels: bool
    """Whether the file has labels."""
    split: str | None
    prepared: dict[str, str]
    """Name -> how a picture of another size or mode than the run's data was changed."""
    seconds: float
    checkpoint: int
    """Images that the checkpoint had been trained on."""
    checkpoint_notes: list[str] = Field(default_factory=list)
    """Which checkpoint this is and what it scored; where another one is clearly better, also that."""


def embed(request: EmbedRequest, on_progress: OnProgress) -> EmbedResult:
    """Encodes pictures and writes an ``.npz``, in a new folder in ``RUN/made`` or another file.

    Its arrays are ``latents`` [N, d], float32 or the int64 indices of codes; ``shape``, that of a row before it was flattened;
    ``labels`` [N] int64, indices into ``classes`` (-1: no label), where there are labels; ``indices`` [N], the rows of a data
    set; and ``files`` [N], the names of picture files. No array is pickled. Errors: `InputError` where the model has no
    encoder, or the pictures cannot be read.
    """
    from limner.tasks.embedding import embed_pictures

    return embed_pictures(request, on_progress)

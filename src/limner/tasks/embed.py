"""Verb: latents of many pictures as one array file, for whatever else one wants to do with them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from limner.core.fields import Cli, OutputFile, RunPath, Source
from limner.core.progress import OnProgress
from limner.core.verb import Request, Result


class EmbedRequest(Request):
    """Write the latents of pictures into an array file.

    Of a data set, with its labels, or of picture files.
    """

    run: Annotated[RunPath, Cli("RUN", is_argument=True)] = Field(description="The folder of a run.")
    sources: Annotated[list[Source], Cli("SRC|IMAGES…", is_argument=True)] = Field(
        default_factory=list, description="A data set, or picture files; default: the run's own data."
    )
    split: Annotated[str | None, Cli("train|val|test")] = Field(None, description="One split of a data set; default: all.")
    checkpoint: Annotated[str, Cli("last|best|N")] = Field("last", description="Which saved state to use.")
    out: Annotated[OutputFile | None, Cli("FILE")] = Field(None, description="The .npz to write; default: one in the run.")


class EmbedResult(Result):
    """The array file, and what is in it."""

    file: str
    count: int
    shape: list[int]
    """Of the latents of one picture; a row of the array is that, flattened."""
    kind: Literal["codes", "continuous"]
    labels: bool
    """Whether the file has labels."""
    split: str | None
    prepared: dict[str, str]
    """What was done to pictures of another size or mode than the run's data."""
    seconds: float
    checkpoint: int


def embed(request: EmbedRequest, on_progress: OnProgress) -> EmbedResult:
    """Encodes pictures and writes an ``.npz``: ``RUN/embeddings/NAME.npz``, or another file.

    In it: ``latents`` [N, d] float32, or int64 numbers of codes; ``shape``, what each row is, flattened; ``labels`` [N] int64
    into ``classes`` where there are any (-1: none); ``indices`` [N] rows of the data set, or ``files`` [N]. Nothing in it is
    pickled. Errors: `InputError`.
    """
    from limner.tasks.embedding import embed_pictures

    return embed_pictures(request, on_progress)

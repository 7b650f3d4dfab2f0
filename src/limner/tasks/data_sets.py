"""Verbs: what data sets there are, what a source holds, and the packed set made from it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from limner.core.fields import Cli, OutputFolder, Source
from limner.core.progress import OnProgress
from limner.core.verb import Request, Result
from limner.data.options import DataOptions

SOURCE_HELP = "A name ('limner data list'), a folder, an archive, a set's file; or the address of one."


class ListRequest(Request):
    """The sets known by name, and whether each is at hand."""


class ListResult(Result):
    """`sets` has a row for every set: its `name`, one `line` about it, and `where` it lies (None: it has to be downloaded)."""

    sets: list[dict[str, str | None]]


class SourceRequest(Request, DataOptions):
    """A source of pictures, and what they are to become."""

    source: Annotated[Source, Cli("SRC", is_argument=True)] = Field(description=SOURCE_HELP)

    def options(self) -> DataOptions:
        """The options alone."""
        return DataOptions(**{name: getattr(self, name) for name in DataOptions.model_fields})


class CheckRequest(SourceRequest):
    """Look through a source without writing anything.

    Says what can be read, what cannot and why, which classes there are, and what is there twice.
    """


class PrepareRequest(SourceRequest):
    """Pack a source into equal-sized images, ready for training."""

    out: Annotated[OutputFolder | None, Cli("DIR")] = Field(None, description="The folder to make; default: one in the cache.")


class PicturesResult(Result):
    """What is in a source, or in the set made from it. `data check` also knows the sizes and modes of the original pictures."""

    model_config = ConfigDict(frozen=True, extra="allow")

    path: str
    name: str
    images: int
    rejected: list[dict[str, Any]]
    """Pictures that cannot be used: `file` and `reason`."""
    duplicates: dict[str, int]
    """Groups of `exact` and of `near` duplicates."""
    classes: dict[str, int]
    """Pictures of each."""
    captions: int
    """Pictures that have one."""
    given_shape: list[int] | None
    """(height, width, channels) of the picture that is given with each picture; None where there is none."""
    shape: list[int]
    """(height, width, channels) of a prepared picture."""
    splits: dict[str, int]
    fingerprint: str
    """Of the content; equal content has equal fingerprints."""
    seconds: float


def list_sets(request: ListRequest, on_progress: OnProgress) -> ListResult:
    """Lists the built-in sets and those whose files are looked for in LIMNER_DATA."""
    from limner.data.catalog import built_in_sets

    return ListResult(sets=built_in_sets())


def check(request: CheckRequest, on_progress: OnProgress) -> PicturesResult:
    """Reads every picture as `prepare` would, and writes nothing. Errors: `InputError` as from `prepare`."""
    from limner.data.prepare import check_source

    return PicturesResult(**check_source(request.source, request.options(), on_progress=on_progress).summary())


def prepare(request: PrepareRequest, on_progress: OnProgress) -> PicturesResult:
    """Packs a source into a folder, or opens the one that was made before from the same source with the same options.

    Errors: `InputError` when the source is not there, has no usable picture or only one, or does not match what is asked.
    """
    from limner.data.dataset import summary
    from limner.data.prepare import prepare_source

    return PicturesResult(
        **summary(prepare_source(request.source, request.options(), out=request.out, on_progress=on_progress))
    )

"""Verbs: list the data sets, check a source of pictures, and pack it into a prepared set."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from limner.core.fields import SOURCE_HELP, Cli, OutputFolder, Source
from limner.core.progress import OnProgress
from limner.core.verb import Request, Result
from limner.data.options import DataOptions


class ListRequest(Request):
    """List the data sets by name, and where their files are."""


class ListResult(Result):
    """`sets` has a row for every set: `name`, `line` (what it is), and `where` its files are (None: not on this machine)."""

    sets: list[dict[str, str | None]]


class SourceRequest(Request, DataOptions):
    """A source of pictures, and the options by which they are prepared."""

    source: Annotated[Source, Cli("SRC", is_argument=True)] = Field(description=SOURCE_HELP)

    def options(self) -> DataOptions:
        """The options without the source."""
        return DataOptions(**{name: getattr(self, name) for name in DataOptions.model_fields})


class CheckRequest(SourceRequest):
    """Look through a source of pictures without writing anything.

    Says which pictures can be read, which cannot and why, which classes there are, and which pictures are duplicates.
    """


class PrepareRequest(SourceRequest):
    """Pack a source into equal-sized images, ready for training."""

    out: Annotated[OutputFolder | None, Cli("DIR")] = Field(
        None, description="Folder to write the packed set to; default: one in the cache."
    )


class PicturesResult(Result):
    """The content of a source, or of the set prepared from it. `data check` adds sizes and modes of the original pictures."""

    model_config = ConfigDict(frozen=True, extra="allow")

    path: str
    """The source, or the folder of the prepared set."""
    name: str
    images: int
    """Number of usable pictures."""
    rejected: list[dict[str, Any]]
    """Pictures that cannot be used: `file` and `reason`."""
    duplicates: dict[str, int]
    """Number of groups of `exact` and of `near` duplicates."""
    classes: dict[str, int]
    """Class -> number of its pictures."""
    captions: int
    """Number of pictures that have a caption."""
    given_shape: list[int] | None
    """(height, width, channels) of the given picture that belongs to each picture; None where there are none."""
    shape: list[int]
    """(height, width, channels) of a prepared picture."""
    splits: dict[str, int]
    """Split -> number of its pictures."""
    notes: list[str]
    """What a person should know before training: how the source was read, and what is lost or strange in its pictures."""
    fingerprint: str
    """A digest of the content; equal content has equal fingerprints."""
    seconds: float
    heights: dict[str, int] = Field(default_factory=dict)
    """Of `check`: `min`, `median` and `max` of the original pictures, in pixels."""
    widths: dict[str, int] = Field(default_factory=dict)
    """The same of their widths."""
    modes: dict[str, int] = Field(default_factory=dict)
    """Of `check`: mode of Pillow -> number of original pictures."""
    other_files: int | None = None
    """Of `check`: number of files that are no pictures."""
    suggested_size: int | None = None
    """Of `check`: the largest usual side that at least half of the pictures fill without being enlarged."""


def list_sets(request: ListRequest, on_progress: OnProgress) -> ListResult:
    """Lists the built-in sets, and the published sets whose files may lie in a folder of the variable LIMNER_DATA."""
    from limner.data.catalog import built_in_sets

    return ListResult(sets=built_in_sets())


def check(request: CheckRequest, on_progress: OnProgress) -> PicturesResult:
    """Reads every picture as `prepare` would, and writes nothing. Errors: `InputError`, as `prepare` has them."""
    from limner.data.prepare import check_source

    return PicturesResult(**check_source(request.source, request.options(), on_progress=on_progress).summary())


def prepare(request: PrepareRequest, on_progress: OnProgress) -> PicturesResult:
    """Packs a source into a folder, or opens the folder that was made earlier from the same source with the same options.

    Errors: `InputError` where the source does not exist, has fewer than two usable pictures, or does not fit the options.
    """
    from limner.data.dataset import summary
    from limner.data.prepare import prepare_source

    return PicturesResult(
        **summary(prepare_source(request.source, request.options(), out=request.out, on_progress=on_progress))
    )

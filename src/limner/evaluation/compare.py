"""Verb: runs, and pictures of others, beside one another."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from limner.core.fields import Cli, Names, OutputFolder, RunOrPictures, Source
from limner.core.progress import OnProgress
from limner.core.verb import Request, Result
from limner.evaluation.evaluate import FEATURES_HELP


class CompareRequest(Request):
    """Compare runs, and say which differences may be claimed.

    All are judged by the same detector, against the same real pictures, at the same number of pictures.
    """

    what: Annotated[list[RunOrPictures], Cli("RUN…", is_argument=True)] = Field(
        description="Two or more: runs, folders of pictures, or .npz of images."
    )
    data: Annotated[Source | None, Cli("SRC")] = Field(None, description="Compare with this set; default: the runs' own.")
    count: int | None = Field(None, description="How many pictures to judge.")
    features: Annotated[str, Cli("NAME|FILE")] = Field("judge", description=FEATURES_HELP)
    metrics: Names | None = Field(None, description="Which scores; default: all that are quick.")
    checkpoint: Annotated[str, Cli("last|best|N")] = Field("last", description="Which saved state to use.")
    html: bool = Field(False, description="Also make a page; default place: comparisons/NAMES.")
    out: Annotated[OutputFolder | None, Cli("DIR")] = Field(None, description="Where the page and the picture go.")


class CompareResult(Result):
    """Who was judged with which scores, and what may be claimed of their differences."""

    picture_field: ClassVar[str | None] = "sheet"

    table: list[dict[str, Any]]
    """A row for each: `name`, `path`, `preset`, `images`, `seed`, `seconds`, `metrics`, `report`, whether it was `reused`."""
    differences: list[dict[str, Any]]
    """For each score and pair: the difference with its 95 % interval, `p` after Holm's correction, and `claim`:
    which is better, or None."""
    groups: list[dict[str, Any]]
    """Recipes that were trained with several seeds."""
    group_differences: list[dict[str, Any]]
    count: int
    features: dict[str, Any] | None
    reference: dict[str, Any]
    notes: list[str]
    page: str | None
    sheet: str | None
    seconds: float


def compare(request: CompareRequest, on_progress: OnProgress) -> CompareResult:
    """Judges runs, folders of pictures and ``.npz`` files alike, and says what may be claimed of their differences.

    The reference is what all of the runs were trained on, or `data`. All are judged at `count` pictures (5,000, or as many as
    the smallest folder has). What a run's own report says is taken from there, if it was made in the same way, with scores
    of the same `METRICS_VERSION`; what is judged anew is kept in the run beside it. With `html` or `out`, `page` and
    `sheet` are files in `out` (comparisons/NAMES by default).

    Errors: `InputError`, among others where runs were trained on different data and no `data` are named.
    """
    from limner.evaluation.comparison import compare_pictures

    return compare_pictures(request, on_progress)

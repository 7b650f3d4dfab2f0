"""The verb `compare`: which differences between runs, or sets of pictures, may be claimed."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from limner.core.fields import CheckpointName, Cli, NameOrFile, Names, OutputFolder, RunOrFiles, Source
from limner.core.progress import OnProgress
from limner.core.verb import Request, Result
from limner.evaluation.evaluate import EXIT_CODE_GATE, FEATURES_HELP


class CompareRequest(Request):
    """Compare runs, and say which differences may be claimed.

    All are judged by the same detector, against the same real pictures, at the same number of pictures.
    """

    what: Annotated[list[RunOrFiles], Cli("RUN…", is_argument=True)] = Field(
        description="Two or more: runs, folders of pictures, or files with many, such as .npz, .npy or .zip."
    )
    data: Annotated[Source | None, Cli("SRC")] = Field(
        None, description="Real pictures to compare with; default: the runs' own."
    )
    count: int | None = Field(None, description="How many pictures of each to judge; default: 5,000, or as many as all have.")
    features: Annotated[NameOrFile, Cli("NAME|FILE")] = Field("judge", description=FEATURES_HELP)
    metrics: Names | None = Field(None, description="Names of metrics; default: all that are quick.")
    checkpoint: Annotated[CheckpointName, Cli("last|best|N")] = Field(
        "last", description="Which checkpoint of the runs to judge; N is a number of images."
    )
    html: bool = Field(False, description="Also write a page; without --out into comparisons/NAMES.")
    out: Annotated[OutputFolder | None, Cli("DIR")] = Field(None, description="Folder for a page and a picture of samples.")
    fail_if: Annotated[str | None, Cli("CONDITION")] = Field(
        None, description="Exit with code 3 where this holds for a run, or of two: 'last.frechet > 1.1*first.frechet'."
    )

    @model_validator(mode="after")
    def _check_gate(self) -> CompareRequest:
        if self.fail_if is not None:
            from limner.evaluation.gate import parse_gate

            parse_gate(self.fail_if, ends=True)
        return self


class CompareResult(Result):
    """The scores of each run or set of pictures, and what may be claimed of their differences."""

    picture_field: ClassVar[str | None] = "sheet"

    table: list[dict[str, Any]]
    """A row for each: `name`, `path`, `preset`, `images`, `seed`, `seconds`, `metrics`, `report`, whether it was `reused`,
    `verdict` (its report in sentences, the first about how near its pictures are; empty where metrics or features were named),
    and `settings`: those in which the runs differ."""
    differences: list[dict[str, Any]]
    """For each score and pair: the difference with its 95 % interval, `p` after Holm's correction, and `claim`:
    which is better, or None."""
    groups: list[dict[str, Any]]
    """Recipes that were trained with several seeds: `name`, `runs`, and `metrics` with the `mean` of each over trainings."""
    group_differences: list[dict[str, Any]]
    """As `differences`, of pairs of groups."""
    count: int
    """How many pictures of each were judged."""
    features: dict[str, Any] | None
    """The detector: `name`, `checksum` and more; None where no score of samples was requested."""
    reference: dict[str, Any]
    """The real pictures: `data`, `split`, `count` and `fingerprint`."""
    notes: list[str]
    """What a reader should know before trusting the numbers."""
    page: str | None
    """The file of the page; None where none was requested."""
    sheet: str | None
    """The file of the picture of samples; None where none was requested, or nothing draws."""
    seconds: float
    """How long it took."""
    gate: dict[str, Any] | None = None
    """Where `fail_if` was given: the `condition`, whether it `holds`, and the names of the `runs` for which it does."""

    @property
    def exit_code(self) -> int:
        return EXIT_CODE_GATE if self.gate is not None and self.gate["holds"] else 0


def compare(request: CompareRequest, on_progress: OnProgress) -> CompareResult:
    """Judges runs, folders of pictures and ``.npz`` files in the same way, and says which differences may be claimed.

    The real pictures are those that all of the runs were trained on, or `data`. Each run or folder is judged at `count`
    pictures (5,000, or as many as the smallest folder has). A report that a run holds is used where a new one would say the
    same: the same metrics of the same `METRICS_VERSION`, at the same count, by the same detector. A new report is kept in the
    run, in ``compared`` beside its own. With `html` or `out`, `page` and `sheet` are files in `out` (comparisons/NAMES by
    default); those of an earlier comparison there get other names.

    Errors: `InputError`, among others where runs were trained on different data and no `data` is named.
    """
    from limner.evaluation.comparison import compare_pictures

    return compare_pictures(request, on_progress)

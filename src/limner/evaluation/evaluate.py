"""The verb `evaluate`: how good and how varied pictures are."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator

from limner.core.fields import CheckpointName, Cli, NameOrFile, Names, OutputFolder, RunOrPictures, Source
from limner.core.notebook import html_table
from limner.core.progress import OnProgress
from limner.core.verb import Request, Result

FEATURES_HELP = (
    "judge (trained on the data), contrast (the same without labels), inception (the FID's), random-conv, pixels, FILE.onnx, "
    "or FILE.pth of inception."
)
"""Describes the option `features` of `evaluate` and of `compare`."""
EXIT_CODE_GATE = 3
"""The exit code of `evaluate` and `compare` where the condition of ``--fail-if`` holds."""


class EvaluateRequest(Request):
    """Judge how good and how varied pictures are.

    Every score comes with its error and its null: what as many real pictures score.
    """

    what: Annotated[RunOrPictures, Cli("WHAT", is_argument=True)] = Field(
        description="A run, a folder of pictures, or a file with many, such as .npz, .npy or .zip."
    )
    data: Annotated[Source | None, Cli("SRC")] = Field(
        None, description="Real pictures to compare with; default: the run's own."
    )
    count: int | None = Field(None, description="How many pictures to judge; default: 5,000 samples, or all pictures.")
    features: Annotated[NameOrFile, Cli("NAME|FILE")] = Field("judge", description=FEATURES_HELP)
    metrics: Names | None = Field(None, description="Names of metrics; default: all that are quick.")
    checkpoint: Annotated[CheckpointName, Cli("last|best|N|all")] = Field(
        "last", description="Which checkpoint of the run to judge; N is a number of images."
    )
    importance: Annotated[int | None, Cli("K")] = Field(
        None, description="Draws per picture that bound its likelihood; 1 is the ELBO."
    )
    out: Annotated[OutputFolder | None, Cli("DIR")] = Field(None, description="Folder for the report; default: in the run.")
    fail_if: Annotated[str | None, Cli("CONDITION")] = Field(
        None,
        description="Exit with code 3 where this holds, such as 'frechet>20 or coverage<.5', or frechet.z>4.",
    )

    @model_validator(mode="after")
    def _check_gate(self) -> EvaluateRequest:
        if self.fail_if is not None:
            from limner.evaluation.gate import parse_gate

            parse_gate(self.fail_if)
        return self


class EvaluateResult(Result):
    """The report. A field with a default is a key of the result only where the report has it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    metrics: dict[str, dict[str, Any]]
    """Name of a metric -> `value`, its standard `error`, its `null` (what as many real pictures score), `z` and `p`."""
    count: int
    """How many pictures were judged."""
    features: dict[str, Any] | None
    """The detector: `name`, `checksum` and more; None where no score of samples was asked for."""
    reference: dict[str, Any]
    """The real pictures: `data`, `split`, `count` and `fingerprint`."""
    report: str | None
    """The file of the report as JSON; None where it was not written."""
    page: str | None
    """The file of the report as a page; None where it was not written."""
    verdict: list[str] = Field(default_factory=list)
    """The scores in a few sentences: how near, how varied, any copies, what to do next. Empty where metrics or other features
    were named."""
    checkpoint_notes: list[str] = Field(default_factory=list)
    """Of a run: which checkpoint was judged and what it scored on the validation split while training; of the last one also
    whether the best one is clearly better."""
    views: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Name of a detector -> the distance in its features: `value`, `null`, `z`, and `relative` and `noise` (how much chance
    moves it) as shares of the variance of real ones."""
    seconds: float
    """How long it took."""
    gate: dict[str, Any] | None = None
    """Where `fail_if` was given: the `condition`, and whether it `holds`."""
    warnings: list[str] = Field(default_factory=list)
    """What a reader should know before trusting the scores."""
    context: dict[str, Any] = Field(default_factory=dict)
    """How the samples were scored: `quantisation`, `seed`, `features_kept`, and `notes` about the pictures."""
    run: str | None = None
    """The folder of the run that was judged; None for pictures."""
    images_seen: int | None = None
    """Of a run: images that the judged checkpoint had been trained on."""
    checkpoint: str | None = None
    """Of a run: the hash of the weights that were judged."""
    pictures: str | None = None
    """The folder or file of pictures that were judged; None for a run and for arrays."""
    rejected: list[dict[str, Any]] = Field(default_factory=list)
    """Pictures to be judged that could not be used: `file` and `reason`."""
    classes: dict[str, Any] = Field(default_factory=dict)
    """Shares of the predicted classes, of `samples` and of `real` pictures, where the detector knows the data's classes."""
    blocks: dict[str, list[float]] = Field(default_factory=dict)
    """Score of reconstructions or likelihoods -> its means over blocks of real pictures, on which `compare` pairs models."""
    likelihood: dict[str, Any] | None = None
    """Of a likelihood: `draws` for each picture, and what it is a probability `of`."""
    factors: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Factor -> its number of `values` and its scores of disentanglement."""
    checkpoints: list[dict[str, Any]] = Field(default_factory=list)
    """With `checkpoint="all"`: a row for each, with `images`, `metrics`, `report` and `page`."""
    metric_versions: dict[str, str] = Field(default_factory=dict)
    """Metric of another package -> the version of its values."""

    @property
    def exit_code(self) -> int:
        return EXIT_CODE_GATE if self.gate is not None and self.gate["holds"] else 0

    def _repr_html_(self) -> str:
        keys = ("value", "error", "null", "z", "p")
        rows = [
            [name, *("–" if score.get(key) is None else f"{score[key]:.4g}" for key in keys)]
            for name, score in self.metrics.items()
        ]
        return html_table(rows, heads=("metric", "value", "± error", "null", "z", "p"))


def evaluate(request: EvaluateRequest, on_progress: OnProgress) -> EvaluateResult:
    """Judges a run, a folder or file of pictures or arrays against real pictures.

    Arrays are uint8 [N, H, W, C], or an iterable of such or of single pictures [H, W, C]. The real pictures are those of `data`
    (of the run's own by default): the test split where there is one, otherwise the validation split; `reference` says which.

    Each metric comes with its standard error, and with what as many real pictures score (`null`), a z-score and a p. Without
    `metrics` all are measured but those that take minutes or need care (`default` in `limner.metrics.scores.METRICS`). Where
    the model bounds likelihoods, `elbo` and `nll` are those of the real pictures in nats per picture, by `importance` draws
    each.
    Where no metric of samples is requested none are drawn, and `count` is the number of real pictures.

    ``report.json`` and ``report.html`` are written to `out`, or into the run; for pictures without `out` nothing is written.
    With `checkpoint` "all" each checkpoint of a run gets a report of its own: the result is that of the last one with the list
    `checkpoints`, and its `report` and `page` are those over time. Processes that torchrun has started share the work; the
    result is the main process's.

    Errors: `InputError`, among others for a metric that is named and cannot be measured.
    """
    from limner.evaluation.judging import evaluate_pictures

    return evaluate_pictures(request, on_progress)

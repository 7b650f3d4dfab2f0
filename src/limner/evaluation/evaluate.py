"""Verb: how good and how varied pictures are."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from limner.core.fields import Cli, Names, OutputFolder, RunOrPictures, Source
from limner.core.notebook import html_table
from limner.core.progress import OnProgress
from limner.core.verb import Request, Result

FEATURES_HELP = "judge (trained on the data), inception (the FID's), random-conv, pixels, FILE.onnx, or FILE.pth of inception."


class EvaluateRequest(Request):
    """Judge how good and how varied pictures are.

    Every score comes with its error and its null: what real pictures of the same number get.
    """

    what: Annotated[RunOrPictures, Cli("WHAT", is_argument=True)] = Field(
        description="A run, a folder of pictures, or an .npz of images."
    )
    data: Annotated[Source | None, Cli("SRC")] = Field(None, description="Compare with this set; default: the run's own.")
    count: int | None = Field(None, description="How many pictures to judge.")
    features: Annotated[str, Cli("NAME|FILE")] = Field("judge", description=FEATURES_HELP)
    metrics: Names | None = Field(None, description="Which scores; default: all that are quick.")
    checkpoint: Annotated[str, Cli("last|best|N|all")] = Field("last", description="Which saved state to judge, or all.")
    importance: Annotated[int | None, Cli("K")] = Field(
        None, description="Draws per picture that bound its likelihood; 1 is the ELBO."
    )
    out: Annotated[OutputFolder | None, Cli("DIR")] = Field(None, description="Where the report goes.")


class EvaluateResult(Result):
    """The report. What depends on the question (`run`, `blocks`, `likelihood`, `factors`, `checkpoints`, …) stands beside."""

    model_config = ConfigDict(frozen=True, extra="allow")

    metrics: dict[str, dict[str, Any]]
    """name -> `value`, its standard `error`, its `null` (what as many real pictures get), `z` and `p`."""
    count: int
    """Pictures that were judged."""
    features: dict[str, Any] | None
    """The detector: `name`, `checksum` and more; None where no score of samples was asked for."""
    reference: dict[str, Any]
    """The real pictures: `data`, `split`, `count` and `fingerprint`."""
    report: str | None
    """The report as JSON."""
    page: str | None
    """The report as a page."""
    seconds: float

    def _repr_html_(self) -> str:
        keys = ("value", "error", "null", "z", "p")
        rows = [
            [name, *("–" if score.get(key) is None else f"{score[key]:.4g}" for key in keys)]
            for name, score in self.metrics.items()
        ]
        return html_table(rows, heads=("metric", "value", "± error", "null", "z", "p"))


def evaluate(request: EvaluateRequest, on_progress: OnProgress) -> EvaluateResult:
    """Judges a run, a folder of pictures, an ``.npz`` (`images`, perhaps `labels`) or arrays against `data` (a run's own by
    default), and leaves ``report.json`` and ``report.html`` in `out`, or in the run.

    Arrays are uint8 [N, H, W, C], or an iterable of such or of single pictures [H, W, C]. Reference: the test split where there
    is one, otherwise the validation split; the answer says which. Each metric comes with its error, and with what as many real
    pictures get (`null`), a z-score and a p. Where the model bounds likelihoods, `elbo` and `nll` are those of the reference in
    nats per picture, by `importance` draws each. Without `metrics`, all that there are but those that take long or need care
    (as their rows in `limner.metrics.scores.METRICS` say). Nothing is drawn where no metric of samples is asked for, and
    `count` is then that of the reference. `checkpoint` "all": every one that was kept, each with a report of its own; the
    answer is the last one's with `checkpoints`, a list of them all, and its report and page are those over time. Processes that
    torchrun has started share the work; the answer is the main process's.

    Errors: `InputError`, among others for a metric asked for by name that cannot be had.
    """
    from limner.evaluation.judging import evaluate_pictures

    return evaluate_pictures(request, on_progress)

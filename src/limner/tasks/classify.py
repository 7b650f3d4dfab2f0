"""Verb: labels for new pictures, read off a model's latents; and how far such labels can be trusted."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from limner.core.fields import Cli, InputPath, RunPath, Source
from limner.core.progress import OnProgress
from limner.core.verb import Request, Result


class ClassifyRequest(Request):
    """Label pictures by what a model's latents say.

    Learns from the labelled pictures of the run's data, and says first how often it is right.
    """

    run: Annotated[RunPath, Cli("RUN", is_argument=True)] = Field(description="The folder of a run.")
    images: Annotated[list[InputPath], Cli("IMAGES…", is_argument=True)] = Field(
        default_factory=list, description="Picture files, or folders of them, to be labelled."
    )
    data: Annotated[Source | None, Cli("SRC")] = Field(None, description="Labelled pictures; default: the run's own data.")
    checkpoint: Annotated[str, Cli("last|best|N")] = Field("last", description="Which saved state to use.")


class ClassifyResult(Result):
    """Labels, and how often such labels are right."""

    accuracy: dict[str, dict[str, float]]
    """`probe` and `knn` on latents, `pixels_probe` and `pixels_knn` by the same procedure on raw pixels, at most 32 on the
    longer side: the `value` on the test split with the ends of its 95 % interval, `low` and `high`."""
    by: str
    """Which of the two on latents labels pictures: the better one on validation pictures."""
    classes: list[str]
    data: str
    splits: dict[str, str]
    counts: dict[str, int]
    chosen: dict[str, dict[str, Any]]
    """What was chosen on the validation split."""
    cached: bool
    """Whether what was fitted came from the cache."""
    labels: list[dict[str, Any]]
    """For every picture file: `file`, `label` and `probability`, and what the `probe` and `knn` say each."""
    prepared: dict[str, str]
    """What was done to pictures of another size or mode than the run's data."""
    checkpoint: int
    seconds: float


def classify(request: ClassifyRequest, on_progress: OnProgress) -> ClassifyResult:
    """Fits a linear probe and nearest neighbours to the latents of labelled pictures, and labels pictures by them.

    Both learn from the train split; what they choose is chosen on the validation split
    (`limner.metrics.representation.probes`). What was fitted is kept in the cache by the hashes of model and data. Errors:
    `InputError` where the model has no encoder, or codes for latents, or the data no labels.
    """
    from limner.tasks.classification import classify_pictures

    return classify_pictures(request, on_progress)

"""Verb: predict the classes of pictures from a model's latents, and say how often such predictions are right."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from limner.core.fields import Cli, InputPaths, OutputFolder, Source
from limner.core.progress import OnProgress
from limner.core.verb import Result
from limner.tasks.model_request import ModelRequest


class ClassifyRequest(ModelRequest):
    """Predict the classes of pictures from a model's latents.

    Learns from labelled pictures, those of the run's data or others, and reports how often it is right on pictures that it has
    not learned from.
    """

    images: Annotated[InputPaths, Cli("IMAGES…", is_argument=True)] = Field(
        default_factory=list, description="Picture files, or folders of them, whose classes to predict."
    )
    data: Annotated[Source | None, Cli("SRC")] = Field(
        None, description="Labelled pictures to learn from; default: the run's own data."
    )
    out: Annotated[OutputFolder | None, Cli("DIR")] = Field(
        None, description="New folder for the predictions; default: one in RUN/made."
    )


class ClassifyResult(Result):
    """Predicted labels, and how often such predictions are right."""

    accuracy: dict[str, dict[str, float]]
    """`probe` and `knn` on latents, and by the same procedure on raw pixels (at most 32 on the longer side) `pixels_probe` and
    `pixels_knn`: the share `value` of test pictures whose class is predicted, with its 95 % interval from `low` to `high`."""
    by: str
    """The one of the two on latents by which `label` is predicted, "probe" or "knn": the better one on validation pictures."""
    classes: list[str]
    """The classes that can be predicted."""
    data: str
    """Name of the data set with the labelled pictures."""
    splits: dict[str, str]
    """Part ("train", "val" or "test") -> the split that its pictures come from, or "train, held out" where there is none."""
    counts: dict[str, int]
    """Labelled pictures used for "train", "validation" and "test"."""
    chosen: dict[str, dict[str, Any]]
    """Hyper-parameters that validation pictures decided, for "latents" and for "pixels"."""
    cached: bool
    """Whether the probe and the neighbours were fitted by an earlier call and came from the cache."""
    labels: list[dict[str, Any]]
    """For every picture file: `file`, `label` and `probability` (by the better one), and the same two of `probe` and of
    `knn`."""
    prepared: dict[str, str]
    """Name -> how a picture of another size or mode than the run's data was changed."""
    checkpoint: int
    """Images that the checkpoint had been trained on."""
    checkpoint_notes: list[str] = Field(default_factory=list)
    """Which checkpoint this is and what it scored; where another one is clearly better, also that."""
    file: str
    """The file with this result as JSON."""
    seconds: float


def classify(request: ClassifyRequest, on_progress: OnProgress) -> ClassifyResult:
    """Fits a linear probe and nearest neighbours to the latents of labelled pictures, and predicts classes by the better one.

    Both are fitted to the train split, their hyper-parameters are chosen on the validation split, and the accuracy is that on
    the test split (`limner.metrics.representation.probes`). The fit is cached under the hashes of model and data. The result
    is written as ``result.json`` into a new folder in ``RUN/made``, or another. Errors: `InputError` where the model has no
    encoder or its latents are codes, and where the data have too few labels.
    """
    from limner.tasks.classification import classify_pictures

    return classify_pictures(request, on_progress)

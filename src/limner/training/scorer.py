"""Scores of a method while it trains."""

from __future__ import annotations

from limner.core.errors import InputError
from limner.core.method import Method
from limner.core.progress import OnProgress, silent
from limner.core.seeds import SCORED_SEEDS
from limner.data.conditions import Conditions, generate_images
from limner.data.dataset import Dataset
from limner.judges.judge import judge_for, shuffled_rows
from limner.metrics.distribution.classes import class_distance
from limner.metrics.distribution.coverage import COVERAGE_K, neighbours
from limner.metrics.distribution.frechet import frechet_error, frechet_null, frechet_to
from limner.metrics.features.pixels import ImageSubset
from limner.metrics.features.summary import jackknife_blocks
from limner.metrics.stats.moments import Moments

MIN_HELD_OUT_IMAGES = 32
"""Where the validation split has fewer images, scores while training compare samples with training images instead."""


def unscorable_error(error: InputError) -> InputError:
    """What a person can do where `error`, such as too few pictures for a judge, makes scores while training impossible."""
    return InputError(f"{error}; give more pictures, or train without scores: score.points=0")


class ValidationScorer:
    """Scores a method while it trains, by the Fréchet distance of its samples to the validation split in the judge's features.

    The test split is never used, since the scores decide which checkpoint is the best.
    """

    def __init__(self, dataset: Dataset, count: int, on_progress: OnProgress = silent, checksum: str | None = None) -> None:
        """`count` is the number of samples that are drawn for each score; `on_progress` hears where a judge is trained.

        `checksum` is that of the judge of earlier scores, which is taken where it is still there.
        """
        split = "val" if "val" in dataset.splits else "train"
        if (
            len(dataset.splits[split]) < MIN_HELD_OUT_IMAGES
        ):  # too few to estimate even a mean; the log says which split is used
            split = "train"
        rows = shuffled_rows(dataset, split)[: 5000 if split == "train" else None]
        self.split, self.count, self.pictures = split, count, len(rows)
        self.conditions = Conditions(dataset, split)
        self.judge = judge_for(dataset, on_progress, checksum=checksum)
        self.checksum = self.judge.checksum
        self.real = self.judge.outputs(ImageSubset(dataset.images, rows))
        self.distance = frechet_to(Moments.of(self.real.features))
        self.null = frechet_null(self.real.features, min(count, len(rows)), repeats=5, m=len(rows)).mean

    def score(self, method: Method) -> dict[str, float]:
        """`frechet`, its standard `error`, its `null`, and perhaps `coverage` and `class_distance`.

        The last two take enough pictures, and classes. The conditions of the samples, where `method` takes any, are drawn by
        their seeds. `null` is the Fréchet distance that as many real pictures have.
        """
        fake = generate_images(method, range(SCORED_SEEDS, SCORED_SEEDS + self.count), self.conditions)
        outputs = self.judge.outputs(fake)
        whole = Moments.of(outputs.features)
        blocks = [Moments.of(outputs.features[block]) for block in jackknife_blocks(len(outputs.features))]
        scores = {
            "frechet": float(self.distance(whole)),
            "error": frechet_error(self.distance, whole, blocks),
            "null": self.null,
        }
        if min(len(fake), self.pictures) > COVERAGE_K:
            scores["coverage"] = neighbours(outputs.features[:1000], self.real.features[:1000]).coverage
        if outputs.logits is not None and self.real.logits is not None:
            scores["class_distance"] = class_distance(outputs.logits, self.real.logits)
        return scores

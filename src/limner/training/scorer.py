"""Scores while a method trains."""

from __future__ import annotations

from limner.core.method import Method
from limner.core.seeds import SCORED_SEEDS
from limner.data.conditions import Conditions, generate_images
from limner.data.dataset import Dataset
from limner.judges.judge import judge_for, shuffled_rows
from limner.metrics.distribution.classes import class_distance
from limner.metrics.distribution.coverage import COVERAGE_K, neighbours
from limner.metrics.distribution.frechet import frechet_null, frechet_to
from limner.metrics.features.pixels import ImageSubset
from limner.metrics.stats.moments import Moments

MIN_HELD_OUT_IMAGES = 32
"""With fewer held-out images, scores in training compare with training images."""


class ValidationScorer:
    """Scores a method while it trains: Fréchet distance to the validation split, never to the test split."""

    def __init__(self, dataset: Dataset, count: int) -> None:
        split = "val" if "val" in dataset.splits else "train"
        if len(dataset.splits[split]) < MIN_HELD_OUT_IMAGES:  # too few to know even a mean by; the log says which were taken
            split = "train"
        rows = shuffled_rows(dataset, split)[: 5000 if split == "train" else None]
        self.split, self.count, self.pictures = split, count, len(rows)
        self.conditions = Conditions(dataset, split)
        self.judge = judge_for(dataset)
        self.checksum = self.judge.checksum
        self.real = self.judge.outputs(ImageSubset(dataset.images, rows))
        self.distance = frechet_to(Moments.of(self.real.features))
        self.null = frechet_null(self.real.features, min(count, len(rows)), repeats=5, m=len(rows)).mean

    def score(self, method: Method) -> dict[str, float]:
        """`frechet`, its `null`, `coverage` where there are pictures enough, and `class_distance` where there are classes.

        Of samples whose conditions, where the method takes any, are drawn by their seeds.
        """
        fake = generate_images(method, range(SCORED_SEEDS, SCORED_SEEDS + self.count), self.conditions)
        observed = self.judge.outputs(fake)
        scores = {"frechet": float(self.distance(Moments.of(observed.features))), "null": self.null}
        if min(len(fake), self.pictures) > COVERAGE_K:
            scores["coverage"] = neighbours(observed.features[:1000], self.real.features[:1000]).coverage
        if observed.logits is not None and self.real.logits is not None:
            scores["class_distance"] = class_distance(observed.logits, self.real.logits)
        return scores

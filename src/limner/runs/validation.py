"""What the scores that a run logged while it trained say of its last and of its best checkpoint.

A run has several scores: of each checkpoint while training, on the validation split, and those of `evaluate`, on the test split
where there is one. Whoever reports on a run takes the words for the former from here, so that all say the same.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limner.core.documents import finite_number
from limner.core.errors import InputError
from limner.runs.run import DISTANCE, Run

CLEAR_ERRORS = 2.0
"""The best checkpoint is clearly better than the last one where their scores differ by more than this many standard errors of
the difference."""
SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}
"""Splits of a data set, in words."""


@dataclass(frozen=True)
class CheckpointScore:
    """The Fréchet distance of samples of one checkpoint, in the judge's features."""

    images: int
    """Images that the checkpoint had been trained on."""
    value: float
    error: float | None
    """Standard error over other samples; None for a handful of samples, and in runs of before it was recorded."""
    null: float | None
    """What real pictures get."""

    @staticmethod
    def of(row: Mapping[str, Any]) -> CheckpointScore | None:
        """Of a row of scores.jsonl; None where it has no finite score."""
        images, value = finite_number(row.get("images")), finite_number(row.get(DISTANCE))
        if images is None or value is None:
            return None
        error = finite_number(row.get("error"))  # a handful of samples has none, and 0 is written
        return CheckpointScore(int(images), value, error or None, finite_number(row.get("null")))

    def __str__(self) -> str:
        """``44.6 ± 0.8 (real pictures get 6.84)``."""
        error = "" if self.error is None else f" ± {self.error:.2g}"
        return f"{self.value:.3g}{error}" + ("" if self.null is None else f" (real pictures get {self.null:.3g})")


@dataclass(frozen=True)
class ValidationScores:
    """The scores of the last and of the best checkpoint of a run."""

    last_images: int
    """Images at the last checkpoint."""
    last: CheckpointScore | None
    """None where the last checkpoint was not scored."""
    best: CheckpointScore
    """The lowest of all checkpoints that are there."""
    pictures: str
    """The real pictures that samples were compared with: ``360 pictures of the validation split``."""

    @staticmethod
    def of(
        rows: Sequence[Mapping[str, Any]], checkpoints: Collection[int], scored_on: Mapping[str, Any]
    ) -> ValidationScores | None:
        """From the `rows` of scores.jsonl, the images at each of the `checkpoints`, and ``scored_on`` of provenance.json.

        None where no checkpoint was scored. Without any checkpoint, all rows count, and the last row is the last checkpoint.

        >>> rows = [{"images": 500, DISTANCE: 41.6, "error": 0.5}, {"images": 640, DISTANCE: 44.6, "error": 0.5}]
        >>> scores = ValidationScores.of(rows, (500, 640), {"split": "val", "pictures": 360})
        >>> scores.best.images, scores.last.value, scores.best_is_better
        (500, 44.6, True)
        """
        scores = [score for row in rows if (score := CheckpointScore.of(row)) is not None]
        scores = [score for score in scores if not checkpoints or score.images in checkpoints]
        if not scores:
            return None
        last_images = max(checkpoints, default=scores[-1].images)
        split, count = scored_on.get("split"), finite_number(scored_on.get("pictures"))
        real = "" if count is None else f"{count:,.0f} pictures of "
        return ValidationScores(
            last_images,
            next((score for score in reversed(scores) if score.images == last_images), None),
            min(scores, key=lambda score: (score.value, score.images)),
            f"{real}the {SPLIT_NAMES.get(str(split), 'validation')} split",
        )

    @staticmethod
    def of_run(run: Run) -> ValidationScores | None:
        """Those of `run`; None where none can be read, since a damaged record of scores must not stop who draws samples."""
        try:
            scored_on = run.provenance().get("scored_on")
        except (InputError, OSError):
            scored_on = None
        try:
            rows, checkpoints = run.scores(), {checkpoint.images for checkpoint in run.checkpoints()}
        except (InputError, OSError):
            return None
        return ValidationScores.of(rows, checkpoints, scored_on if isinstance(scored_on, Mapping) else {})

    @property
    def best_is_better(self) -> bool:
        """Whether the best checkpoint is better than the last one by more than other samples would move their scores.

        Of runs whose scores were recorded without errors nobody knows.
        """
        last, best = self.last, self.best
        if last is None or last.images == best.images or last.error is None or best.error is None:
            return False
        return last.value - best.value > CLEAR_ERRORS * math.hypot(last.error, best.error)

    def name_of(self, images: int) -> str:
        """Which checkpoint the one at `images` is: ``the last and best checkpoint, at 640 images``."""
        names = [name for name, at in (("last", self.last_images), ("best", self.best.images)) if at == images]
        return f"the {' and '.join(names)}{' ' if names else ''}checkpoint, at {images:,} images"

    def hint(self) -> str | None:
        """One sentence where the best checkpoint is clearly better than the last one, with the option that takes it."""
        if not self.best_is_better:
            return None
        return (
            f"the best checkpoint, at {self.best.images:,} images, scored clearly better while training: Fréchet distance "
            f"{self.best}, and the last one, at {self.last_images:,} images, {self.last}; take it with --checkpoint best"
        )


def describe_checkpoint(run: Run, images: int) -> tuple[str, ...]:
    """What a person should know who uses the checkpoint of `run` at `images` images: which one it is, what it scored, and where
    it is the last one, whether the best one is clearly better."""
    scores = ValidationScores.of_run(run)
    if scores is None:
        checkpoints = run.checkpoints()
        is_last = bool(checkpoints) and checkpoints[-1].images == images
        return (f"the {'last ' if is_last else ''}checkpoint, at {images:,} images",)
    score = next((one for one in (scores.best, scores.last) if one is not None and one.images == images), None)
    name = scores.name_of(images)
    line = name if score is None else f"{name}; Fréchet distance while training {score}, by {scores.pictures}"
    hint = scores.hint() if images == scores.last_images else None
    return (line,) if hint is None else (line, hint)

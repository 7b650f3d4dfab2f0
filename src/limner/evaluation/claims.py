"""What may be claimed of the scores of several runs or sets of pictures: differences of pairs, and groups of trainings.

The error of a score of samples is a standard error over other draws of as many samples, by a jackknife over blocks of them. It
is not bootstrapped: a bootstrap repeats pictures, and repeated pictures move Fréchet distances, and shares of covered
neighbourhoods, by more than chance does. Samples of two models are independent, so the squares of their errors add up
(`limner.metrics.stats.intervals.difference`).

A score of held-out pictures (reconstructions, likelihoods) is a mean over pictures that are the same for both models, so the
error of a difference is that of the pictures' own differences, in blocks.

Runs of one recipe that differ in their seed alone are a group. Only groups say anything about recipes, with Student's t over
their trainings.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from limner.metrics.features.summary import jackknife_blocks
from limner.metrics.scores import METRICS
from limner.metrics.stats.intervals import CONFIDENCE_LEVEL, NO_DIFFERENCE, Estimate, difference, holm, mean
from limner.runs.model import Loaded


@dataclass(frozen=True)
class Contender:
    """A run, or pictures, that is compared with others."""

    name: str
    path: str | Path
    model: Loaded | None
    """None for pictures."""
    report: dict[str, Any] = field(default_factory=dict)
    """What `evaluate` reports of it; empty before it was judged."""
    reused: bool = False
    """Whether the report was read from the run, and not computed."""

    def estimate(self, metric: str) -> Estimate | None:
        """The score with its error. None where there is no such score, no error, or an error that leaves out a part of chance
        (as that of `gan_train` does, which does not know other trainings of its network)."""
        score = self.report["metrics"].get(metric)
        if score is None or score["error"] is None or METRICS[metric].error == "incomplete":
            return None
        blocks = self.report["blocks"].get(metric)
        smaller_count = min(self.report["count"], self.report["reference"]["count"])
        freedom = (len(jackknife_blocks(smaller_count)) if blocks is None else len(blocks)) - 1
        return Estimate(score["value"], score["error"], freedom) if freedom > 0 else None

    def scores_with_intervals(self) -> dict[str, dict[str, Any]]:
        """The scores of the report, each with the ends `low` and `high` of its 95 % interval.

        They are None where there is no estimate, and for means over held-out pictures: two models share those pictures, so the
        interval of one says nothing about their difference.
        """
        scores = {}
        for metric, score in self.report["metrics"].items():
            estimate = None if metric in self.report["blocks"] else self.estimate(metric)
            low, high = (None, None) if estimate is None else estimate.interval()
            scores[metric] = score | {"low": low, "high": high}
        return scores


@dataclass(frozen=True)
class Pair:
    """Two contenders, or two groups, that are compared by one metric."""

    a: str
    b: str
    difference: float
    """The score of `a` minus that of `b`."""
    estimate: Estimate | None
    """The difference with its error; None where the error is unknown."""
    estimate_a: Estimate | None = None
    """The score of `a` with its own error, where the two scores are independent."""
    estimate_b: Estimate | None = None

    @property
    def overlap(self) -> bool:
        """Whether the intervals of the two scores overlap. Scores without intervals of their own do not."""
        if self.estimate_a is None or self.estimate_b is None:
            return False
        (low_a, high_a), (low_b, high_b) = self.estimate_a.interval(), self.estimate_b.interval()
        return low_a <= high_b and low_b <= high_a


def compare_pairs(contenders: Sequence[Contender]) -> list[dict[str, Any]]:
    """The rows of `claims` for every metric and every two contenders that have it."""
    rows = []
    for metric in METRICS:
        pairs = []
        for a, b in combinations([one for one in contenders if metric in one.report["metrics"]], 2):
            by = a.report["metrics"][metric]["value"] - b.report["metrics"][metric]["value"]
            estimate_a, estimate_b = a.estimate(metric), b.estimate(metric)
            if estimate_a is None or estimate_b is None:
                pairs.append(Pair(a.name, b.name, by, None))
            elif metric in a.report["blocks"]:  # the pictures are the same, so the blocks are paired
                paired = mean(np.subtract(a.report["blocks"][metric], b.report["blocks"][metric]).tolist())
                pairs.append(Pair(a.name, b.name, by, Estimate(by, paired.error, paired.freedom)))
            else:
                pairs.append(Pair(a.name, b.name, by, difference(estimate_a, estimate_b), estimate_a, estimate_b))
        rows += claims(metric, pairs)
    return rows


def claims(metric: str, pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """What may be said of all `pairs` that one `metric` compares: a row for each, in their order.

    A difference is claimed (`sure`) where its p, corrected for the number of pairs (Holm 1979), is below 5 % and the intervals
    of the two scores do not overlap. `claim` is the better one of the two, None where nothing is claimed or neither direction
    is better; `words` says it as a sentence.
    """
    estimates = [pair.estimate for pair in pairs if pair.estimate is not None]
    corrected = iter(holm([estimate.p for estimate in estimates]))
    rows = []
    for pair in pairs:
        low, high = (None, None) if pair.estimate is None else pair.estimate.interval()
        p = None if pair.estimate is None else next(corrected)
        is_sure = p is not None and p < 1 - CONFIDENCE_LEVEL and not pair.overlap
        upper, lower = (pair.a, pair.b) if pair.difference > 0 else (pair.b, pair.a)
        better = {"higher": upper, "lower": lower, "as real": None}[METRICS[metric].better]
        worse = lower if better == upper else upper
        words = f"{pair.a} and {pair.b}: {NO_DIFFERENCE}"
        if is_sure:
            words = f"{upper} has more than {lower}" if better is None else f"{better} is better than {worse}"
        rows.append(
            {
                "metric": metric,
                "a": pair.a,
                "b": pair.b,
                "difference": pair.difference,
                "low": low,
                "high": high,
                "p": p,
                "sure": is_sure,
                "claim": better if is_sure else None,
                "words": words,
            }
        )
    return rows


# ---- groups of trainings ------------------------------------------------------------------------------------------------


def group_by_recipe(contenders: Sequence[Contender]) -> list[dict[str, Any]]:
    """Recipes that were trained with two seeds or more: each metric's mean over trainings, with Student's t interval."""
    members_of_recipe: dict[str, dict[int, Contender]] = {}
    for contender in contenders:
        if (model := contender.model) is not None:
            members_of_recipe.setdefault(_recipe_without_seed(model), {}).setdefault(model.recipe.seed, contender)
    rows: list[dict[str, Any]] = []
    for members in (list(of_seed.values()) for of_seed in members_of_recipe.values() if len(of_seed) > 1):
        metrics = {
            metric: _mean_over_trainings(metric, members)
            for metric in METRICS
            if all(metric in member.report["metrics"] for member in members)
        }
        rows.append({"name": f"recipe of {members[0].name}", "runs": [one.name for one in members], "metrics": metrics})
    return rows


def _recipe_without_seed(model: Loaded) -> str:
    """Text that is equal for two trainings that differ in their seed alone."""
    tree = model.recipe.model_dump(mode="json")
    del tree["seed"], tree["data"]["source"]  # equal data may lie in two places; the fingerprint in `tree` tells data apart
    return json.dumps([tree, model.checkpoint.images if model.recipe.budget.images is not None else None])


def _mean_over_trainings(metric: str, members: Sequence[Contender]) -> dict[str, Any]:
    """The mean of a metric over trainings, with the ends of its interval, its standard error and the degrees of freedom.

    Trainings differ by chance of training and by chance of sampling. A few may agree by luck, so the error is not taken to be
    smaller than what sampling alone explains.
    """
    average = mean([member.report["metrics"][metric]["value"] for member in members])
    if metric not in members[0].report["blocks"]:
        errors = [estimate.error for member in members if (estimate := member.estimate(metric)) is not None]
        sampling_error = float(np.linalg.norm(errors)) / len(members)
        average = Estimate(average.value, max(average.error, sampling_error), average.freedom)
    low, high = average.interval()
    return {"mean": average.value, "low": low, "high": high, "error": average.error, "freedom": average.freedom}


def compare_groups(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of `claims` for every metric and every two of `rows`, which are those of `group_by_recipe`."""
    results = []
    for metric in METRICS:
        pairs = []
        for a, b in combinations([group for group in rows if metric in group["metrics"]], 2):
            scores = a["metrics"][metric], b["metrics"][metric]
            estimate_a, estimate_b = (Estimate(one["mean"], one["error"], one["freedom"]) for one in scores)
            apart = difference(estimate_a, estimate_b)
            pairs.append(Pair(a["name"], b["name"], estimate_a.value - estimate_b.value, apart, estimate_a, estimate_b))
        results += claims(metric, pairs)
    return results

"""The verdict: a report in a few sentences for a person. How near, how varied, any copies, and what to do next.

Nearness is the distance of the view that sees most (`limner.evaluation.views`), as a share of the variance of real features.
Its bounds come from distortions of real pictures that people notice where they look for them, object to at first sight, or no
longer take for pictures of the kind (benchmarks/battery.py; the table is in docs/judging.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limner.metrics.distribution.coverage import narrowness

NOTICED, OBJECTED, UNLIKE = 0.01, 0.06, 0.25
"""Bounds of the relative distance: below the first, people hardly notice a difference; from the second on they see faults at
first sight; from the third on these are no pictures of the kind."""
ASPECTS = {"judge": "what is shown", "contrast": "what is shown", "random-conv": "texture", "pixels": "layout and colour"}
"""What each view sees most of."""
FULL_COVERAGE, HALF_COVERAGE = 0.85, 0.5
"""Shares of the coverage of real pictures from which on samples count as varied, and as partly so."""
AS_VARIED = "about as varied as real pictures"
MAX_CLASS_DISTANCE = 0.15
"""Excess over the null from which on the shares of classes count as uneven."""
MIN_ACCURACY = 0.85
"""A judge that names fewer held-out pictures right may flatter."""
COPY_P = 1e-3
"""Below this p, copies are not chance."""
TOLD_Z = 4.0
"""Standard deviations of the null from which on a view tells pictures from real ones; below, its distance may be chance."""
ENOUGH = 1_000
"""Samples that a verdict advises to judge where it cannot say anything by fewer."""
MIN_SLOPE = 0.12
"""Exponent of the fall of the distance with images from which on more training is worth it: 8 % for twice the images."""

Report = Mapping[str, Any]


@dataclass(frozen=True)
class TrainingProgress:
    """How the distance of a run fell while it trained."""

    run: str
    images: int
    """Seen so far."""
    seconds: float
    """Of training so far."""
    slope: float | None
    """a in distance ∝ images^−a over the last four fifths of the training; None where there are too few scores."""

    @staticmethod
    def of(run: str, scores: Sequence[Report]) -> TrainingProgress | None:
        """From the scores of a run on its validation split (images, seconds, frechet, null); None without any.

        >>> rows = [{"images": n, "seconds": n / 100, "frechet": 100 / n + 2, "null": 2.0} for n in (10, 20, 40, 80)]
        >>> round(TrainingProgress.of("runs/0001", rows).slope, 3)
        1.0
        """
        rows = [row for row in scores if math.isfinite(row.get("frechet") or math.nan)]
        if not rows:
            return None
        last = rows[-1]
        points = [
            (math.log(row["images"]), math.log(row["frechet"] - (row.get("null") or 0.0)))
            for row in rows
            if row["images"] * 5 >= last["images"] and row["frechet"] > (row.get("null") or 0.0)
        ]
        return TrainingProgress(run, int(last["images"]), float(last.get("seconds") or 0.0), _slope(points))


def _slope(points: Sequence[tuple[float, float]]) -> float | None:
    """The negative slope of the least-squares line through `points`; None for fewer than three."""
    if len(points) < 3:
        return None
    mean_x, mean_y = (sum(point[axis] for point in points) / len(points) for axis in (0, 1))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return -sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread > 0 else None


def verdict(report: Report, progress: TrainingProgress | None = None) -> list[str]:
    """The sentences, most important first; none for a report without a distance of samples.

    `progress` is that of the run that drew the samples. Beside the scores, `report` has the ``views`` of its samples.
    """
    views = report.get("views") or {}
    if not views:
        return []
    telling = {name: view for name, view in views.items() if view["z"] is None or view["z"] > TOLD_Z}
    is_open = not telling and not _can_tell(views)
    name, view = max((telling or views).items(), key=lambda item: item[1]["relative"])
    distance: float = view["relative"] if telling else 0.0
    nearness = _nearness(name, view, report["count"] if not telling else None)
    sentences = [_too_few(report["count"])] if is_open else [nearness, *_variety(report)]
    sentences = [*_copies(report), *sentences] if _has_copies(report) else [*sentences, *_copies(report)]
    if is_open:
        return sentences
    if progress is not None:
        sentences.append(_next_step(distance, progress, _has_copies(report)))
    accuracy = (report.get("features") or {}).get("held_out_accuracy")
    if accuracy is not None and accuracy < MIN_ACCURACY and distance < OBJECTED:
        sentences.append(f"The judge names only {accuracy:.0%} of real pictures right and may flatter: look at the samples.")
    return sentences


def _can_tell(views: Mapping[str, Report]) -> bool:
    """Whether a view of what is shown would tell pictures from real ones if people saw their faults at first sight.

    With few pictures chance moves every distance by more than that, and that no view tells them from real ones is no praise.
    """
    content = [view for name, view in views.items() if ASPECTS.get(name) == ASPECTS["judge"]]
    noises = [view.get("noise") for view in content or views.values()]
    return any(noise is not None and TOLD_Z * noise <= OBJECTED for noise in noises)


def _too_few(count: int) -> str:
    """The sentence in the place of nearness and variety; `count` is the number of samples."""
    more = f"judge more of them, such as {ENOUGH:,}" if count < ENOUGH else "compare them with more real ones"
    return f"Too few to say: with {count:,} pictures chance hides even faults that people see at first sight; {more}."


def headline(sentences: Sequence[str]) -> Sequence[str]:
    """The sentences of a verdict up to that about nearness, which is the first unless there are copies.

    >>> headline(["Copies: 40.0% …", "Very near: …", "Variety: …"])
    ['Copies: 40.0% …', 'Very near: …']
    """
    return sentences[: 2 if sentences[0].startswith("Copies:") else 1]


def _nearness(name: str, view: Report, indistinct: int | None) -> str:
    """How near by the view called `name`; `indistinct` is the number of pictures where no view tells them from real ones."""
    distance: float = view["relative"]
    real = "" if view["null"] is None else f"; real pictures get {view['null']:.3g}"
    measured = f"above all in {ASPECTS.get(name, 'its features')} ({name}: {view['value']:.3g}{real})"
    if indistinct is not None:
        return f"Very near: these {indistinct:,} pictures cannot be told from real ones ({name}: {view['value']:.3g}{real})."
    if distance < NOTICED:
        return f"Very near: these pictures differ from real ones by less than people notice, {measured}."
    if distance < OBJECTED:
        return f"Near: faults are seen where one looks for them, {measured}."
    if distance < UNLIKE:
        return f"Recognisable, but faults are seen at first sight, {measured}."
    return f"Far: taken together they are not like the real pictures, and not worth keeping, {measured}."


def _variety(report: Report) -> list[str]:
    """One sentence on coverage and recall, with the classes where their shares are uneven.

    What chance may have done, with so few pictures, is left out; there is no sentence where nothing is left.
    """
    scores = report["metrics"]
    narrow = narrowness(scores)
    parts = [narrow] if narrow else []
    parts += [text for text in _coverage_words(scores.get("coverage")) if not narrow or text != AS_VARIED]
    classes = scores.get("class_distance")
    if classes is not None and classes["value"] - (classes["null"] or 0.0) > MAX_CLASS_DISTANCE and _is_beyond_chance(classes):
        parts.append(f"the shares of the classes are uneven{_most_missing(report)}")
    return [f"Variety: {'; '.join(parts)}."] if parts else []


def _coverage_words(coverage: Report | None) -> list[str]:
    """How varied the samples are by their coverage beside that of real pictures; empty where it was not measured, or where
    chance may explain how it came out.

    That they are as varied is said only where half of the coverage would have been told from that of real pictures.
    """
    if coverage is None or not coverage["null"]:
        return []
    value, null, z = coverage["value"], coverage["null"], coverage["z"]
    share = min(1.0, value / null)
    if share >= FULL_COVERAGE:
        noise = abs((value - null) / z) if z else 0.0
        return [AS_VARIED] if TOLD_Z * noise <= (1 - HALF_COVERAGE) * null else []
    if not _is_beyond_chance(coverage):
        return []
    if share >= HALF_COVERAGE:
        return [f"less varied than real pictures: their coverage is {share:.0%} of what those have"]
    return [f"little varied: their coverage is only {share:.0%} of what real pictures have"]


def _is_beyond_chance(score: Report) -> bool:
    """Whether a score lies farther from its null than chance moves it; also where it is unknown how far that is."""
    return score["z"] is None or abs(score["z"]) > TOLD_Z


def _most_missing(report: Report) -> str:
    """`` (shirt 2%, of real pictures 10%)``: the class that is missed most, where chance does not explain that it is rare.

    Both shares are of a limited number of pictures, with the standard error of a share of so many.
    """
    classes = report.get("classes")
    if not classes:
        return ""
    samples, real = classes["samples"], classes["real"]
    name = max(real, key=lambda one: real[one] - samples.get(one, 0.0), default=None)
    if name is None:
        return ""
    own, expected = samples.get(name, 0.0), real[name]
    error = math.sqrt(expected * (1 - expected) * (1 / report["count"] + 1 / report["reference"]["count"]))
    return f" ({name} {own:.0%}, of real pictures {expected:.0%})" if expected - own > TOLD_Z * error else ""


def _copy_scores(report: Report) -> list[Report]:
    return [report["metrics"][name] for name in ("copies", "copies_double") if name in report["metrics"]]


def _has_copies(report: Report) -> bool:
    return any(one["p"] is not None and one["p"] < COPY_P and one["value"] > 0 for one in _copy_scores(report))


def _copies(report: Report) -> list[str]:
    """One sentence where copies were searched for."""
    scores = _copy_scores(report)
    if not scores:
        return []
    if _has_copies(report):
        share = max(one["value"] for one in scores)
        return [f"Copies: {share:.1%} are nearly identical to a training picture, so do not keep these as new ones."]
    return ["Copies of training pictures: none were found."]


def _next_step(distance: float, progress: TrainingProgress, has_copies: bool) -> str:
    run, slope = progress.run, progress.slope
    if has_copies:
        return "Next: more pictures, method.augment.kind=adaptive (GANs) or fewer images of training bring fewer copies."
    if distance < NOTICED:
        return "Next: nothing; they are worth having."
    more = f"`limner resume {run} --images {2 * progress.images}` (about {_duration(progress.seconds)} more)"
    if slope is None:
        return f"Next: there are too few scores to foresee it; try {more}."
    if slope >= MIN_SLOPE:
        return f"Next: it still improves; {more} would bring the distance to about {2.0**-slope:.0%} of this one."
    worth = "they are worth having as they are" if distance < OBJECTED else "they are not worth having yet"
    return f"Next: it hardly improves any more, and {worth}; more pictures or another preset (`limner methods`) may help."


def _duration(seconds: float) -> str:
    """
    >>> _duration(50), _duration(600), _duration(9000)
    ('50 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

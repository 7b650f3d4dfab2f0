"""The shapes of what making and analysing a study return: dictionaries, because they are also written and printed as JSON.

The classes are those of `typing_extensions`, because pydantic reads those of `typing` only from Python 3.12 on.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

Task = Literal["timed", "untimed", "pairs"]
"""A part of a study: one picture for a short time, one for as long as one likes, or two side by side."""


class PartRow(TypedDict):
    """What one person does in one part of a study."""

    task: Task
    trials: int
    """Trials that count."""
    catch: int
    """Catch trials, which show noise."""
    practice: int
    """Trials before the part, each with the right answer."""


class RealPicturesRow(TypedDict):
    """Where the real pictures come from."""

    data: str
    split: str
    fingerprint: NotRequired[str]


class EstimateRow(TypedDict):
    """A value with its standard error and its 95 % interval; these are None for too few people."""

    value: float
    error: float | None
    low: float | None
    high: float | None


class DetectionRow(TypedDict):
    """How well people tell the pictures of one run from real ones."""

    run: str
    task: Literal["timed", "untimed"]
    people: int
    judgements: int
    hit_rate: float
    """Share of the run's pictures that are called generated."""
    false_alarm_rate: float
    """Share of real pictures that are called generated."""
    accuracy: EstimateRow
    d_prime: EstimateRow
    criterion: EstimateRow
    told_apart: bool
    """Whether the interval of d′ leaves out 0."""
    words: str
    """What may be claimed."""


class PreferenceRow(TypedDict):
    """How often people prefer the pictures of one run."""

    run: str
    task: Literal["pairs"]
    people: int
    won: int
    tied: int
    lost: int
    strength: EstimateRow
    """Log strength in Davidson's model."""


class ComparisonRow(TypedDict):
    """Two runs, by d′ or by log strength."""

    task: Task
    a: str
    b: str
    difference: EstimateRow
    """Of a minus b."""
    claim: str | None
    """The run that may be called better."""
    words: str


class ExcludedPerson(TypedDict):
    """A person whose answers are left out."""

    person: str
    right: int
    """Catch trials answered correctly, of `of`."""
    of: int
    why: str


class PeopleCount(TypedDict):
    """The people of a study."""

    answered: int
    kept: int
    excluded: list[ExcludedPerson]


class JudgementCount(TypedDict):
    """The lines of the answers."""

    read: int
    kept: int
    catch: int
    repeated: int
    set_aside: dict[str, int]
    """How many lines do not count, by the reason."""


class AnalysisRules(TypedDict):
    """The thresholds of an analysis."""

    catch_right: float
    least_catch: int
    least_people: int
    level: float
    exposure: int
    intervals: str


class TieEstimates(TypedDict):
    """How often pairs are called equal: the share, and log ν of Davidson's model."""

    share: float
    log_nu: EstimateRow


class SideEstimate(TypedDict):
    """How much the left side is favoured: log γ."""

    log_gamma: EstimateRow


class StudyAnalysis(TypedDict):
    """What follows from the answers to a study, as in ``analysis.json``."""

    runs: list[dict[str, Any]]
    """Each `ComparedSource`, without what it lacks."""
    reals: RealPicturesRow
    people: PeopleCount
    judgements: JudgementCount
    rules: AnalysisRules
    table: list[DetectionRow | PreferenceRow]
    comparisons: list[ComparisonRow]
    ties: NotRequired[TieEstimates]
    left: NotRequired[SideEstimate]
    study: NotRequired[str]
    files: NotRequired[list[str]]
    report: NotRequired[str]
    page: NotRequired[str | None]

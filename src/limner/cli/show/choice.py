"""The table of the functions that print results; a result without one is printed field by field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from limner.cli.show.data import show_pictures, show_sets
from limner.cli.show.evaluation import show_comparison, show_metrics
from limner.cli.show.runs import show_moved, show_note, show_pruned, show_runs
from limner.cli.show.study import show_judgements, show_study
from limner.cli.show.system import show_cache, show_cleared, show_definitions, show_doctor, show_methods, show_report
from limner.cli.show.tables import format_value, print_pairs
from limner.cli.show.tasks import (
    show_classification,
    show_embedding,
    show_interpolation,
    show_reconstructions,
    show_samples,
    show_traversal,
)
from limner.cli.show.training import show_outcome, show_plan
from limner.core.verb import Result
from limner.evaluation.compare import CompareResult
from limner.evaluation.evaluate import EvaluateResult
from limner.evaluation.human.rate import AnalysisResult, StudyResult
from limner.tasks.cache import CacheResult, ClearResult
from limner.tasks.classify import ClassifyResult
from limner.tasks.data_sets import ListResult, PicturesResult
from limner.tasks.define import DefineResult
from limner.tasks.doctor import DoctorResult
from limner.tasks.embed import EmbedResult
from limner.tasks.interpolate import InterpolateResult
from limner.tasks.methods import MethodsResult
from limner.tasks.reconstruct import ReconstructResult
from limner.tasks.report import ReportResult
from limner.tasks.runs import MoveResult, NoteResult, PruneResult, RunsResult
from limner.tasks.sample import SampleResult
from limner.tasks.traverse import TraverseResult
from limner.training.train import DryRunResult, TrainResult

PRINTERS: Mapping[type[Result], Callable[[Any], None]] = {
    AnalysisResult: show_judgements,
    CacheResult: show_cache,
    ClassifyResult: show_classification,
    ClearResult: show_cleared,
    CompareResult: show_comparison,
    DefineResult: show_definitions,
    DoctorResult: show_doctor,
    DryRunResult: show_plan,
    EmbedResult: show_embedding,
    EvaluateResult: show_metrics,
    InterpolateResult: show_interpolation,
    ListResult: show_sets,
    MethodsResult: show_methods,
    MoveResult: show_moved,
    NoteResult: show_note,
    PicturesResult: show_pictures,
    PruneResult: show_pruned,
    ReconstructResult: show_reconstructions,
    ReportResult: show_report,
    RunsResult: show_runs,
    SampleResult: show_samples,
    StudyResult: show_study,
    TrainResult: show_outcome,
    TraverseResult: show_traversal,
}
"""Result -> the function that prints it."""


def show(result: Result) -> None:
    """Prints `result` on stdout as text."""
    printer = PRINTERS.get(type(result))
    if printer is not None:
        printer(result)
    else:
        print_pairs([(name, value if name == "shape" else _join_numbers(value)) for name, value in result.items()])


def _join_numbers(value: Any) -> Any:
    """A list of whole numbers as text with commas, since `format_value` would print it as a shape; other values unchanged."""
    is_list_of_numbers = isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(one, int) for one in value)
    return ", ".join(format_value(one) for one in value) if is_list_of_numbers else value

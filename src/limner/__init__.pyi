"""The public names for type checkers, made from the table of verbs by `python docs/write_reference.py`."""

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, overload

from limner.core.errors import InputError as InputError
from limner.core.errors import Interruption as Interruption
from limner.core.progress import OnProgress
from limner.core.progress import Progress as Progress
from limner.data.dataset import open_dataset as open_dataset
from limner.data.sources import SOURCES as SOURCES
from limner.evaluation.compare import CompareResult as CompareResult
from limner.evaluation.evaluate import EvaluateResult as EvaluateResult
from limner.evaluation.human.rate import AnalysisResult as AnalysisResult
from limner.evaluation.human.rate import StudyResult as StudyResult
from limner.metrics.features.table import DETECTORS as DETECTORS
from limner.metrics.scores import METRICS as METRICS
from limner.recipes.recipe import Recipe as Recipe
from limner.recipes.registry import METHODS as METHODS
from limner.recipes.registry import PRESETS as PRESETS
from limner.runs.model import load as load
from limner.runs.run import Run as Run
from limner.tasks.cache import CacheResult as CacheResult
from limner.tasks.cache import ClearResult as ClearResult
from limner.tasks.classify import ClassifyResult as ClassifyResult
from limner.tasks.data_sets import ListResult as ListResult
from limner.tasks.data_sets import PicturesResult as PicturesResult
from limner.tasks.define import DefineResult as DefineResult
from limner.tasks.doctor import DoctorResult as DoctorResult
from limner.tasks.embed import EmbedResult as EmbedResult
from limner.tasks.interpolate import InterpolateResult as InterpolateResult
from limner.tasks.inversion import invert as invert
from limner.tasks.methods import MethodsResult as MethodsResult
from limner.tasks.reconstruct import ReconstructResult as ReconstructResult
from limner.tasks.report import ReportResult as ReportResult
from limner.tasks.runs import MoveResult as MoveResult
from limner.tasks.runs import NoteResult as NoteResult
from limner.tasks.runs import PruneResult as PruneResult
from limner.tasks.runs import RunsResult as RunsResult
from limner.tasks.sample import SampleResult as SampleResult
from limner.tasks.traverse import TraverseResult as TraverseResult
from limner.training.train import DryRunResult as DryRunResult
from limner.training.train import TrainResult as TrainResult
from limner.verbs import VERBS as VERBS

__all__ = [
    "AnalysisResult",
    "CacheResult",
    "ClassifyResult",
    "ClearResult",
    "CompareResult",
    "DETECTORS",
    "DefineResult",
    "DoctorResult",
    "DryRunResult",
    "EmbedResult",
    "EvaluateResult",
    "InputError",
    "InterpolateResult",
    "Interruption",
    "ListResult",
    "METHODS",
    "METRICS",
    "MethodsResult",
    "MoveResult",
    "NoteResult",
    "PRESETS",
    "PicturesResult",
    "Progress",
    "PruneResult",
    "Recipe",
    "ReconstructResult",
    "ReportResult",
    "Run",
    "RunsResult",
    "SOURCES",
    "SampleResult",
    "StudyResult",
    "TrainResult",
    "TraverseResult",
    "VERBS",
    "cache",
    "check",
    "classify",
    "clear_cache",
    "compare",
    "define",
    "delete_runs",
    "doctor",
    "embed",
    "evaluate",
    "interpolate",
    "invert",
    "list_methods",
    "list_runs",
    "list_sets",
    "load",
    "move_run",
    "note_run",
    "open_dataset",
    "prepare",
    "prune",
    "rate",
    "reconstruct",
    "rename_run",
    "report",
    "restore_runs",
    "resume",
    "sample",
    "train",
    "traverse",
]
__version__: str

def doctor(
    *,
    on_progress: OnProgress = ...,
) -> DoctorResult: ...
def list_sets(
    *,
    on_progress: OnProgress = ...,
) -> ListResult: ...
def check(
    source: Any,
    *,
    size: int | str | tuple[int, int] | None = ...,
    fit: Literal['crop', 'pad', 'stretch'] = ...,
    channels: Literal[1, 3, 4] | None = ...,
    background: str = ...,
    split: str | None = ...,
    limit: int | None = ...,
    labels: Literal['auto', 'none'] = ...,
    value_range: str | tuple[float, float] | None = ...,
    binary: bool = ...,
    rules: int = ...,
    seed: int = ...,
    on_progress: OnProgress = ...,
) -> PicturesResult: ...
def prepare(
    source: Any,
    *,
    size: int | str | tuple[int, int] | None = ...,
    fit: Literal['crop', 'pad', 'stretch'] = ...,
    channels: Literal[1, 3, 4] | None = ...,
    background: str = ...,
    split: str | None = ...,
    limit: int | None = ...,
    labels: Literal['auto', 'none'] = ...,
    value_range: str | tuple[float, float] | None = ...,
    binary: bool = ...,
    rules: int = ...,
    seed: int = ...,
    out: str | Path | None = ...,
    on_progress: OnProgress = ...,
) -> PicturesResult: ...
def list_methods(
    *,
    on_progress: OnProgress = ...,
) -> MethodsResult: ...
@overload
def train(
    source: Any | None = ...,
    settings: str | Mapping[str, Any] | Sequence[str] = ...,
    *,
    preset: str = ...,
    out: str | Path = ...,
    images: int | None = ...,
    minutes: float | None = ...,
    seed: int | None = ...,
    name: str | None = ...,
    dry_run: Literal[False] = ...,
    all_settings: bool = ...,
    on_progress: OnProgress = ...,
) -> TrainResult: ...
@overload
def train(
    source: Any | None = ...,
    settings: str | Mapping[str, Any] | Sequence[str] = ...,
    *,
    preset: str = ...,
    out: str | Path = ...,
    images: int | None = ...,
    minutes: float | None = ...,
    seed: int | None = ...,
    name: str | None = ...,
    dry_run: Literal[True],
    all_settings: bool = ...,
    on_progress: OnProgress = ...,
) -> DryRunResult: ...
def resume(
    run: str | int | PathLike[str],
    settings: str | Mapping[str, Any] | Sequence[str] = ...,
    *,
    images: int | None = ...,
    minutes: float | None = ...,
    on_progress: OnProgress = ...,
) -> TrainResult: ...
def sample(
    run: str | int | PathLike[str],
    *,
    checkpoint: str | int = ...,
    label: str | int | None = ...,
    text: str | None = ...,
    given: str | Path | None = ...,
    seeds: str | Iterable[int] | None = ...,
    count: int | None = ...,
    grid: bool = ...,
    npz: str | Path | None = ...,
    out: str | Path | None = ...,
    metadata: bool = ...,
    truncation: float = ...,
    steps: int = ...,
    solver: Literal['euler', 'heun', 'midpoint', 'dpm', 'ancestral', 'adaptive'] = ...,
    shift: float = ...,
    tolerance: float = ...,
    guidance: float | None = ...,
    guide: Literal['auto', 'class', 'checkpoint'] = ...,
    guidance_from: float = ...,
    guidance_to: float = ...,
    temperature: float = ...,
    top_k: int = ...,
    top_p: float = ...,
    sampling: Mapping[str, Any] = ...,
    on_progress: OnProgress = ...,
) -> SampleResult: ...
def reconstruct(
    run: str | int | PathLike[str],
    images: str | Path | Sequence[str | Path],
    *,
    checkpoint: str | int = ...,
    label: str | int | None = ...,
    text: str | None = ...,
    given: str | Path | None = ...,
    starts: int = ...,
    steps: int = ...,
    encoder: bool = ...,
    out: str | Path | None = ...,
    on_progress: OnProgress = ...,
) -> ReconstructResult: ...
def interpolate(
    run: str | int | PathLike[str],
    images: str | Path | Sequence[str | Path] = ...,
    *,
    checkpoint: str | int = ...,
    label: str | int | None = ...,
    text: str | None = ...,
    given: str | Path | None = ...,
    seeds: str | Iterable[int] = ...,
    steps: int = ...,
    out: str | Path | None = ...,
    on_progress: OnProgress = ...,
) -> InterpolateResult: ...
def traverse(
    run: str | int | PathLike[str],
    image: str | Path | None = ...,
    *,
    checkpoint: str | int = ...,
    label: str | int | None = ...,
    text: str | None = ...,
    given: str | Path | None = ...,
    latents: str | Iterable[int] | None = ...,
    steps: int = ...,
    span: float = ...,
    seed: int = ...,
    out: str | Path | None = ...,
    on_progress: OnProgress = ...,
) -> TraverseResult: ...
def embed(
    run: str | int | PathLike[str],
    sources: Sequence[Any] = ...,
    *,
    checkpoint: str | int = ...,
    split: str | None = ...,
    out: str | Path | None = ...,
    on_progress: OnProgress = ...,
) -> EmbedResult: ...
def classify(
    run: str | int | PathLike[str],
    images: str | Path | Sequence[str | Path] = ...,
    *,
    checkpoint: str | int = ...,
    data: Any | None = ...,
    out: str | Path | None = ...,
    on_progress: OnProgress = ...,
) -> ClassifyResult: ...
def evaluate(
    what: Any,
    *,
    data: Any | None = ...,
    count: int | None = ...,
    features: str = ...,
    metrics: str | Sequence[str] | None = ...,
    checkpoint: str | int = ...,
    importance: int | None = ...,
    out: str | Path | None = ...,
    fail_if: str | None = ...,
    on_progress: OnProgress = ...,
) -> EvaluateResult: ...
def compare(
    what: Sequence[str | int | PathLike[str]],
    *,
    data: Any | None = ...,
    count: int | None = ...,
    features: str = ...,
    metrics: str | Sequence[str] | None = ...,
    checkpoint: str | int = ...,
    html: bool = ...,
    out: str | Path | None = ...,
    fail_if: str | None = ...,
    on_progress: OnProgress = ...,
) -> CompareResult: ...
@overload
def rate(
    what: Sequence[str | int | PathLike[str]] = ...,
    *,
    data: Any | None = ...,
    count: int | None = ...,
    tasks: str | Sequence[str] | None = ...,
    exposure: int | None = ...,
    checkpoint: str | int = ...,
    seed: int | None = ...,
    out: str | Path | None = ...,
    serve: bool = ...,
    port: int | None = ...,
    analyse: Literal[False] = ...,
    html: bool = ...,
    on_progress: OnProgress = ...,
) -> StudyResult: ...
@overload
def rate(
    what: Sequence[str | int | PathLike[str]] = ...,
    *,
    data: Any | None = ...,
    count: int | None = ...,
    tasks: str | Sequence[str] | None = ...,
    exposure: int | None = ...,
    checkpoint: str | int = ...,
    seed: int | None = ...,
    out: str | Path | None = ...,
    serve: bool = ...,
    port: int | None = ...,
    analyse: Literal[True],
    html: bool = ...,
    on_progress: OnProgress = ...,
) -> AnalysisResult: ...
def list_runs(
    folder: str | Path = ...,
    *,
    where: str | Sequence[str] | None = ...,
    sort: str | None = ...,
    trash: bool = ...,
    on_progress: OnProgress = ...,
) -> RunsResult: ...
def prune(
    folder: str | Path = ...,
    *,
    trash: bool = ...,
    on_progress: OnProgress = ...,
) -> PruneResult: ...
def delete_runs(
    runs: Sequence[str | int | PathLike[str]],
    *,
    on_progress: OnProgress = ...,
) -> MoveResult: ...
def restore_runs(
    runs: Sequence[str | int | PathLike[str]],
    *,
    on_progress: OnProgress = ...,
) -> MoveResult: ...
def rename_run(
    run: str | int | PathLike[str],
    name: str,
    *,
    on_progress: OnProgress = ...,
) -> MoveResult: ...
def move_run(
    run: str | int | PathLike[str],
    folder: str | Path,
    *,
    on_progress: OnProgress = ...,
) -> MoveResult: ...
def note_run(
    run: str | int | PathLike[str],
    text: str | None = ...,
    *,
    on_progress: OnProgress = ...,
) -> NoteResult: ...
def cache(
    kind: Literal['data', 'downloads', 'judges', 'statistics', 'temporary', 'logs'] | None = ...,
    *,
    on_progress: OnProgress = ...,
) -> CacheResult: ...
def clear_cache(
    kind: Literal['data', 'downloads', 'judges', 'statistics', 'temporary', 'logs'] | None = ...,
    *,
    everything: bool = ...,
    on_progress: OnProgress = ...,
) -> ClearResult: ...
def report(
    run: str | int | PathLike[str],
    *,
    on_progress: OnProgress = ...,
) -> ReportResult: ...
def define(
    word: str | list[str] | None = ...,
    *,
    on_progress: OnProgress = ...,
) -> DefineResult: ...

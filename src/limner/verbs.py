"""The table of verbs: everything a person can ask of limner, each a request in and a result out.

The command line with its help, the functions of ``import limner``, ``--json`` and docs/reference.md are made from it. A verb is
added by its file and a row here; an installed package adds one under the entry point group ``limner.verbs``, a program by
``VERBS.register``. Importing this module loads neither torch nor numpy.
"""

from __future__ import annotations

from collections.abc import Mapping

from limner.core.table import Table
from limner.core.verb import Result, Verb
from limner.evaluation.compare import CompareRequest, CompareResult, compare
from limner.evaluation.evaluate import EvaluateRequest, EvaluateResult, evaluate
from limner.evaluation.human.rate import AnalysisResult, RateRequest, StudyResult, rate, serve_study
from limner.tasks.cache import CacheRequest, CacheResult, ClearRequest, ClearResult, cache, clear_cache
from limner.tasks.classify import ClassifyRequest, ClassifyResult, classify
from limner.tasks.data_sets import (
    CheckRequest,
    ListRequest,
    ListResult,
    PicturesResult,
    PrepareRequest,
    check,
    list_sets,
    prepare,
)
from limner.tasks.define import DefineRequest, DefineResult, define
from limner.tasks.doctor import DoctorRequest, DoctorResult, doctor
from limner.tasks.embed import EmbedRequest, EmbedResult, embed
from limner.tasks.interpolate import InterpolateRequest, InterpolateResult, interpolate
from limner.tasks.methods import MethodsRequest, MethodsResult, methods
from limner.tasks.reconstruct import ReconstructRequest, ReconstructResult, reconstruct
from limner.tasks.report import ReportRequest, ReportResult, report
from limner.tasks.runs import (
    DeleteRequest,
    MoveRequest,
    MoveResult,
    NoteRequest,
    NoteResult,
    PruneRequest,
    PruneResult,
    RenameRequest,
    RestoreRequest,
    RunsRequest,
    RunsResult,
    delete_runs,
    move_run,
    note_run,
    prune,
    rename_run,
    restore_runs,
    runs,
)
from limner.tasks.sample import SampleRequest, SampleResult, sample
from limner.tasks.traverse import TraverseRequest, TraverseResult, traverse
from limner.training.train import DryRunResult, ResumeRequest, TrainRequest, TrainResult, resume, train

GROUPS: Mapping[str, str] = {"data": "List, check and prepare sets of pictures."}
"""First words that are no verbs by themselves, and their help."""

VERBS: Table[Verb] = Table(
    "limner.verbs",
    Verb,
    {
        "doctor": Verb(DoctorRequest, DoctorResult, doctor),
        "data list": Verb(ListRequest, ListResult, list_sets, name_in_python="list_sets"),
        "data check": Verb(CheckRequest, PicturesResult, check, name_in_python="check"),
        "data prepare": Verb(PrepareRequest, PicturesResult, prepare, name_in_python="prepare"),
        "methods": Verb(MethodsRequest, MethodsResult, methods, name_in_python="list_methods"),
        "train": Verb(TrainRequest, TrainResult, train, flag_results={"dry_run": DryRunResult}),
        "resume": Verb(ResumeRequest, TrainResult, resume),
        "sample": Verb(SampleRequest, SampleResult, sample),
        "reconstruct": Verb(ReconstructRequest, ReconstructResult, reconstruct),
        "interpolate": Verb(InterpolateRequest, InterpolateResult, interpolate),
        "traverse": Verb(TraverseRequest, TraverseResult, traverse),
        "embed": Verb(EmbedRequest, EmbedResult, embed),
        "classify": Verb(ClassifyRequest, ClassifyResult, classify),
        "evaluate": Verb(EvaluateRequest, EvaluateResult, evaluate),
        "compare": Verb(CompareRequest, CompareResult, compare),
        "rate": Verb(RateRequest, StudyResult, rate, flag_results={"analyse": AnalysisResult}, after=serve_study),
        "runs": Verb(RunsRequest, RunsResult, runs, name_in_python="list_runs"),
        "runs prune": Verb(PruneRequest, PruneResult, prune, name_in_python="prune"),
        "runs delete": Verb(DeleteRequest, MoveResult, delete_runs, name_in_python="delete_runs"),
        "runs restore": Verb(RestoreRequest, MoveResult, restore_runs, name_in_python="restore_runs"),
        "runs rename": Verb(RenameRequest, MoveResult, rename_run, name_in_python="rename_run"),
        "runs move": Verb(MoveRequest, MoveResult, move_run, name_in_python="move_run"),
        "runs note": Verb(NoteRequest, NoteResult, note_run, name_in_python="note_run"),
        "cache": Verb(CacheRequest, CacheResult, cache),
        "cache clear": Verb(ClearRequest, ClearResult, clear_cache, name_in_python="clear_cache"),
        "report": Verb(ReportRequest, ReportResult, report),
        "define": Verb(DefineRequest, DefineResult, define),
    },
)


SYNONYMS: Mapping[str, str] = {
    "doctor": "info env environment system diagnose",
    "data list": "datasets sets",
    "data check": "check inspect verify",
    "data prepare": "prepare dataset import convert preprocess",
    "methods": "presets models architectures",
    "train": "fit learn finetune fine-tune",
    "resume": "continue restart",
    "sample": "generate draw make create synthesize synthesise samples imagine infer inference",
    "reconstruct": "decode project projection invert inversion autoencode",
    "interpolate": "morph blend slerp video animate walk",
    "traverse": "explore vary sweep",
    "embed": "encode latents features vectorize",
    "classify": "label predict tag recognise recognize",
    "evaluate": "eval score judge test validate fid metrics benchmark measure",
    "compare": "diff versus vs",
    "rate": "survey study vote human",
    "runs": "list ls status experiments",
    "runs prune": "clean cleanup prune",
    "report": "page html dashboard",
}
"""Verb -> words by which other programs call it, for the message about a verb that does not exist."""


def name_in_python(name: str) -> str:
    """The function in ``limner`` of the verb `name`: ``data prepare`` is ``limner.prepare``."""
    return VERBS[name].name_in_python or name.replace(" ", "_").replace("-", "_")


def verb_in_python(function: str) -> Verb | None:
    """The verb whose function in ``limner`` is called `function`; None where there is none."""
    return next((verb for name, verb in VERBS.items() if name_in_python(name) == function), None)


def result_in_python(name: str) -> type[Result] | None:
    """The type of results that is called `name`, such as `SampleResult`; None where there is none."""
    return next((result for verb in VERBS.values() for result in verb.results if result.__name__ == name), None)

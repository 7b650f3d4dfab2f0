"""Verb: studies in which people judge pictures: made, shown, analysed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from limner.core.errors import InputError
from limner.core.fields import CHECKPOINT_HELP, CheckpointName, Cli, Names, OutputFolder, RunOrFiles, Seed, Source
from limner.core.invocation import option
from limner.core.progress import OnProgress
from limner.core.verb import Request, Result
from limner.evaluation.human.study_types import (
    AnalysisRules,
    ComparisonRow,
    DetectionRow,
    JudgementCount,
    PartRow,
    PeopleCount,
    PreferenceRow,
    RealPicturesRow,
)


class RateRequest(Request):
    """Let people judge: real or generated, and which of two.

    'limner rate RUN…' makes a page that opens without a network; --serve shows it on this machine. 'limner rate STUDY
    --analyse' says what follows from the answers.
    """

    what: Annotated[list[RunOrFiles], Cli("RUN…|STUDY|FILE…", is_argument=True)] = Field(
        default_factory=list, description="Runs, folders or files of pictures, such as .npz; or the folder of a study."
    )
    data: Annotated[Source | None, Cli("SRC")] = Field(None, description="Real pictures to show; default: the run's own data.")
    count: int | None = Field(None, description="Pictures of each run that one person judges in one part; default 15.")
    tasks: Names | None = Field(None, description="Parts of the study, of timed, untimed and pairs; default: all.")
    exposure: Annotated[int | None, Cli("MS")] = Field(
        None, description="Milliseconds for which a timed picture is shown; default 500."
    )
    checkpoint: Annotated[CheckpointName, Cli("last|best|N")] = Field("last", description=CHECKPOINT_HELP)
    seed: Seed | None = Field(None, description="Seed that decides which pictures are shown, and in which order.")
    out: Annotated[OutputFolder | None, Cli("DIR")] = Field(
        None, description="Folder of the new study; default: one in studies."
    )
    serve: bool = Field(False, description="Show the page on this machine and keep the answers, until Ctrl-C.")
    port: int | None = Field(None, description="With --serve: the port on 127.0.0.1; default 8420, 0 is any free one.")
    analyse: bool = Field(False, description="Analyse the answers of a study.")
    html: bool = Field(False, description="With --analyse: also write a page into the folder of the study.")

    @model_validator(mode="after")
    def _check_purpose(self) -> RateRequest:
        if self.analyse and (self.serve or self.out is not None):
            raise InputError(f"{option('analyse')} reads answers; leave {option('serve')} and {option('out')} out")
        if self.html and not self.analyse:
            raise InputError(f"{option('html')} makes a page of a study's answers; give it with {option('analyse')}")
        return self


class StudyResult(Result):
    """A study, ready for people."""

    study: str
    page: str
    """For people."""
    key: str
    """Not for people: it says which picture is which."""
    answers: str
    """The folder where answers go."""
    runs: list[str]
    reals: RealPicturesRow
    warnings: list[str]
    pictures: int
    minutes: int
    """That one person needs."""
    table: list[PartRow]
    """A row for each part."""
    megabytes: float | None = None
    """Size of the page, where it was just made."""
    url: str | None = None
    """Where the page is shown on this machine; None where it is not."""
    _server: Any = PrivateAttr(None)


class AnalysisResult(Result):
    """What follows from the answers: how well people tell pictures from real ones, and which they prefer."""

    model_config = ConfigDict(frozen=True, extra="allow")

    people: PeopleCount
    judgements: JudgementCount
    rules: AnalysisRules
    runs: list[dict[str, Any]]
    """What is compared: `name`, `path`, and of runs `checkpoint` and `digest`."""
    reals: RealPicturesRow
    table: list[DetectionRow | PreferenceRow]
    comparisons: list[ComparisonRow]
    study: str
    files: list[str]
    report: str
    page: str | None


def rate(request: RateRequest, on_progress: OnProgress) -> StudyResult | AnalysisResult:
    """Makes a study, opens one to show it, or analyses the answers to one. Errors: `InputError`."""
    if request.analyse:
        from limner.evaluation.human.analysis import analyse_answers

        return AnalysisResult(**analyse_answers(request.what, html=request.html))
    from limner.evaluation.human.plan import StudySettings, describe_study, plan_study
    from limner.evaluation.human.records import KEY_FILE, read_key

    is_study = len(request.what) == 1 and (Path(request.what[0]).expanduser() / KEY_FILE).is_file()
    if is_study:
        if not request.serve:
            raise InputError(
                f"{request.what[0]} is a study; show it with {option('serve')}, or say what came out with {option('analyse')}"
            )
        folder = Path(request.what[0]).expanduser()
        answer = describe_study(folder, read_key(folder))
    else:
        choices = {"count": request.count, "exposure": request.exposure, "seed": request.seed}
        settings = StudySettings(
            tasks=request.tasks,
            checkpoint=request.checkpoint,
            **{name: value for name, value in choices.items() if value is not None},
        )
        answer = plan_study(request.what, settings, data=request.data, out=request.out, on_progress=on_progress)
    if not request.serve:
        return answer
    from limner.evaluation.human.server import PORT, StudyServer

    server = StudyServer(Path(answer.study), PORT if request.port is None else request.port)
    result = answer.model_copy(update={"url": server.url})
    result._server = server
    return result


def serve_study(result: StudyResult | AnalysisResult) -> None:
    """Serves the study until Ctrl-C, if the request said so."""
    server = result._server if isinstance(result, StudyResult) else None
    if server is None:
        return
    try:
        server.serve_forever()
    except KeyboardInterrupt:  # the usual end
        print(f"stopped; {server.judgement_count} judgements added to {server.file}", file=sys.stderr, flush=True)
    finally:
        server.server_close()

"""Verb: a run's report, made anew."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from limner.core.fields import Cli, RunPath
from limner.core.progress import OnProgress
from limner.core.verb import Request, Result


class ReportRequest(Request):
    """Make a run's report.html anew."""

    run: Annotated[RunPath, Cli("RUN", is_argument=True)] = Field(description="The folder of a run.")


class ReportResult(Result):
    """`report` is the page, which opens without a network."""

    report: str


def report(request: ReportRequest, on_progress: OnProgress) -> ReportResult:
    """Writes ``RUN/report.html``. Errors: `InputError` where there is no such run."""
    from limner.runs.report import write_report

    return ReportResult(report=str(write_report(request.run)))

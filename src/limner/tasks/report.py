"""Verb: write the report of a run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from limner.core.fields import RUN_HELP, Cli, RunPath
from limner.core.progress import OnProgress
from limner.core.verb import Request, Result


class ReportRequest(Request):
    """Write the page report.html of a run again."""

    run: Annotated[RunPath, Cli("RUN", is_argument=True)] = Field(description=RUN_HELP)


class ReportResult(Result):
    """`report` is the path of the page, which needs no network to be read."""

    report: str


def report(request: ReportRequest, on_progress: OnProgress) -> ReportResult:
    """Writes ``RUN/report.html``. Errors: `InputError` where there is no such run."""
    from limner.runs.report import write_report

    return ReportResult(report=str(write_report(request.run)))

"""The verb `rate`: makes, serves and analyses a study in which people judge pictures."""

from __future__ import annotations

import sys
from pathlib import Path

from limner.cli.door import DONE, verb
from limner.cli.options import (
    Analyse,
    AnalysisHtml,
    Checkpoint,
    Exposure,
    Json,
    Port,
    Rated,
    RatedCount,
    RatedSeed,
    Reals,
    Serve,
    StudyOut,
    Tasks,
)
from limner.cli.parse import given, split_list
from limner.cli.show.study import show_judgements, show_study
from limner.core.errors import InputError


# Many parameters: each is one option of the command, and typer reads them from here.
def rate(
    words: Rated = None,
    data: Reals = None,
    count: RatedCount = None,
    tasks: Tasks = None,
    exposure: Exposure = None,
    checkpoint: Checkpoint = "last",
    seed: RatedSeed = None,
    out: StudyOut = None,
    serve: Serve = False,
    port: Port = None,
    analyse: Analyse = False,
    html: AnalysisHtml = False,
    as_json: Json = False,
) -> int:
    """Let people judge: real or generated, and which of two.

    'limner rate RUN…' makes a page that opens without a network; --serve shows it on this machine. 'limner rate STUDY
    --analyse' says what follows from the answers.
    """
    server = None
    with verb(as_json) as reply:
        places = list(words or [])
        if analyse:
            if serve or out is not None:
                raise InputError("--analyse reads answers; leave --serve and --out out")
            from limner.evaluation.human import analysis

            reply(analysis.analyse(places, html=html), show_judgements)
            return DONE
        if html:
            raise InputError("--html makes a page of a study's answers; give it with --analyse")
        from limner.cli.progress import counter
        from limner.evaluation.human import plan, records
        from limner.evaluation.human.server import PORT, StudyServer

        is_study = len(places) == 1 and (Path(places[0]).expanduser() / records.KEY).is_file()
        if is_study:
            if not serve:
                raise InputError(f"{places[0]} is a study; show it with --serve, or say what came out with --analyse")
            folder = Path(places[0]).expanduser()
            answer = plan.told(folder, records.read_key(folder))
        else:
            options = given(count=count, exposure=exposure, seed=seed)
            with counter("drawing") as progress:
                answer = plan.plan(
                    places, data=data, tasks=split_list(tasks), checkpoint=checkpoint, out=out, progress=progress, **options
                )
        if serve:
            server = StudyServer(Path(answer["study"]), PORT if port is None else port)
            answer["url"] = server.url
        reply(answer, show_study)
    if server is not None:
        try:
            server.serve_forever()
        except KeyboardInterrupt:  # how one ends it
            print(f"stopped; {server.added} judgements added to {server.file}", file=sys.stderr, flush=True)
        finally:
            server.server_close()
    return DONE

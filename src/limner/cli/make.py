"""The verbs that make something: `train`, `resume`, `sample`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from limner.cli.door import INTERRUPTED, to_jsonable, verb
from limner.cli.options import (
    Checkpoint,
    DryRun,
    Grid,
    Images,
    Json,
    Label,
    Minutes,
    Name,
    NoMetadata,
    Npz,
    PicturesOut,
    Preset,
    Run,
    RunsOut,
    Seed,
    SeedCount,
    Seeds,
    Settings,
    Source,
    Temperature,
    TopK,
    TopP,
    Truncation,
)
from limner.cli.parse import check_settings, choose_seeds
from limner.cli.show.tasks import show_samples
from limner.cli.show.training import show_outcome, show_plan

if TYPE_CHECKING:
    from limner.training.train import Outcome


# Many parameters: each is one option of the command, and typer reads them from here.
def train(
    source: Source,
    settings: Settings = None,
    preset: Preset = "auto",
    out: RunsOut = Path("runs"),
    images: Images = None,
    minutes: Minutes = None,
    seed: Seed = None,
    name: Name = None,
    is_dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Train a generator on a set of pictures."""
    with verb(as_json) as reply:
        options: dict[str, Any] = {
            "preset": preset,
            "out": out,
            "images": images,
            "minutes": minutes,
            "seed": seed,
            "name": name,
            "settings": check_settings(settings),
        }
        from limner.cli.progress import progress_on_stderr
        from limner.training import dry_run, train

        if is_dry_run:
            reply(dry_run.dry_run(source, **options), show_plan)
            return
        with progress_on_stderr() as progress:
            outcome = train.train(source, progress=progress, **options)
        reply(_answer(outcome), show_outcome)
    _leave(outcome)


def resume(
    run: Run,
    settings: Settings = None,
    images: Images = None,
    minutes: Minutes = None,
    as_json: Json = False,
) -> None:
    """Go on with a run exactly where it stopped.

    With --images or --minutes it goes on for longer: the number is the new total.
    """
    with verb(as_json, run=run) as reply:
        words = check_settings(settings)
        from limner.cli.progress import progress_on_stderr
        from limner.training import train

        with progress_on_stderr() as progress:
            outcome = train.resume(run, images=images, minutes=minutes, settings=words, progress=progress)
        reply(_answer(outcome), show_outcome)
    _leave(outcome)


def _answer(outcome: Outcome) -> dict[str, Any]:
    answer: dict[str, Any] = to_jsonable(outcome)
    return answer


def _leave(outcome: Outcome) -> None:
    if outcome.state == "stopped":
        raise typer.Exit(INTERRUPTED)


# Many parameters: each is one option of the command, and typer reads them from here.
def sample(
    run: Run,
    seeds: Seeds = None,
    count: SeedCount = None,
    label: Label = None,
    truncation: Truncation = 1.0,
    temperature: Temperature = 1.0,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    checkpoint: Checkpoint = "last",
    grid: Grid = False,
    npz: Npz = None,
    out: PicturesOut = None,
    no_metadata: NoMetadata = False,
    as_json: Json = False,
) -> None:
    """Draw new pictures."""
    with verb(as_json, run=run) as reply:
        chosen = choose_seeds(seeds, count)
        from limner.tasks import sample

        answer = sample.sample(
            run,
            seeds=chosen,
            label=label,
            truncation=truncation,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            checkpoint=checkpoint,
            grid=grid,
            npz=npz,
            out=out,
            metadata=not no_metadata,
        )
        reply(answer, show_samples)

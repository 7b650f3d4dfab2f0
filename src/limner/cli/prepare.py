"""`limner data …`: what sets there are, what a source holds, and the packed set made from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from limner.cli.door import verb
from limner.cli.options import Background, Binary, Channels, DataOut, DataSeed, Fit, Json, Labels, Limit, Size, Source, Split
from limner.cli.parse import given
from limner.cli.show.data import show_pictures, show_sets

if TYPE_CHECKING:
    from limner.core.progress import OnProgress

app = typer.Typer(help="List, check and prepare sets of pictures.", no_args_is_help=False)


@app.command("list")
def list_sets(as_json: Json = False) -> None:
    """The sets known by name, and whether each is at hand."""
    with verb(as_json) as reply:
        from limner.data.catalog import known_sets

        reply({"sets": known_sets()}, show_sets)


def _following(count: Callable[..., None]) -> OnProgress:
    """Shows how many pictures were read, and every note; a download before that is a stage of its own."""
    from limner.data.prepare import READING

    return lambda event: count(event.done, event.total, None if event.what == READING else event.what, event.note)


# Many parameters: typer makes an option of the command line of each.
@app.command("check")
def check(
    source: Source,
    size: Size = None,
    fit: Fit = None,
    channels: Channels = None,
    background: Background = None,
    split: Split = None,
    limit: Limit = None,
    labels: Labels = None,
    seed: DataSeed = None,
    binary: Binary = False,
    as_json: Json = False,
) -> None:
    """Look through a source without writing anything.

    Says what can be read, what cannot and why, which classes there are, and what is there twice.
    """
    options = given(
        size=size,
        fit=fit,
        channels=channels,
        background=background,
        split=split,
        limit=limit,
        labels=labels,
        seed=seed,
        binary=binary or None,
    )
    with verb(as_json) as reply:
        from limner import data
        from limner.cli.progress import counter

        chosen = data.DataOptions.of(options)
        with counter("checking") as count:
            found = data.check_source(source, chosen, tell=_following(count))
        reply(found.summary(), show_pictures)


# Many parameters: typer makes an option of the command line of each.
@app.command("prepare")
def prepare(
    source: Source,
    size: Size = None,
    fit: Fit = None,
    channels: Channels = None,
    background: Background = None,
    split: Split = None,
    limit: Limit = None,
    labels: Labels = None,
    seed: DataSeed = None,
    binary: Binary = False,
    out: DataOut = None,
    as_json: Json = False,
) -> None:
    """Pack a source into equal-sized images, ready for training."""
    options = given(
        size=size,
        fit=fit,
        channels=channels,
        background=background,
        split=split,
        limit=limit,
        labels=labels,
        seed=seed,
        binary=binary or None,
    )
    with verb(as_json) as reply:
        from limner import data
        from limner.cli.progress import counter

        chosen = data.DataOptions.of(options)
        with counter("preparing") as count:
            dataset = data.prepare_source(source, chosen, out=out, tell=_following(count))
        reply(data.summary(dataset), show_pictures)

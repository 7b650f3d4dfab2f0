"""`limner data …`: what sets there are, what a source holds, and the packed set made from it."""

from __future__ import annotations

import typer

from limner.cli.door import verb
from limner.cli.options import Background, Binary, Channels, DataOut, DataSeed, Fit, Json, Labels, Limit, Size, Source, Split
from limner.cli.parse import given
from limner.cli.show.data import show_pictures, show_sets

app = typer.Typer(help="List, check and prepare sets of pictures.", no_args_is_help=False)


@app.command("list")
def list_sets(as_json: Json = False) -> None:
    """The sets known by name, and whether each is at hand."""
    with verb(as_json) as reply:
        from limner.data.catalog import known_sets

        reply({"sets": known_sets()}, show_sets)


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
    with verb(as_json) as reply:
        from limner import data
        from limner.cli.progress import counter

        chosen = given(
            size=data.parse_size(size) if size is not None else None,
            fit=fit, channels=channels, background=background, split=split, limit=limit, labels=labels, seed=seed,
            binary=binary or None,
        )  # fmt: skip
        with counter("checking") as progress:
            found = data.check(source, progress=progress, **chosen)
        reply(found.summary(), show_pictures)


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
    with verb(as_json) as reply:
        from limner import data
        from limner.cli.progress import counter

        chosen = given(
            size=data.parse_size(size) if size is not None else None,
            fit=fit, channels=channels, background=background, split=split, limit=limit, labels=labels, seed=seed,
            binary=binary or None,
        )  # fmt: skip
        with counter("preparing") as progress:
            dataset = data.prepare(source, out=out, progress=progress, **chosen)
        reply(data.summary(dataset), show_pictures)

"""The verbs that work in a model's latents: `reconstruct`, `interpolate`."""

from __future__ import annotations

from limner.cli import show
from limner.cli.door import verb
from limner.cli.options import (
    Checkpoint,
    Encoder,
    Ends,
    EndSeeds,
    Given,
    Grey,
    Json,
    KnownLabel,
    PathSteps,
    PicturesOut,
    Run,
    SearchSteps,
    Starts,
)
from limner.cli.parse import parse_seeds


def reconstruct(
    run: Run,
    images: Given,
    starts: Starts = 8,
    steps: SearchSteps = 300,
    encoder: Encoder = False,
    label: KnownLabel = None,
    grey: Grey = False,
    checkpoint: Checkpoint = "last",
    out: PicturesOut = None,
    as_json: Json = False,
) -> None:
    """Pass pictures through a model and back.

    By its encoder where it has one; otherwise the latents are looked for, picture by picture.
    """
    with verb(as_json, run=run) as reply:
        from limner.cli.progress import counter
        from limner.tasks.reconstruct import reconstruct as redraw

        with counter("searching") as progress:
            answer = redraw(
                run, images, starts=starts, steps=steps, encoder=encoder, label=label, grey=grey, checkpoint=checkpoint,
                out=out, progress=progress,
            )  # fmt: skip
        reply(answer, show.reconstructions)


def interpolate(
    run: Run,
    images: Ends = None,
    seeds: EndSeeds = None,
    steps: PathSteps = 8,
    label: KnownLabel = None,
    grey: Grey = False,
    checkpoint: Checkpoint = "last",
    out: PicturesOut = None,
    as_json: Json = False,
) -> None:
    """Draw the way from one picture to the next.

    Between pictures drawn by their --seeds, or between your own.
    """
    with verb(as_json, run=run) as reply:
        ends = [] if seeds is None else parse_seeds(seeds)
        from limner.cli.progress import counter
        from limner.tasks.interpolate import interpolate as draw

        with counter("searching") as progress:
            answer = draw(
                run, images or [], seeds=ends, steps=steps, label=label, grey=grey, checkpoint=checkpoint, out=out,
                progress=progress,
            )  # fmt: skip
        reply(answer, show.interpolation)

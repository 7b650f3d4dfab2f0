"""The verbs that work in a model's latents: `reconstruct`, `interpolate`, `traverse`, `embed`, `classify`."""

from __future__ import annotations

from limner.cli.door import verb
from limner.cli.options import (
    ArrayOut,
    Checkpoint,
    Embedded,
    Encoder,
    Ends,
    EndSeeds,
    Given,
    Json,
    KnownLabel,
    Labelled,
    OneSplit,
    PathSteps,
    PicturesOut,
    Run,
    SearchSteps,
    Sorted,
    Span,
    Start,
    Starts,
    StartSeed,
    TurnedLatents,
    TurnSteps,
)
from limner.cli.parse import parse_seeds
from limner.cli.show.tasks import show_classification, show_embedding, show_interpolation, show_reconstructions, show_traversal


# Many parameters: each is one option of the command, and typer reads them from here.
def reconstruct(
    run: Run,
    images: Given,
    starts: Starts = 8,
    steps: SearchSteps = 300,
    encoder: Encoder = False,
    label: KnownLabel = None,
    checkpoint: Checkpoint = "last",
    out: PicturesOut = None,
    as_json: Json = False,
) -> None:
    """Pass pictures through a model and back.

    By its encoder where it has one; otherwise the latents are looked for, picture by picture.
    """
    with verb(as_json, run=run) as reply:
        from limner.cli.progress import counter
        from limner.tasks import reconstruct

        with counter("searching") as progress:
            answer = reconstruct.reconstruct(
                run,
                images,
                starts=starts,
                steps=steps,
                encoder=encoder,
                label=label,
                checkpoint=checkpoint,
                out=out,
                progress=progress,
            )
        reply(answer, show_reconstructions)


# Many parameters: each is one option of the command, and typer reads them from here.
def interpolate(
    run: Run,
    images: Ends = None,
    seeds: EndSeeds = None,
    steps: PathSteps = 8,
    label: KnownLabel = None,
    checkpoint: Checkpoint = "last",
    out: PicturesOut = None,
    as_json: Json = False,
) -> None:
    """Draw the way from one picture to the next.

    Between pictures drawn by their --seeds, or between your own.
    """
    with verb(as_json, run=run) as reply:
        end_seeds = [] if seeds is None else parse_seeds(seeds)
        from limner.cli.progress import counter
        from limner.tasks import interpolate

        with counter("searching") as progress:
            answer = interpolate.interpolate(
                run,
                images or [],
                seeds=end_seeds,
                steps=steps,
                label=label,
                checkpoint=checkpoint,
                out=out,
                progress=progress,
            )
        reply(answer, show_interpolation)


# Many parameters: each is one option of the command, and typer reads them from here.
def traverse(
    run: Run,
    image: Start = None,
    latents: TurnedLatents = None,
    steps: TurnSteps = 7,
    span: Span = 3.0,
    seed: StartSeed = 0,
    label: KnownLabel = None,
    checkpoint: Checkpoint = "last",
    out: PicturesOut = None,
    as_json: Json = False,
) -> None:
    """Turn one latent at a time.

    A sheet with a row for every latent: what changes in the picture when it alone changes.
    """
    with verb(as_json, run=run) as reply:
        chosen = None if latents is None else parse_seeds(latents, "--latents", "latent")
        from limner.cli.progress import counter
        from limner.tasks import traverse

        with counter("searching") as progress:
            answer = traverse.traverse(
                run,
                image,
                latents=chosen,
                steps=steps,
                span=span,
                seed=seed,
                label=label,
                checkpoint=checkpoint,
                out=out,
                progress=progress,
            )
        reply(answer, show_traversal)


def embed(
    run: Run,
    sources: Embedded = None,
    split: OneSplit = None,
    checkpoint: Checkpoint = "last",
    out: ArrayOut = None,
    as_json: Json = False,
) -> None:
    """Write the latents of pictures into an array file.

    Of a data set, with its labels, or of picture files.
    """
    with verb(as_json, run=run) as reply:
        from limner.cli.progress import counter
        from limner.tasks import embed

        with counter("encoding") as progress:
            answer = embed.embed(run, sources or [], split=split, checkpoint=checkpoint, out=out, progress=progress)
        reply(answer, show_embedding)


def classify(
    run: Run,
    images: Sorted = None,
    data: Labelled = None,
    checkpoint: Checkpoint = "last",
    as_json: Json = False,
) -> None:
    """Label pictures by what a model's latents say.

    Learns from the labelled pictures of the run's data, and says first how often it is right.
    """
    with verb(as_json, run=run) as reply:
        from limner.cli.progress import counter
        from limner.tasks import classify

        with counter("encoding") as progress:
            answer = classify.classify(run, images or [], data=data, checkpoint=checkpoint, progress=progress)
        reply(answer, show_classification)

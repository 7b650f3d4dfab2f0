"""Prints the results of verbs on a model: reconstructions, paths, embeddings, classes."""

from __future__ import annotations

from limner.cli.show.evaluation import MOST_ROWS
from limner.cli.show.tables import Answer, lines, short, span, table


def show_reconstructions(answer: Answer) -> None:
    values, alike = sorted(answer["psnr"]), answer["ssim"]
    rows = zip(answer["images"], answer["classes"] or [None] * len(values), answer["psnr"], alike, strict=True)
    for name, known, value, index in list(rows)[:MOST_ROWS]:
        print(f"{value:6.2f} dB  {index:.3f}  {name}" + (f"  (drawn as {known})" if known else ""))
    if len(values) > MOST_ROWS:
        print(f"… and {len(values) - MOST_ROWS} more (all of them with --json)")
    lines(
        [
            ("by", {"encoder": "the encoder", "inversion": "looking for the latents"}[answer["method"]]),
            ("psnr", f"{sum(values) / len(values):.2f} dB on average, {values[0]:.2f} at worst"),
            ("ssim", f"{sum(alike) / len(alike):.3f} on average, {min(alike):.3f} at worst"),
            ("prepared", _prepared(answer)),
            ("sheet", answer["sheet"]),
            ("time", span(answer["seconds"])),
        ]
    )


def show_interpolation(answer: Answer) -> None:
    from pathlib import Path

    lines(
        [
            ("pictures", f"{len(answer['files']):,} in {Path(answer['files'][0]).parent}"),
            ("path", answer["path"]),
            ("prepared", _prepared(answer)),
            ("sheet", answer["sheet"]),
            ("time", span(answer["seconds"])),
        ]
    )


def show_traversal(answer: Answer) -> None:
    ends = f"{answer['deviations'][0]:g} to {answer['deviations'][-1]:g} standard deviations"
    lines(
        [
            ("latents", ", ".join(map(str, answer["latents"]))),
            ("values", f"{ends} about each latent's mean, in {len(answer['deviations'])} pictures"),
            ("start", answer["image"] or f"seed {answer['seed']}"),
            ("prepared", _prepared(answer)),
            ("sheet", answer["sheet"]),
            ("time", span(answer["seconds"])),
        ]
    )


def show_embedding(answer: Answer) -> None:
    lines(
        [
            ("file", answer["file"]),
            ("pictures", answer["count"]),
            ("latents", f"{short(answer['shape'])}, {answer['kind']}"),
            ("labels", answer["labels"]),
            ("prepared", _prepared(answer)),
            ("time", span(answer["seconds"])),
        ]
    )


READERS = {
    "probe": "linear probe on latents", "knn": "nearest neighbours on latents",
    "pixels_probe": "linear probe on raw pixels", "pixels_knn": "nearest neighbours on raw pixels",
}  # fmt: skip


def show_classification(answer: Answer) -> None:
    for row in answer["labels"][:MOST_ROWS]:
        print(f"{row['label']}  {row['probability']:.0%}  {row['file']}")
    if len(answer["labels"]) > MOST_ROWS:
        print(f"… and {len(answer['labels']) - MOST_ROWS} more (all of them with --json)")
    shares = {name: [f"{one[end]:.2%}" for end in ("value", "low", "high")] for name, one in answer["accuracy"].items()}
    table(["read by", "right", "95 % interval"], [[READERS[name], a, f"{b} to {c}"] for name, (a, b, c) in shares.items()])
    counts, splits = answer["counts"], answer["splits"]
    print(f"{counts['train']:,} pictures to learn from, {counts['test']:,} to test on ({answer['data']}, {splits['test']})")
    lines([("prepared", _prepared(answer)), ("time", span(answer["seconds"]))])


def _prepared(answer: Answer) -> str | None:
    """One line about pictures that were brought to the size and mode of the run's data."""
    done = list(answer["prepared"].items())
    if not done:
        return None
    more = f", and {len(done) - 1} more" if len(done) > 1 else ""
    return f"as the run's data was: {done[0][0]} {done[0][1]}{more}"

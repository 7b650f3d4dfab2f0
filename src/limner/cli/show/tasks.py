"""Prints the results of verbs on a model: samples, reconstructions, paths, embeddings, classes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from limner.cli.show.tables import MAX_ROWS, Answer, format_duration, format_value, print_pairs, print_rest, print_table

READOUT_NAMES = {
    "probe": "linear probe on latents",
    "knn": "nearest neighbours on latents",
    "pixels_probe": "linear probe on raw pixels",
    "pixels_knn": "nearest neighbours on raw pixels",
}
"""The procedures by which `classify` predicts classes, in words."""
MAX_CLASSES = 10
"""The largest number of classes whose pictures are counted in a line."""


def show_samples(answer: Answer) -> None:
    """Prints the result of `sample`."""
    files = answer.get("files") or []
    print_pairs(
        [
            ("pictures", _files_in(files) if files else None),
            ("grid", str(answer["grid"]) if answer.get("grid") else None),
            ("npz", str(answer["npz"]) if answer.get("npz") else None),
            ("classes", _class_counts(answer.get("labels") or [])),
            ("settings", answer.get("sampling")),
            ("speed", f"{answer['images_per_second']:,.0f} images/s{_passes(answer)}"),
            *_checkpoint_lines(answer),
        ]
    )


def _class_counts(labels: list[str | None]) -> str | None:
    """How many pictures there are of each class, the most frequent first; None where there are none.

    >>> _class_counts(["dog", "cat", None, "cat"])
    'cat (2), dog (1)'
    """
    counts = Counter(label for label in labels if label is not None).most_common()
    more = f" and {len(counts) - MAX_CLASSES} more classes" if len(counts) > MAX_CLASSES else ""
    return ", ".join(f"{label} ({count})" for label, count in counts[:MAX_CLASSES]) + more if counts else None


def _passes(answer: Answer) -> str:
    """What a picture cost, where it takes several passes of a network."""
    passes = answer.get("network_passes")
    return "" if passes is None else f", {passes:g} network passes each"


def show_reconstructions(answer: Answer) -> None:
    """Prints the result of `reconstruct`."""
    psnr, ssim = answer["psnr"], answer["ssim"]
    classes = answer["classes"] or [None] * len(psnr)
    for name, label, decibels, index in list(zip(answer["images"], classes, psnr, ssim, strict=True))[:MAX_ROWS]:
        print(f"{decibels:6.2f} dB  {index:.3f}  {name}" + (f"  (drawn as {label})" if label else ""))
    print_rest(len(psnr))
    print_pairs(
        [
            ("by", {"encoder": "the encoder", "inversion": "a search for the latents"}[answer["method"]]),
            ("psnr", f"{sum(psnr) / len(psnr):.2f} dB on average, {min(psnr):.2f} at worst"),
            ("ssim", f"{sum(ssim) / len(ssim):.3f} on average, {min(ssim):.3f} at worst"),
            *_closing_lines(answer),
        ]
    )


def show_interpolation(answer: Answer) -> None:
    """Prints the result of `interpolate`."""
    print_pairs([("pictures", _files_in(answer["files"])), ("path", answer["path"]), *_closing_lines(answer)])


def show_traversal(answer: Answer) -> None:
    """Prints the result of `traverse`."""
    deviations = answer["deviations"]
    ends = f"{deviations[0]:g} to {deviations[-1]:g} standard deviations"
    print_pairs(
        [
            ("latents", ", ".join(map(str, answer["latents"]))),
            ("values", f"{ends} about each latent's mean, in {len(deviations)} pictures"),
            ("start", answer["image"] or f"seed {answer['seed']}"),
            *_closing_lines(answer),
        ]
    )


def show_embedding(answer: Answer) -> None:
    """Prints the result of `embed`."""
    print_pairs(
        [
            ("file", answer["file"]),
            ("pictures", answer["count"]),
            ("latents", f"{format_value(answer['shape'])}, {answer['kind']}"),
            ("labels", answer["labels"]),
            *_closing_lines(answer),
        ]
    )


def show_classification(answer: Answer) -> None:
    """Prints the result of `classify`."""
    for row in answer["labels"][:MAX_ROWS]:
        print(f"{row['label']}  {row['probability']:.0%}  {row['file']}")
    print_rest(len(answer["labels"]))
    rows = []
    for readout, share in answer["accuracy"].items():
        value, low, high = (f"{share[key]:.2%}" for key in ("value", "low", "high"))
        rows.append([READOUT_NAMES[readout], value, f"{low} to {high}"])
    print_table(["method", "accuracy", "95 % interval"], rows)
    counts, splits = answer["counts"], answer["splits"]
    print(f"{counts['train']:,} pictures to learn from, {counts['test']:,} to test on ({answer['data']}, {splits['test']})")
    print_pairs(_closing_lines(answer))


def _files_in(files: list[str]) -> str:
    """``16 in runs/0001/samples``."""
    return f"{len(files):,} in {Path(files[0]).parent}"


def _closing_lines(answer: Answer) -> list[tuple[str, str | None]]:
    """The last lines of all these verbs: how pictures were changed to fit, the sheet, the time, and the checkpoint."""
    return [
        ("prepared", _preparation(answer)),
        ("sheet", answer.get("sheet")),
        ("time", format_duration(answer["seconds"])),
        *_checkpoint_lines(answer),
    ]


def _checkpoint_lines(answer: Answer) -> list[tuple[str, str | None]]:
    """Which checkpoint was used, and whether another one is clearly better."""
    return [("checkpoint", line) for line in answer.get("checkpoint_notes", ())]


def _preparation(answer: Answer) -> str | None:
    """A line about pictures that were changed to the size and mode of the run's data; None where there are none."""
    changes = list(answer["prepared"].items())
    if not changes:
        return None
    picture, change = changes[0]
    more = f", and {len(changes) - 1} more" if len(changes) > 1 else ""
    return f"as the run's data was: {picture} {change}{more}"

"""Prints the list of data sets, and the content of a source of pictures."""

from __future__ import annotations

from limner.cli.show.tables import Answer, format_duration, print_pairs, print_table

MAX_CLASSES = 12
"""Classes that are printed with their counts."""
MAX_REJECTED = 10
"""Pictures that are printed with the reason why they cannot be used."""
CHANNEL_WORDS = {1: "grey", 3: "colour", 4: "colour with transparency"}


def show_sets(answer: Answer) -> None:
    """Prints the result of `data list`."""
    rows = [[one["name"], one["line"], one["where"] or "to download"] for one in answer["sets"]]
    print_table(["name", "what it is", "where"], rows)


def show_pictures(answer: Answer) -> None:
    """Prints the result of `data check` and of `data prepare`."""
    rejected = answer.get("rejected") or []
    duplicates = answer.get("duplicates") or {}
    print_pairs(
        [
            ("images", answer.get("images")),
            ("shape", answer.get("shape")),
            ("splits", answer.get("splits")),
            ("classes", _class_counts(answer)),
            ("captions", answer.get("captions") or None),
            ("given pictures", _given_shape(answer)),
            ("duplicates", {name: count for name, count in duplicates.items() if count}),
            ("set aside", len(rejected) or None),
            ("other files", answer.get("other_files") or None),
            ("original sizes", _original_sizes(answer)),
            ("fingerprint", answer.get("fingerprint")),
            ("path", str(answer["path"]) if answer.get("path") else None),
            ("time", format_duration(answer.get("seconds"))),
        ]
    )
    for reject in rejected[:MAX_REJECTED]:
        print(f"  {reject['file']}: {reject['reason']}")
    if len(rejected) > MAX_REJECTED:
        print(f"  … and {len(rejected) - MAX_REJECTED} more (all of them with --json)")
    notes = answer.get("notes") or []
    for note in notes:
        print(f"note: {note}")
    if any("data." in note for note in notes):
        print("      (data.NAME=VALUE is a setting of train; data check and data prepare have it as --NAME VALUE)")


def _class_counts(answer: Answer) -> str:
    """``cats 120, dogs 98``, of the first twelve classes."""
    classes = answer.get("classes") or {}
    counts = ", ".join(f"{name} {count:,}" for name, count in list(classes.items())[:MAX_CLASSES])
    return counts + (f" and {len(classes) - MAX_CLASSES} more" if len(classes) > MAX_CLASSES else "")


def _given_shape(answer: Answer) -> str | None:
    """``one with each picture, 64x64, grey``: the given pictures, where there are any."""
    if not answer.get("given_shape"):
        return None
    height, width, channels = answer["given_shape"]
    return f"one with each picture, {height}x{width}, {CHANNEL_WORDS[channels]}"


def _original_sizes(answer: Answer) -> str | None:
    """``32 high, 24 to 640 wide``: the pictures of the source before they were resized, where that is known."""
    if "heights" not in answer:
        return None
    texts = []
    for side, word in (("heights", "high"), ("widths", "wide")):
        smallest, largest = answer[side]["min"], answer[side]["max"]
        texts.append(f"{smallest:,} {word}" if smallest == largest else f"{smallest:,} to {largest:,} {word}")
    return ", ".join(texts)

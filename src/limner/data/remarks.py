"""What a person should know about a prepared set before trusting what is made of it, in sentences.

Every verb that prepares pictures says these, so that nothing is set aside without a word.
"""

from __future__ import annotations

from limner.core.picture_texts import SHEET_REASON, TRANSPARENCY_WORDS
from limner.data.dataset import Dataset

MAX_REASONS = 3
"""Files that a sentence names with the reason why they were set aside; all of them stand in the manifest and in ``--json``."""


def remarks(dataset: Dataset, name: str | None = None) -> list[str]:
    """How many pictures were set aside and why, then the notes of the preparation; `name` is what the set is called.

    Empty where every picture was used and there is nothing to note.
    """
    return [*rejections(dataset, name), *sheets(dataset, name), *preparation_notes(dataset)]


def preparation_notes(dataset: Dataset) -> list[str]:
    """The notes of the preparation. That transparent pixels were filled is said by the verb that prepares the set alone, and by
    `data check`: it is the usual case, and every later call would repeat it."""
    return [note for note in dataset.notes if dataset.is_new or TRANSPARENCY_WORDS not in note]


def rejections(dataset: Dataset, name: str | None = None) -> list[str]:
    """A sentence about the files that were set aside, without limner's own sheets; empty where there are none."""
    rejected = [one for one in dataset.manifest["rejected"] if one["reason"] != SHEET_REASON]
    if not rejected:
        return []
    reasons = "; ".join(f"{one['file']}: {one['reason']}" for one in rejected[:MAX_REASONS])
    more = f"; and {len(rejected) - MAX_REASONS:,} more" if len(rejected) > MAX_REASONS else ""
    were, count = "file was" if len(rejected) == 1 else "files were", len(dataset.images)
    pictures = "picture is" if count == 1 else "pictures are"
    return [f"of {name or dataset.name}, {len(rejected):,} {were} set aside and {count:,} {pictures} used ({reasons}{more})"]


def sheets(dataset: Dataset, name: str | None = None) -> list[str]:
    """A sentence about limner's own sheets among the files, which are no samples; empty where there are none."""
    files = [one["file"] for one in dataset.manifest["rejected"] if one["reason"] == SHEET_REASON]
    more = f" and {len(files) - MAX_REASONS:,} more" if len(files) > MAX_REASONS else ""
    names = ", ".join(files[:MAX_REASONS])
    return [f"of {name or dataset.name}, sheets of several pictures were left out: {names}{more}"] if files else []

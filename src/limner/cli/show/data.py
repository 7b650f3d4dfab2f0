"""Prints data sets and what a check of pictures found."""

from __future__ import annotations

from limner.cli.show.tables import Answer, lines, span, table


def show_sets(answer: Answer) -> None:
    table(
        ["name", "what it is", "where"], [[one["name"], one["line"], one["where"] or "to download"] for one in answer["sets"]]
    )


def show_pictures(answer: Answer) -> None:
    """What `data check` and `data prepare` found."""
    rejected = answer.get("rejected") or []
    classes = answer.get("classes") or {}
    shown = ", ".join(f"{name} {count:,}" for name, count in list(classes.items())[:12])
    more = f" and {len(classes) - 12} more" if len(classes) > 12 else ""
    duplicates = answer.get("duplicates") or {}
    lines(
        [
            ("images", answer.get("images")),
            ("shape", answer.get("shape")),
            ("splits", answer.get("splits")),
            ("classes", shown + more),
            ("captions", answer.get("captions") or None),
            ("duplicates", {name: count for name, count in duplicates.items() if count}),
            ("set aside", len(rejected) or None),
            ("other files", answer.get("other_files") or None),
            ("as found", _found(answer)),
            ("fingerprint", answer.get("fingerprint")),
            ("path", str(answer["path"]) if answer.get("path") else None),
            ("time", span(answer.get("seconds"))),
        ]
    )
    for reject in rejected[:10]:
        print(f"  {reject['file']}: {reject['reason']}")
    if len(rejected) > 10:
        print(f"  … and {len(rejected) - 10} more (all of them with --json)")


def _found(answer: Answer) -> str | None:
    if "heights" not in answer:
        return None
    spans = []
    for way, word in (("heights", "high"), ("widths", "wide")):
        least, most = answer[way]["min"], answer[way]["max"]
        spans.append(f"{least:,} {word}" if least == most else f"{least:,} to {most:,} {word}")
    return ", ".join(spans)

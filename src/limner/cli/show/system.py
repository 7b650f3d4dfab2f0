"""Prints the description of the machine, the methods, the cache, and the place of a report."""

from __future__ import annotations

from limner.cli.show.tables import MAX_ROWS, Answer, format_size, print_pairs, print_rest, print_table


def show_doctor(answer: Answer) -> None:
    """Prints the result of `doctor`."""
    installed = [name for name, is_there in answer["extras"].items() if is_there]
    missing = [name for name, is_there in answer["extras"].items() if not is_there]
    data = ", ".join(f"{name} ({path})" for name, path in answer["data"].items())
    print_pairs(
        [
            ("limner", f"{answer['limner']}, Python {answer['python']}, torch {answer['torch']}"),
            ("device", answer["device"] + (f" ({answer['device_name']})" if answer.get("device_name") else "")),
            ("precision", answer["precision"]),
            ("threads", answer["threads"]),
            ("memory", format_size(answer["memory"])),
            ("allocator", answer["allocator"]),
            ("cache", str(answer["cache"])),
            ("data", data or "no set found in LIMNER_DATA"),
            ("extras", ", ".join(installed) or "none"),
            ("not installed", ", ".join(missing)),
            ("tried on", "; ".join(f"{one['system']} with {one['device']} ({one['what']})" for one in answer["tried"])),
        ]
    )
    for warning in answer["warnings"]:
        print(f"! {warning}")


def show_methods(answer: Answer) -> None:
    """Prints the result of `methods`."""
    keys = ("name", "family", "line", "paper")
    print_table(["preset", "family", "what it is", "paper"], [[row[key] for key in keys] for row in answer["methods"]])


def show_report(answer: Answer) -> None:
    """Prints the result of `report`."""
    print(answer["report"])


def show_definitions(answer: Answer) -> None:
    """Prints the result of `define`: a definition as text, the list of all words as a table."""
    rows = answer["definitions"]
    if len(rows) > MAX_ROWS:
        print_table(["word", "kind", "meaning"], [[row["word"], row["kind"], row["text"]] for row in rows])
        return
    for row in rows:
        reference = f" ({row['reference']})" if row["reference"] else ""
        print(f"{row['word']} ({row['kind']}): {row['text']}{reference}")


def show_cache(answer: Answer) -> None:
    """Prints the result of `cache`."""
    kinds = answer["kinds"]
    rows = [[one["kind"], one["entries"], format_size(one["size"]), one["last_use"], one["what"]] for one in kinds]
    if rows:
        print_table(["kind", "entries", "size", "last use", "what it is"], rows)
        print()
    entries = answer["entries"]
    if entries:
        cells = [
            [one["kind"], one["what"], format_size(one["size"]), one["last_use"], one["obstacle"] or ""] for one in entries
        ]
        print_table(["kind", "largest", "size", "last use", "not cleared"], cells[:MAX_ROWS])
        print_rest(len(entries))
        print()
    total = format_size(sum(one["size"] for one in kinds))
    print(f"{total} in {answer['folder']}" + ("; `limner cache clear` frees it" if entries else ""))


def show_cleared(answer: Answer) -> None:
    """Prints the result of `cache clear`."""
    print(f"removed {len(answer['removed']):,} entries, {format_size(answer['freed'])}, from {answer['folder']}")
    for one in answer["remaining"]:
        print(f"kept {one['path']}: {one['reason']}")

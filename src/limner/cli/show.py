"""Answers for a person: a few calm lines or one table on stdout. Every function takes the object that ``--json`` prints."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

Answer = Mapping[str, Any]
_ABSENT = "–"
MOST_ROWS = 20
MOST_COLUMNS = 8


def span(seconds: float | None) -> str:
    """8 s, 1 min 20 s, 2 h 5 min."""
    if seconds is None:
        return _ABSENT
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(amount: float | None) -> str:
    """Bytes as 3.2 GiB."""
    if amount is None:
        return _ABSENT
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def short(value: Any) -> str:
    """One value in a table's cell."""
    if value is None or value == "":
        return _ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {short(inner)}" for key, inner in value.items()) or _ABSENT
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "×".join(str(part) for part in value) if all(isinstance(v, int) for v in value) else ", ".join(map(str, value))
    return str(value)


def lines(pairs: Sequence[tuple[str, Any]]) -> None:
    """`name  value` under each other; what is absent is left out."""
    kept = [(name, short(value)) for name, value in pairs if value not in (None, "", {}, [])]
    width = max((len(name) for name, _ in kept), default=0)
    for name, value in kept:
        print(f"{name:<{width}}  {value}")


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(*columns, box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for row in rows:
        grid.add_row(*(Text(cell if isinstance(cell, str) else short(cell)) for cell in row))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200, highlight=False).print(grid)


def doctor(answer: Answer) -> None:
    missing = [name for name, there in answer["extras"].items() if not there]
    there = [name for name, there in answer["extras"].items() if there]
    data = ", ".join(f"{name} ({path})" for name, path in answer["data"].items())
    lines(
        [
            ("limner", f"{answer['limner']}, Python {answer['python']}, torch {answer['torch']}"),
            ("device", answer["device"] + (f" ({answer['device_name']})" if answer.get("device_name") else "")),
            ("precision", answer["precision"]),
            ("threads", answer["threads"]),
            ("memory", size(answer["memory"])),
            ("allocator", answer["allocator"]),
            ("cache", str(answer["cache"])),
            ("data", data or "no set found in LIMNER_DATA"),
            ("extras", ", ".join(there) or "none"),
            ("not installed", ", ".join(missing)),
        ]
    )
    for warning in answer["warnings"]:
        print(f"! {warning}")


def sets(answer: Answer) -> None:
    table(
        ["name", "what it is", "where"], [[one["name"], one["line"], one["where"] or "to download"] for one in answer["sets"]]
    )


def methods(answer: Answer) -> None:
    table(
        ["preset", "family", "what it is", "paper"],
        [[row["name"], row["family"], row["line"], row["paper"]] for row in answer["methods"]],
    )


def pictures(answer: Answer) -> None:
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


def plan(answer: Answer) -> None:
    """The answer of `train --dry-run`."""
    import yaml

    lines(
        [
            *(("chosen", line) for line in answer.get("why", ())),
            ("parameters", answer.get("parameters")),
            ("memory", size(answer.get("memory"))),
            ("images/s", answer.get("images_per_second")),
            ("images", answer.get("images")),
            ("time", span(answer.get("seconds_estimate"))),
        ]
    )
    stages = answer.get("stages", ())
    if len(stages) > 1:
        print()
        rows = [
            [one["name"], one["parameters"]["total"], one["images"], one["images_per_second"], span(one["seconds_estimate"]),
             size(one["memory"])]
            for one in stages
        ]  # fmt: skip
        table(["stage", "parameters", "images", "images/s", "time", "memory"], rows)
    print("\n" + yaml.safe_dump(answer["recipe"], sort_keys=False, allow_unicode=True).rstrip())


def outcome(answer: Answer) -> None:
    """The answer of `train` and `resume`."""
    run = answer["run"]
    stopped = answer["state"] == "stopped"
    lines(
        [
            ("run", str(run)),
            ("preset", answer.get("preset")),
            *(("chosen", line) for line in answer.get("why", ())),
            ("parameters", answer.get("parameters")),
            ("images", f"{answer['images']:,} in {span(answer['seconds'])} ({answer['images_per_second']:,.0f}/s)"),
            ("losses", answer["losses"]),
            ("report", f"{run}/report.html"),
            ("next", f"limner resume {run}" if stopped else f"limner sample {run} --count 64 --grid"),
        ]
    )


def samples(answer: Answer) -> None:
    from pathlib import Path

    files = answer.get("files") or []
    where = str(Path(files[0]).parent) if files else None
    lines(
        [
            ("pictures", f"{len(files):,} in {where}" if files else None),
            ("grid", str(answer["grid"]) if answer.get("grid") else None),
            ("npz", str(answer["npz"]) if answer.get("npz") else None),
            ("speed", f"{answer['images_per_second']:,.0f} images/s"),
        ]
    )


def reconstructions(answer: Answer) -> None:
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


def interpolation(answer: Answer) -> None:
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


def traversal(answer: Answer) -> None:
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


def embedding(answer: Answer) -> None:
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


def classification(answer: Answer) -> None:
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


def metrics(answer: Answer) -> None:
    rows = [
        [name, one.get("value"), one.get("error"), one.get("null"), one.get("z"), one.get("p")]
        for name, one in answer["metrics"].items()
    ]
    table(["metric", "value", "± error", "null", "z", "p"], rows)
    factors = answer.get("factors") or {}
    if factors:
        columns = list(next(iter(factors.values())))
        table(["factor", *columns], [[name, *one.values()] for name, one in factors.items()])
    count, reference = f"{answer['count']:,}", answer["reference"]
    if reference["split"] == "drawn":
        print(f"{count} scenes of one object, drawn with independent factors")
    elif answer["features"] is None:
        print(f"{count} real pictures ({reference['data']}, {reference['split']})")
    else:
        print(f"{count} pictures against {reference['count']:,} real ones ({reference['data']}, {reference['split']})")
    if points := answer.get("checkpoints", [])[-MOST_COLUMNS:]:
        columns = ["at images", *(f"{point['images']:,}" for point in points)]
        table(
            columns, [[name, *(point["metrics"].get(name, {}).get("value") for point in points)] for name in answer["metrics"]]
        )
    likelihood, features = answer.get("likelihood"), answer["features"]
    lines(
        [
            ("likelihood", likelihood and f"in nats per picture, {_draws(likelihood['draws'])} each, of {likelihood['of']}"),
            ("features", features and features["name"]),
            *(("note", text) for text in answer.get("context", {}).get("notes", [])),
            *(("beware", text) for text in answer.get("warnings", [])),
            ("report", answer.get("page") or answer.get("report") or "none; --out DIR keeps one"),
        ]
    )


def _draws(number: int) -> str:
    return "1 draw" if number == 1 else f"{number:,} draws"


def compared(answer: Answer) -> None:
    from limner.evaluation.compared import sentences

    rows = answer["table"]
    table(
        ["", "preset", "images", "seed", "training"],
        [[row["name"], row["preset"], row["images"], row["seed"], span(row["seconds"])] for row in rows],
    )
    print()
    scores = []
    for metric in dict.fromkeys(name for row in rows for name in row["metrics"]):
        there = [row["metrics"].get(metric) for row in rows]
        null = next((one["null"] for one in there if one is not None and one["null"] is not None), None)
        scores.append([metric, *map(_with_error, there), null])
    table(["metric", *(row["name"] for row in rows), "null"], scores)
    reference, features = answer["reference"], answer["features"]
    pictures = f"{answer['count']:,} pictures of each" if features else "reconstructions"
    print(f"\n{pictures} against {reference['count']:,} real ones ({reference['data']}, {reference['split']})")
    if features:
        print(f"features  {features['name']}")
    for text in answer["notes"]:
        print(f"beware    {text}")
    for title, differences in (("", answer["differences"]), ("recipes, ", answer["group_differences"])):
        if differences:
            print(f"\n{title}by 95 % intervals, the pairs of one score together (Holm):")
            lines(sentences(differences, features and features["name"]))
    if answer["page"]:
        print(f"\npage      {answer['page']}")


def _with_error(score: Answer | None) -> str:
    if score is None:
        return _ABSENT
    return short(score["value"]) + (f" ± {score['error']:.2g}" if score["error"] is not None else "")


def runs(answer: Answer) -> None:
    rows = answer["runs"]
    if not rows:
        print("no runs here")
        return
    table(
        ["run", "preset", "data", "state", "images", "of", "score"],
        [
            [str(row["run"]), *(row.get(key) for key in ("preset", "data", "state", "images", "budget", "score"))]
            for row in rows
        ],
    )


def pruned(answer: Answer) -> None:
    print(f"removed {len(answer['removed'])} checkpoints")


def report(answer: Answer) -> None:
    print(answer["report"])


def study(answer: Answer) -> None:
    reals = answer["reals"]
    lines(
        [
            ("study", answer["study"]),
            ("for people", answer["page"]),
            ("not for people", answer["key"]),
            ("answers go to", answer["answers"]),
            ("compared", ", ".join(answer["runs"])),
            ("real", f"{reals['data']}, {reals['split']} split"),
            ("each person", f"about {answer['minutes']} minutes"),
            ("open", answer.get("url")),
            *(("beware", text) for text in answer["warnings"]),
        ]
    )
    print()
    table(
        ["part", "trials", "catch", "practice"], [[r["task"], r["trials"], r["catch"], r["practice"]] for r in answer["table"]]
    )
    if "url" in answer:
        print("\nCtrl-C ends it", flush=True)


def _ends(estimate: Answer) -> str:
    """0.61 [0.52, 0.70]"""
    value = f"{estimate['value']:.2f}"
    return value if estimate["low"] is None else f"{value} [{estimate['low']:.2f}, {estimate['high']:.2f}]"


def judged(answer: Answer) -> None:
    people, judgements = answer["people"], answer["judgements"]
    print(
        f"{people['kept']} of {people['answered']} people, {judgements['kept']:,} judgements; "
        "intervals of 95 %, clustered by person"
    )
    for one in people["excluded"]:
        print(f"left out: {one['person']} ({one['why']})")
    for why, number in judgements["set_aside"].items():
        print(f"set aside: {number:,} {why}")
    apart = [row for row in answer["table"] if row["task"] != "pairs"]
    if apart:
        print()
        rows = [[r["task"], r["run"], r["people"], *(_ends(r[n]) for n in ("accuracy", "d_prime", "criterion"))] for r in apart]
        table(["part", "run", "people", "accuracy", "d′", "criterion"], rows)
    pairs = [row for row in answer["table"] if row["task"] == "pairs"]
    if pairs:
        print()
        rows = [[r["run"], r["people"], r["won"], r["tied"], r["lost"], _ends(r["strength"])] for r in pairs]
        table(["run", "people", "won", "tied", "lost", "log strength"], rows)
    print()
    for row in apart:
        print(f"{row['task']}: {row['run']}: {row['words']}")
    for row in answer["comparisons"]:
        print(f"{row['task']}: {row['words']}")
    if answer["page"]:
        print(f"page: {answer['page']}")

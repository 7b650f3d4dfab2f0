"""The league: every preset on one data set with the same minutes and seeds, judged alike, in one table with pictures.

    python benchmarks/league.py --minutes 5 --seeds 0,1,2 --out /tmp/league
    python benchmarks/league.py --minutes 5 --seeds 0,1,2 --out /tmp/league --peers /tmp/peers/bin/python

A judge is frozen before anything is trained. Then, seed by seed, each row is trained alone by `limner train`, and `--count`
samples of its last averaged weights are compared with the test split by `limner evaluate`, as a person would. Peers get the
same pictures, minutes and threads, by their own documented recipes (`peers/`). `league.md`, `league.html` and `league.json` in
`--out` are written anew after each row. What is done is read from its folder when the program is started again, so a league may
be killed at any moment and take days; a row is another one where anything that matters differs, be it a line of limner's code.
On a machine that one training does not fill (many cores, a GPU), `--at-once 4` trains and scores four rows at any time; they
share what there is, each the same minutes, and the table says so.

A row is a preset, and settings of its own behind plus signs: --presets r3gan,r3gan+method.labels=false
"""

from __future__ import annotations

import argparse
import fcntl
import math
import os
import platform
import shlex
import shutil
import signal
import statistics
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import common  # benchmarks/common.py, beside this file

SCORES = {
    "frechet": "Fréchet ↓",
    "coverage": "coverage ↑",
    "precision": "precision ↑",
    "recall": "recall ↑",
    "class_distance": "classes ↓",
    "label_accuracy": "as asked ↑",
    "copies": "copies ↓",
    "psnr": "PSNR, dB ↑",
    "nll": "NLL, nats ↓",
}
ORDER, BESIDE = "frechet", ("coverage", "class_distance", "copies")
SHOWN = 64
READ_AS = (
    "Means over seeds ± half of the 95 % interval (Student's t), in the order of the mean Fréchet distance. “No difference”: "
    "the row's interval meets that of the row below, so that none can be claimed; one seed has no interval, and says nothing. "
    "A rank stands only where a row's interval meets no other row's. "
    "Images are those seen in training, weights those of the finished model (discriminators included). "
    "Classes: how far the shares of classes are from the real ones; as asked: samples that show the class that was asked for; "
    "copies: samples oddly near to one training picture; PSNR and NLL (an upper bound): of the test split, where a method has "
    "them."
)


def generating() -> list[str]:
    """Every preset that draws pictures by itself."""
    from limner.recipes.registry import PRESETS
    from limner.recipes.settings import compose

    alone = [name for name in PRESETS if (recipe := compose(name)).method.kind != "prior" or recipe.stages]
    return sorted(alone)


class League:
    """What all rows have in common, and where they lie. Errors: `InputError`."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        import torch

        from limner import __version__
        from limner.core import precision
        from limner.core.errors import InputError
        from limner.data.prepare import prepare
        from limner.evaluation.inputs import held_out_split
        from limner.judges.judge import judge_for

        self.told, self.out = arguments, arguments.out
        self.dataset = prepare(arguments.data)
        self.split, judge = held_out_split(self.dataset), judge_for(self.dataset)
        self.machine = {
            "processor": precision.processor(),
            "threads": arguments.threads,
            "at_once": arguments.at_once,
            "system": platform.platform(terse=True),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "limner": __version__,
        }
        frozen = {"fingerprint": self.dataset.fingerprint, "checksum": judge.checksum}
        self.judge = common.once(self.out / "judge.json", lambda: frozen | {"held_out_accuracy": judge.card.held_out_accuracy})
        if frozen.items() - self.judge.items():
            raise InputError(
                f"{self.out} holds a league by the judge {self.judge['checksum'][:16]}, and that of {self.dataset.name} is now "
                f"{judge.checksum[:16]}; choose another --out, or bring back the cache"
            )

    def matters(self, name: str, seed: int) -> list[Any]:
        """All that makes a row another one."""
        told, machine = self.told, self.machine
        shared = [told.minutes, seed, told.count, self.judge, machine["processor"], machine["threads"], told.at_once]
        if name in peers():
            files = (peers()[name], common.PEERS / "convention.py")
            return [name, *shared, *(file.read_text(encoding="utf-8") for file in files)]
        return [name, *shared, told.set, _preset_of(name), machine["torch"], common.source_digest()]

    def row(self, name: str, seed: int) -> dict[str, Any]:
        """One row: trained, and then scored, each once. Errors: `common.Failed`."""
        mark = common.tag(*self.matters(name, seed))
        folder = self.out / "rows" / f"{_file_name(name)}-{seed}-{mark}"
        if not (folder / "row.json").is_file():
            print(f"{name}, seed {seed}, {self.told.minutes:g} minutes …", file=sys.stderr, flush=True)
        return common.once(folder / "row.json", lambda: self._scored(name, seed, folder))

    def _scored(self, name: str, seed: int, folder: Path) -> dict[str, Any]:
        train = self._peer if name in peers() else self._preset
        trained = common.once(folder / "trained.json", lambda: train(name, seed, folder))
        what = [str(folder / trained["run"])] if "run" in trained else [str(folder / "made.npz"), "--data", self.told.data]
        words = ["evaluate", *what, "--count", str(self.told.count), "--out", str(folder)]
        report = common.limner(*words, log=folder / "log.txt")
        assert report["features"]["checksum"] == self.judge["checksum"], "the judge changed while others trained"
        assert report["reference"]["split"] == self.split
        scores = {key: report["metrics"][key] for key in SCORES if key in report["metrics"]} | trained.pop("scores", {})
        pictures = str((folder / "samples.png").relative_to(self.out))
        about = {"samples": report["count"], "pictures": pictures, "warnings": report["warnings"]}
        return {"row": name, "seed": seed, **trained, "scores": scores, **about}

    def _preset(self, name: str, seed: int, folder: Path) -> dict[str, Any]:
        from limner import load

        preset, *own = name.split("+")
        shutil.rmtree(folder, ignore_errors=True)  # what a killed run left
        folder.mkdir(parents=True)
        words = ["train", self.told.data, "--preset", preset, "--minutes", f"{self.told.minutes:g}", "--seed", str(seed)]
        words += ["--out", str(folder / "runs"), "--name", preset, *own, *self.told.set]
        told = common.limner(*words, log=folder / "log.txt")
        weights = sum(weight.numel() for weight in load(told["run"]).method.parameters())  # a frozen codec's too
        about = {"images": told["images"], "seconds": told["seconds"], "parameters": weights}
        return about | {"run": os.path.relpath(told["run"], folder)}

    def _peer(self, name: str, seed: int, folder: Path) -> dict[str, Any]:
        import numpy as np

        from limner.metrics.representation.reconstruction import PSNR_CEILING, psnr

        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        told = common.peer(
            self.told.peers,
            peers()[name],
            self.pictures(),
            folder / "made.npz",
            minutes=self.told.minutes,
            seed=seed,
            count=self.told.count,
            log=folder / "log.txt",
        )
        told["images"] = told.pop("images_seen")
        with np.load(folder / "made.npz") as arrays:
            if "reconstructions" in arrays:
                real = self.dataset.images.gather(self.dataset.indices(self.split))
                decibels = psnr(arrays["reconstructions"], real).clamp(max=PSNR_CEILING)
                told["scores"] = {"psnr": {"value": float(decibels.mean())}}
        return told

    def pictures(self) -> Path:
        """What peers are given."""
        import numpy as np

        from limner.core.files import atomic

        path = self.out / "pictures.npz"
        if not path.is_file():
            with atomic(path) as temporary, temporary.open("wb") as file:
                sets = {"train": "train", "test": self.split}
                np.savez(file, **{key: self.dataset.images.gather(self.dataset.indices(s)) for key, s in sets.items()})
        return path

    def write(self, rows: Sequence[Mapping[str, Any]], failed: Mapping[str, str], left: int) -> None:
        """`league.md`, `league.html` and `league.json` of what is done by now."""
        from limner.core.files import write_json, write_text

        report = {
            "data": self.dataset.name,
            "fingerprint": self.dataset.fingerprint,
            "split": self.split,
            "minutes": self.told.minutes,
            "real": len(self.dataset.indices(self.split)),
            "samples": self.told.count,
            "judge": self.judge,
            "machine": self.machine,
            "command": shlex.join(["python", *sys.argv]),
            "left": left,
            "failed": dict(failed),
            "table": standings(rows),
            "rows": list(rows),
        }
        write_json(self.out / "league.json", report)
        write_text(self.out / "league.md", markdown(report))
        write_text(self.out / "league.html", self._page(report))

    def _page(self, report: Mapping[str, Any]) -> str:
        import numpy as np
        from PIL import Image

        from limner.core.images import grid
        from limner.judges.judge import shuffled_rows
        from limner.pages.html import PageTable, make_figure, render

        real = self.dataset.images.gather(shuffled_rows(self.dataset, self.split)[:SHOWN])
        figures = [make_figure(grid(real), "real pictures", f"real pictures ({self.split} split)")]
        for entry in report["table"]:
            first = next(row for row in report["rows"] if row["row"] == entry["row"])
            sheet = np.asarray(Image.open(self.out / first["pictures"]))
            sheet = sheet if sheet.ndim == 3 else sheet[..., None]
            caption = f"{entry['row']} · Fréchet distance {first['scores'][ORDER]['value']:.3g} (seed {first['seed']})"
            figures.append(make_figure(sheet, f"samples of {entry['row']}", caption))
        page = {
            "title": f"{report['data']} · {report['minutes']:g} minutes",
            "conditions": facts(report),
            "over_seeds": PageTable(*over_seeds(report)),
            "read_as": READ_AS,
            "pictures": figures,
            "other_scores": PageTable(*other_scores(report)),
            "every_run": PageTable(*every_run(report)),
        }
        return render("league.html", page, folder=Path(__file__).resolve().parent)


def peers() -> dict[str, Path]:
    return {path.stem: path for path in sorted(common.PEERS.glob("*.py")) if path.stem != "convention"}


def standings(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One entry for each name, over its seeds, the least mean Fréchet distance first."""
    found = []
    for name in dict.fromkeys(row["row"] for row in rows):
        mine = [row for row in rows if row["row"] == name]
        scores = {}
        for score in SCORES:
            values = [row["scores"][score]["value"] for row in mine if score in row["scores"]]
            if len(values) == len(mine):
                mean, half = common.interval(values)
                scores[score] = {"mean": mean, "half": half if math.isfinite(half) else None}
        z = [row["scores"][ORDER]["z"] for row in mine]
        means = {key: statistics.fmean(row[key] for row in mine) for key in ("images", "seconds", "parameters")}
        found.append(
            {
                "row": name,
                "seeds": [row["seed"] for row in mine],
                **means,
                "scores": scores,
                "z": None if None in z else statistics.fmean(z),
            }
        )
    found.sort(key=lambda entry: entry["scores"][ORDER]["mean"])
    ends = [_ends(entry["scores"][ORDER]) for entry in found]
    for place, (entry, mine) in enumerate(zip(found, ends, strict=True)):
        others = ends[:place] + ends[place + 1 :]
        apart = all(mine[1] < low or high < mine[0] for low, high in others)
        entry["rank"] = place + 1 if apart and len(found) > 1 else None
        below = ends[place + 1] if place + 1 < len(found) else None
        alone = below is not None and math.inf in (mine[1], below[1])
        entry["below"] = None if below is None else "one seed" if alone else "better" if mine[1] < below[0] else "no difference"
    return found


def _ends(score: Mapping[str, Any]) -> tuple[float, float]:
    """Of the interval; everything, where one seed says nothing of the others."""
    half = math.inf if score["half"] is None else score["half"]
    return score["mean"] - half, score["mean"] + half


Cells = tuple[list[str], list[list[str]]]


def over_seeds(report: Mapping[str, Any]) -> Cells:
    """The order, and beside the distance what it does not see."""
    from limner.pages.numbers import format_count, format_number

    heads = [
        "",
        "rank",
        "seeds",
        "images",
        "weights",
        SCORES[ORDER],
        "z",
        *(SCORES[s] for s in BESIDE),
        "against the row below",
    ]
    rows = []
    for entry in report["table"]:
        rank = "–" if entry["rank"] is None else str(entry["rank"])
        size = [str(len(entry["seeds"])), format_count(entry["images"]), format_count(entry["parameters"])]
        beside = [format_number(entry["scores"].get(score, {}).get("mean")) for score in BESIDE]
        distance = _mean(entry["scores"][ORDER], format_number)
        rows.append([entry["row"], rank, *size, distance, format_number(entry["z"]), *beside, entry["below"] or ""])
    return heads, rows


def other_scores(report: Mapping[str, Any]) -> Cells:
    """With their intervals."""
    from limner.pages.numbers import format_number

    rest = [score for score in SCORES if score != ORDER and any(score in entry["scores"] for entry in report["table"])]
    rows = [[entry["row"], *(_mean(entry["scores"].get(s), format_number) for s in rest)] for entry in report["table"]]
    return ["", *(SCORES[score] for score in rest)], rows


def _mean(score: Mapping[str, Any] | None, spell: Any) -> str:
    if score is None:
        return "–"
    return spell(score["mean"]) + ("" if score["half"] is None else f" ± {spell(score['half'])}")


def every_run(report: Mapping[str, Any]) -> Cells:
    from limner.pages.numbers import format_count, format_number

    rest = [score for score in SCORES if score != ORDER and any(score in row["scores"] for row in report["rows"])]
    heads = ["", "seed", "seconds", "images", SCORES[ORDER], "± error", "null", "z", *(SCORES[s] for s in rest), "pictures"]
    rows = []
    for row in report["rows"]:
        distance = row["scores"][ORDER]
        values = [format_number(row["scores"].get(score, {}).get("value")) for score in rest]
        cells = [str(row["seed"]), f"{row['seconds']:.0f}", format_count(row["images"])]
        cells += [format_number(distance[key]) for key in ("value", "error", "null", "z")]
        rows.append([row["row"], *cells, *values, row["pictures"]])
    return heads, rows


def facts(report: Mapping[str, Any]) -> list[str]:
    """What has to be known to read the table, or to make it again."""
    judge, machine, first = report["judge"], report["machine"], (report["rows"] or [{"scores": {}}])[0]["scores"]
    null = {score: first.get(score, {}).get("null") for score in SCORES}
    real = ", ".join(f"{SCORES[score][:-2]} {value:.3g}" for score, value in null.items() if value is not None)
    right = "" if judge["held_out_accuracy"] is None else f", right on {judge['held_out_accuracy']:.0%} of held-out pictures"
    versions = ", ".join(f"{package} {machine[package]}" for package in ("limner", "python", "torch", "system"))
    said = [
        (
            f"{report['data']}, {report['minutes']:g} minutes of training each on {machine['threads']} threads of "
            f"{machine['processor']}, {_at_once(machine['at_once'])}; {report['samples']:,} samples of each against the "
            f"{report['real']:,} pictures of the {report['split']} split, which nothing was trained on."
        ),
        f"Judge {judge['checksum']}{right}, frozen before the first row was trained. As many real pictures get: {real}.",
        f"{report['command']} ({versions})",
    ]
    there = {row["row"]: row for row in report["rows"] if "recipe" in row}
    for name, row in there.items():
        versions = ", ".join(f"{package} {number}" for package, number in row["versions"].items())
        said.append(f"{name}: {row['recipe']} ({versions}).")
    few = {row["row"]: row["samples"] for row in report["rows"] if row.get("samples", report["samples"]) < report["samples"]}
    if few:
        drawn = ", ".join(f"{name} {number:,}" for name, number in few.items())
        said.append(
            f"Fewer samples, since drawing takes long: {drawn}. Distances of few are larger: read them beside their own nulls."
        )
    if report["left"]:
        said.append(f"Unfinished: {report['left']} rows are yet to come.")
    return said + [f"Failed, and tried again at the next start: {name}: {why}" for name, why in report["failed"].items()]


def _at_once(rows: int) -> str:
    return "one after the other" if rows == 1 else f"{rows} at a time, which share it"


def markdown(report: Mapping[str, Any]) -> str:
    def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        lines = [heads, ["---"] * len(heads), *([f"`{name}`", *cells] for name, *cells in rows)]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    parts = [f"# League: {report['data']}, {report['minutes']:g} minutes", *facts(report)]
    parts += [table(*over_seeds(report)), READ_AS, "## Other scores", table(*other_scores(report))]
    return "\n\n".join([*parts, "## Every run", table(*every_run(report))]) + "\n"


def _preset_of(row: str) -> dict[str, Any]:
    """Errors: `InputError` where it is none."""
    from limner.recipes.settings import preset_tree

    return preset_tree(row.partition("+")[0])


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def whole_numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--presets", help="default: every one that generates")
    parser.add_argument("--seeds", type=whole_numbers, default="0,1,2")
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--count", type=int, default=5_000, help="samples that are judged, of every row")
    parser.add_argument("--threads", type=positive, default=os.cpu_count() or 1, help="of every row")
    parser.add_argument("--at-once", type=positive, default=1, metavar="ROWS", help="rows that are trained at the same time")
    parser.add_argument("--peers", type=Path, metavar="PYTHON", help="of an environment made from requirements-peers.txt")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting for every preset")
    parser.add_argument("--out", type=Path, default=Path("league"))
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # read when torch is loaded, here and by what is started from here
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments.out.mkdir(parents=True, exist_ok=True)

    from limner.core.errors import InputError

    with (arguments.out / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.set_inheritable(lock.fileno(), True)  # held by what is being trained too, should it outlive this program
            raise SystemExit(run(arguments))
        except BlockingIOError:
            sys.exit(f"a league, or a training that one left behind, is at work in {arguments.out}; wait for it, or end it")
        except InputError as error:
            print(error, file=sys.stderr)
            raise SystemExit(2) from None


def run(arguments: argparse.Namespace) -> int:
    """Errors: `InputError`."""
    presets = list(filter(None, generating() if arguments.presets is None else arguments.presets.split(",")))
    for name in presets:
        _preset_of(name)  # a mistyped one says so before hours are spent
    names = [*presets, *(peers() if arguments.peers else ())]
    league = League(arguments)
    print(f"judge frozen before anything is trained: {league.judge['checksum']}", file=sys.stderr, flush=True)
    todo = [(name, seed) for seed in arguments.seeds for name in names]  # by seed: a part of it is fair too
    if arguments.peers:
        league.pictures()
    rows, failed = dict[int, dict[str, Any]](), dict[str, str]()
    with ThreadPoolExecutor(arguments.at_once) as pool:
        futures = {pool.submit(league.row, name, seed): place for place, (name, seed) in enumerate(todo)}
        try:
            for done, future in enumerate(as_completed(futures), 1):
                name, seed = todo[futures[future]]
                try:
                    rows[futures[future]] = future.result()
                except common.Failed as error:  # the others have hours to go
                    failed[f"{name}, seed {seed}"] = str(error)
                    print(f"{name}, seed {seed} failed: {error}", file=sys.stderr, flush=True)
                league.write([rows[place] for place in sorted(rows)], failed, len(todo) - done)
        except BaseException:  # somebody wants it to end: so does what is being trained
            pool.shutdown(wait=False, cancel_futures=True)
            common.stop()
            raise
    print((arguments.out / "league.md").read_text(encoding="utf-8"))
    return 1 if failed else 0


if __name__ == "__main__":
    main()

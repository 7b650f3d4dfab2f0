"""The GAN presets side by side: the same minutes, the same cores, one judge frozen beforehand, on Fashion-MNIST.

Every row is trained alone, one after the other, by `limner train`, as a person would; 10,000 samples of its last, averaged
weights are compared with the test split, which no training and no choice of settings has seen. The last row is a recipe that
was published as a trial (relativistic pairs on DCGAN networks, both penalties lazily): it has to be beaten, not only quoted.

    python benchmarks/gans.py --minutes 3 --seeds 0 --out /tmp/gans
    python benchmarks/gans.py --minutes 5 --rows r3gan,trial --out /tmp/gans5

A row that is finished is read from its folder when the program is started again: a table may take days.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[1] / "src"
sys.path.insert(0, str(SOURCE))

ROWS = ("r3gan", "sngan", "lsgan", "dcgan", "wgan-gp", "densegan", "cgan", "gan", "wgan", "trial")
TRIAL = (
    # Relativistic pairs; transposed convolutions 128-64-(32) with batch norm on a 64-d Gaussian; a norm-free discriminator;
    # R1 + R2 with γ = 1 every 8 steps; Adam 4e-4 (0, .99) decaying over the last 40 %; batch 64; both players on one pass.
    "method.networks=dcgan", "method.loss=relativistic", "method.latent=64", "method.r1_gamma=1.0", "method.r2_gamma=1.0",
    "method.penalty_every=8", "method.generator.width=64", "method.discriminator.width=64",
    *(
        f"method.{player}.optimiser.{key}"
        for player in ("generator", "discriminator")
        for key in ("lr={value: 4.0e-4, decay_from: 0.6, final: 0.0}", "betas=[0.0, 0.99]")
    ),
)  # fmt: skip
SHOWN = ("frechet", "precision", "recall", "coverage", "class_distance")


def train(row: str, minutes: float, seed: int, data: str, out: Path, settings: list[str]) -> dict[str, Any]:
    """`limner train` of one row, or what it said when it was trained before."""
    kept = out / f"{row}-{minutes:g}-{seed}.json"
    if kept.is_file():
        return dict(json.loads(kept.read_text()))
    preset, own = ("dcgan", list(TRIAL)) if row == "trial" else (row, [])
    command = [
        sys.executable, "-m", "limner", "train", data, "--preset", preset, "--minutes", str(minutes), "--seed", str(seed),
        "--out", str(out / "runs"), "--name", f"{row}-{minutes:g}-{seed}", "--json", *own, *settings,
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    told = dict(json.loads(done.stdout))
    kept.write_text(json.dumps(told, indent=1) + "\n")
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("gans"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting for every row")
    arguments = parser.parse_args()

    from limner import load, prepare
    from limner.core import images as pictures
    from limner.core import precision
    from limner.evaluation import judge_for
    from limner.loop import SCORED_SEEDS
    from limner.metrics.report import score

    arguments.out.mkdir(parents=True, exist_ok=True)
    dataset = prepare(arguments.data)
    judge = judge_for(dataset)
    print(f"judge frozen before anything is trained: {judge.checksum}", file=sys.stderr, flush=True)
    trained = []
    for seed in (int(word) for word in arguments.seeds.split(",")):
        for row in arguments.rows.split(","):
            print(f"{row}, seed {seed}, {arguments.minutes:g} minutes …", file=sys.stderr, flush=True)
            trained.append((row, seed, train(row, arguments.minutes, seed, arguments.data, arguments.out, arguments.set)))
    assert judge_for(dataset).checksum == judge.checksum, "the judge changed while the others trained"
    real = dataset.images.gather(dataset.indices("test"))
    truth = judge.see(real)
    rows = []
    for row, seed, told in trained:
        model = load(told["run"])
        samples = model.sample(range(SCORED_SEEDS, SCORED_SEEDS + arguments.count))
        seen = judge.see(samples)
        found = score(seen.features, seen.logits, truth.features, truth.logits)
        history = [json.loads(line) for line in (Path(told["run"]) / "scores.jsonl").read_text().splitlines()]
        best = min(point["frechet"] for point in history)
        rows.append({
            "row": row, "seed": seed, "images": told["images"], "seconds": told["seconds"], "parameters": told["parameters"],
            "asked": _asked(model, judge, dataset.classes) if model.method.conditional else None,
            "last_over_best": history[-1]["frechet"] / best, **{k: vars(found[k]) for k in SHOWN if k in found},
        })  # fmt: skip
        pictures.save_png(arguments.out / f"{row}-{arguments.minutes:g}-{seed}.png", pictures.grid(samples[:100]))
    pictures.save_png(arguments.out / "real.png", pictures.grid(real[:100]))
    report = {
        "data": dataset.name, "fingerprint": dataset.fingerprint, "minutes": arguments.minutes, "samples": arguments.count,
        "judge": judge.checksum, "processor": precision.processor(), "rows": rows,
    }  # fmt: skip
    (arguments.out / f"gans-{arguments.minutes:g}.json").write_text(json.dumps(report, indent=1) + "\n")
    text = table(report)
    (arguments.out / f"gans-{arguments.minutes:g}.md").write_text(text + "\n")
    print(text)


def _asked(model: Any, judge: Any, classes: tuple[str, ...], each: int = 500) -> float:
    """Share of pictures that the judge finds to be of the class that was asked for."""
    right = [
        float((judge.see(model.sample(range(each), label=name)).logits.argmax(1) == number).float().mean())
        for number, name in enumerate(classes)
    ]
    return sum(right) / len(right)


def table(report: dict[str, Any]) -> str:
    first = report["rows"][0]
    lines = [
        f"{report['data']}, {report['minutes']:g} minutes each on {report['processor']}; {report['samples']:,} samples against "
        f"the test split; judge {report['judge'][:16]}, frozen beforehand. Real images get "
        + ", ".join(f"{name} {first[name]['null']:.3g}" for name in SHOWN if name in first) + ".",
        "",
        "| preset | seed | images | weights G + D | Fréchet ↓ | precision ↑ | recall ↑ | coverage ↑ | classes ↓ | last/best |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in report["rows"]:
        if row["asked"] is not None:
            lines.insert(1, f"`{row['row']}`, seed {row['seed']}: {row['asked']:.1%} are of the class that was asked for.")
    for row in sorted(report["rows"], key=lambda row: row["frechet"]["value"]):
        size = row["parameters"]
        cells = [row["row"], row["seed"], f"{row['images']:,}", f"{size['generator']:,} + {size['discriminator']:,}"]
        cells += [f"{row[name]['value']:.3g}" if name in row else "–" for name in SHOWN]
        lines.append("| " + " | ".join(str(cell) for cell in [*cells, f"{row['last_over_best']:.2f}"]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""The GAN presets side by side: the same minutes, the same cores, one judge frozen beforehand, on Fashion-MNIST.

Every row is trained alone, one after the other, by `limner train`, as a person would; 10,000 samples of its last, averaged
weights are compared with the test split, which no training and no choice of settings has seen. The last row is a recipe that
was published as a trial (relativistic pairs, both penalties lazily): it has to be beaten, not only quoted.

    python benchmarks/gans.py --minutes 3 --seeds 0 --out /tmp/gans
    python benchmarks/gans.py --minutes 5 --rows r3gan,r3gan+method.labels=false,trial --out /tmp/gans5

A row is a preset, and settings of its own behind plus signs.

A row that is finished is read from its folder when the program is started again: a table may take days.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import common  # benchmarks/common.py, beside this file

ROWS = ("r3gan", "r3gan+method.labels=false", "sngan", "lsgan", "dcgan", "wgan-gp", "densegan", "cgan", "gan", "wgan", "trial")
SHOWN = ("frechet", "precision", "recall", "coverage", "class_distance")
TRIAL = (
    "method.loss=relativistic",
    "method.latent=64",
    "method.r1_gamma=1.0",
    "method.r2_gamma=1.0",
    "method.penalty_every=8",
    *(
        f"method.{player}.optimiser.{key}"
        for player in ("generator", "discriminator")
        for key in ("lr={value: 4.0e-4, decay_from: 0.6, final: 0.0}", "betas=[0.0, 0.99]")
    ),
)
"""What was published of the trial, but for its networks: see `trial`."""


def train(row: str, minutes: float, seed: int, data: str, count: int, out: Path, settings: list[str]) -> dict[str, Any]:
    """What training said; of the trial, which is no preset, it says it itself."""
    if row != "trial":
        return common.train(row, minutes, seed, data, out, settings)
    kept = out / f"trial-{minutes:g}-{seed}-{common.tag(data, list(TRIAL))}.json"
    command = [sys.executable, __file__, "--trial", str(kept.with_suffix(".npz")), "--minutes", f"{minutes:g}"]
    command += ["--seeds", str(seed), "--data", data, "--count", str(count)]
    return common.once(kept, lambda: common.answer(command, common.environment()))


def trial(minutes: float, seed: int, data: str, count: int, file: Path) -> dict[str, Any]:
    """The trial as it was published, by limner's own stepper. Leaves `count` samples in `file`.

    A generator 128-64-32 of transposed convolutions with batch norm, a discriminator 32-64-128 without any; R1 + R2 (γ=1) every
    8 steps; Adam 4e-4 (0, .99) decaying over the last 40 %; an average warmed up to .999; batch 64; both players on one pass.
    """
    import limner  # noqa: F401, I001  (before torch)
    import numpy as np
    import torch
    from torch import nn

    from limner.core.config import DataSpec
    from limner.data.prepare import prepare
    from limner.recipes.build import build_method
    from limner.recipes.settings import compose
    from limner.core import precision
    from limner.core import seeds
    from limner.training.ema import Ema
    from limner.core.images import to_uint8
    from limner.core.method import StepContext
    from limner.core.sampling import generate
    from limner.training.step import Stepper
    from limner.core.precision import prepare_module
    from limner.core.process import configure_command
    from limner.data.feed import Feed
    from limner.core.seeds import SCORED_SEEDS
    from limner.nets.layers import BatchNorm
    from limner.nets.cpu import Conv2d
    from limner.nets.cpu import ConvTranspose2d
    from limner.nets.layers import init_normal

    class Maker(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seed, self.norms = nn.Linear(64, 128 * 7 * 7, bias=False), nn.ModuleList(map(BatchNorm, (128, 64, 32)))
            self.ups = nn.ModuleList(
                [ConvTranspose2d(128, 64, 4, 2, 1, bias=False), ConvTranspose2d(64, 32, 4, 2, 1, bias=False)]
            )
            self.last = Conv2d(32, 1, 3, 1, 1)
            init_normal(self)

        def forward(self, z: Any, label: Any = None) -> Any:
            x = self.seed(z).unflatten(1, (128, 7, 7)).contiguous(memory_format=torch.channels_last)
            x = torch.relu(self.norms[0](x))
            for up, norm in zip(self.ups, self.norms[1:], strict=True):
                x = torch.relu(norm(up(x)))
            return self.last(x).tanh()

    configure_command()
    dataset = prepare(data)
    seeds.seed_all(seed, "init", 0)
    method = build_method(compose("dcgan", TRIAL), DataSpec.of_images(dataset.shape, dataset.classes))
    method.generator.network = Maker()
    leaky = [nn.LeakyReLU(0.2) for _ in range(3)]
    convolutions = [Conv2d(1, 32, 4, 2, 1), Conv2d(32, 64, 4, 2, 1), Conv2d(64, 128, 3, 2, 1)]  # 28, 14, 7, 4
    method.discriminator.trunk = nn.Sequential(*(layer for pair in zip(convolutions, leaky, strict=True) for layer in pair))
    method.discriminator.head = nn.Linear(128 * 4 * 4, 1)
    init_normal(method.discriminator)
    prepare_module(method, torch.device("cpu"))
    ema, feed = Ema(method.train()), Feed(dataset, "train", torch.device("cpu"), seed)
    stepper = Stepper(method, 64, 1, precision.choose(torch.device("cpu")), seed)
    steps, began = 0, time.monotonic()
    while (seconds := time.monotonic() - began) < 60 * minutes:
        stepper.step(feed.draw, StepContext(64 * steps, seconds / (60 * minutes)), steps)
        steps += 1
        beta = min(0.999, (1 + steps) / (10 + steps))
        ema.update(64, 64 * math.log(0.5) / math.log(beta))
    with torch.inference_mode():
        images = to_uint8(generate(ema.method, range(SCORED_SEEDS, SCORED_SEEDS + count)))
    np.savez(file, images=images)
    size = {name: sum(weight.numel() for weight in weights) for name, weights in stepper.weights.items()}
    return {"run": None, "npz": str(file), "images": 64 * steps, "seconds": seconds, "parameters": size}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("gans"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting for every row")
    parser.add_argument("--trial", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.trial:
        told = trial(arguments.minutes, int(arguments.seeds), arguments.data, arguments.count, arguments.trial)
        print(json.dumps(told))
        return

    import numpy as np

    from limner import load
    from limner.core import images as pictures
    from limner.core import precision
    from limner.core.seeds import SCORED_SEEDS
    from limner.data.prepare import prepare
    from limner.judges.judge import judge_for
    from limner.metrics.measure import score_outputs

    arguments.out.mkdir(parents=True, exist_ok=True)
    dataset = prepare(arguments.data)
    judge = judge_for(dataset)
    print(f"judge frozen before anything is trained: {judge.checksum}", file=sys.stderr, flush=True)
    trained = []
    for seed in (int(word) for word in arguments.seeds.split(",")):
        for row in arguments.rows.split(","):
            print(f"{row}, seed {seed}, {arguments.minutes:g} minutes …", file=sys.stderr, flush=True)
            words = (row, arguments.minutes, seed, arguments.data, arguments.count, arguments.out, arguments.set)
            trained.append((row, seed, train(*words)))
    assert judge_for(dataset).checksum == judge.checksum, "the judge changed while the others trained"
    real = dataset.images.gather(dataset.indices("test"))
    truth = judge.outputs(real)
    rows = []
    for row, seed, told in trained:
        model, stopped = (
            (None, float("nan")) if told["run"] is None else (load(told["run"]), _last_over_best(Path(told["run"])))
        )
        if model is None:
            with np.load(told["npz"]) as arrays:
                samples = arrays["images"]
        else:
            samples = model.sample(range(SCORED_SEEDS, SCORED_SEEDS + arguments.count))
        seen = judge.outputs(samples)
        found = score_outputs(seen, truth)
        rows.append(
            {
                "row": row,
                "seed": seed,
                "images": told["images"],
                "seconds": told["seconds"],
                "parameters": told["parameters"],
                "asked": _asked(model, judge, dataset.classes) if model and "label" in model.method.accepts else None,
                "last_over_best": stopped,
                **{k: vars(found[k]) for k in SHOWN if k in found},
            }
        )
        pictures.save_png(arguments.out / f"{row}-{arguments.minutes:g}-{seed}.png", pictures.grid(samples[:100]))
    pictures.save_png(arguments.out / "real.png", pictures.grid(real[:100]))
    report = {
        "data": dataset.name,
        "fingerprint": dataset.fingerprint,
        "minutes": arguments.minutes,
        "samples": arguments.count,
        "judge": judge.checksum,
        "processor": precision.processor(),
        "rows": rows,
    }
    (arguments.out / f"gans-{arguments.minutes:g}.json").write_text(json.dumps(report, indent=1) + "\n")
    text = table(report)
    (arguments.out / f"gans-{arguments.minutes:g}.md").write_text(text + "\n")
    print(text)


def _last_over_best(run: Path) -> float:
    """Of the scores on held-out pictures while it trained."""
    history = [json.loads(line)["frechet"] for line in (run / "scores.jsonl").read_text().splitlines()]
    return float(history[-1] / min(history))


def _asked(model: Any, judge: Any, classes: tuple[str, ...], each: int = 500) -> float:
    """Share of pictures that the judge finds to be of the class that was asked for."""
    right = [
        float((judge.outputs(model.sample(range(each), label=name)).logits.argmax(1) == number).float().mean())
        for number, name in enumerate(classes)
    ]
    return sum(right) / len(right)


def table(report: dict[str, Any]) -> str:
    first = report["rows"][0]
    null = {name: first[name]["null"] for name in SHOWN if name in first and first[name]["null"] is not None}
    lines = [
        f"{report['data']}, {report['minutes']:g} minutes each on {report['processor']}; {report['samples']:,} samples against "
        f"the test split; judge {report['judge'][:16]}, frozen beforehand. Real images get "
        + ", ".join(f"{name} {value:.3g}" for name, value in null.items())
        + ".",
        "",
        (
            "| preset | seed | seconds | images | weights G + D | Fréchet ↓ | precision ↑ | recall ↑ | coverage ↑ "
            "| classes ↓ | last/best |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        if row["asked"] is not None:
            lines.insert(1, f"`{row['row']}`, seed {row['seed']}: {row['asked']:.1%} are of the class that was asked for.")
    for row in sorted(report["rows"], key=lambda row: row["frechet"]["value"]):
        size = row["parameters"]
        cells = [
            row["row"],
            row["seed"],
            f"{row['seconds']:.0f}",
            f"{row['images']:,}",
            f"{size['generator']:,} + {size['discriminator']:,}",
        ]
        cells += [f"{row[name]['value']:.3g}" if name in row else "–" for name in SHOWN]
        cells.append("–" if math.isnan(row["last_over_best"]) else f"{row['last_over_best']:.2f}")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

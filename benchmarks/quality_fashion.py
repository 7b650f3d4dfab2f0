"""How good after so many minutes: limner's presets and a textbook DCGAN in eager PyTorch, on Fashion-MNIST, one judge for all.

The judge is frozen before anything is trained, and its checksum printed; everything is trained alone, one after the other, for
the same minutes; 10,000 samples of each are compared with the test split, which no training has seen.

    python benchmarks/quality_fashion.py --minutes 5 --presets dcgan,vae --out /tmp/quality
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import common  # benchmarks/common.py and throughput.py, beside this file
from throughput import Textbook, described

SHOWN = ("frechet", "coverage", "class_distance")


def eager(minutes: float, count: int, data: str, out: Path, preset: str) -> None:
    """Trains the networks of `preset` as the tutorials do and leaves samples of both modes of batch normalisation."""
    import numpy as np
    import torch

    from limner.core.config import DataSpec
    from limner.core.images import to_uint8
    from limner.data.prepare import prepare
    from limner.recipes.build import build_method
    from limner.recipes.settings import compose

    dataset = prepare(data)
    recipe = compose(preset, [], data__source=data)
    networks = described(build_method(recipe, DataSpec.of_images(dataset.shape, dataset.classes)))
    pixels = torch.from_numpy(dataset.images.gather(dataset.indices("train"))).permute(0, 3, 1, 2).contiguous()
    torch.manual_seed(0)
    game, seen, began = Textbook(networks, recipe.method.latent), 0, time.monotonic()
    while time.monotonic() - began < 60 * minutes:
        for rows in torch.randperm(len(pixels)).split(64):
            if len(rows) < 64 or time.monotonic() - began >= 60 * minutes:
                break
            game.step(pixels[rows].float().mul_(2 / 255).sub_(1))
            seen += 64
    seconds = time.monotonic() - began
    arrays = {}
    for mode in ("train", "eval"):
        game.generator.train(mode == "train")
        with torch.no_grad():
            parts = [to_uint8(game.generator(torch.randn(100, game.latent))) for _ in range(count // 100)]
        arrays[mode] = np.concatenate(parts)
    np.savez(out, **arrays)
    print(json.dumps({"images": seen, "seconds": seconds}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--presets", default="dcgan,vae")
    parser.add_argument("--networks", default="dcgan", help="the preset whose networks the textbook loop trains")
    parser.add_argument("--skip-eager", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting for every limner run")
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("quality"))
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        eager(arguments.minutes, arguments.count, arguments.data, arguments.child, arguments.networks)
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
    checksum = judge.checksum
    print(f"judge frozen before anything is trained: {checksum}", file=sys.stderr, flush=True)
    real = dataset.images.gather(dataset.indices("test"))
    made: list[tuple[str, dict[str, Any], Any]] = []
    if not arguments.skip_eager:
        print(f"eager PyTorch for {arguments.minutes:g} minutes …", file=sys.stderr, flush=True)
        file = arguments.out / "eager.npz"
        child = [sys.executable, __file__, "--child", str(file), "--minutes", str(arguments.minutes), "--data", arguments.data]
        child += ["--count", str(arguments.count), "--networks", arguments.networks]
        about = common.answer(child, common.environment())
        with np.load(file) as arrays:
            made += [(f"eager PyTorch DCGAN (sampled in .{mode}())", about, arrays[mode]) for mode in ("eval", "train")]
    runs = []
    for preset in arguments.presets.split(","):
        print(f"limner {preset} for {arguments.minutes:g} minutes …", file=sys.stderr, flush=True)
        about = common.train(preset, arguments.minutes, 0, arguments.data, arguments.out, arguments.set)
        runs.append((f"limner {preset}", about["run"], {name: about[name] for name in ("images", "seconds")}))
    for name, run, about in runs:  # only after all training: scoring shares nobody's minutes
        samples = load(run).sample(range(SCORED_SEEDS, SCORED_SEEDS + arguments.count))
        made.append((name, about | {"run": run}, samples))

    assert judge_for(dataset).checksum == checksum, "the judge changed while the others trained"
    truth = judge.outputs(real)
    rows = []
    for name, about, samples in made:
        seen = judge.outputs(samples)
        found = score_outputs(seen, truth)
        rows.append({"name": name, **about, **{k: vars(found[k]) for k in SHOWN if k in found}})
        pictures.save_png(arguments.out / f"{_file_name(name)}.png", pictures.grid(samples[:100]))
    pictures.save_png(arguments.out / "real.png", pictures.grid(real[:100]))
    report = {
        "data": dataset.name,
        "fingerprint": dataset.fingerprint,
        "split": "test",
        "real": len(real),
        "samples": arguments.count,
        "minutes": arguments.minutes,
        "judge": checksum,
        "processor": precision.processor(),
        "rows": rows,
    }
    (arguments.out / "quality.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    text = table(report)
    (arguments.out / "quality.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower()).strip("-")


def table(report: dict[str, Any]) -> str:
    lines = [
        f"{report['data']}, {report['minutes']:g} minutes each on {report['processor']}.",
        f"{report['samples']:,} samples against the {report['real']:,} images of the test split.",
        f"Judge {report['judge'][:16]}, frozen beforehand. In brackets: what as many real images get.",
        "",
        "| | images seen | Fréchet distance ↓ | coverage ↑ | class distance ↓ |",
        "|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        cells = []
        for name in SHOWN:
            told = row.get(name)
            null = "" if told is None or told["null"] is None else f" ({told['null']:.3g})"
            cells.append("–" if told is None else f"{told['value']:.3g}{null}")
        lines.append(f"| {row['name']} | {row['images']:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

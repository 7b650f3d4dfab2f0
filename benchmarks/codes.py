"""Codes and their priors in the same minutes: limner's presets, and pythae's VQ-VAE with its PixelCNN, on Fashion-MNIST.

Each is trained alone, one after the other, on the same cores and the same pictures. 10,000 samples of each are compared with
the test split, which no training has seen, in the features of one judge frozen beforehand. pythae's minutes are divided between
codec and prior as those of limner's `vq-vae` are.

    python benchmarks/codes.py --minutes 5 --pythae /tmp/peers/bin/python --out /tmp/codes

What is trained is read from its folder when the program is started again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import common  # benchmarks/common.py, beside this file

SHOWN = ("frechet", "coverage", "class_distance")


def peer(arguments: argparse.Namespace, seed: int, share: float) -> dict[str, Any]:
    """What pythae said; its arrays lie in `npz`."""
    file = common.PEERS / "pythae_vqvae.py"
    matters = [arguments.data, f"{arguments.minutes:g}", seed, f"{share:g}", arguments.count, file.read_text(encoding="utf-8")]
    kept = arguments.out / f"pythae-{arguments.minutes:g}-{seed}-{common.tag(*matters)}.json"
    made = kept.with_suffix(".npz")

    def train() -> dict[str, Any]:
        told = common.peer(
            arguments.pythae,
            file,
            arguments.out / "pictures.npz",
            made,
            minutes=arguments.minutes,
            seed=seed,
            count=arguments.count,
            more=["--share", f"{share:g}"],
            log=kept.with_suffix(".log"),
        )
        return told | {"npz": str(made)}

    return common.once(kept, train)


def stages(run: Path) -> dict[str, int]:
    """Images that each stage of a run of codec and prior has seen."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    codec = max(record["images"] for record in records if "codec" in record["losses"])
    return {"codec": codec, "prior": records[-1]["images"] - codec}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--presets", default="vq-vae,fsq,vqgan")
    parser.add_argument("--pythae", type=Path, metavar="PYTHON", help="of an environment with requirements-peers.txt")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--data", default="fashion-mnist", help="pictures of 28x28x1, which pythae's networks are made for")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of each side")
    parser.add_argument("--out", type=Path, default=Path("codes"))
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # read when torch is loaded, here and by what is started from here

    import numpy as np
    import torch

    from limner import load
    from limner.core import images as pictures
    from limner.core import precision
    from limner.core.seeds import SCORED_SEEDS
    from limner.data.prepare import prepare
    from limner.judges.judge import judge_for
    from limner.metrics.measure import score_outputs
    from limner.metrics.representation.reconstruction import PSNR_CEILING, psnr
    from limner.nets.quantise import perplexity, usage
    from limner.recipes.settings import compose

    arguments.out.mkdir(parents=True, exist_ok=True)
    dataset = prepare(arguments.data)
    judge = judge_for(dataset)
    print(f"judge frozen before anything is trained: {judge.checksum}", file=sys.stderr, flush=True)
    real = dataset.images.gather(dataset.indices("test"))
    seeds = [int(word) for word in arguments.seeds.split(",")]
    trained: list[tuple[str, int, dict[str, Any]]] = []
    if arguments.pythae:
        np.savez(arguments.out / "pictures.npz", train=dataset.images.gather(dataset.indices("train")), test=real)
    for seed in seeds:
        for preset in filter(None, arguments.presets.split(",")):
            print(f"{preset}, seed {seed}, {arguments.minutes:g} minutes …", file=sys.stderr, flush=True)
            trained.append((preset, seed, common.train(preset, arguments.minutes, seed, arguments.data, arguments.out)))
        if arguments.pythae:
            print(f"pythae, seed {seed}, {arguments.minutes:g} minutes …", file=sys.stderr, flush=True)
            share = compose("vq-vae", []).stages[0].share
            trained.append(("pythae", seed, peer(arguments, seed, share)))

    assert judge_for(dataset).checksum == judge.checksum, "the judge changed while the others trained"
    truth = judge.outputs(real)
    rows = []
    for name, seed, told in trained:
        if name == "pythae":
            with np.load(told["npz"]) as arrays:
                made = {"pythae": arrays["images"], "pythae, sampled in .train()": arrays["samples_train"]}
                back, counts = arrays["reconstructions"], torch.from_numpy(arrays["counts"]).float()
            seen_images = {stage: told[stage]["images"] for stage in ("codec", "prior")}
            drawing = told["drawing"]
        else:
            model = load(told["run"])
            began = time.monotonic()
            made = {name: model.sample(range(SCORED_SEEDS, SCORED_SEEDS + arguments.count))}
            drawing = time.monotonic() - began
            back, codes = model.reconstruct(real), torch.from_numpy(model.encode_pictures(real))
            counts = torch.bincount(codes.flatten(), minlength=model.method.codec.vocabulary).float()
            seen_images = stages(Path(told["run"]))
        decibels = float(psnr(back, real).clamp(max=PSNR_CEILING).mean())
        of_codec = {"psnr": decibels, "usage": float(usage(counts)), "perplexity": float(perplexity(counts))}
        for row, samples in made.items():
            seen = judge.outputs(samples)
            found = score_outputs(seen, truth)
            about = {"row": row, "seed": seed, "seconds": told["seconds"], "images": seen_images, "drawing": drawing}
            rows.append(about | of_codec | {"codes": len(counts)} | {key: vars(found[key]) for key in SHOWN if key in found})
            file = f"{row.replace(', sampled in .', '-').strip('()')}-{arguments.minutes:g}-{seed}"
            pictures.save_png(arguments.out / f"{file}.png", pictures.grid(samples[:100]))
        pairs = np.stack([real[:50], back[:50]], 1).reshape(100, *real.shape[1:])
        pictures.save_png(arguments.out / f"{name}-{arguments.minutes:g}-{seed}-reconstructed.png", pictures.grid(pairs, 10))
    pictures.save_png(arguments.out / "real.png", pictures.grid(real[:100]))
    report = {
        "data": dataset.name,
        "fingerprint": dataset.fingerprint,
        "minutes": arguments.minutes,
        "samples": arguments.count,
        "judge": judge.checksum,
        "processor": precision.processor(),
        "threads": arguments.threads,
        "rows": rows,
    }
    (arguments.out / f"codes-{arguments.minutes:g}.json").write_text(json.dumps(report, indent=1) + "\n")
    text = table(report)
    (arguments.out / f"codes-{arguments.minutes:g}.md").write_text(text + "\n")
    print(text)


def table(report: dict[str, Any]) -> str:
    first = report["rows"][0]
    null = {name: first[name]["null"] for name in SHOWN if name in first and first[name]["null"] is not None}
    lines = [
        f"{report['data']}, {report['minutes']:g} minutes each on {report['threads']} threads of {report['processor']}; "
        f"{report['samples']:,} samples against the test split; judge {report['judge'][:16]}, frozen beforehand. Real images "
        "get " + ", ".join(f"{name} {value:.3g}" for name, value in null.items()) + ".",
        "",
        (
            "| | seed | seconds | images, codec + prior | PSNR, dB ↑ | codes in use ↑ | perplexity | Fréchet ↓ | coverage ↑ "
            "| classes ↓ | drawing, s |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        images = row["images"]
        cells = [
            row["row"],
            row["seed"],
            f"{row['seconds']:.0f}",
            f"{images['codec']:,} + {images['prior']:,}",
            f"{row['psnr']:.1f}",
            f"{row['usage']:.1%} of {row['codes']}",
            f"{row['perplexity']:.0f}",
        ]
        cells += [f"{row[name]['value']:.3g}" if name in row else "–" for name in SHOWN]
        lines.append("| " + " | ".join([*map(str, cells), f"{row['drawing']:.0f}"]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

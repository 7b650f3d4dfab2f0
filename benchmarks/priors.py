"""What a prior fitted to the latents is worth: the same autoencoders, drawn from their mixture and from N(0, 1).

Every model is trained once, alone, by `limner train`; 10,000 samples by either prior are compared with the test split, which no
training has seen, in the features of one judge frozen beforehand.

    python benchmarks/priors.py --minutes 5 --presets vae,autoencoder,beta-vae --seeds 0,1,2 --out /tmp/priors

A model that is trained is read from its folder when the program is started again.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import common  # benchmarks/common.py, beside this file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--presets", default="vae,autoencoder,beta-vae")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("priors"))
    arguments = parser.parse_args()

    from limner import load
    from limner.core import images as pictures
    from limner.core.sampling import generate
    from limner.core.seeds import SCORED_SEEDS
    from limner.data.prepare import prepare
    from limner.judges.judge import judge_for
    from limner.metrics.measure import score_outputs
    from limner.metrics.representation.reconstruction import psnr

    arguments.out.mkdir(parents=True, exist_ok=True)
    dataset = prepare(arguments.data)
    judge = judge_for(dataset)
    print(f"judge frozen before anything is trained: {judge.checksum}", file=sys.stderr, flush=True)
    real = dataset.images.gather(dataset.indices("test"))
    truth = judge.outputs(real)
    print("| preset | seed | images | PSNR, dB | Fréchet, mixture | Fréchet, N(0, 1) | ratio | coverage, mixture | N(0, 1) |")
    print("|---|---|---|---|---|---|---|---|---|")
    for preset in arguments.presets.split(","):
        ratios = []
        for seed in (int(word) for word in arguments.seeds.split(",")):
            told = common.train(preset, arguments.minutes, seed, arguments.data, arguments.out, ["method.prior=mixture"])
            model = load(told["run"])
            quality = float(psnr(model.reconstruct(real), real).mean())
            found = {}
            for prior in ("mixture", "normal"):
                if prior == "normal":
                    model.method.prior = None
                seeds = range(SCORED_SEEDS, SCORED_SEEDS + arguments.count)
                samples = pictures.to_uint8(generate(model.method, seeds))
                pictures.save_png(arguments.out / f"{preset}-{seed}-{prior}.png", pictures.grid(samples[:100]))
                seen = judge.outputs(samples)
                found[prior] = score_outputs(seen, truth)
            distances = [found[prior]["frechet"].value for prior in ("mixture", "normal")]
            ratios.append(distances[0] / distances[1])
            coverage = [found[prior]["coverage"].value for prior in ("mixture", "normal")]
            print(
                f"| `{preset}` | {seed} | {told['images']:,} | {quality:.1f} | {distances[0]:.2f} | {distances[1]:.2f} | "
                f"{ratios[-1]:.2f} | {coverage[0]:.3f} | {coverage[1]:.3f} |",
                flush=True,
            )
        print(f"| `{preset}` | median | | | | | {statistics.median(ratios):.2f} | | |", flush=True)
    assert judge_for(dataset).checksum == judge.checksum


if __name__ == "__main__":
    main()

"""Negative log-likelihood of black-and-white MNIST: every pixel drawn once, the whole test split, importance-weighted.

The network is the two-layer one of the literature, 400 units each. Public anchor: 89.78 nats with 200 samples (pythae's rerun).

    python benchmarks/likelihood.py --minutes 20 --draws 512 --out /tmp/likelihood
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import common  # benchmarks/common.py, beside this file

SETTINGS = (
    "data.binary=true",
    "method.networks=mlp",
    "method.widths=[400,400]",
    "method.latent=40",
    "method.decoder=bernoulli",
    "method.prior=normal",
    "batch.size=128",
    "score.points=0",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--draws", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("likelihood"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    words = ["train", "mnist", "--preset", "vae", "--minutes", str(arguments.minutes), "--seed", str(arguments.seed)]
    told = common.limner(*words, "--out", str(arguments.out), *SETTINGS, *arguments.set)

    from limner import load
    from limner.data.prepare import prepare
    from limner.evaluation.likelihood import likelihood
    from limner.metrics.measure import measure_likelihood
    from limner.metrics.stats.score import mean_score

    model, dataset = load(told["run"]), prepare("mnist", binary=True)
    began = time.monotonic()
    for split, draws in (("train", 1), ("test", 1), ("test", arguments.draws)):
        rows = dataset.indices(split)[:10_000]
        values = measure_likelihood(likelihood(model, dataset.images.gather(rows), draws))
        found = {name: mean_score(each).to_dict() for name, each in values.items()}
        print(
            f"{split}, {len(rows):,} pictures, {draws} draws: nll {found['nll']['value']:.2f} ± {found['nll']['error']:.2f} "
            f"nats, {found['bits_per_dim']['value']:.4f} bits per dimension",
            flush=True,
        )
    print(f"{told['images']:,} images in {told['seconds']:.0f} s; bounds in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()

"""Trains the judges that are shipped with limner: one for each set known by name, prepared as it is by default.

    python benchmarks/ship_judges.py

A judge is found by the fingerprint of the pictures that it was trained on, so that whoever prepares these sets in the same way
compares numbers of the same features; their checksum is printed here and stands in every report. It knows the train split
alone; printed is its accuracy on the val split, or – where there are no labels.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src"
sys.path.insert(0, str(SOURCE))

from limner.data.prepare import prepare  # noqa: E402
from limner.judges.judge import JUDGE_SEED, SHIPPED, trained_judge  # noqa: E402
from limner.metrics.features.judge import judge_key  # noqa: E402

SETS = ("digits", "scenes", "scenes-1", "mnist", "fashion-mnist", "cifar-10")
MOST = 1_500_000
"""Bytes of a file."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--out", type=Path, default=SHIPPED)
    arguments = parser.parse_args()
    print("| set | shape | trained on | right on held-out pictures | checksum | bytes | seconds |")
    print("|---|---|---|---|---|---|---|")
    for name in arguments.sets.split(","):
        dataset, began = prepare(name), time.monotonic()
        judge = trained_judge(dataset)
        path = arguments.out / f"{judge_key(dataset.fingerprint, JUDGE_SEED)}.safetensors"
        judge.save(path)
        size, known = path.stat().st_size, judge.card.held_out_accuracy
        if size > MOST:
            raise SystemExit(f"{path} has {size:,} bytes, more than {MOST:,}")
        told = [
            f"`{name}`",
            "×".join(map(str, dataset.shape)),
            f"{judge.card.trained_on:,}",
            "–" if known is None else f"{known:.1%}",
            judge.checksum[:12],
            f"{size:,}",
            f"{time.monotonic() - began:.0f}",
        ]
        print(f"| {' | '.join(told)} |", flush=True)


if __name__ == "__main__":
    main()

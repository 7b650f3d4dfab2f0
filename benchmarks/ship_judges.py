"""Trains the judges that are shipped with limner: two for each set known by name, prepared as it is by default.

    python benchmarks/ship_judges.py

One knows the classes (`judge`), one was trained without labels (`contrast`). A judge is found by the fingerprint of the
pictures that it was trained on, so that whoever prepares these sets in the same way compares numbers of the same features; its
checksum is printed here and stands in every report. It knows the train split alone; printed is its accuracy on the val split.
They are trained longer than those of other pictures, since nobody waits for them.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src"
sys.path.insert(0, str(SOURCE))

from limner.data.prepare import prepare  # noqa: E402
from limner.judges.judge import JUDGE_SEED, SHIPPED_JUDGES, train_judge_for  # noqa: E402
from limner.metrics.features.judge import judge_key  # noqa: E402

IMAGES_SEEN = {
    "digits": 40_000,
    "clothes": 200_000,
    "scenes": 160_000,
    "scenes-1": 120_000,
    "mnist": 160_000,
    "fashion-mnist": 300_000,
    "cifar-10": 480_000,
}
"""Set -> images of the training of the judge that knows the classes, repeats counted."""
MAX_BYTES = 1_500_000
"""Bytes of a file."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default=",".join(IMAGES_SEEN))
    parser.add_argument("--kinds", default="judge,contrast")
    parser.add_argument("--out", type=Path, default=SHIPPED_JUDGES)
    arguments = parser.parse_args()
    print("| set | judge | shape | trained on | right on held-out pictures | checksum | bytes | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for name in arguments.sets.split(","):
        dataset = prepare(name)
        for kind in arguments.kinds.split(","):
            began = time.monotonic()
            is_judge = kind == "judge"
            judge = train_judge_for(dataset, labelled=is_judge, images_seen=IMAGES_SEEN[name] if is_judge else None)
            path = arguments.out / f"{judge_key(dataset.fingerprint, JUDGE_SEED, labelled=is_judge)}.safetensors"
            judge.save(path)
            size, accuracy = path.stat().st_size, judge.card.held_out_accuracy
            if size > MAX_BYTES:
                raise SystemExit(f"{path} has {size:,} bytes, more than {MAX_BYTES:,}")
            cells = [
                f"`{name}`",
                kind,
                "×".join(map(str, dataset.shape)),
                f"{judge.card.trained_on:,}",
                "–" if accuracy is None else f"{accuracy:.1%}",
                judge.checksum[:12],
                f"{size:,}",
                f"{time.monotonic() - began:.0f}",
            ]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

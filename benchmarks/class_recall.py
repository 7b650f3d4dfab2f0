"""How varied a run's pictures are within each class: precision, recall and coverage of each class by itself.

    python benchmarks/class_recall.py runs/0001

For each class, as many samples as there are held-out pictures of it (validation and test) are compared with these in the
features of the judge; beside them stands what as many training pictures of the class get. A model that draws one picture for
each class has a good precision and no recall here, though its pictures of all classes together may look varied.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from limner.core.seeds import SCORED_SEEDS
from limner.judges.judge import judge_for
from limner.metrics.distribution.coverage import neighbours
from limner.runs.model import load

MIN_PICTURES = 12
"""Held-out pictures of a class below which its scores say nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    model = load(run)
    dataset = model.dataset()
    if dataset.labels is None or "label" not in model.method.accepts:
        sys.exit(f"{run} draws no classes")
    judge = judge_for(dataset)
    held_out = np.concatenate([dataset.indices(split) for split in ("val", "test") if split in dataset.splits])
    training = np.random.default_rng(0).permutation(dataset.indices("train"))
    print("| class | training pictures | held out | precision | recall | coverage | the same of training pictures |")
    print("|---|---|---|---|---|---|---|")
    rows, counts = [], []
    for number, name in enumerate(dataset.classes):
        real = held_out[dataset.labels[held_out] == number]
        own = training[dataset.labels[training] == number]
        count = min(len(real), len(own))
        if count < MIN_PICTURES:
            print(f"| {name} | {len(own)} | {len(real)} | | | | |")
            continue
        features = judge.outputs(dataset.images.gather(real)).features
        samples = model.sample(range(SCORED_SEEDS, SCORED_SEEDS + count), label=name)
        scores = [
            neighbours(judge.outputs(pictures).features, features) for pictures in (samples, dataset.images.gather(own[:count]))
        ]
        rows.append([value for one in scores for value in (one.precision, one.recall, one.coverage)])
        counts.append(len(real))
        print(f"| {name} | {len(own)} | {len(real)} {format_scores(rows[-1])}")
    print(f"| all, by their numbers | | {format_scores(np.average(rows, axis=0, weights=counts).tolist())}")


def format_scores(row: list[float]) -> str:
    """The cells of precision, recall and coverage, and those of training pictures in one cell."""
    texts = [f"{value:.2f}" for value in row]
    return "| " + " | ".join(texts[:3]) + " | " + ", ".join(texts[3:]) + " |"


if __name__ == "__main__":
    main()

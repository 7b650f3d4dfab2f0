"""Writes a blind sheet of a run: 32 pictures of seeds 0 to 31 and 32 held-out real ones, shuffled and numbered.

    python benchmarks/blind_sheet.py runs/0001 --out docs/blind --name emoji

Whoever judges is given the sheet alone, and writes for each cell what it shows and whether it is real, before the key is
opened. With --answers FILE, a CSV file of cell, shows and real (yes or no), the answers are counted against the key.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from limner.core.images import to_pillow
from limner.runs.model import load

COUNT, COLUMNS, SIDE, LABEL = 32, 8, 96, 16
"""Pictures of each kind; cells in a row; pixels of a cell and of the number above it."""


def write_sheet(run: Path, sheet: Path, key: Path, seed: int) -> None:
    """Writes the sheet (PNG) and its key (CSV: cell, real, source)."""
    model = load(run)
    dataset = model.dataset()
    split = "test" if len(dataset.splits.get("test", ())) >= COUNT else "val"
    random = np.random.default_rng(seed)
    rows = random.permutation(dataset.indices(split))[:COUNT]
    pictures = [*model.sample(range(COUNT)), *dataset.images.gather(rows)]
    sources = [f"seed {number}" for number in range(COUNT)] + [f"{split} row {row}" for row in rows]
    order = random.permutation(2 * COUNT)
    canvas = Image.new("RGB", (COLUMNS * (SIDE + 4), len(order) // COLUMNS * (SIDE + LABEL + 4)), "white")
    drawing = ImageDraw.Draw(canvas)
    with key.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("cell", "real", "source"))
        for cell, place in enumerate(order):
            left, top = cell % COLUMNS * (SIDE + 4), cell // COLUMNS * (SIDE + LABEL + 4)
            drawing.text((left + 2, top + 2), str(cell), fill="black")
            canvas.paste(to_pillow(pictures[place]).resize((SIDE, SIDE), Image.Resampling.BICUBIC), (left, top + LABEL))
            writer.writerow((cell, "yes" if place >= COUNT else "no", sources[place]))
    canvas.save(sheet)


def count_answers(answers: Path, key: Path) -> str:
    """How many cells were told right, and how many generated ones were named or taken for real."""
    with answers.open(encoding="utf-8") as file:
        rows = {row["cell"]: row for row in csv.DictReader(file)}
    with key.open(encoding="utf-8") as file:
        truth = {row["cell"]: row["real"] for row in csv.DictReader(file)}
    made = [cell for cell, real in truth.items() if real == "no"]
    named = [cell for cell in made if rows[cell]["shows"].strip() not in ("", "?")]
    fooled = [cell for cell in made if rows[cell]["real"] == "yes"]
    right = sum(rows[cell]["real"] == real for cell, real in truth.items())
    return (
        f"{right} of {len(truth)} cells were told right; "
        f"of {len(made)} generated ones {len(named)} were named and {len(fooled)} taken for real"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--seed", type=int, default=0, help="of the order and of the real pictures")
    parser.add_argument("--answers", type=Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    sheet, key = arguments.out / f"{arguments.name}.png", arguments.out / f"{arguments.name}-key.csv"
    if arguments.answers:
        print(count_answers(arguments.answers, key))
    else:
        write_sheet(arguments.run, sheet, key, arguments.seed)


if __name__ == "__main__":
    main()

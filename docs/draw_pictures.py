"""Draws the pictures of the README, of seeds 0 to 63, by training their models anew: a quarter of an hour on two cores.

    LIMNER_DATA=DATA python docs/draw_pictures.py [NAME ...]

`clothes` is what `make demo` draws. `emoji` are 1,644 pictures of Noto Emoji, whose folder is sought in LIMNER_DATA. Each
picture holds the recipe of its model, which a test compares with the presets of now: where it fails, draw that picture again.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "src"))

import limner  # noqa: E402
from limner.core.progress import Progress  # noqa: E402

PICTURES = HERE / "pictures"
TRAININGS: Mapping[str, Mapping[str, Any]] = {
    "clothes": {"source": "clothes", "preset": "cgan", "minutes": 2.25},
    "emoji": {"source": "noto-emoji", "minutes": 10, "settings": {"data.size": 32}},
}
"""Picture -> what is trained for it."""


def _report(event: Progress) -> None:
    print(f"\r{event.what} {event.done:,} of {event.total:,}", end="", file=sys.stderr)


def draw(name: str, folder: Path) -> Path:
    """Trains the model of a picture in `folder` and draws its sheet; returns the file."""
    words = dict(TRAININGS[name])
    source = Path(os.environ.get("LIMNER_DATA", "."), words.pop("source"))
    run = limner.train(source if source.exists() else source.name, seed=0, out=folder, on_progress=_report, **words).run
    sheet = limner.sample(run, count=64, grid=True, out=folder / f"{name}-samples").grid
    assert sheet is not None
    return Path(sheet).replace(PICTURES / f"{name}.png")


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    for name in sys.argv[1:] or TRAININGS:
        with tempfile.TemporaryDirectory() as folder:
            print(f"\n{draw(name, Path(folder))}")


if __name__ == "__main__":
    main()

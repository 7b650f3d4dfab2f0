"""What a run looks at beside its own losses: pictures of the same seeds, how varied they are, and pictures held out.

The rules that judge it are the method's (`Method.diagnosis`). Only the leading process looks, and nothing that trains is moved
by it.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from typing import Any

from limner.core import diagnosis, parallel
from limner.core.capabilities import Autoencoder
from limner.core.images import grid, save_png, to_tensor, to_uint8
from limner.core.method import Method, StepContext
from limner.core.sampling import generate
from limner.data.dataset import Dataset
from limner.data.feed import Feed
from limner.recipes.build import stage_configs
from limner.recipes.recipe import Recipe
from limner.runs.run import Run
from limner.training.step import Stepper

MOST_HELD_OUT, FEWEST_HELD_OUT = 256, 8
"""Held-out pictures that the losses are taken on, where there are so many; fewer than the least say nothing."""
SHARE = 0.01
"""At most this share of the time goes to them; the first and the last look are always taken."""


class Monitor:
    """Looks, and remembers which warnings stand."""

    def __init__(self, run: Run, recipe: Recipe, dataset: Dataset, train: Feed) -> None:
        self.run, self.dataset, self.train = run, dataset, train
        self.recipe = recipe
        self.count = recipe.previews.count
        self.split = "val" if len(dataset.splits.get("val", ())) >= FEWEST_HELD_OUT else "train"
        self.feed: Feed | None = None
        if parallel.is_main_process() and self.split == "val":
            self.feed = Feed(dataset, "val", train.device, train.seed, train.mirror)
        self.standing: list[diagnosis.Warning] = []
        self.spent = self.last = 0.0

    def preview(self, method: Method, images: int) -> dict[str, float]:
        """Draws the same seeds every time (or reconstructs, where it cannot draw yet), beside real pictures; gives how varied
        they are."""
        folder = self.run.path / "previews"
        rows = self.dataset.indices(self.split)
        real = self.dataset.images.gather(rows[:: max(1, len(rows) // self.count)][: self.count])
        if not (folder / "reals.png").exists():
            save_png(folder / "reals.png", grid(real))
        if method.generates or not isinstance(method, Autoencoder):
            fake = to_uint8(generate(method, range(self.count)))
        else:
            fake = to_uint8(method.decode(method.encode(to_tensor(real, method.device))))
        save_png(folder / f"{images:09d}.png", grid(fake))
        return diagnosis.diversity(fake, real)

    def held_out(self, stepper: Stepper, at: StepContext, seconds: float, always: bool) -> dict[str, float]:
        """``held_out_<name>``: the losses on held-out pictures; ``gap_<name>``: by how much they exceed those on training ones.

        Both with the same weights and draws, since a game's losses swing from step to step. Nothing where there are too few
        pictures, or where it costs too much of the `seconds` so far and need not be `always`.
        """
        if self.feed is None or (self.last > 0 and self.spent + self.last > SHARE * seconds and not always):
            return {}
        began, count = time.monotonic(), min(MOST_HELD_OUT, len(self.feed))
        held_out, known = (stepper.look(feed.draw, at, count) for feed in (self.feed, self.train))
        self.last = time.monotonic() - began
        self.spent += self.last
        seen = {f"held_out_{name}": value for name, value in held_out.items()}
        seen |= {f"gap_{name}": value - known[name] for name, value in held_out.items()}
        return {name: value for name, value in seen.items() if math.isfinite(value)} | {"pictures_held_out": count}

    def recall(self, method: Method, stage: int, since: int) -> None:
        """What stands already, by the rows from `since` images on, where `stage` began: `warn` does not give it again."""
        rows = [row for row in self.run.metrics() if row["images"] > since]
        name, _, config = stage_configs(self.recipe)[stage]
        tree = self.recipe.model_dump(mode="json") | {"method": config.model_dump(mode="json")}
        key = "method" if stage == len(self.recipe.stages) else f"stages.{name}.method"
        self.standing = diagnosis.warnings(rows, tree, method.diagnosis(), key)

    def warn(self, method: Method, stage: int, since: int) -> list[diagnosis.Warning]:
        """What did not stand before, and does by the rows from `since` images on; it goes to the log as well."""
        before = {warning.kind for warning in self.standing}
        self.recall(method, stage, since)
        fresh = [warning for warning in self.standing if warning.kind not in before]
        for warning in fresh:
            self.run.log(f"warning ({warning.kind}): {warning.text}")
        for kind in sorted(before - {warning.kind for warning in self.standing}):
            self.run.log(f"no more {kind}")
        return fresh

    def status(self) -> list[dict[str, Any]]:
        return [asdict(warning) for warning in self.standing]

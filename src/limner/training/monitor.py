"""What a run observes beside its training losses: previews, how varied they are, losses on held-out pictures, warnings.

The rules behind the warnings are the method's (`Method.diagnosis`). Only the main process observes, and observing changes
nothing that is trained.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from typing import Any

from limner.core import diagnosis, parallel
from limner.core.capabilities import Autoencoder
from limner.core.images import grid, save_sheet, to_tensor, to_uint8
from limner.core.method import Method, StepContext
from limner.data.conditions import Conditions, generate_images
from limner.data.dataset import Dataset
from limner.data.feed import Feed
from limner.recipes.build import stage_configs
from limner.recipes.recipe import Recipe
from limner.runs.run import Run
from limner.training.step import Stepper

MAX_HELD_OUT_IMAGES, MIN_HELD_OUT_IMAGES = 256, 8
"""Losses are computed on at most so many held-out pictures, and not at all where the validation split has fewer than the second
number, since their mean would be noise."""
MAX_TIME_SHARE = 0.01
"""The share of the training time that losses on held-out pictures may take; the first and the last are always computed."""


class Monitor:
    """Makes the observations of one run, and remembers which warnings are active."""

    def __init__(self, run: Run, recipe: Recipe, dataset: Dataset, train: Feed) -> None:
        self.run, self.dataset, self.train = run, dataset, train
        self.recipe = recipe
        self.count = recipe.previews.count
        self.split = "val" if len(dataset.splits.get("val", ())) >= MIN_HELD_OUT_IMAGES else "train"
        self.conditions = Conditions(dataset, self.split, run.captions())
        self.feed: Feed | None = None
        if parallel.is_main_process() and self.split == "val":
            self.feed = Feed(dataset, "val", train.device, train.seed, train.mirror)
        self.active_warnings: list[diagnosis.Warning] = []
        self.seconds_spent = self.last_seconds = 0.0

    def preview(self, method: Method, images: int) -> dict[str, float]:
        """Writes a preview, a grid of pictures of the same seeds every time, and returns how varied they are (`diversity`).

        Where the method takes conditions, they are those that the seeds draw (`Conditions`). A method that cannot generate yet
        reconstructs real pictures instead.
        """
        self.run.check_presence()
        folder = self.run.path / "previews"
        rows = self.dataset.indices(self.split)
        real = self.dataset.images.gather(rows[:: max(1, len(rows) // self.count)][: self.count])
        if not (folder / "reals.png").exists():
            save_sheet(folder / "reals.png", grid(real))
        if method.generates or not isinstance(method, Autoencoder):
            fake = generate_images(method, range(self.count), self.conditions)
        else:
            fake = to_uint8(method.decode(method.encode(to_tensor(real, method.device))))
        save_sheet(folder / f"{images:09d}.png", grid(fake))
        return diagnosis.diversity(fake, real)

    def held_out(self, stepper: Stepper, at: StepContext, seconds: float, always: bool) -> dict[str, float]:
        """``held_out_<name>``: the losses on held-out pictures; ``gap_<name>``: by how much they exceed those on training ones.

        Both are computed with the same weights and random numbers, since the losses of a game fluctuate from step to step. The
        result is empty without enough held-out pictures, or, unless `always`, where it would cost too much of the `seconds` of
        training so far.
        """
        if self.feed is None:
            return {}
        if not always and self.last_seconds > 0 and self.seconds_spent + self.last_seconds > MAX_TIME_SHARE * seconds:
            return {}
        self.feed.accept(self.train.accepts)
        began, count = time.monotonic(), min(MAX_HELD_OUT_IMAGES, len(self.feed))
        held_out, training = (stepper.evaluate_losses(feed.draw, at, count) for feed in (self.feed, self.train))
        self.last_seconds = time.monotonic() - began
        self.seconds_spent += self.last_seconds
        values = {f"held_out_{name}": value for name, value in held_out.items()}
        values |= {f"gap_{name}": value - training[name] for name, value in held_out.items()}
        return {name: value for name, value in values.items() if math.isfinite(value)} | {"pictures_held_out": count}

    def update_warnings(self, method: Method, stage: int, stage_start: int) -> None:
        """Finds the active warnings by the rows of metrics after `stage_start`, the images at which `stage` began."""
        rows = [row for row in self.run.metrics() if row["images"] > stage_start]
        name, _, config = stage_configs(self.recipe)[stage]
        tree = self.recipe.model_dump(mode="json") | {"method": config.model_dump(mode="json")}
        key = "method" if stage == len(self.recipe.stages) else f"stages.{name}.method"
        self.active_warnings = diagnosis.warnings(rows, tree, method.diagnosis(), key)

    def warn(self, method: Method, stage: int, stage_start: int) -> list[diagnosis.Warning]:
        """Updates the active warnings, logs which ones are new and which are no longer active, and returns the new ones."""
        before = {warning.kind for warning in self.active_warnings}
        self.update_warnings(method, stage, stage_start)
        new = [warning for warning in self.active_warnings if warning.kind not in before]
        for warning in new:
            self.run.log(f"warning ({warning.kind}): {warning.text}")
        for kind in sorted(before - {warning.kind for warning in self.active_warnings}):
            self.run.log(f"no more {kind}")
        return new

    def status(self) -> list[dict[str, Any]]:
        """The active warnings as JSON, for status.json."""
        return [asdict(warning) for warning in self.active_warnings]

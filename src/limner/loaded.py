"""A trained model, ready to be used: ``limner.load("runs/0007").sample(seeds=range(16))``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from limner import recipe as recipes
from limner.core import images as pictures
from limner.core import precision
from limner.core.cond import Cond
from limner.core.ema import averaged
from limner.core.errors import InputError
from limner.core.method import Method, Reconstructs, generate
from limner.core.step import prepare_module
from limner.recipe import Recipe
from limner.run import Checkpoint, Run, load_weights


@dataclass(frozen=True)
class Loaded:
    """The averaged weights of one checkpoint, in evaluation mode, in float32."""

    run: Run
    checkpoint: Checkpoint
    recipe: Recipe
    method: Method

    def sample(self, seeds: Sequence[int] = range(16), label: str | None = None) -> NDArray[np.uint8]:
        """[len(seeds), H, W, C] uint8. Image i is a function of seeds[i] alone, to the bit, whatever stands beside it.

        Errors: `InputError` where `label` is asked of a model that knows no classes.
        """
        if label is not None:
            raise InputError(
                f"{self.run.path} was trained without classes, so it cannot be asked for '{label}'; leave --label out"
            )
        rows = [
            pictures.to_uint8(generate(self.method, list(seeds)[part], Cond()))
            for part in pictures.batches_of(len(seeds), 32 * self.method.chunk)
        ]
        return np.concatenate(rows) if rows else np.empty((0, *self.shape), np.uint8)

    def reconstruct(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """[N, H, W, C] uint8, through the latents and back. Errors: `InputError` where the method has no encoder."""
        method = self.method
        if not isinstance(method, Reconstructs):
            raise InputError(f"{self.run.path} has no encoder ({self.recipe.preset}), so it cannot reconstruct; train a vae")
        rows = []
        with torch.inference_mode():
            for part in pictures.batches_of(len(images), 128):
                latents = method.encode(pictures.to_tensor(images[part], method.device))
                rows.append(pictures.to_uint8(method.decode(latents)))
        return np.concatenate(rows)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of its pictures."""
        data = self.recipe.data
        height, width = (int(side) for side in str(data.size).split("x"))
        return height, width, data.channels or 3


def load(run: Path | str, checkpoint: str = "last") -> Loaded:
    """The model of `run` (a folder, or a unique beginning of it) at `last`, `best` or a number of images.

    Errors: `InputError` where there is no such run, no complete checkpoint, or weights that do not fit the recipe.
    """
    opened = Run.open(run)
    recipe = opened.recipe()
    chosen = opened.checkpoint(checkpoint)
    stage = chosen.state()["stage"]
    precision.settle()
    height, width = (int(side) for side in str(recipe.data.size).split("x"))
    method = recipes.build(recipe, (height, width, recipe.data.channels or 3), recipe.data.classes, stage)
    load_weights(method, chosen.tensors("ema"), chosen.path, averaged(method))
    prepare_module(method, precision.device())
    return Loaded(opened, chosen, recipe, method.eval().requires_grad_(False))

"""A trained model, ready to be used: ``limner.load("runs/0007").sample(seeds=range(16))``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from limner.core import precision
from limner.core.address import public_address
from limner.core.capabilities import Autoencoder, LatentDecoder
from limner.core.cond import Cond
from limner.core.errors import InputError, nearest
from limner.core.images import batches_of, to_tensor, to_uint8
from limner.core.method import Method, averaged
from limner.core.precision import prepare_module
from limner.core.process import configure_for_computation
from limner.core.sampling import generate
from limner.data import prepare_source
from limner.data.conditions import Conditions, takes_text_or_image
from limner.data.dataset import Dataset
from limner.recipes.build import CODEC_WORDS, build_method, presets_drawing, presets_making, stage_configs
from limner.recipes.recipe import Recipe
from limner.runs.checkpoint import Checkpoint, load_weights
from limner.runs.run import Run

MOST_SHOWN = 12
"""Classes that an error names."""
ENCODED = 128
"""Pictures that are encoded at a time."""


@dataclass(frozen=True)
class Loaded:
    """The averaged weights of one checkpoint, in evaluation mode, in float32."""

    run: Run
    checkpoint: Checkpoint
    recipe: Recipe
    method: Method

    # Many parameters: what a person may ask of a draw, each by its own name.
    def sample(
        self,
        seeds: Sequence[int] = range(16),
        label: str | None = None,
        truncation: float = 1.0,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
    ) -> NDArray[np.uint8]:
        """[len(seeds), H, W, C] uint8. Image i is a function of seeds[i] alone, to the bit, whatever stands beside it.

        `label` is the name of a class (or its number, where no class is called so); without it, a model that knows classes
        draws them as often as they were in training. `truncation` multiplies the latents: below 1 nearer to their mean, more
        typical and less varied (Brock et al. 2018, arXiv:1809.11096, scaled instead of cut). What draws codes divides its
        logits by `temperature`, and draws from the `top_k` likeliest codes only (0: all), and of these from the fewest that
        have `top_p` of the mass.

        Errors: `InputError` where the model does not know `label`, cannot be truncated, or draws no codes.
        """
        knobs = self._knobs(truncation, temperature, top_k, top_p)
        chosen = self.class_of(label)
        rows = []
        for part in batches_of(len(seeds), 32 * self.method.chunk):
            some = list(seeds)[part]
            cond = self.cond(chosen, len(some))
            if takes_text_or_image(self.method):
                cond = self.conditions.draw(some, self.method.accepts, cond).to(self.method.device)
            rows.append(to_uint8(generate(self.method, some, cond, **knobs)))
        return np.concatenate(rows) if rows else np.empty((0, *self.shape), np.uint8)

    def _knobs(self, truncation: float, temperature: float, top_k: int, top_p: float) -> dict[str, float]:
        """Those that are not as they are anyway. Errors: `InputError` for one out of range, or that the method lacks."""
        if not self.method.generates:
            raise InputError(self._why_none_are_drawn())
        if not (math.isfinite(truncation) and truncation > 0):
            raise InputError(f"truncation {truncation:g} is out of range; give a number above 0, such as 0.7 (1 is none)")
        if not (math.isfinite(temperature) and temperature > 0):
            raise InputError(f"temperature {temperature:g} is out of range; give a number above 0, such as 0.9 (1 is none)")
        if top_k < 0:
            raise InputError(f"top-k {top_k} is out of range; give how many codes may be drawn, such as 100 (0 is all)")
        if not 0 < top_p <= 1:
            raise InputError(f"top-p {top_p:g} is out of range; give a share of the mass above 0, such as 0.95 (1 is all)")
        if truncation != 1.0 and not isinstance(self.method, LatentDecoder):
            raise InputError(f"{self.run.path} ({self.recipe.preset}) has no latents to truncate; leave truncation out")
        asked = {"temperature": (temperature, 1.0), "top_k": (top_k, 0), "top_p": (top_p, 1.0)}
        knobs = {name: value for name, (value, none) in asked.items() if value != none}
        for name in sorted(knobs.keys() - self.method.knobs):
            raise InputError(f"{self.run.path} ({self.recipe.preset}) draws no codes; leave {name.replace('_', '-')} out")
        return knobs if truncation == 1.0 else {"truncation": truncation, **knobs}

    def _why_none_are_drawn(self) -> str:
        """And what helps: it may be an early stage of a run, whose last one draws and comes later."""
        stage, configs = self.checkpoint.state()["stage"], stage_configs(self.recipe)
        if stage == len(configs) - 1:
            made = self.recipe.method.makes
            drawing = presets_drawing(made)[0] if made is not None else "none"
            return (
                f"{self.run.path} turns pictures into {CODEC_WORDS[made]} and has no {drawing} to draw new ones; train one "
                f"with `limner train {public_address(self.recipe.data.source)} --preset {drawing} codec={self.run.path}`"
            )
        drawing = configs[-1][2].kind
        early = f"{self.run.path} had not begun its {drawing}, which draws new pictures, at {self.checkpoint.images:,} images"
        later = self.run.checkpoint().state()["stage"] > stage
        return f"{early}; {'use --checkpoint last' if later else f'go on with `limner resume {self.run.path}`'}"

    def class_of(self, label: str | None) -> int | None:
        """The number of a class by its name, or by that number as text where no class is called so; None for None.

        Errors: `InputError` where the model knows no classes, or not this one.
        """
        if label is None:
            return None
        if not self.method.conditional:
            raise InputError(
                f"{self.run.path} was trained without classes, so it cannot be asked for '{label}'; leave --label out, or "
                "train one with method.labels=true"
            )
        classes = self.recipe.data.classes
        if label in classes:
            return classes.index(label)
        if label.isascii() and label.isdigit() and len(label) < 10 and int(label) < len(classes):
            return int(label)
        shown = ", ".join(classes[:MOST_SHOWN]) + (
            f" and {len(classes) - MOST_SHOWN} more" if len(classes) > MOST_SHOWN else ""
        )
        raise InputError(f"{self.run.path} knows no class '{label}'{nearest(label, classes)} (there are: {shown})")

    def cond(self, chosen: int | None, count: int) -> Cond:
        """`count` times the class of that number; empty for None."""
        return Cond() if chosen is None else Cond(label=torch.full((count,), chosen, device=self.method.device))

    @cached_property
    def conditions(self) -> Conditions:
        """What seeds draw where nobody requests a text: the captions that the run folder holds."""
        return Conditions(None, captions=self.run.captions())

    @property
    def caption_length(self) -> int:
        """Bytes of a caption that the method reads; 0 where it takes no text."""
        captions = self.conditions.captions
        return 0 if captions is None else captions.length

    def reconstruct(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """[N, H, W, C] uint8, through the latents and back. Errors: `InputError` where the method has no encoder."""
        method = self.encoder
        self._check(images)
        rows = [np.empty((0, *self.shape), np.uint8)]
        with precision.exact(self.method.device.type), torch.inference_mode():
            for part in batches_of(len(images), ENCODED):
                latents = method.encode(to_tensor(images[part], self.method.device))
                rows.append(to_uint8(method.decode(latents)))
        return np.concatenate(rows)

    @property
    def encoder(self) -> Autoencoder:
        """The method, where it encodes. Errors: `InputError` where it does not."""
        if isinstance(self.method, Autoencoder):
            return self.method
        raise InputError(
            f"{self.run.path} has no encoder ({self.recipe.preset}); train one that has, such as --preset "
            f"{presets_making('continuous')[0]} (for single pictures `limner reconstruct` looks for the latents instead)"
        )

    def encode(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """[N, H, W, C] uint8, at least one -> [N, *shape of its latents]: float32, or the int64 numbers of codes.

        Errors: `InputError` where the method has no encoder, or the pictures another shape.
        """
        method = self.encoder
        self._check(images)
        rows = []
        with precision.exact(self.method.device.type), torch.inference_mode():
            for part in batches_of(len(images), ENCODED):
                rows.append(method.encode(to_tensor(images[part], self.method.device)).cpu().numpy())
        latents = np.concatenate(rows)
        return latents.astype(np.float32 if np.issubdtype(latents.dtype, np.floating) else np.int64, copy=False)

    def latent_shape(self) -> tuple[tuple[int, ...], bool]:
        """Of the latents of one picture, and whether these are codes. Errors: `InputError` where the method has no encoder."""
        blank = self.encode(np.zeros((1, *self.shape), np.uint8))
        return blank.shape[1:], blank.dtype == np.int64

    def _check(self, images: NDArray[np.uint8]) -> None:
        if images.shape[1:] != self.shape:
            raise InputError(f"pictures of {self.run.path} have the shape {self.shape}, not {tuple(images.shape[1:])}")

    def dataset(self, source: str | None = None) -> Dataset:
        """The data that the run was trained on, prepared again; or another `source`, prepared as that was.

        Errors: `InputError` where it is not there, or (the run's own) is no longer what it was.
        """
        told = self.recipe.data
        data = told if source is None else told.model_copy(update={"source": source, "split": None, "limit": None})
        found = prepare_source(data.source, data.options(), fingerprint=told.fingerprint if source is None else None)
        if source is None and found.fingerprint != told.fingerprint:
            raise InputError(
                f"{public_address(told.source)} is no longer what {self.run.path} was trained on (its fingerprint differs), so "
                "its held-out pictures may have been trained on; bring the pictures back, or name others with --data SRC"
            )
        return found

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
    configure_for_computation()
    height, width = (int(side) for side in str(recipe.data.size).split("x"))
    method = build_method(recipe, (height, width, recipe.data.channels or 3), recipe.data.classes, stage)
    load_weights(method, chosen.tensors("ema"), chosen.path, averaged(method))
    prepare_module(method, precision.device())
    return Loaded(opened, chosen, recipe, method.eval().requires_grad_(False))

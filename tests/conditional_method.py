"""A tiny family of methods that takes every kind of condition, and pictures for which its optimum is known in closed form.

`Linear` predicts a picture as a linear function of its class, of its caption's bytes and of its given picture. `write_pictures`
makes pictures that are exactly that: the upper rows say the caption, one row the class, the lower rows the negative of the
given picture. With all conditions the least loss is therefore 0; without one of them it is the variance of its rows
(`least_loss`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

import made
from limner.core.capabilities import Codec
from limner.core.cond import Batch, Cond
from limner.core.config import ConditionKind, DataSpec, MethodConfig, Sampling
from limner.core.method import Losses, Method, Phase, Player, StepContext
from limner.core.optimiser_settings import Optimiser
from limner.core.schedule import Schedule
from limner.core.seeds import noise
from limner.data.dataset import Dataset
from limner.recipes.registry import METHODS, PRESETS, Family, Preset

SIDE = 8
CLASSES = ("left", "right")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
MIDDLE = 1 + (ord(LETTERS[0]) + ord(LETTERS[-1])) / 2
"""The mean of a letter's number in an encoded caption."""
TEXT_ROWS, CLASS_ROWS, GIVEN_ROWS = slice(0, 3), slice(3, 4), slice(4, 8)
"""Rows of a picture that say its caption, its class and its given picture."""


class LinearSampling(Sampling):
    """How `Linear` draws."""

    spread: float = Field(0.0, ge=0)
    """How much of the seed's noise a picture shows."""


class LinearConfig(MethodConfig):
    """Which conditions `Linear` takes."""

    kind: Literal["linear"] = "linear"
    """The family."""
    accepts: tuple[ConditionKind, ...] = ("label", "text", "image")
    """The conditions that the prediction uses."""
    optimiser: Optimiser = Optimiser(lr=Schedule(value=0.05, decay_from=0.3))
    """What moves the weights."""


class Linear(Method):
    """Predicts a picture from its conditions; the seed adds noise."""

    sampling_type: ClassVar[type[Sampling]] = LinearSampling
    chunk = 8

    def __init__(self, config: LinearConfig, codec: Codec, spec: DataSpec) -> None:
        super().__init__(codec)
        self.config, self.spec = config, spec
        self.accepts = frozenset(config.accepts)
        self.network = nn.Linear(sum(self._widths()), int(np.prod(spec.shape)))

    def players(self) -> Mapping[str, Player]:
        return {"network": Player("network", self.config.optimiser)}

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("fit", ("network",)),)

    def losses(self, phase: str, batches: tuple[Batch, ...], at: StepContext) -> Losses:
        (batch,) = batches
        predicted = self.predict(batch.cond, len(batch))
        return Losses({"network": (predicted - batch.images).flatten(1).square().mean(1)})

    def predict(self, cond: Cond, count: int) -> Tensor:
        """[count, C, H, W] of what there is in `cond`; a condition that is missing, or that is not accepted, counts as 0."""
        parts = [torch.zeros(count, width, device=self.device) for width in self._widths()]
        if cond.label is not None and "label" in self.accepts:
            parts[0] = nn.functional.one_hot(cond.label.clamp(min=0), len(self.spec.classes)).float()
        if cond.text is not None and "text" in self.accepts:
            parts[1] = (cond.text.float() - MIDDLE) / (len(LETTERS) / 2)
        if cond.image is not None and "image" in self.accepts:
            parts[2] = cond.image.flatten(1)
        pictures: Tensor = self.network(torch.cat(parts, dim=1)).view(count, *self.spec.shape)
        return pictures

    def _widths(self) -> tuple[int, int, int]:
        """Inputs for class, caption and given picture; none for what is not accepted."""
        widths = len(self.spec.classes), self.spec.caption_length, int(np.prod(self.spec.condition_shape or (0,)))
        label, text, image = (
            width if kind in self.accepts else 0 for kind, width in zip(("label", "text", "image"), widths, strict=True)
        )
        return label, text, image

    def conditions(self, seeds: Sequence[int], requested: Cond) -> Cond:
        """A class that is not requested is drawn by the seed: the first one for even seeds."""
        if "label" not in self.accepts:
            return requested
        drawn = torch.tensor([seed % len(self.spec.classes) for seed in seeds], device=self.device)
        asked = requested.label
        label = drawn if asked is None else torch.where(asked.to(self.device) >= 0, asked.to(self.device), drawn)
        return Cond(label, requested.text, requested.image)

    @torch.no_grad()
    def sample(self, seeds: Sequence[int], cond: Cond, sampling: Sampling) -> Tensor:
        assert isinstance(sampling, LinearSampling)
        pictures = self.predict(self.conditions(seeds, cond), len(seeds))
        if sampling.spread:
            pictures = pictures + sampling.spread * noise(seeds, *self.spec.shape).to(pictures.device)
        return pictures.clamp(-1, 1)


def _build(config: Any, codec: Codec, spec: DataSpec) -> Method:
    return Linear(config, codec, spec)


RECIPE = """
method: {kind: linear}
batch: {size: 16}
ema: {half_life: 0.01}
"""


@contextmanager
def registered() -> Iterator[None]:
    """Within the block the family and a preset of the same name are in the tables."""
    accepts: frozenset[ConditionKind] = frozenset(("label", "text", "image"))
    family = Family(LinearConfig, LinearSampling, _build, "a linear function of its conditions", "-", accepts)
    METHODS.register("linear", family)
    PRESETS.register("linear", Preset("linear", "a linear function of its conditions", "-", RECIPE))
    try:
        yield
    finally:
        METHODS.forget("linear")
        PRESETS.forget("linear")


def grey_of(letter: str) -> int:
    """The grey value that a letter stands for: linear in its byte."""
    return 3 + 10 * LETTERS.index(letter)


def picture_of(text: str, label: str, given: np.ndarray) -> np.ndarray:
    """[8, 8, 1] uint8: what `Linear` can predict exactly, but for the rounding of grey values."""
    pixels = np.empty((SIDE, SIDE, 1), np.uint8)
    pixels[TEXT_ROWS] = np.repeat([grey_of(letter) for letter in text], SIDE // len(text))[None, :, None]
    pixels[CLASS_ROWS] = 40 if label == CLASSES[0] else 200
    pixels[GIVEN_ROWS] = 255 - given[GIVEN_ROWS]
    return pixels


def write_pictures(root: Path, count: int = 600) -> Path:
    """`count` pictures with a caption of two letters, a class and a given picture each, and the table that says so."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(count):
        text, label = "".join(random.choice(list(LETTERS), 2)), CLASSES[int(random.integers(2))]
        given = random.integers(0, 256, (SIDE, SIDE, 1), dtype=np.uint8)
        name = f"{number:03d}.png"
        made.write(root / "given" / name, made.encoded(given))
        made.write(root / "pictures" / name, made.encoded(picture_of(text, label, given)))
        rows.append({"file_name": f"pictures/{name}", "given_file_name": f"given/{name}", "text": text, "label": label})
    made.write(root / "metadata.jsonl", "\n".join(json.dumps(row) for row in rows).encode())
    return root


def least_loss(dataset: Dataset, accepts: Sequence[ConditionKind]) -> float:
    """The least mean squared error of a linear function of these conditions over the training pictures, by least squares."""
    rows = dataset.indices("train")
    assert dataset.labels is not None
    assert dataset.captions is not None
    assert dataset.given_images is not None
    inputs = [np.ones((len(rows), 1))]
    if "label" in accepts:
        inputs.append(dataset.labels[rows][:, None].astype(np.float64))
    if "text" in accepts:
        inputs.append(np.array([list(dataset.captions[row].encode()) for row in rows], np.float64))
    if "image" in accepts:
        inputs.append(dataset.given_images.gather(rows).reshape(len(rows), -1).astype(np.float64))
    pictures = dataset.images.gather(rows).reshape(len(rows), -1) / 127.5 - 1
    features = np.concatenate(inputs, axis=1)
    weights = np.linalg.lstsq(features, pictures, rcond=None)[0]
    return float(np.square(features @ weights - pictures).mean())

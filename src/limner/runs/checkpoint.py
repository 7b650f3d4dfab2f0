"""One checkpoint of a run: weights as safetensors, and the state of training as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from limner.core.errors import InputError
from limner.core.files import sha256
from limner.core.method import Method
from limner.recipes.recipe import Recipe
from limner.recipes.settings import parse_recipe


@dataclass
class TrainState:
    """How far training is: everything that a checkpoint holds beside tensors. All randomness is a function of it."""

    images: int = 0
    """Images seen."""
    iteration: int = 0
    """Optimiser steps."""
    seconds: float = 0.0
    """Seconds of training, without pauses."""
    stage: int = 0
    """The number of the stage, from 0."""
    stage_start: int = 0
    """Images seen when the stage began."""
    rollbacks: int = 0
    """How often training went back to a checkpoint because a loss was not finite."""
    scoring_seconds: float = 0.0
    """Seconds of `seconds` that scoring took."""


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint; a folder without the file ``COMPLETE`` is not one."""

    path: Path
    images: int
    """Images seen when it was written."""

    def state(self) -> dict[str, Any]:
        """The fields of `TrainState`, and what else training wrote beside them. Errors: `InputError` where it is damaged."""
        return read_json(self.path / "state.json")

    def tensors(self, part: str) -> dict[str, Tensor]:
        """The named tensors of `part`: ``model``, ``ema`` or ``optim``. Errors: `InputError` for a missing or damaged file."""
        path = self.path / f"{part}.safetensors"
        try:
            return safetensors.torch.load_file(path)
        except FileNotFoundError as error:
            raise InputError(f"{path} is missing; delete {self.path} to fall back on an older checkpoint") from error
        except SafetensorError as error:
            raise InputError(f"{path} is damaged ({error}); delete {self.path} to fall back on an older one") from error

    def recipe(self) -> Recipe:
        """The recipe with which these weights were saved, without its paths."""
        with safetensors.safe_open(self.path / "ema.safetensors", "pt") as file:
            return parse_recipe(json.loads(file.metadata()["recipe"]), str(self.path))

    def digest(self) -> str:
        """The sha256 of the file of averaged weights: equal weights have equal digests."""
        return sha256(self.path / "ema.safetensors")


def load_weights(method: Method, tensors: Mapping[str, Tensor], where: Path, only: Sequence[str] | None = None) -> None:
    """Copies `tensors` into the parameters and buffers of `method` that have the same names.

    `where` is the file that an error names; `only` restricts the names that must be present. Errors: `InputError` where a
    tensor is missing, unknown or of another shape; then nothing is copied.
    """
    own = dict(method.state_dict())
    expected = {name for name in own if only is None or name in only}
    for name in sorted(expected | set(tensors)):
        if name not in tensors or name not in own:
            what = "lacks" if name not in tensors else "holds an unknown"
            raise InputError(f"{where}: the checkpoint {what} '{name}'; it does not belong to this recipe")
        if own[name].shape != tensors[name].shape:
            raise InputError(
                f"{where}: '{name}' has shape {tuple(tensors[name].shape)}, the recipe's network {tuple(own[name].shape)}; "
                "the checkpoint does not belong to this recipe"
            )
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in the file at `path`. Errors: `InputError` where it is missing or damaged."""
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return value
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged: {error}") from error

"""One checkpoint of a run: safetensors, its state, and whether it is complete."""

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
    """How far a run is: all that a checkpoint holds beside tensors. What is drawn at random is a function of it."""

    images: int = 0
    iteration: int = 0
    seconds: float = 0.0
    """Of training, without pauses."""
    stage: int = 0
    stage_start: int = 0
    """Images at which the stage began."""
    rollbacks: int = 0
    """How often training went back to a checkpoint because a loss was not finite."""
    scoring_seconds: float = 0.0


@dataclass(frozen=True)
class Checkpoint:
    """A complete one; what lacks `COMPLETE` does not exist."""

    path: Path
    images: int

    def state(self) -> dict[str, Any]:
        return read_json(self.path / "state.json")

    def tensors(self, part: str) -> dict[str, Tensor]:
        """`model`, `ema` or `optim`. Errors: `InputError` where the file is damaged."""
        path = self.path / f"{part}.safetensors"
        try:
            return safetensors.torch.load_file(path)
        except FileNotFoundError as error:
            raise InputError(f"{path} is missing; delete {self.path} to fall back on an older checkpoint") from error
        except SafetensorError as error:
            raise InputError(f"{path} is damaged ({error}); delete {self.path} to fall back on an older one") from error

    def recipe(self) -> Recipe:
        """The recipe these weights were saved with, without its paths."""
        with safetensors.safe_open(self.path / "ema.safetensors", "pt") as file:
            return parse_recipe(json.loads(file.metadata()["recipe"]), str(self.path))

    def digest(self) -> str:
        """sha256 of the averaged weights' file: equal weights have equal digests."""
        return sha256(self.path / "ema.safetensors")


def load_weights(method: Method, tensors: Mapping[str, Tensor], where: Path, only: Sequence[str] | None = None) -> None:
    """Copies `tensors` into the method's parameters and buffers of the same names.

    Errors: `InputError` where one is missing, is too many or has another shape; nothing is copied then.
    """
    mine = dict(method.state_dict())
    wanted = {name for name in mine if only is None or name in only}
    for name in sorted(wanted | set(tensors)):
        if name not in tensors or name not in mine:
            what = "lacks" if name not in tensors else "holds an unknown"
            raise InputError(f"{where}: the checkpoint {what} '{name}'; it does not belong to this recipe")
        if mine[name].shape != tensors[name].shape:
            raise InputError(
                f"{where}: '{name}' has shape {tuple(tensors[name].shape)}, the recipe's network {tuple(mine[name].shape)}; "
                "the checkpoint does not belong to this recipe"
            )
    with torch.no_grad():
        for name, tensor in tensors.items():
            mine[name].copy_(tensor)


def read_json(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return value
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged: {error}") from error

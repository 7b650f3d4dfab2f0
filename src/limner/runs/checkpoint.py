"""Folders of weights in a run: weights as safetensors, the state of training as JSON, and checksums of both."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from limner.core.documents import finite_number, parse_json, read_json
from limner.core.errors import InputError, short_repr
from limner.core.files import atomic_folder, os_errors_as_input_errors, sha256
from limner.core.invocation import option
from limner.recipes.recipe import Recipe
from limner.recipes.settings import parse_recipe

if TYPE_CHECKING:  # torch takes seconds to load, and a list of runs reads no weights
    from torch import Tensor

    from limner.core.method import Method

_MARKER = "COMPLETE"
"""The file without which a folder is no checkpoint."""


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
    fit_seconds: float = 0.0
    """Seconds of `seconds` that `Method.fit_at_checkpoint` took, for checkpoints and for scores."""


@dataclass(frozen=True)
class WeightFolder:
    """A folder of weights at one moment of training; without the file ``COMPLETE`` it does not count."""

    path: Path
    images: int
    """Images seen when it was written."""

    def is_complete(self) -> bool:
        """Whether all of it was written."""
        return (self.path / _MARKER).is_file()

    def write(self, parts: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any], recipe: Recipe) -> None:
        """Writes the whole folder or nothing of it; where it is there already, it stays as it is.

        `parts` are named tensors by file, `state` is the JSON beside them. Errors: `InputError` where it cannot be written.
        """
        from safetensors.torch import save

        if self.is_complete():
            return
        with os_errors_as_input_errors(self.path):
            shutil.rmtree(self.path, ignore_errors=True)
        with atomic_folder(self.path) as folder:
            for name, tensors in parts.items():
                on_cpu = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
                metadata = {"recipe": recipe.portable()}  # one key alone: safetensors writes several in no fixed order
                (folder / f"{name}.safetensors").write_bytes(save(on_cpu, metadata))
            (folder / "state.json").write_text(json.dumps(state, indent=2, sort_keys=True) + "\n", encoding="utf-8")
            replace(self, path=folder).write_marker()

    def remove(self) -> None:
        """Removes the folder, the marker first, so that one that is removed by half does not count."""
        (self.path / _MARKER).unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)

    def state(self) -> dict[str, Any]:
        """Every field of `TrainState`. Errors: `InputError` where the file is missing or damaged, or a value is none."""
        self.check_file("state.json")
        stored, state = read_json(self.path / "state.json"), asdict(TrainState())
        for name, default in state.items():
            value = stored.get(name, default)
            number = finite_number(value)
            if number is None or number < 0 or (isinstance(default, int) and not isinstance(value, int)):
                raise self._damaged("state.json", f"{name} is {short_repr(value)}")
            state[name] = value
        return state

    def tensors(self, part: str) -> dict[str, Tensor]:
        """The named tensors of `part`, a file without its ending. Errors: `InputError` for a missing or damaged file, and for
        one that may not be read."""
        from safetensors.torch import load_file

        name = f"{part}.safetensors"
        self.check_file(name)
        with self._errors(name):
            return load_file(self.path / name)

    def write_marker(self) -> None:
        """Writes ``COMPLETE``, last of all files: it holds the sha256 of each of the others."""
        digests = {path.name: sha256(path) for path in sorted(self.path.iterdir()) if path.name != _MARKER}
        (self.path / _MARKER).write_text(json.dumps({"sha256": digests}, indent=2) + "\n", encoding="utf-8")

    def check_file(self, name: str) -> None:
        """Errors: `InputError` where the file `name` is not as it was written. Older checkpoints do not say how it was."""
        try:
            text = (self.path / _MARKER).read_text(encoding="utf-8")
            digest = parse_json(text)["sha256"].get(name) if text.strip() else None
        except (FileNotFoundError, NotADirectoryError):  # while it is written there is no marker yet
            digest = None
        except OSError as error:
            raise self._unreadable(_MARKER, error) from error
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise self._damaged(_MARKER, "it holds no checksums") from error
        if digest is not None:
            with self._errors(name):
                actual = sha256(self.path / name)
            if actual != digest:
                raise self._damaged(name, f"its checksum is not that in {_MARKER}")

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        """A context in which errors about the file `name` become an `InputError` of one line that says what to do."""
        path = self.path / name
        try:
            path.open("rb").close()  # safetensors says of a file that may not be read that it is missing
            yield
        except FileNotFoundError as error:
            raise InputError(f"{path} is missing; {self._mend()}") from error
        except OSError as error:
            raise self._unreadable(name, error) from error
        except (SafetensorError, ValueError, LookupError, TypeError) as error:
            raise self._damaged(name, " ".join(str(error).split())) from error

    def _damaged(self, name: str, what: str) -> InputError:
        return InputError(f"{self.path / name} is damaged ({what}); {self._mend()}")

    def _unreadable(self, name: str, error: OSError) -> InputError:
        return InputError(f"{self.path / name} cannot be read ({error.strerror or error}); check that you may read it")

    def _mend(self) -> str:
        """What to do about a file that is missing or damaged."""
        return f"bring it back from a copy, or delete {self.path}"


@dataclass(frozen=True)
class Checkpoint(WeightFolder):
    """A complete checkpoint: ``model``, ``ema``, ``optim`` and, where two averages are tracked, ``averages``."""

    def recipe(self) -> Recipe:
        """The recipe with which these weights were saved, without its paths. Errors: `InputError`, as `tensors` has them."""
        with self._errors("ema.safetensors"), safe_open(self.path / "ema.safetensors", "pt") as file:
            text = file.metadata()["recipe"]
        return parse_recipe(parse_json(text), str(self.path))

    def digest(self) -> str:
        """The sha256 of the file of averaged weights: equal weights have equal digests. Errors: `InputError`, as `tensors`."""
        with self._errors("ema.safetensors"):
            return sha256(self.path / "ema.safetensors")

    def _mend(self) -> str:
        """What to do about a file that is missing or damaged."""
        folders = self.path.parent.glob("[0-9]*")
        others = [
            int(path.name) for path in folders if path != self.path and path.name.isdigit() and (path / _MARKER).is_file()
        ]
        if not others:
            return "bring it back from a copy, or train anew: there is no other checkpoint"
        nearest = max((images for images in others if images < self.images), default=min(others))
        return f"bring it back from a copy, or delete {self.path} to fall back on the checkpoint of {nearest} images"


def load_weights(method: Method, tensors: Mapping[str, Tensor], where: Path, only: Sequence[str] | None = None) -> None:
    """Copies `tensors` into the parameters and buffers of `method` that have the same names.

    `where` is the file that an error names; `only` restricts the names that must be present. Errors: `InputError` where a
    tensor is missing, unknown, of another shape, or holds values that are not finite; then nothing is copied.
    """
    import torch

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
    broken = [name for name, tensor in sorted(tensors.items()) if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise InputError(
            f"{where}: {len(broken)} of {len(tensors)} tensors, '{broken[0]}' first, hold values that are no finite numbers, "
            f"so training had diverged when they were saved; use an older checkpoint ({option('checkpoint')}), "
            "or train anew with a lower learning rate"
        )
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)

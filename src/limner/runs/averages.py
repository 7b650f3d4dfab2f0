"""Snapshots of averaged weights in the folder ``averages/`` of a run, from which averages of other lengths follow.

The length of an average is σ: the standard deviation of the positions in training whose weights it mixes, over its own position
(Karras et al. 2024, arXiv:2312.02696, section 3.1). A snapshot is a folder such as ``averages/000012800/``: ``state.json`` with
its position, and for each length a file such as ``sigma-0.050.safetensors``. `limner.training.averages` makes and mixes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from limner.core.files import folder_size
from limner.recipes.recipe import Recipe
from limner.runs.checkpoint import WeightFolder

if TYPE_CHECKING:  # torch takes seconds to load, and a list of snapshots reads no weights
    from torch import Tensor

AVERAGES = "averages"
"""The folder in that of the run."""
MAX_ROUNDING = 1e-3
"""A tensor is written in float16 where the norm of what it loses is at most this share of its own. Weights lose about 2e-4.
What is made of such snapshots then differs by about 3e-4 of the weights, where reconstruction itself leaves 1e-4 to 1e-3
(measured on random walks); bfloat16 would lose eight times as much."""
GUIDE_PROGRESS = 1 / 8
"""The fraction of its stage's budget at which a snapshot is the guide: in the presets of edm2, guides were trained for an
eighth or a sixteenth of the training (Karras et al. 2024, arXiv:2406.02507)."""
GUIDE_SIGMA = 0.10
"""The length of the average that is the guide: longer than the model's own, as in edm2's presets (0.045 with 0.110 for the
guide, 0.070 with 0.125)."""
_PREFIX = "sigma-"


class Snapshot(WeightFolder):
    """Averages of several lengths at one moment of training."""

    def sigmas(self) -> tuple[float, ...]:
        """The lengths of its averages, the shortest first."""
        return tuple(sorted(float(path.stem.removeprefix(_PREFIX)) for path in self.path.glob(f"{_PREFIX}*.safetensors")))

    def check(self) -> None:
        """Errors: `InputError` where a file is not as it was written, or may not be read."""
        for sigma in self.sigmas():
            self.check_file(f"{part_name(sigma)}.safetensors")

    def weights(self, sigma: float) -> dict[str, Tensor]:
        """The average of the length `sigma` by the names of its tensors, float32 on the CPU.

        Errors: `InputError` where there is no such file, or it is damaged.
        """
        return {name: tensor.float() for name, tensor in self.tensors(part_name(sigma)).items()}


def part_name(sigma: float) -> str:
    """The name of the file with the average of the length `sigma`, without its ending.

    >>> part_name(0.05)
    'sigma-0.050'
    """
    return f"{_PREFIX}{sigma:.3f}"


def compact(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` in float16; those that lose more than `MAX_ROUNDING` by it stay as they are."""
    import torch

    smaller = {}
    for name, tensor in tensors.items():
        half = tensor.to(torch.float16)
        is_near = bool((half.to(tensor.dtype) - tensor).norm() <= MAX_ROUNDING * tensor.norm())
        smaller[name] = half if is_near else tensor
    return smaller


def write_snapshot(
    folder: Path, averages: Mapping[float, Mapping[str, Tensor]], state: Mapping[str, int], recipe: Recipe
) -> Snapshot:
    """Writes a snapshot of `averages`, named tensors by their length, into the `folder` of a run, completely or not at all.

    `state` holds `images`, `stage` and `stage_start` as in `TrainState`. Errors: `InputError` where it cannot be written.
    """
    images = state["images"]
    snapshot = Snapshot(folder / AVERAGES / f"{images:09d}", images)
    snapshot.write({part_name(sigma): compact(tensors) for sigma, tensors in averages.items()}, state, recipe)
    return snapshot


def choose_guide(snapshots: Sequence[Snapshot], total: int) -> Snapshot | None:
    """Of the newest stage's `snapshots` up to half of its budget, that nearest to `GUIDE_PROGRESS`; None where there is none.

    `total` is the whole budget in images, at which the last stage ends. Errors: `InputError` where a snapshot is damaged.
    """
    if not snapshots:
        return None
    state = snapshots[-1].state()
    start = state["stage_start"]
    length = total - start
    own = [one for one in snapshots if start < one.images <= start + length / 2]
    return min(own, key=lambda one: abs(one.images - start - GUIDE_PROGRESS * length), default=None)


def remove_excess(snapshots: Sequence[Snapshot], guide: Snapshot | None, gigabytes: float) -> None:
    """Removes the oldest `snapshots` where all of them take more than `gigabytes`, but never the newest one and the `guide`."""
    never = [one for one in (guide, *snapshots[-1:]) if one is not None]
    size = sum(folder_size(path) for path in {one.path for one in never})
    for snapshot in reversed([one for one in snapshots if one not in never]):
        size += folder_size(snapshot.path)
        if size > gigabytes * 1e9:
            snapshot.remove()

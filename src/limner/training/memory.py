"""Predicts the memory that training needs, before it is taken, and names settings that fit.

The losses of every stage are computed and differentiated once on torch's meta device, whose tensors have shapes and no data,
for chunks of two sizes. What lives at the same time grows linearly with the size of a chunk.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from limner.core import parallel, precision
from limner.core.cond import Batch, Cond
from limner.core.config import DataSpec
from limner.core.environment import available_memory
from limner.core.errors import InputError
from limner.core.method import Method, Phase, Player, StepContext
from limner.recipes.build import build_method, stage_configs
from limner.recipes.recipe import Recipe

CHUNKS = (2, 4)
"""Sizes of the chunks that are tried: batch norm needs two pictures."""
OVERHEAD = 2.0
"""What a step on a CPU takes, over the tensors that it makes: buffers inside of kernels, and gaps between tensors. Measured at
64 px: dcgan 1.7, vae 1.55, r3gan 1.75 to 2.0; in bfloat16, whose kernels keep copies, dcgan 2.2 of what float32 makes."""
SLACK = 100 << 20
"""Bytes for what is not counted: the libraries' own, batches, logs."""
MAX_FLOATS_PER_PIXEL, MAX_SMALL_NETWORK = 3000, 10_000_000
"""More floats than any preset keeps for a pixel in a step (r3gan: 700), and parameters up to which that holds."""
MAX_SHARE = 0.8
"""What settings that are proposed, or chosen by "auto", need of the free memory at most, since a prediction may be too low."""
MIN_SIDE = 16
"""Pixels: sides that are proposed are multiples of this."""


@dataclass(frozen=True)
class MemoryNeed:
    """What a stage of training needs, in bytes."""

    fixed: int
    """Weights, their average, the optimisers' state, and what a checkpoint or a score takes for a while."""
    step: float
    """Of a step, whatever the size of a chunk."""
    image: float
    """Of a step, for each picture of a chunk."""

    def bytes(self, chunk: int) -> int:
        """With chunks of so many pictures.

        >>> MemoryNeed(fixed=100, step=10, image=2).bytes(64)
        238
        """
        return self.fixed + round(self.step + chunk * self.image)


class _Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors that are made inside: how many live now, and how many lived at most."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.most: int = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.is_meta:
                self._add(tensor)
        return result

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if id(storage) not in self._sizes:
            self._sizes[id(storage)] = storage.nbytes()
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._remove, id(storage))

    def _remove(self, key: int) -> None:
        self.now -= self._sizes.pop(key)


def predict_memory(recipe: Recipe) -> MemoryNeed | None:
    """The need of the stage that needs most; None where a method cannot be computed without data.

    Errors: `InputError` for settings that do not go together or do not fit the data.
    """
    needs = []
    for stage in range(len(stage_configs(recipe))):
        need = _predict_stage(recipe, stage)
        if need is None:
            return None
        needs.append(need)
    chunk = recipe.batch.size // recipe.batch.chunks
    return max(needs, key=lambda need: need.bytes(chunk))


def _predict_stage(recipe: Recipe, stage: int) -> MemoryNeed | None:
    spec = recipe.data.spec()
    with torch.device("meta"):
        method = build_method(recipe, spec, stage).train()
    try:
        small, large = (_step_bytes(method, spec, chunk) for chunk in CHUNKS)
    except InputError:
        raise
    except Exception:  # whatever the code of a method does with the values of its tensors, which there are none of
        return None
    image = max(large - small, 0) / (CHUNKS[1] - CHUNKS[0])
    return MemoryNeed(_fixed_bytes(method, recipe), OVERHEAD * max(small - CHUNKS[0] * image, 0), OVERHEAD * image)


def _fixed_bytes(method: Method, recipe: Recipe) -> int:
    """Bytes that do not depend on the batch."""
    weights = 4 * sum(weight.numel() for weight in method.parameters())
    moments = sum(
        (4 if player.optimiser.kind == "sgd" else 8) * sum(weight.numel() for weight in _trained_weights(method, player))
        for player in method.players().values()
    )
    samples = 2 * recipe.score.count * math.prod(recipe.data.spec().shape) if recipe.score.points else 0  # drawn, then joined
    # Beside the weights: their average, or two averages and the one that is sampled from.
    copies = 1 if recipe.ema.kind == "half-life" else 3
    # For a while: a checkpoint's part as bytes; or an average of another length in float64, one that it is made of, in both
    # formats, and the weights in whose place its losses are computed.
    passing = weights if recipe.ema.kind == "half-life" else 6 * weights
    return (1 + copies) * weights + moments + max(passing, moments) + samples + SLACK


def _step_bytes(method: Method, spec: DataSpec, chunk: int) -> int:
    """Most bytes that live at once, beside the weights, while the losses of a chunk are computed and differentiated."""
    meter = _Meter()
    with precision.own_modes(), torch.device("meta"), meter:
        for phases in _updates(method):
            gradients = []
            for phase in phases:
                batches = tuple(_batch(spec, chunk) for _ in range(phase.batches))
                losses = method.losses(phase.name, batches, StepContext(0, 0.5))
                players = {name: _trained_weights(method, method.players()[name]) for name in phase.players}
                targets = [(losses.of[name], weights) for name, weights in players.items()]
                if losses.joint is not None:
                    targets = [(losses.joint, list(chain.from_iterable(players.values())))]
                for target, weights in targets:  # the graph is kept for the next player, and freed with `losses`
                    gradients.append(torch.autograd.grad(target.sum(), weights, retain_graph=True, materialize_grads=True))
                del losses, targets
    return meter.most


def _trained_weights(method: Method, player: Player) -> list[Tensor]:
    return [weight for weight in method.get_submodule(player.module).parameters() if weight.requires_grad]


def _updates(method: Method) -> Iterator[list[Phase]]:
    """Each phase with those that join it, whose gradients live together."""
    phases = method.phases()
    for phase in phases:
        if phase.joins is None:
            yield [phase, *(other for other in phases if other.joins == phase.name)]


def _batch(spec: DataSpec, chunk: int) -> Batch:
    """A chunk of training data without data."""
    label = torch.zeros(chunk, dtype=torch.int64) if spec.classes else None
    text = torch.zeros(chunk, spec.caption_length, dtype=torch.int64) if spec.caption_length else None
    image = torch.zeros(chunk, *spec.condition_shape) if spec.condition_shape else None
    return Batch(torch.zeros(chunk, *spec.shape), Cond(label, text, image))


def fitting_chunks(recipe: Recipe) -> int | None:
    """The fewest `batch.chunks`, of the recipe's or more, with which a training fits into memory; None where none does.

    Where memory is no concern, or is not predicted, it is the recipe's own.
    """
    available = _limit(recipe)
    need = None if available is None else predict_memory(recipe)
    if available is None or need is None:
        return recipe.batch.chunks
    return _fewest_chunks(recipe, need, available)


def _fewest_chunks(recipe: Recipe, need: MemoryNeed, available: int) -> int | None:
    """Also a multiple of the recipe's own, so that as many processes can share them. A chunk has two pictures or more."""
    size, chunks = recipe.batch.size, recipe.batch.chunks
    counts = [chunks, *range(2 * chunks, size // 2 + 1, chunks)]
    return next((n for n in counts if size % n == 0 and need.bytes(size // n) <= MAX_SHARE * available), None)


def _limit(recipe: Recipe) -> int | None:
    """The main memory that is available; None where that is no concern for this recipe.

    That is so where it is unknown, where even a generous bound of the need is a small part of it, and on a GPU, which refuses
    what does not fit and goes on, where a system that runs out of main memory kills.
    """
    if precision.device().type != "cpu":
        return None
    free = parallel.broadcast_object(available_memory())  # all processes decide alike
    if free is None or _is_small(recipe, free // parallel.processes_on_node()):
        return None
    return free // parallel.processes_on_node()


def check_memory(recipe: Recipe) -> None:
    """Checks that there is main memory enough for a training. Errors: `InputError` that names the largest settings that fit."""
    available = _limit(recipe)
    need = None if available is None else predict_memory(recipe)
    size, chunks = recipe.batch.size, recipe.batch.chunks
    if available is None or need is None or need.bytes(size // chunks) <= available:
        return
    height, width = recipe.data.spec().shape[1:]
    fitting = ", ".join(_fitting_settings(recipe, need, available))
    raise InputError(
        f"a step on {size // chunks} pictures of {height}x{width} needs about {_gigabytes(need.bytes(size // chunks))}, and "
        f"{_gigabytes(available)} are free; " + (f"what fits: {fitting}" if fitting else "use narrower networks")
    )


def _is_small(recipe: Recipe, available: int) -> bool:
    """Whether a generous bound of the need is less than a quarter of what is available."""
    with torch.device("meta"):
        method = build_method(recipe, recipe.data.spec())
    weights = sum(weight.numel() for weight in method.parameters())
    _, height, width = recipe.data.spec().shape
    chunk = recipe.batch.size // recipe.batch.chunks
    bound = 4 * chunk * height * width * MAX_FLOATS_PER_PIXEL + _fixed_bytes(method, recipe)
    return weights <= MAX_SMALL_NETWORK and bound < available / 4


def _fitting_settings(recipe: Recipe, need: MemoryNeed, available: int) -> Iterator[str]:
    """Settings of which each alone makes the training fit: the fewest chunks, the largest batch, the largest pictures."""
    size, chunks = recipe.batch.size, recipe.batch.chunks
    if (count := _fewest_chunks(recipe, need, available)) is not None:
        yield f"batch.chunks={count} ({_gigabytes(need.bytes(size // count))})"
    smaller = [size >> power for power in range(1, size.bit_length()) if size >> power >= 2]
    for batch in smaller:
        if need.bytes(batch // min(chunks, batch)) <= MAX_SHARE * available:
            yield f"batch.size={batch} ({_gigabytes(need.bytes(batch // min(chunks, batch)))})"
            break
    yield from _fitting_size(recipe, need, available)


def _fitting_size(recipe: Recipe, need: MemoryNeed, available: int) -> Iterator[str]:
    """The largest ``data.size`` of the same shape that fits, found from the area and then predicted."""
    height, width = recipe.data.spec().shape[1:]
    chunk = recipe.batch.size // recipe.batch.chunks
    first = (MAX_SHARE * available / need.bytes(chunk)) ** 0.5
    for factor in accumulate(range(4), lambda scale, _: 0.85 * scale, initial=first):
        sides = [int(factor * side) // MIN_SIDE * MIN_SIDE for side in (height, width)]
        if min(sides) < MIN_SIDE:
            return
        data = recipe.data.model_copy(update={"size": f"{sides[0]}x{sides[1]}"})
        smaller = predict_memory(recipe.model_copy(update={"data": data}))
        if smaller is not None and smaller.bytes(chunk) <= MAX_SHARE * available:
            yield f"data.size={sides[0]}x{sides[1]} ({_gigabytes(smaller.bytes(chunk))})"
            return


def _gigabytes(count: int) -> str:
    """
    >>> _gigabytes(15_600_000_000), _gigabytes(80_000_000)
    ('15.6 GB', '0.08 GB')
    """
    value = count / 1e9
    return f"{value:,.0f} GB" if value >= 100 else f"{value:.1f} GB" if value >= 0.95 else f"{value:.2f} GB"

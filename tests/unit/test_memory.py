"""Memory is predicted before it is taken, and what does not fit is refused with what fits."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import limner
from contract.helpers import ALONE, composed, settled
from limner.core import environment
from limner.core.environment import available_memory
from limner.core.errors import InputError
from limner.data.options import DataOptions
from limner.data.prepare import prepare_source
from limner.recipes.recipe import Recipe
from limner.training import memory
from limner.training.memory import OVERHEAD, check_memory, fitting_chunks, predict_memory
from limner.training.stages import check_method
from limner.training.train import TrainRequest

CLASSES = "data.classes=[a,b]"


def recipe_of(preset: str, side: int = 16, *settings: str) -> Recipe:
    chosen = composed(preset, f"data.size={side}", "data.channels=3", "budget.images=640", "score.points=0", CLASSES, *settings)
    return settled(chosen, (side, side, 3))


@pytest.mark.parametrize("preset", ALONE)
def test_every_preset_is_predicted(preset: str) -> None:
    """Without data: a method whose losses look at the values of tensors would have no prediction."""
    need = predict_memory(recipe_of(preset))
    assert need is not None
    assert need.image > 0
    assert need.fixed > memory.SLACK


def test_the_prediction_counts_what_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times the pixels are four times the memory of a picture; the weights are those of the networks."""
    small, large = (predict_memory(recipe_of("dcgan", side)) for side in (32, 64))
    assert small is not None
    assert large is not None
    assert large.image / small.image == pytest.approx(4, rel=0.25)
    # An mlp of known sizes: 192 numbers of a picture, 32 and 16 hidden units, one logit; each is kept once, or once more.
    plain = predict_memory(recipe_of("gan", 8, "method.generator.norm=none"))
    assert plain is not None
    floats = plain.image / OVERHEAD / 4
    assert 192 + 32 + 16 < floats < 20 * (192 + 32 + 16)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return lambda count: monkeypatch.setattr(memory, "available_memory", lambda: count)


def test_what_fits_is_named_and_fits(free: Callable[[int], None]) -> None:
    recipe = recipe_of("dcgan", 256, "batch.size=64", "method.generator.width=32")
    need = predict_memory(recipe)
    assert need is not None
    free(need.bytes(64))
    check_memory(recipe)
    free(need.bytes(64) // 2)
    with pytest.raises(InputError, match=r"a step on 64 pictures of 256x256 needs about .* are free; what fits: ") as error:
        check_memory(recipe)
    assert "\n" not in str(error.value)
    chunks, size, sides = re.findall(r"(?:batch\.chunks|batch\.size|data\.size)=(\S+)", str(error.value))
    batch = recipe.batch
    for changed in (
        {"batch": batch.model_copy(update={"chunks": int(chunks)})},
        {"batch": batch.model_copy(update={"size": int(size)})},
        {"data": recipe.data.model_copy(update={"size": sides})},
    ):
        check_memory(recipe.model_copy(update=changed))
    assert fitting_chunks(recipe) == int(chunks) > 1
    free(10 << 40)
    assert fitting_chunks(recipe) == 1


def test_networks_that_fit_nowhere_are_refused(free: Callable[[int], None]) -> None:
    free(8 << 30)
    with pytest.raises(InputError, match="use narrower networks"):
        check_memory(recipe_of("gan", 8, "method.latent=1000000000"))
    with pytest.raises(InputError, match="more weights than 64 bits count"):
        check_method(recipe_of("gan", 8, "method.latent=99999999999999999999"))


def test_training_is_refused_before_there_is_a_run(free: Callable[[int], None], tmp_path: Path) -> None:
    free(50 << 20)
    words = {"preset": "dcgan", "images": 64, "settings": ["data.size=64"], "out": tmp_path / "runs"}
    for dry in (True, False):
        with pytest.raises(InputError, match="needs about"):
            limner.train("digits", dry_run=dry, **words)
    assert not (tmp_path / "runs").exists()


def test_auto_takes_as_many_chunks_as_memory_asks_for(free: Callable[[int], None]) -> None:
    from limner.core.progress import silent
    from limner.training.resolve import resolve_request

    prepare_source("digits", DataOptions(size="64"))
    request = TrainRequest(source="digits", images=100_000, settings=("data.size=64", "score.points=0"))
    recipe, _, _ = resolve_request(request, silent)
    need = predict_memory(recipe)
    assert need is not None
    free(need.bytes(64) * 3 // 4)
    recipe, _, why = resolve_request(request, silent)
    assert recipe.batch.chunks > 1
    assert any(line.startswith(f"batch.chunks={recipe.batch.chunks}: ") for line in why)
    check_memory(recipe)


def test_small_work_is_not_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The prediction takes a third of a second, which a small training does not have."""
    monkeypatch.setattr(memory, "available_memory", lambda: 4 << 30)
    monkeypatch.setattr(memory, "predict_memory", lambda recipe: pytest.fail("predicted"))
    check_memory(recipe_of("dcgan", 8))


def test_a_method_that_needs_values_has_no_prediction(monkeypatch: pytest.MonkeyPatch, free: Callable[[int], None]) -> None:
    from limner.methods.gan.gan import Gan

    original = Gan.losses
    monkeypatch.setattr(Gan, "losses", lambda self, phase, batches, at: (batches[0].images.sum().item(), original)[1])
    recipe = recipe_of("dcgan", 64)
    assert predict_memory(recipe) is None
    free(1 << 20)
    check_memory(recipe)
    assert fitting_chunks(recipe) == 1


# ---- what is free --------------------------------------------------------------------------------------------------------


def group(folder: Path, limit: str, used: int, cache: int, names: tuple[str, str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    total = "total_" if "limit" in names[0] else ""
    for name, text in zip(names, (limit, f"{used}\n", f"anon 1\n{total}inactive_file {cache}\n"), strict=True):
        (folder / name).write_text(text)


V2, V1 = ("memory.max", "memory.current", "memory.stat"), ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")


def test_limits_of_a_container(tmp_path: Path) -> None:
    root, membership = tmp_path / "cgroup", tmp_path / "self"
    membership.write_text("0::/a/b\n")
    group(root / "a" / "b", "max", 5, 0, V2)
    group(root / "a", "1000", 700, 100, V2)
    assert environment._cgroup_limits(root, membership) == [400]
    membership.write_text("4:cpu,cpuacct:/c\n3:memory:/c\n")
    group(root / "memory" / "c", "2000", 2500, 0, V1)
    assert environment._cgroup_limits(root, membership) == [0]
    assert environment._cgroup_limits(root, tmp_path / "nothing") == []


def test_the_smallest_limit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_kernel_estimate", lambda: 900)
    monkeypatch.setattr(environment, "_process_limit", lambda: None)
    monkeypatch.setattr(environment, "_cgroup_limits", lambda: [700, 800])
    assert available_memory() == 700
    monkeypatch.setattr(environment, "_cgroup_limits", list)
    assert available_memory() == 900
    monkeypatch.setattr(environment, "_kernel_estimate", lambda: None)
    assert available_memory() is None


def test_a_gpu_refuses_by_itself(monkeypatch: pytest.MonkeyPatch, free: Callable[[int], None]) -> None:
    monkeypatch.setattr(memory.precision, "device", lambda: torch.device("cuda", 0))
    free(1)
    check_memory(recipe_of("dcgan", 64))

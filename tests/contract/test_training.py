"""Every preset builds, trains, moves only who should move, and samples, at odd shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import limner
from contract.helpers import (
    ALONE,
    CLASSES,
    SHAPES,
    assert_metrics_once,
    composed,
    drawer,
    every_preset,
    method_of,
    pictures_like,
    run_of,
    settled,
    stepper_of,
    without_dropout,
)
from limner.core.capabilities import Autoencoder
from limner.core.cond import Batch, Cond
from limner.core.config import DataSpec
from limner.core.method import StepContext
from limner.core.precision import prepare_module
from limner.core.sampling import generate
from limner.recipes.build import build_method
from limner.recipes.settings import compose, parse_recipe, preset_tree, read_recipe
from limner.training.step import Stepper

VARIANTS = [
    *((preset, ()) for preset in ALONE),
    ("dcgan", ("method.updates=alternating", "method.discriminator.norm=batch", "method.r1_gamma=0")),
    ("gan", ("method.updates=alternating",)),
    ("gan", ("method.r1_gamma=1.0", "method.penalty_every=1")),
    ("dcgan", ("method.updates=alternating", "method.r1_gamma=1.0", "method.penalty_every=2", "batch.chunks=2")),
    ("dcgan", ("method.loss=minimax", "method.smooth=0.1", "method.instance_noise=0.1", "method.discriminator.dropout=0.3")),
    ("dcgan", ("method.labels=true", "method.generator.labels=norm", "method.discriminator.labels=auxiliary")),
    ("gan", ("method.labels=true", "method.discriminator.labels=concat")),
    ("sngan", ("method.critic_steps=2", "method.labels=true", "method.generator.labels=norm")),
    ("lsgan", ("method.discriminator.normalise=gradient", "method.r1_gamma=0", "method.generator.clip.by=normalised")),
    ("r3gan", ("method.augment.kind=diff", "method.penalty_every=1")),
    ("r3gan", ("method.networks=r3", "method.generator.group=8", "method.discriminator.group=8")),
    ("r3gan", ("method.labels=true",)),
    ("wgan-gp", ("method.augment.kind=adaptive", "method.augment.start=0.5", "method.penalty_every=1")),
    ("densegan", ("method.augment.mix=0.5", "method.loss=hinge")),
    ("densegan", ("method.labels=true", "method.generator.labels=norm")),
]


@every_preset
def test_recipe_survives_yaml_and_its_portable_form(preset: str, tmp_path: Path) -> None:
    recipe = composed(preset, "seed=5", "batch.chunks=2", "data.source=/somewhere/cats", "init_from=/some/run")
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe.to_yaml())
    assert read_recipe(path) == recipe
    import json

    portable = parse_recipe(json.loads(recipe.portable()), "portable")
    assert portable.method == recipe.method
    assert portable.data.source == "cats"
    assert portable.init_from is None
    assert "/some" not in recipe.portable()
    assert portable.portable() == recipe.portable()


@every_preset
def test_a_mistyped_key_names_its_nearest_neighbour(preset: str) -> None:
    with pytest.raises(limner.InputError, match=r"method\.latnt.*did you mean 'method\.latent'"):
        compose(preset, ["method.latnt=8"])
    with pytest.raises(limner.InputError, match="did you mean"):
        parse_recipe(preset_tree(preset) | {"bacth": {"size": 3}}, "file")


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
@every_preset
def test_trains_and_samples_at_every_shape(
    preset: str, shape: tuple[int, int, int], sources: Mapping[tuple[int, int, int], Path], tmp_path: Path
) -> None:
    run = run_of(preset, tmp_path, "batch.size=8", source=sources[shape], images=16)
    assert_metrics_once(run)
    assert run.checkpoint().images == 16
    fresh = build_method(run.recipe(), DataSpec.of_images(shape, run.recipe().data.classes))
    initial = {name: value.shape for name, value in fresh.state_dict().items()}
    assert {name: value.shape for name, value in run.checkpoint().tensors("model").items()} == initial
    images = limner.load(run.path).sample(range(3))
    assert images.shape == (3, *shape)
    assert images.dtype == np.uint8
    first, second, _ = generate(limner.load(run.path).method, range(3))  # so young, they may round to the same bytes
    assert not torch.equal(first, second)
    assert (run.path / "previews" / "000000016.png").is_file()


@pytest.mark.parametrize("number_format", ["fp32", "bf16"])
@pytest.mark.parametrize(("preset", "settings"), VARIANTS)
def test_each_phase_moves_its_players_and_nothing_else(preset: str, settings: tuple[str, ...], number_format: str) -> None:
    shape = (8, 8, 1)
    chunks = 2 if "batch.chunks=2" in settings else 1
    method = method_of(preset, shape, *settings)
    stepper = stepper_of(method, 8, chunks, number_format)
    draw = drawer(pictures_like(16, shape, device=method.device))
    with torch.no_grad():  # behind a convolution that starts at zero nothing would move at first
        for weight in method.parameters():
            if weight.dim() > 1 and not bool(weight.any()):
                weight.normal_(0, 0.1)
    owned = tuple(f"{player.module}." for player in method.players().values())
    phases = [phase for phase in method.phases() if phase.joins is None]
    for phase in phases:
        joined = [other for other in method.phases() if other.joins == phase.name]
        movers = {player for part in [phase, *joined] for player in part.players}
        moved_modules = {method.players()[player].module for player in movers}
        before = {name: value.clone() for name, value in method.state_dict().items()}
        places = {part.name: place for place, part in enumerate(stepper.phases)}
        stepper._update([(places[part.name], part) for part in [phase, *joined]], draw, StepContext(0, 0.5))
        for name, value in method.state_dict().items():
            mine = any(name.startswith(f"{module}.") for module in moved_modules)
            same = torch.equal(value, before[name])
            if not mine and name.startswith(owned):
                assert same, f"phase {phase.name} moved {name}, which belongs to another player"
        for player in movers:
            module = method.players()[player].module
            still = [
                name
                for name, weight in method.get_submodule(module).named_parameters()
                if torch.equal(weight, before[f"{module}.{name}"])
            ]
            # A weight may have no gradient at its start (behind a zero-initialised convolution), never most of them.
            assert len(still) < 0.5 * len(list(method.get_submodule(module).parameters())), still
    moved = {player for phase in method.phases() for player in phase.players}
    assert moved == set(method.players()), "a player that no phase moves"


@every_preset
def test_a_phase_sees_its_batches_and_all_of_it_is_repeatable(preset: str) -> None:
    """Two steppers from one seed make the same step; another seed makes another."""
    after = []
    noisy = ("method.noise=0.3",) if preset == "autoencoder" else ()  # the plain one draws nothing
    for seed in (1, 1, 2):
        method = method_of(preset, (8, 8, 1), *noisy, seed=9)
        stepper = stepper_of(method, 8, seed=seed)
        stepper.step(drawer(pictures_like(16, (8, 8, 1), device=method.device)), StepContext(0, 0.2), 0)
        after.append({name: value.clone() for name, value in method.state_dict().items()})
    assert all(torch.equal(after[0][name], after[1][name]) for name in after[0])
    assert any(not torch.equal(after[0][name], after[2][name]) for name in after[0])


def test_r1_joins_only_every_so_many_iterations() -> None:
    method = method_of("dcgan", (8, 8, 1), "method.r1_gamma=100.0", "method.penalty_every=3", "method.updates=alternating")
    seen: list[str] = []
    original = method.losses
    method.losses = lambda phase, batches, at: (seen.append(phase), original(phase, batches, at))[1]  # type: ignore[method-assign]
    stepper = stepper_of(method, 4)
    draw = drawer(pictures_like(8, (8, 8, 1), device=method.device))
    for iteration in range(4):
        stepper.step(draw, StepContext(4 * iteration, 0.1), iteration)
    assert seen == ["discriminator", "penalty", "generator"] + ["discriminator", "generator"] * 2 + [
        "discriminator",
        "penalty",
        "generator",
    ]


WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "bincount", "_unique2", "is_nonzero", "multinomial")
"""Operations whose answer the host has to see, or whose size it has to know: a GPU's queue runs empty at each."""


class Waits(TorchDispatchMode):
    """Notes which of them are called, also in backward passes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masks = name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
            places is not None and places.dtype in (torch.bool, torch.uint8) for places in args[1]
        )
        if name in WAITS or masks:
            self.seen.add(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("preset", "settings", "stage"),
    [
        # On a CPU, and there alone, the adaptive augmentation looks whether it does anything.
        *((preset, settings, None) for preset, settings in VARIANTS if "method.augment.kind=adaptive" not in settings),
        *((preset, (), 0) for preset in ALONE if composed(preset).stages),
    ],
)
def test_no_step_waits_for_the_device(preset: str, settings: tuple[str, ...], stage: int | None) -> None:
    """As the design has it for a GPU: what the host asks of it is queued, never awaited."""
    method = method_of(preset, (16, 16, 1), *settings, stage=stage)
    draw = drawer(pictures_like(16, (16, 16, 1), device=method.device))
    stepper = stepper_of(method, 8, 2 if "batch.chunks=2" in settings else 1)
    with Waits() as waits:
        for iteration in range(4):
            stepper.step(draw, StepContext(8 * iteration, 0.6), iteration)
    assert waits.seen == set()


def test_what_waits_is_noticed() -> None:
    with Waits() as waits:
        x = torch.arange(3.0)
        bool((x[x > 1] > 0).all())
    assert waits.seen == {"index", "_local_scalar_dense"} or waits.seen == {"index", "is_nonzero"}


@every_preset
def test_methods_that_reconstruct_overfit_eight_images(preset: str) -> None:
    from limner.core.capabilities import Autoencoder
    from limner.metrics.representation.reconstruction import PSNR_CEILING, psnr

    shape = (16, 16, 1)
    # What keeps few latents apart at the cost of the picture is not what is asked for here.
    sharp = ("method.sigma=0.05",) if preset in ("beta-vae", "factor-vae", "tc-vae") else ()
    method = method_of(preset, shape, *sharp, stage=0)  # the codec, where there is one
    if not isinstance(method, Autoencoder):
        pytest.skip(f"{preset} has no encoder")
    images = pictures_like(8, shape, device=method.device)
    stepper = stepper_of(method, 8)

    def seen() -> float:
        back = method.decode(method.encode(images))
        return float(psnr(((images + 1) / 2).cpu(), ((back + 1) / 2).cpu()).clamp(max=PSNR_CEILING).mean())

    before = seen()
    for iteration in range(400):
        stepper.step(lambda stream, start, size: drawer(images)(0, 0, size), StepContext(8 * iteration, 0.3), iteration)
    assert before < 20, "too easy to tell anything"
    assert seen() > (22 if sharp else 25)  # latents that are noisy even so: by the draws, 23 to 26.5


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=pytest.mark.gpu), "cpu"])
@pytest.mark.parametrize(
    ("preset", "settings", "stage"),
    [
        *((preset, (), None) for preset in ALONE),
        *((preset, (), 0) for preset in ALONE if composed(preset).stages),
        ("r3gan", ("method.labels=true",), None),
    ],
)
def test_the_gpu_agrees_with_the_cpu(preset: str, settings: tuple[str, ...], stage: int | None, device: str) -> None:
    """One set of weights, one batch, one noise: the losses and pictures of both devices agree to rounding; those of the CPU and
    itself to the bit, which is asked for so that this test is not left to rot where there is no GPU."""
    shape = (28, 28, 1)
    recipe = settled(composed(preset, *settings), shape)
    cpu, other = (without_dropout(build_method(recipe, DataSpec.of_images(shape, CLASSES), stage)).train() for _ in range(2))
    other.load_state_dict(cpu.state_dict())
    prepare_module(cpu, torch.device("cpu"))
    prepare_module(other, torch.device(device))
    images, noise = pictures_like(8, shape), torch.randn(8, 4096, generator=torch.Generator().manual_seed(0))

    def draw(size: tuple[int, ...], where: torch.device) -> torch.Tensor:
        return noise[: size[0], : math.prod(size[1:])].view(size).to(where)

    def assert_close(theirs: torch.Tensor, mine: torch.Tensor, near: float) -> None:
        near = near if device != "cpu" else 0.0
        torch.testing.assert_close(theirs.cpu(), mine, rtol=near, atol=near)

    label = torch.arange(8) % len(CLASSES)
    for phase in cpu.phases():
        mine, theirs = (
            method.losses(phase.name, (Batch(images.to(d), Cond(label.to(d)), draw),) * phase.batches, StepContext(0, 0.5))
            for method, d in ((cpu, "cpu"), (other, device))
        )
        for player in mine.of:
            assert_close(theirs.of[player], mine.of[player], 2e-3)
    cpu.eval()
    other.eval()
    if cpu.generates:
        assert_close(generate(other, range(4)), generate(cpu, range(4)), 5e-3)
    else:
        assert isinstance(cpu, Autoencoder)
        assert isinstance(other, Autoencoder)
        with torch.no_grad():
            assert_close(other.decode(other.encode(images.to(device))), cpu.decode(cpu.encode(images)), 5e-3)


def test_stepper_gives_the_optimiser_gradients_in_the_weights_own_memory_order() -> None:
    """The fused kernels run through memory: a gradient in another order would move the wrong weights, silently."""
    method = method_of("dcgan", (32, 48, 3))
    stepper = stepper_of(method, 4)
    reference = {name: weight.detach().clone() for name, weight in method.named_parameters()}
    gradients: dict[str, torch.Tensor] = {}
    original = stepper._apply_gradients

    def scrambled(player: str, found: list[torch.Tensor], at: StepContext) -> None:
        found = [g.contiguous(memory_format=torch.contiguous_format).clone() for g in found]
        gradients.update({stepper.names[w]: g for w, g in zip(stepper.weights[player], found, strict=True)})
        original(player, found, at)

    stepper._apply_gradients = scrambled  # type: ignore[method-assign]
    stepper.step(
        lambda stream, start, size: Batch(pictures_like(size, (32, 48, 3), device=method.device)), StepContext(0, 0.1), 0
    )
    checked = 0
    for name, weight in method.named_parameters():
        gradient = gradients[name]
        moved = weight.detach() - reference[name]
        clear = gradient.abs() > 1e-5  # Adam's first step is lr times the sign
        assert torch.equal(moved.sign()[clear], -gradient.sign()[clear]), name
        checked += int(clear.sum()) if gradient.dim() == 4 else 0
    assert checked > 1000
    assert isinstance(stepper, Stepper)

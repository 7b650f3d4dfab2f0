"""Small training for tests: every preset made narrow, its files compared byte by byte."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import limner
from limner.core.cond import Batch, Cond
from limner.core.config import DataSpec, MethodConfig, RunContext, unused_reason
from limner.core.method import Method, StepContext
from limner.core.precision import prepare_module
from limner.methods.vae.config import AutoencoderBaseConfig
from limner.nets.cpu import Dropout
from limner.recipes.build import build_method, resolve_recipe
from limner.recipes.recipe import Recipe
from limner.recipes.registry import PRESETS
from limner.recipes.settings import compose
from limner.runs.run import Run
from limner.training.step import Stepper
from limner.training.train import TrainResult

SHAPES = ((8, 8, 1), (28, 28, 1), (32, 48, 3), (96, 64, 3))
"""(H, W, C): the smallest, one whose halves are odd, wide, tall."""

CODER = ("method.width=8", "method.widest=16", "method.latent=8", "method.components=3")
NARROW: Mapping[str, Sequence[str]] = {
    "autoencoder": CODER,
    "beta-vae": CODER,
    "factor-vae": (*CODER, "method.critic.widths=[16]"),
    "tc-vae": CODER,
    "dcgan": ("method.generator.width=8", "method.generator.widest=32", "method.discriminator.width=16"),
    "cgan": ("method.generator.width=8", "method.generator.widest=32", "method.discriminator.width=16"),
    "densegan": (
        "method.generator.width=4",
        "method.generator.widest=8",
        "method.generator.blocks=1",
        "method.discriminator.width=8",
        "method.discriminator.widest=8",
        "method.discriminator.blocks=1",
    ),
    "flow": ("method.network.width=8", "method.network.heads=2"),
    "lsgan": ("method.generator.width=8", "method.generator.widest=32", "method.discriminator.width=16"),
    "r3gan": (
        "method.generator.width=8",
        "method.generator.widest=16",
        "method.discriminator.width=8",
        "method.discriminator.widest=16",
    ),
    "sngan": (
        "method.generator.width=8",
        "method.generator.widest=16",
        "method.discriminator.width=8",
        "method.discriminator.widest=16",
        "method.discriminator.blocks=1",
    ),
    "wgan": ("method.generator.width=8", "method.generator.widest=32", "method.discriminator.width=16"),
    "wgan-gp": (
        "method.generator.width=8",
        "method.generator.widest=16",
        "method.discriminator.width=8",
        "method.discriminator.widest=16",
        "method.discriminator.blocks=1",
    ),
    "gan": ("method.generator.widths=[32,48]", "method.discriminator.widths=[32,16]"),
    **{
        preset: (
            "stages.codec.method.width=8",
            "stages.codec.method.widest=16",
            "stages.codec.method.blocks=1",
            *codes,
            "method.width=16",
            "method.depth=2",
            "method.heads=2",
        )
        for preset, codes in {
            "vq-vae": ("stages.codec.method.codes=24", "stages.codec.method.dim=4"),
            "fsq": ("stages.codec.method.levels=[4,3,3]",),
            "vqgan": (
                "stages.codec.method.codes=24",
                "stages.codec.method.dim=4",
                "stages.codec.method.discriminator_width=8",
            ),
        }.items()
    },
    "vae": CODER,
}
"""What makes a preset small enough for a test; a new preset works without, only slower."""

QUIET = ("score.points=0", "previews.count=4", "previews.every=1", "checkpoints.every=1", "batch.size=16", "precision=fp32")
"""No judge, few pictures, one checkpoint at the end."""

CLASSES = tuple("0123456789")

WITH_CODEC = frozenset({"prior"})
"""Presets that want a finished run (codec=RUN) and have tests of their own (test_codes.py)."""
ALONE = sorted(PRESETS.keys() - WITH_CODEC)

every_preset = pytest.mark.parametrize("preset", ALONE)


def narrowed(preset: str, *settings: str) -> tuple[str, ...]:
    """What makes the networks of `preset` narrow, but for what would do nothing beside `settings`; then these."""
    narrow = NARROW.get(preset, ())
    method = compose(preset, (*narrow, *settings)).method
    if isinstance(method, AutoencoderBaseConfig):
        narrow = [one for one in narrow if unused_reason(method, one.partition("=")[0].removeprefix("method.")) is None]
    return (*narrow, *settings)


def composed(preset: str, *settings: str) -> Recipe:
    """The narrow recipe of `preset`, in float32 unless told otherwise."""
    return compose(preset, narrowed(preset, "precision=fp32", *settings))


def settled(recipe: Recipe, shape: tuple[int, int, int]) -> Recipe:
    """As a run of 96 pictures out of 1,000 of that shape would have it."""
    height, width, channels = shape
    context = RunContext((channels, height, width), recipe.batch.size, 96, None, False, training_images=1000)
    return resolve_recipe(recipe, context)


def untrained(recipe: Recipe, shape: tuple[int, int, int], classes: tuple[str, ...] = (), stage: int | None = None) -> Method:
    """The Method (of `stage`, the last by default) that such a run would begin with, on the CPU."""
    return build_method(settled(recipe, shape), DataSpec.of_images(shape, classes), stage)


def resolved(config: MethodConfig, shape: tuple[int, int, int]) -> Any:
    """The type that methods are built from, as such a run would have it for pictures of `shape` (C, H, W)."""
    return config.resolve(RunContext(shape, 16, 96, None, False, training_images=1000)).without_auto()


def run_of(
    preset: str, out: Path, *settings: str, source: str | Path = "digits", images: int = 96, seed: int = 3, **more: Any
) -> Run:
    """A small finished run."""
    return Run(outcome_of(preset, out, *settings, source=source, images=images, seed=seed, **more).run)


def outcome_of(
    preset: str,
    out: Path,
    *settings: str,
    source: str | Path = "digits",
    images: int | None = 96,
    seed: int = 3,
    narrow: bool = True,
    **more: Any,
) -> TrainResult:
    chosen = narrowed(preset, *QUIET, *settings) if narrow else (*QUIET, *settings)
    return limner.train(source, preset=preset, out=out, images=images, seed=seed, settings=chosen, **more)


def weights(run: Run, which: str = "last") -> dict[str, bytes]:
    """The bytes of a checkpoint's files of tensors: three, and a fourth where two averages are tracked."""
    parts = ("model", "ema", "optim", *(["averages"] if run.recipe().ema.kind == "power" else []))
    folder = run.checkpoint(which).path
    return {part: (folder / f"{part}.safetensors").read_bytes() for part in parts}


def assert_same_weights(one: Run, other: Run) -> None:
    mine, yours = weights(one), weights(other)
    differ = [part for part in mine if mine[part] != yours[part]]
    if differ:  # says which tensors, not only which files
        for part in differ:
            a, b = one.checkpoint().tensors(part), other.checkpoint().tensors(part)
            assert set(a) == set(b)
            wrong = {name: float((a[name] - b[name]).abs().max()) for name in a if not torch.equal(a[name], b[name])}
            assert not wrong, f"{part}: {wrong}"
        raise AssertionError(f"equal tensors, but the files {differ} differ (metadata?)")


def assert_metrics_once(run: Run) -> None:
    """Rows rise strictly in images, none is lived twice, and the last one is at the end."""
    seen = [row["images"] for row in run.metrics()]
    assert seen, "no row of metrics"
    assert seen == sorted(set(seen))
    assert seen[-1] == run.checkpoint().images


def method_of(preset: str, shape: tuple[int, int, int], *settings: str, seed: int = 0, stage: int | None = None) -> Method:
    """An untrained Method (of `stage`, the last by default) in training mode, on the device, as the loop prepares it."""
    from limner.core import precision

    torch.manual_seed(seed)
    method = untrained(composed(preset, *settings), shape, CLASSES, stage)
    prepare_module(method, precision.device())
    return method.train()


def pictures_like(count: int, shape: tuple[int, int, int], seed: int = 0, device: torch.device | None = None) -> torch.Tensor:
    """[count, C, H, W] in [-1, 1], soft enough to be learned."""
    height, width, channels = shape
    coarse = torch.randn(count, channels, 4, 4, generator=torch.Generator().manual_seed(seed))
    soft = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear").tanh()
    return soft.to(device or "cpu").contiguous(memory_format=torch.channels_last)


def drawer(images: torch.Tensor) -> Callable[[int, int, int], Batch]:
    """Hands out rows of `images`, endlessly."""

    def draw(stream: int, start: int, size: int) -> Batch:
        rows = (torch.arange(start, start + size) + stream) % len(images)
        return Batch(images[rows], Cond(label=rows.to(images.device) % len(CLASSES)))

    return draw


def stepper_of(method: Method, batch: int, chunks: int = 1, number_format: Any = "fp32", seed: int = 0) -> Stepper:
    return Stepper(method, batch, chunks, number_format, seed)


def without_dropout(method: Method) -> Method:
    for layer in method.modules():
        if isinstance(layer, Dropout):
            layer.rate, layer.threshold = 0.0, 0
    return method


@contextmanager
def at_images(images: int, act: Callable[[Stepper], None]) -> Iterator[None]:
    """Within the block, `act` is called once, just before the step that starts at `images`.

    Where it is `ask_to_stop`, this process has a handler of SIGTERM, without which the signal would end it.
    """
    original, done = Stepper.step, []

    def step(self: Stepper, draw: Any, at: StepContext, iteration: int) -> dict[str, torch.Tensor]:
        if at.images >= images and not done:
            done.append(at.images)
            act(self)
        return original(self, draw, at, iteration)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stepper, "step", step)
        before = signal.signal(signal.SIGTERM, lambda *_: None) if act is ask_to_stop else None
        try:
            yield
        finally:
            if before is not None:
                signal.signal(signal.SIGTERM, before)
    assert done, f"the run never came to {images} images"


def ask_to_stop(_: Stepper) -> None:
    """As a person's Ctrl-C or the system's SIGTERM."""
    os.kill(os.getpid(), signal.SIGTERM)


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """A Python of its own, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | child_environment() | environment,
        start_new_session=True,
    )


def child_environment() -> dict[str, str]:
    """What makes another process compute the very same bits, and find the tests' modules."""
    here = Path(__file__).resolve().parents[1]
    source = here.parent / "src"
    path = os.pathsep.join([str(source), str(here), os.environ.get("PYTHONPATH", "")])
    return {"OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONPATH": path.rstrip(os.pathsep)}


def finished(process: subprocess.Popen[str], seconds: float = 240) -> tuple[int, str, str]:
    """(exit code, stdout, stderr)."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"still running after {seconds} s:\n{out}\n{err}") from None
    return process.returncode, out, err


def torchrun(*arguments: str) -> tuple[int, str, str]:
    """The same of two processes, each of ``python *arguments``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port), *arguments)
    return finished(start(*words, OMP_NUM_THREADS="1"))

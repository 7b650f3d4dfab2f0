"""Images per second of every preset, against its own networks in a plain eager loop.

The plain loop is what one would write in plain PyTorch (`plain_loops.py`): the same networks, losses and batch, torch's own
layers, its optimisers as they come. GANs are in float32 there, as in the tutorials; the others in limner's number format. Of
a preset of two stages this is the codec; `prior` is the transformer on its codes, which both loops find encoded. Rounds
alternate, so that whatever else the machine does meets both alike; what counts is the median of the ratios.

    python benchmarks/method_speed.py --rounds 5 --seconds 1
    python benchmarks/method_speed.py --presets vae,vq-vae --layers limner

`--layers limner` gives the plain loop limner's faster layers as well: what is left is the loop alone. `--precision fp32` gives
it float32 throughout, as most tutorials have it. `--clock cpu` counts processor time instead of the clock's, for a machine that
is not quiet. With `--profile` no table is made, but a list of the operators that limner's loop spends its time in.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src"
sys.path.insert(0, str(SOURCE))

from limner.core.process import configure_command  # noqa: E402

configure_command()  # before torch, as the command line does: it says how long torch's threads spin

import torch  # noqa: E402

from limner.core import precision, seeds  # noqa: E402
from limner.core.cond import Batch, Cond  # noqa: E402
from limner.core.config import DataSpec, RunContext  # noqa: E402
from limner.core.method import Method, StepContext  # noqa: E402
from limner.core.precision import prepare_module  # noqa: E402
from limner.recipes.build import build_method, resolve_recipe  # noqa: E402
from limner.recipes.recipe import Recipe  # noqa: E402
from limner.recipes.settings import compose  # noqa: E402
from limner.training.ema import Ema  # noqa: E402
from limner.training.step import Stepper  # noqa: E402
from plain_loops import Data, plain_of, torch_layers  # noqa: E402

CLASSES = tuple("0123456789")
GANS = ("gan", "dcgan", "lsgan", "wgan", "wgan-gp", "sngan", "cgan", "densegan", "r3gan")
CODERS = ("autoencoder", "vae", "beta-vae", "tc-vae", "factor-vae", "vq-vae", "fsq", "vqgan", "prior")
PICTURES = 2048
PROGRESS = 0.3
LATE = {"vqgan": 0.7}
"""Where in the budget a preset is met, if not at `PROGRESS`: with all its players."""


def build(preset: str, size: int, channels: int) -> tuple[Recipe, Method]:
    """Of two stages, the first; `prior` is the second of `vq-vae`."""
    recipe = compose("vq-vae" if preset == "prior" else preset, [])
    facts = RunContext((channels, size, size), 64, None, 3.0, False, len(CLASSES), 5_000, 50_000)
    recipe = resolve_recipe(recipe, facts)
    torch.manual_seed(0)
    method = build_method(
        recipe, DataSpec.of_images((size, size, channels), CLASSES), 0 if recipe.stages and preset != "prior" else None
    )
    prepare_module(method, torch.device("cpu"))
    method.train()
    if recipe.stages and preset == "prior":
        method.codec.eval()  # type: ignore[attr-defined]
    return recipe, method


def data_of(preset: str, method: Method, size: int, channels: int, batch: int) -> Data:
    pixels = torch.rand(PICTURES, channels, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    codes = torch.cat([method.codec.encode(part) for part in pixels.split(64)]) if preset == "prior" else None
    return Data(pixels, torch.arange(PICTURES) % len(CLASSES), batch, codes)


def limner_loop(preset: str, size: int, channels: int) -> tuple[Callable[[], None], Callable[[torch.Tensor], torch.Tensor]]:
    """What `limner train` does in every iteration, but for reading the data; and the first player's mean loss on some rows."""
    recipe, method = build(preset, size, channels)
    data = data_of(preset, method, size, channels, recipe.batch.size)
    ema = Ema(method)
    stepper = Stepper(method, recipe.batch.size, 1, precision.choose(torch.device("cpu")), 0)
    place, progress = [0], LATE.get(preset, PROGRESS)

    def batch_of(rows: torch.Tensor) -> Batch:
        codes = data.codes
        return Batch(
            data.pixels[rows],
            Cond(label=data.labels[rows]),
            latents=None if codes is None else lambda: codes[rows],
        )

    def draw(stream: int, start: int, count: int) -> Batch:
        return batch_of(torch.from_numpy(seeds.order(0, stream, start, count, PICTURES)))

    def step() -> None:
        logs = stepper.step(draw, StepContext(place[0] * recipe.batch.size, progress), place[0])
        place[0] += 1
        if not all(torch.isfinite(value) for name, value in logs.items() if "/" not in name):
            raise SystemExit(f"{preset}: a loss is not finite")
        ema.update(recipe.batch.size, 10_000.0)

    def loss(rows: torch.Tensor) -> torch.Tensor:
        phase = next(phase for phase in method.phases() if phase.due(0, progress))
        with precision.autocast(torch.device("cpu"), stepper.number_format):
            return (
                method.losses(phase.name, (batch_of(rows),) * phase.batches, StepContext(0, progress))
                .of[phase.players[0]]
                .mean()
            )

    return step, loss


def plain_loop(
    preset: str, size: int, channels: int, torchs: bool, single: bool
) -> tuple[Callable[[], None], Callable[[torch.Tensor], torch.Tensor] | None]:
    """The same weights in a loop of `plain_loops.py`."""
    recipe, method = build(preset, size, channels)
    data = data_of(preset, method, size, channels, recipe.batch.size)
    number_format = "fp32" if single or preset in GANS else precision.choose(torch.device("cpu"))
    if torchs:
        torch_layers(method)
    plain = plain_of(method, data, LATE.get(preset, PROGRESS), number_format)
    return plain.step, plain.loss


def assert_same(
    preset: str, ours: Callable[[torch.Tensor], torch.Tensor], theirs: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    """Two loops that minimise different things have no business side by side."""
    rows = torch.arange(64)
    found = []
    for loss in (ours, theirs):
        torch.manual_seed(1)
        found.append(float(loss(rows).detach()))
    if abs(found[0] - found[1]) > 0.01 * abs(found[1]):
        raise SystemExit(f"{preset}: limner's loss is {found[0]:.4f}, the plain loop's {found[1]:.4f}")


def speed(step: Callable[[], None], seconds: float, clock: Callable[[], float] = time.perf_counter, batch: int = 64) -> float:
    steps, began = 0, clock()
    while clock() - began < seconds:
        step()
        steps += 1
    return batch * steps / (clock() - began)


def row(preset: str, told: argparse.Namespace) -> str:
    shape, clock = (told.size, told.channels), time.process_time if told.clock == "cpu" else time.perf_counter
    ours, our_loss = limner_loop(preset, *shape)
    theirs, their_loss = plain_loop(preset, *shape, told.layers == "torch", told.precision == "fp32")
    if their_loss is not None:
        assert_same(preset, our_loss, their_loss)
    for step in (ours, theirs):  # warm up, a penalty included
        for _ in range(9):
            step()
    pairs = [(speed(ours, told.seconds, clock), speed(theirs, told.seconds, clock)) for _ in range(told.rounds)]
    ratios = sorted(a / b for a, b in pairs)
    a, b = (statistics.median(side) for side in zip(*pairs, strict=True))
    return f"| `{preset}` | {a:,.0f} | {b:,.0f} | {statistics.median(ratios):.2f} ({ratios[0]:.2f} – {ratios[-1]:.2f}) |"


def profiled(preset: str, size: int, channels: int, seconds: float) -> str:
    from torch.profiler import ProfilerActivity, profile

    step, _ = limner_loop(preset, size, channels)
    for _ in range(9):
        step()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        speed(step, seconds)
    return str(seen.key_averages().table(sort_by="self_cpu_time_total", row_limit=30))


def main(presets: Sequence[str] = (*GANS, *CODERS)) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", default=",".join(presets))
    parser.add_argument("--size", type=int, default=28)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--layers", choices=("torch", "limner"), default="torch", help="of the plain loop")
    parser.add_argument("--precision", choices=("same", "fp32"), default="same", help="of the plain loop")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--profile", action="store_true")
    told = parser.parse_args()
    if told.profile:
        for preset in told.presets.split(","):
            print(f"{preset}\n{profiled(preset, told.size, told.channels, told.seconds)}", flush=True)
        return
    where = f"{precision.processor()}, {torch.get_num_threads()} threads"
    print(f"{where}, {told.size}x{told.size}x{told.channels}, batch 64, {told.clock} time")
    print(f"plain loop: {told.layers}'s layers, {told.precision} precision\n")
    print("| preset | limner, images/s | plain eager loop | ratio, median (lowest – highest) |\n|---|---|---|---|")
    for preset in told.presets.split(","):
        print(row(preset, told), flush=True)


if __name__ == "__main__":
    main()

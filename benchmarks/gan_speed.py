"""Images per second of every GAN preset, against its own networks in a plain eager loop.

The plain loop is a tutorial's: float32, torch's own layers, the discriminator on real and on generated images, its step, then
the generator's on the same images; the same losses, penalties and lazy intervals, the same batch. Rounds alternate, so that
whatever else the machine does meets both alike; what counts is the median of the ratios.

    python benchmarks/gan_speed.py --rounds 5 --seconds 1
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import MethodType

SOURCE = Path(__file__).resolve().parents[1] / "src"
sys.path.insert(0, str(SOURCE))

import limner  # noqa: E402, F401, I001  (before torch: it says how long torch's threads spin)
import torch  # noqa: E402
from torch import nn  # noqa: E402

from limner import recipe as recipes  # noqa: E402
from limner.core import precision  # noqa: E402
from limner.core.cond import Batch, Cond  # noqa: E402
from limner.core.ema import Ema  # noqa: E402
from limner.core.method import At, Facts  # noqa: E402
from limner.core.step import Stepper, prepare_module  # noqa: E402
from limner.methods.adversarial import gradient_penalty, zero_centred_penalty  # noqa: E402
from limner.methods.gan import Gan  # noqa: E402
from limner.nets import layers, spectral  # noqa: E402

CLASSES = tuple("0123456789")


def build(preset: str, size: int, channels: int) -> tuple[recipes.Recipe, Gan]:
    recipe = recipes.settled(recipes.compose(preset, []), Facts((channels, size, size), 64, None, 3.0, False, 10, 5_000))
    torch.manual_seed(0)
    method = recipes.build(recipe, (size, size, channels), CLASSES)
    assert isinstance(method, Gan)
    return recipe, method


def limner_loop(preset: str, size: int, channels: int, pixels: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    """What `limner train` does in every iteration, but for reading the data."""
    recipe, method = build(preset, size, channels)
    prepare_module(method, torch.device("cpu"))
    method.train()
    ema = Ema(method)
    stepper = Stepper(method, recipe.batch.size, 1, precision.choose(torch.device("cpu")), 0)
    place = [0]

    def draw(stream: int, start: int, count: int) -> Batch:
        rows = torch.arange(start, start + count) % len(pixels)
        return Batch(pixels[rows], Cond(label=labels[rows]))

    def step() -> None:
        stepper.step(draw, At(place[0] * recipe.batch.size, 0.3), place[0])
        ema.update(recipe.batch.size, 10_000.0)
        place[0] += 1

    return step


def plain_loop(preset: str, size: int, channels: int, pixels: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    """The same networks with torch's own layers, as a tutorial trains them."""
    recipe, method = build(preset, size, channels)
    config = recipe.method
    for layer in method.modules():  # torch's forward passes in the place of ours
        if isinstance(layer, layers.Conv2d | layers.ConvTranspose2d):
            usual = nn.Conv2d if isinstance(layer, nn.Conv2d) else nn.ConvTranspose2d
            layer.forward = MethodType(usual.forward, layer)
    g, d, batch = method.generator, method.discriminator, recipe.batch.size
    opt_g = torch.optim.Adam(g.parameters(), lr=2e-4, betas=(0.5, 0.999))
    opt_d = torch.optim.Adam(d.parameters(), lr=2e-4, betas=(0.5, 0.999))
    place = [0]

    def step() -> None:
        turn = place[0]
        place[0] += 1
        rows = torch.randint(len(pixels), (batch,))
        real, label = pixels[rows], labels[rows] if config.labels else None
        fake = g(torch.randn(batch, config.latent), label)  # serves both players, as in PyTorch's own tutorial
        seen = d(real, label)
        loss = (method.game.discriminator(seen, d(fake.detach(), label), 0.0) + config.drift * seen.square()).mean()
        if config.penalised and turn % config.penalty_every == 0:
            gammas = (config.r1_gamma.value, config.r2_gamma.value)
            for gamma, images in zip(gammas, (real, fake), strict=True):
                if gamma:
                    penalty = zero_centred_penalty(lambda x: d(x, label), images)
                    loss = loss + config.penalty_every * gamma * penalty.mean()
            if config.gradient_penalty:
                penalty = gradient_penalty(lambda x: d(x, label), real, fake, torch.rand(batch))
                loss = loss + config.penalty_every * config.gradient_penalty * penalty.mean()
        opt_d.zero_grad()
        loss.backward()
        opt_d.step()
        if config.discriminator.spectral:
            spectral.iterate(d)
        if config.weight_clip is not None:
            with torch.no_grad():
                for weight in d.parameters():
                    weight.clamp_(-config.weight_clip, config.weight_clip)
        if turn % config.critic_steps == 0:
            opt_g.zero_grad()
            verdict = d(fake, label)
            anchor = d(real, label) if config.loss == "relativistic" else verdict
            method.game.generator(anchor, verdict).mean().backward()
            opt_g.step()
        for layer in method.modules():  # nobody moves the running moments here
            if isinstance(layer, layers.BatchNorm):
                layer.noted.clear()

    return step


def speed(step: Callable[[], None], seconds: float, batch: int = 64) -> float:
    steps, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        step()
        steps += 1
    return batch * steps / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", default="gan,dcgan,lsgan,wgan,wgan-gp,sngan,cgan,densegan,r3gan")
    parser.add_argument("--size", type=int, default=28)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()
    precision.settle()
    size, channels = arguments.size, arguments.channels
    pixels = (torch.rand(2048, channels, size, size) * 2 - 1).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(2048) % len(CLASSES)
    print(f"{precision.processor()}, {torch.get_num_threads()} threads, {size}x{size}x{channels}, batch 64\n")
    print("| preset | limner, images/s | plain eager loop | ratio, median (lowest – highest) |\n|---|---|---|---|")
    for preset in arguments.presets.split(","):
        ours, theirs = (make(preset, size, channels, pixels, labels) for make in (limner_loop, plain_loop))
        for step in (ours, theirs):  # warm up, a penalty included
            for _ in range(9):
                step()
        pairs = [(speed(ours, arguments.seconds), speed(theirs, arguments.seconds)) for _ in range(arguments.rounds)]
        ratios = sorted(a / b for a, b in pairs)
        a, b = (statistics.median(side) for side in zip(*pairs, strict=True))
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} – {ratios[-1]:.2f})"
        print(f"| `{preset}` | {a:,.0f} | {b:,.0f} | {spread} |", flush=True)


if __name__ == "__main__":
    main()

"""The contenders of `flow_speed.py`, each in a process of its own: limner's flow, its network in a plain loop, and peers.

A peer is its package's own network with its own layers, and what its documentation does in a step of training and in drawing:

torchcfm   The U-Net and the step of its MNIST notebook (examples/images/mnist_example.ipynb) at 28x28x1; at 32x32x3 those of
           its CIFAR-10 example (examples/images/cifar10/train_cifar10.py) with 32 channels in the place of 128. The objective
           is that of `ConditionalFlowMatcher`, which is limner's; the notebook's optimal transport would only add to its time.
           Drawn by torchdiffeq.
ddpm       denoising-diffusion-pytorch by its README (flash attention, EMA every tenth step, gradients clipped at 1): at
           28x28x1 with the network that its author gives for that size (issue 119), at 32x32x3 with dim 32 and three sizes.
           Drawn by its DDIM.
diffusers  `UNet2DModel` in the sizes of the Hugging Face diffusion course, unit 1: those for 28x28x1 as they are, those for
           32x32x3 at half the width; the step of diffusers' tutorial "Train a diffusion model". Drawn by `DDIMScheduler`.
dit        `DiTTransformer2DModel` with 6 layers of 4 heads of 48, patches of 4x4; the same step. Drawn by `DDIMScheduler`.

All draw in `passes` steps of Euler's method, which DDIM is, one evaluation of the network each. Networks are as initialised,
and pictures are made: speed depends on neither.
"""

from __future__ import annotations

import copy
import json
import os
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turns import answer_turns, open_answers  # benchmarks/turns.py, beside this file

PICTURES = 2048
DDPM_STEPS = 1000
"""Times of training of the peers that are diffusion models."""


@dataclass(frozen=True)
class Contender:
    network: Any
    """A `torch.nn.Module`."""
    train: Callable[[], Any]
    """One step on a batch."""
    sample: Callable[[], Any]
    """Draws a batch."""
    forward: Callable[[Any], Any]
    """One evaluation of the network for pictures [1, C, H, W], of which the multiply-adds are counted."""


@dataclass(frozen=True)
class Setting:
    """What every contender gets; the parent's task in other words."""

    shape: tuple[int, int, int]
    """(C, H, W)."""
    batch: int
    passes: int
    """Evaluations of the network in drawing."""
    bf16: bool
    """Of a peer: whether its forward passes run under autocast to bfloat16."""
    settings: tuple[str, ...]
    """Of limner's network."""

    def pixels(self) -> Any:
        """float32 [2048, C, H, W] in [-1, 1]."""
        import torch

        return torch.rand(PICTURES, *self.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def rows(self) -> Any:
        import torch

        return torch.randint(PICTURES, (self.batch,))

    def autocast(self) -> Any:
        import torch

        return torch.autocast("cpu", torch.bfloat16, enabled=self.bf16)


# ---- limner -------------------------------------------------------------------------------------------------------------


def build_flow(setting: Setting) -> Any:
    """The recipe and the method of limner's preset `flow` without classes, for a short budget."""
    import torch

    from limner.core.config import DataSpec, RunContext
    from limner.core.precision import prepare_module
    from limner.recipes.build import build_method, resolve_recipe
    from limner.recipes.settings import compose

    channels, height, width = setting.shape
    facts = RunContext(setting.shape, setting.batch, None, 5.0, accelerated=False, training_images=60_000)
    recipe = compose("flow", ["method.labels=false", f"batch.size={setting.batch}", *setting.settings])
    recipe = resolve_recipe(recipe, facts)
    torch.manual_seed(0)
    method = build_method(recipe, DataSpec.of_images((height, width, channels)))
    prepare_module(method, torch.device("cpu"))
    return recipe, method


def limner(setting: Setting) -> Contender:
    """What `limner train` and `limner sample` do, but for reading and writing pictures."""
    import torch

    from limner.core import precision, seeds
    from limner.core.cond import Batch
    from limner.core.method import StepContext
    from limner.core.sampling import generate
    from limner.methods.flow.config import FlowSampling
    from limner.training.averages import PowerAverages
    from limner.training.step import Stepper

    recipe, method = build_flow(setting)
    pixels, number = setting.pixels().contiguous(memory_format=torch.channels_last), [0]
    drawn = copy.deepcopy(method).eval()
    averages = PowerAverages(method.train())
    stepper = Stepper(method, setting.batch, recipe.batch.chunks, precision.choose(torch.device("cpu")), 0)

    def draw(stream: int, start: int, count: int) -> Batch:
        return Batch(pixels[torch.from_numpy(seeds.order(0, stream, start, count, PICTURES))])

    def train() -> None:
        logs = stepper.step(draw, StepContext(number[0] * setting.batch, 0.5), number[0])
        number[0] += 1
        if not all(torch.isfinite(value) for name, value in logs.items() if "/" not in name):
            raise SystemExit("limner: a loss is not finite")
        averages.update(setting.batch, number[0] * setting.batch)

    sampling = FlowSampling(steps=setting.passes, solver="euler")
    return Contender(
        method.network,
        train,
        lambda: generate(drawn, range(setting.batch), None, sampling),
        lambda x: drawn.network(x, torch.full((len(x),), 0.5)),
    )


def plain(setting: Setting) -> Contender:
    """limner's network with torch's own layers, in the loop that one would write: float32, Adam, and nothing else."""
    import torch

    from plain_loops import torch_layers

    _, method = build_flow(setting)
    torch_layers(method)
    network, pixels = method.network, setting.pixels()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)

    def train() -> None:
        network.train()
        real = pixels[setting.rows()]
        eps, time = torch.randn_like(real), torch.rand(len(real))
        t = time.view(-1, 1, 1, 1)
        loss = (network((1 - t) * real + t * eps, time) - (eps - real)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    @torch.no_grad()
    def sample() -> None:
        network.eval()
        x = torch.randn(setting.batch, *setting.shape)
        for step in range(setting.passes):
            x = x - network(x, torch.full((len(x),), 1 - step / setting.passes)) / setting.passes

    return Contender(network, train, sample, lambda x: network(x, torch.full((len(x),), 0.5)))


# ---- peers --------------------------------------------------------------------------------------------------------------


def torchcfm(setting: Setting) -> Contender:
    import torch

    os.environ["POT_BACKEND_DISABLE_TENSORFLOW"] = "1"  # POT imports whatever is installed, for half a minute
    from torchcfm.conditional_flow_matching import ConditionalFlowMatcher
    from torchcfm.models.unet import UNetModel
    from torchdiffeq import odeint

    cifar = setting.shape[0] == 3
    more: dict[str, Any] = {"num_res_blocks": 1}
    if cifar:
        more = {"num_res_blocks": 2, "channel_mult": [1, 2, 2, 2], "num_heads": 4, "num_head_channels": 64}
        more |= {"attention_resolutions": "16", "dropout": 0.1}
    network = UNetModel(dim=setting.shape, num_channels=32, **more)
    average = copy.deepcopy(network)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-4 if cifar else 1e-3)
    matcher, pixels = ConditionalFlowMatcher(sigma=0.0), setting.pixels()

    def train() -> None:
        network.train()
        optimiser.zero_grad()
        real = pixels[setting.rows()]
        t, between, flow = matcher.sample_location_and_conditional_flow(torch.randn_like(real), real)
        with setting.autocast():
            velocity = network(t, between)
        torch.mean((velocity - flow) ** 2).backward()
        if cifar:
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        if cifar:  # its own `ema`
            source, target = network.state_dict(), average.state_dict()
            for key in source:
                target[key].data.copy_(target[key].data * 0.9999 + source[key].data * (1 - 0.9999))

    @torch.no_grad()
    def sample() -> None:
        network.eval()
        times = torch.linspace(0, 1, setting.passes + 1)
        with setting.autocast():
            odeint(network, torch.randn(setting.batch, *setting.shape), times, method="euler")

    return Contender(network, train, sample, lambda x: network(torch.full((len(x),), 0.5), x))


def ddpm(setting: Setting) -> Contender:
    import torch

    # The package imports torchvision only for reading and saving pictures.
    for name in ("torchvision", "torchvision.transforms", "torchvision.utils", "torchvision.datasets"):
        sys.modules[name] = types.ModuleType(name)
    for name in ("transforms", "utils", "datasets"):
        setattr(sys.modules["torchvision"], name, sys.modules[f"torchvision.{name}"])
    from denoising_diffusion_pytorch.denoising_diffusion_pytorch import GaussianDiffusion, Unet
    from ema_pytorch import EMA

    channels, height, _ = setting.shape
    size: dict[str, Any] = {"dim": 64, "dim_mults": (1, 2)} if channels == 1 else {"dim": 32, "dim_mults": (1, 2, 4)}
    network = Unet(channels=channels, flash_attn=True, **size)
    model = GaussianDiffusion(network, image_size=height, timesteps=DDPM_STEPS, sampling_timesteps=setting.passes)
    optimiser = torch.optim.Adam(model.parameters(), lr=8e-5, betas=(0.9, 0.99))
    average, pixels = EMA(model, beta=0.995, update_every=10), setting.pixels().add(1).div(2)

    def train() -> None:
        model.train()
        with setting.autocast():
            loss = model(pixels[setting.rows()])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        average.update()

    def sample() -> None:
        model.eval()
        with setting.autocast():
            model.sample(batch_size=setting.batch)

    return Contender(network, train, sample, lambda x: network(x, torch.zeros(len(x), dtype=torch.long)))


def diffusers_contender(setting: Setting, network: Any, call: Callable[[Any, Any], Any]) -> Contender:
    """The step of diffusers' tutorial, and drawing as `DDIMPipeline` does it; `call` is the network's output at times."""
    import torch
    from diffusers import DDIMScheduler, DDPMScheduler

    noise_scheduler, scheduler = DDPMScheduler(num_train_timesteps=DDPM_STEPS), DDIMScheduler(num_train_timesteps=DDPM_STEPS)
    scheduler.set_timesteps(setting.passes)
    optimiser, pixels = torch.optim.AdamW(network.parameters(), lr=1e-4), setting.pixels()

    def train() -> None:
        network.train()
        real = pixels[setting.rows()]
        noise, times = torch.randn_like(real), torch.randint(DDPM_STEPS, (len(real),))
        noisy = noise_scheduler.add_noise(real, noise, times)
        with setting.autocast():
            output = call(noisy, times)
        torch.nn.functional.mse_loss(output.float(), noise).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()

    @torch.no_grad()
    def sample() -> None:
        network.eval()
        x = torch.randn(setting.batch, *setting.shape)
        for time in scheduler.timesteps:
            with setting.autocast():
                output = call(x, time.expand(len(x)))
            x = scheduler.step(output.float(), time, x).prev_sample

    return Contender(network, train, sample, lambda x: call(x, torch.zeros(len(x), dtype=torch.long)))


def diffusers(setting: Setting) -> Contender:
    from diffusers import UNet2DModel

    channels, height, _ = setting.shape
    widths = (32, 64, 64) if channels == 1 else (32, 64, 64, 128)
    plain_sizes = len(widths) - 2
    network = UNet2DModel(
        sample_size=height,
        in_channels=channels,
        out_channels=channels,
        layers_per_block=2,
        block_out_channels=widths,
        down_block_types=("DownBlock2D",) * plain_sizes + ("AttnDownBlock2D",) * 2,
        up_block_types=("AttnUpBlock2D",) * 2 + ("UpBlock2D",) * plain_sizes,
    )
    return diffusers_contender(setting, network, lambda x, times: network(x, times, return_dict=False)[0])


def dit(setting: Setting) -> Contender:
    import torch
    from diffusers import DiTTransformer2DModel

    channels, height, _ = setting.shape
    network = DiTTransformer2DModel(
        num_attention_heads=4,
        attention_head_dim=48,
        in_channels=channels,
        num_layers=6,
        sample_size=height,
        patch_size=4,
        num_embeds_ada_norm=10,
    )

    def call(x: Any, times: Any) -> Any:
        labels = torch.zeros(len(x), dtype=torch.long)  # it has classes, whether one wants them or not
        return network(x, timestep=times, class_labels=labels, return_dict=False)[0]

    return diffusers_contender(setting, network, call)


CONTENDERS = {"limner": limner, "plain": plain, "torchcfm": torchcfm, "ddpm": ddpm, "diffusers": diffusers, "dit": dit}
PACKAGES = {"torchcfm": "torchcfm", "ddpm": "denoising-diffusion-pytorch", "diffusers": "diffusers", "dit": "diffusers"}


def count_multiply_adds(contender: Contender, shape: tuple[int, int, int]) -> int:
    """Of one picture: its convolutions, linear maps and attention, as torch counts them."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    contender.network.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        contender.forward(torch.zeros(1, *shape))
    return int(counter.get_total_flops()) // 2


def main() -> None:
    """Reads a task, then numbers of seconds, from stdin; answers each in one line of JSON."""
    answers, task = open_answers(), json.loads(sys.stdin.readline())
    own = task["kind"] in ("limner", "plain")
    if own:
        sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
    if task["kind"] == "limner":
        from limner.core.process import configure_command

        configure_command()  # before torch, as the command line does
    from importlib.metadata import version

    import torch

    torch.set_num_threads(task["threads"])
    setting = Setting(tuple(task["shape"]), task["batch"], task["passes"], task["bf16"], tuple(task["settings"]))
    contender = CONTENDERS[task["kind"]](setting)
    package = "torch" if own else PACKAGES[task["kind"]]
    about = {
        "parameters": sum(weight.numel() for weight in contender.network.parameters()),
        "multiply_adds": count_multiply_adds(contender, setting.shape),
        "version": f"{package} {version(package)}",
    }
    turn = contender.train if task["turn"] == "train" else contender.sample

    def run(iterations: int) -> None:
        for _ in range(iterations):
            turn()

    run(task["warmup"])
    answer_turns(answers, run, about, task["batch"])


if __name__ == "__main__":
    main()

"""Training speed of limner's `dcgan`, side by side with the same networks in plain PyTorch and in TensorFlow/Keras.

One sitting, one machine: every contender lives in a process of its own (allocator settings and thread pools must not leak), and
the rounds are interleaved A B C A B C …, so that whatever else the machine does meets all of them alike. What counts is the
ratio within a round; the table gives the median of those.

    python benchmarks/throughput.py
    python benchmarks/throughput.py --keras-python /tmp/v/tf/bin/python --rounds 7 --json throughput.json
    python benchmarks/throughput.py --contenders limner-fp32,eager        # a processor without bf16

limner      Stepper + Feed + Ema, what `limner train` does in every iteration, in the precision it chooses by itself
limner-fp32 the same with precision=fp32
limner-r1   with the gradient penalty of the preset, where it has one; the others, and all peers, go without
eager       the textbook: nn.Sequential, two discriminator passes, then the generator's turn; float32, Adam
keras       tf.function over both gradient tapes, as in TensorFlow's DCGAN tutorial; float32, channels last
keras-bf16  the same under mixed_bfloat16
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from turns import Worker, answer_turns, open_answers  # benchmarks/turns.py, beside this file

PROGRAM = Path(__file__)
SOURCE = PROGRAM.resolve().parents[1] / "src"

Layer = list[Any]
"""A layer in words that every framework can build, such as ["conv", 1, 64, 4, 2, 1, True]:
channels in and out, kernel, stride, padding, bias."""


# The networks, read off limner's own modules, so that nobody has to keep three copies in step.


def described(method: Any) -> dict[str, list[Layer]]:
    """Both networks of a `dcgan` as lists of layers."""
    from torch import nn

    from limner.nets.cpu import Dropout
    from limner.nets.dcgan import DcganGenerator, DcganTrunk
    from limner.nets.layers import BatchNorm, NoNorm

    def one(layer: nn.Module) -> list[Layer]:
        if isinstance(layer, nn.Linear):
            return [["linear", layer.in_features, layer.out_features, layer.bias is not None]]
        if isinstance(layer, nn.ConvTranspose2d | nn.Conv2d):
            kind = "up" if isinstance(layer, nn.ConvTranspose2d) else "conv"
            sizes = [layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0], layer.padding[0]]
            return [[kind, *sizes, layer.bias is not None]]
        if isinstance(layer, BatchNorm):
            return [["norm", layer.weight.numel(), layer.momentum, layer.eps]]
        if isinstance(layer, nn.LeakyReLU):
            return [["leaky", layer.negative_slope]]
        if isinstance(layer, Dropout):
            return [["dropout", layer.rate]]
        if isinstance(layer, NoNorm):
            return []
        raise SystemExit(f"the benchmark does not know the layer {layer}; teach `described`")

    g, d, head = method.generator.network, method.discriminator.trunk, method.discriminator.head
    if not isinstance(g, DcganGenerator) or not isinstance(d, DcganTrunk):
        raise SystemExit("the benchmark compares method.networks=dcgan")
    layers = [*one(g.seed), ["unflatten", *g.seed_shape], *one(g.seed_norm), ["relu"]]
    for place, up in enumerate(g.ups):
        layers += [*one(up), ["crop", *g.sizes[place + 1]]]
        layers += [*one(g.norms[place]), ["relu"]] if place < len(g.norms) else [["tanh"]]
    inner = [made for layer in d.layers for made in one(layer)]
    return {"generator": layers, "discriminator": [*inner, ["flatten"], *one(head)]}


def flop(layers: Sequence[Layer], size: tuple[int, int]) -> int:
    """Floating-point operations of one forward pass of one image through its convolutions and dense layers."""
    total, (height, width) = 0, size
    for kind, *rest in layers:
        if kind == "linear":
            total += 2 * rest[0] * rest[1]
        elif kind == "unflatten":
            _, height, width = rest
        elif kind == "crop":
            height, width = rest
        elif kind == "up":
            before, after, kernel, stride, padding, _ = rest
            total += 2 * height * width * before * after * kernel**2
            height, width = ((n - 1) * stride - 2 * padding + kernel for n in (height, width))
        elif kind == "conv":
            before, after, kernel, stride, padding, _ = rest
            height, width = ((n + 2 * padding - kernel) // stride + 1 for n in (height, width))
            total += 2 * height * width * before * after * kernel**2
    return total


# The contenders. Each sets itself up from a task and returns (what does n iterations, what it has to say about itself).

Contender = tuple[Callable[[int], None], dict[str, Any]]


def limner_contender(task: dict[str, Any]) -> Contender:
    from limner.core.process import configure_command

    configure_command()  # before torch, as the command line does
    import torch

    from limner.core import precision, seeds
    from limner.core.config import DataSpec
    from limner.core.method import StepContext
    from limner.core.precision import prepare_module
    from limner.data.dataset import open_dataset
    from limner.data.feed import Feed
    from limner.recipes.build import build_method
    from limner.recipes.settings import parse_recipe
    from limner.training.ema import Ema
    from limner.training.step import Stepper

    device = torch.device(task["device"])
    if task["kind"] != "limner-r1":
        task["recipe"]["method"]["r1_gamma"] = 0.0
    recipe = parse_recipe(task["recipe"], "task")
    chosen = precision.choose(device) if task["precision"] == "auto" else task["precision"]
    dataset = open_dataset(Path(task["data"]))
    seeds.seed_all(0, "init", 0)
    method = build_method(recipe, DataSpec.of_images(dataset.shape, dataset.classes))
    prepare_module(method, device)
    method.train()
    ema, feed = Ema(method), Feed(dataset, "train", device, 0)
    stepper = Stepper(method, recipe.batch.size, recipe.batch.chunks, chosen, 0)
    place = [0]

    @precision.repeatable()
    def run(iterations: int) -> None:
        for _ in range(iterations):
            images = place[0] * recipe.batch.size
            logs = stepper.step(feed.draw, StepContext(images, 0.3), place[0])
            ema.update(recipe.batch.size, 10_000.0)
            if device.type == "cpu":
                finite = [float(value) for value in logs.values()]  # the loop looks whether they are finite
                assert all(value == value for value in finite)
            place[0] += 1

    return run, {"precision": chosen, "version": f"torch {torch.__version__}", "parameters": _counts(method)}


def sequential(layers: Sequence[Layer]) -> Any:
    """The layers as a textbook `nn.Sequential`, with the initialisation of the DCGAN tutorials."""
    from torch import nn

    class Crop(nn.Module):
        def __init__(self, height: int, width: int) -> None:
            super().__init__()
            self.height, self.width = height, width

        def forward(self, x: Any) -> Any:
            return x if tuple(x.shape[2:]) == (self.height, self.width) else x[:, :, : self.height, : self.width]

    def norm(channels: int, momentum: float, eps: float) -> nn.Module:
        return nn.BatchNorm2d(channels, momentum=momentum, eps=eps)

    make: dict[str, Callable[..., nn.Module]] = {
        "linear": lambda before, after, bias: nn.Linear(before, after, bias=bias),
        "unflatten": lambda *shape: nn.Unflatten(1, shape),
        "flatten": nn.Flatten,
        "norm": norm,
        "relu": lambda: nn.ReLU(True),
        "leaky": lambda slope: nn.LeakyReLU(slope, inplace=True),
        "dropout": nn.Dropout,
        "tanh": nn.Tanh,
        "crop": Crop,
        "up": lambda *sizes: nn.ConvTranspose2d(*sizes[:5], bias=sizes[5]),
        "conv": lambda *sizes: nn.Conv2d(*sizes[:5], bias=sizes[5]),
    }
    network = nn.Sequential(*(make[kind](*rest) for kind, *rest in layers))
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
    return network


class Textbook:
    """The alternating loop of the DCGAN tutorials: the discriminator on real and on generated images, then the generator."""

    def __init__(self, networks: dict[str, list[Layer]], latent: int, device: str = "cpu") -> None:
        import torch

        self.torch, self.latent, self.device = torch, latent, device
        self.generator = sequential(networks["generator"]).to(device)
        self.discriminator = sequential(networks["discriminator"]).to(device)
        self.opt_g = torch.optim.Adam(self.generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.opt_d = torch.optim.Adam(self.discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))

    def step(self, real: Any) -> tuple[Any, Any]:
        torch, d = self.torch, self.discriminator
        bce = torch.nn.functional.binary_cross_entropy_with_logits
        ones, zeros = torch.ones(len(real), 1, device=self.device), torch.zeros(len(real), 1, device=self.device)
        self.opt_d.zero_grad()
        loss_real = bce(d(real), ones)
        loss_real.backward()
        fake = self.generator(torch.randn(len(real), self.latent, device=self.device))
        loss_fake = bce(d(fake.detach()), zeros)
        loss_fake.backward()
        self.opt_d.step()
        self.opt_g.zero_grad()
        loss_g = bce(d(fake), ones)
        loss_g.backward()
        self.opt_g.step()
        return (loss_real + loss_fake).detach(), loss_g.detach()


def eager_contender(task: dict[str, Any]) -> Contender:
    import torch

    pixels = torch.from_numpy(_pixels(task)).permute(0, 3, 1, 2).contiguous().to(task["device"])  # all in memory, once
    game = Textbook(task["networks"], task["latent"], task["device"])

    def run(iterations: int) -> None:
        for _ in range(iterations):
            game.step(pixels[torch.randint(len(pixels), (task["batch"],), device=pixels.device)])

    return run, {"precision": "fp32", "version": f"torch {torch.__version__}", "parameters": _counts(game)}


def keras_contender(task: dict[str, Any]) -> Contender:
    import numpy as np
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(task["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(task["threads"])
    if task["precision"] == "bf16":
        tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    keras, normal = tf.keras, tf.keras.initializers.RandomNormal(0.0, 0.02)

    def network(layers: Sequence[Layer], shape: tuple[int, ...]) -> Any:
        x = inputs = keras.Input(shape)
        for kind, *rest in layers:
            if kind == "linear":
                x = keras.layers.Dense(rest[1], use_bias=rest[2], kernel_initializer=normal)(x)
            elif kind == "unflatten":
                x = keras.layers.Reshape((rest[1], rest[2], rest[0]))(x)
            elif kind == "flatten":
                x = keras.layers.Flatten()(x)
            elif kind == "norm":
                x = keras.layers.BatchNormalization(momentum=1 - rest[1], epsilon=rest[2])(x)
            elif kind in ("relu", "tanh"):
                x = keras.layers.Activation(kind)(x)
            elif kind == "leaky":
                x = keras.layers.LeakyReLU(negative_slope=rest[0])(x)
            elif kind == "dropout":
                x = keras.layers.Dropout(rest[0])(x)
            elif kind == "crop":
                height, width = x.shape[1] - rest[0], x.shape[2] - rest[1]
                x = keras.layers.Cropping2D(((0, height), (0, width)))(x) if height or width else x
            else:
                _, after, kernel, stride, padding, bias = rest
                # "same" pads as torch does here where the size is even or the stride 1; elsewhere it is done by hand.
                make = keras.layers.Conv2DTranspose if kind == "up" else keras.layers.Conv2D
                by_hand = kind == "conv" and stride > 1 and (x.shape[1] % stride or x.shape[2] % stride)
                x = keras.layers.ZeroPadding2D(padding)(x) if by_hand else x
                how = "valid" if by_hand else "same"
                x = make(after, kernel, stride, how, use_bias=bias, kernel_initializer=normal)(x)
        return keras.Model(inputs, keras.layers.Activation("linear", dtype="float32")(x))

    pixels, (height, width, channels) = _pixels(task), task["shape"]
    g = network(task["networks"]["generator"], (task["latent"],))
    d = network(task["networks"]["discriminator"], (height, width, channels))
    opt_g, opt_d = keras.optimizers.Adam(2e-4, beta_1=0.5), keras.optimizers.Adam(2e-4, beta_1=0.5)
    bce = keras.losses.BinaryCrossentropy(from_logits=True)

    @tf.function
    def step(real: Any) -> None:
        z = tf.random.normal([task["batch"], task["latent"]])
        with tf.GradientTape() as tape_g, tf.GradientTape() as tape_d:
            fake = g(z, training=True)
            real_logits, fake_logits = d(real, training=True), d(fake, training=True)
            loss_g = bce(tf.ones_like(fake_logits), fake_logits)
            loss_d = bce(tf.ones_like(real_logits), real_logits) + bce(tf.zeros_like(fake_logits), fake_logits)
        grads_g = tape_g.gradient(loss_g, g.trainable_variables)
        grads_d = tape_d.gradient(loss_d, d.trainable_variables)
        opt_g.apply_gradients(zip(grads_g, g.trainable_variables, strict=True))
        opt_d.apply_gradients(zip(grads_d, d.trainable_variables, strict=True))

    random = np.random.default_rng(0)

    def run(iterations: int) -> None:
        for _ in range(iterations):
            step(tf.constant(pixels[random.integers(len(pixels), size=task["batch"])]))
        d.trainable_variables[0].numpy()  # waits

    counts = {
        name: int(sum(np.prod(w.shape) for w in network.trainable_variables))
        for name, network in (("generator", g), ("discriminator", d))
    }
    return run, {"precision": task["precision"], "version": f"tensorflow {tf.__version__}", "parameters": counts}


CONTENDERS: dict[str, tuple[Callable[[dict[str, Any]], Contender], str]] = {
    "limner": (limner_contender, "auto"),
    "limner-fp32": (limner_contender, "fp32"),
    "limner-bf16": (limner_contender, "bf16"),
    "limner-r1": (limner_contender, "auto"),
    "eager": (eager_contender, "fp32"),
    "keras": (keras_contender, "fp32"),
    "keras-bf16": (keras_contender, "bf16"),
}


def _counts(game: Any) -> dict[str, int]:
    """What is trained in each of a game's two networks."""
    return {name: sum(p.numel() for p in getattr(game, name).parameters()) for name in ("generator", "discriminator")}


def _pixels(task: dict[str, Any]) -> Any:
    """[N, H, W, C] float32 in [-1, 1]."""
    import numpy as np

    return np.load(task["pixels"]).astype(np.float32) / 127.5 - 1


# What is spent outside the networks.


def outside(task: dict[str, Any]) -> dict[str, Any]:
    """Trains a real run and times what is neither a forward, nor a backward pass, nor the optimiser."""
    import torch

    import limner
    from limner.core import seeds
    from limner.data.feed import Feed
    from limner.methods.gan.gan import Gan
    from limner.training import session
    from limner.training.ema import Ema
    from limner.training.logger import Logger
    from limner.training.milestones import Milestones
    from limner.training.step import Stepper

    spent: dict[str, float] = {}
    open_at: list[str] = []

    def timed(owner: Any, name: str, what: str) -> None:
        plain = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if open_at and open_at[-1] in ("events",):  # what runs inside an event belongs to the event
                return plain(*args, **kwargs)
            if task["device"] != "cpu":
                torch.cuda.synchronize()
            open_at.append(what)
            began = time.perf_counter()
            try:
                return plain(*args, **kwargs)
            finally:
                if task["device"] != "cpu":
                    torch.cuda.synchronize()
                took = time.perf_counter() - began
                open_at.pop()
                spent[what] = spent.get(what, 0.0) + took
                if open_at:  # what is inside another is not counted there again
                    spent[open_at[-1]] = spent.get(open_at[-1], 0.0) - took

        setattr(owner, name, wrapped)

    timed(session, "train_to_end", "the rest of the loop")
    timed(Milestones, "_carry_out", "events")
    timed(Logger, "add", "notes and the finite check")
    timed(Milestones, "after_step", "metrics, status, progress")
    timed(Ema, "update", "moving average")
    timed(Feed, "draw", "data")
    timed(seeds, "seed_all", "seeding")
    timed(Gan, "losses", "forward")
    timed(Stepper, "_differentiate", "backward")
    timed(Stepper, "_apply_gradients", "optimiser")
    timed(Stepper, "_move_layers", "batch norm's moments")
    with tempfile.TemporaryDirectory() as folder:
        limner.train(
            task["data"],
            preset=task["preset"],
            out=folder,
            images=task["images"],
            settings=["score.points=0", *task["settings"]],
        )
    steps = sum(spent.values()) - spent.get("events", 0.0)
    inside = sum(spent[name] for name in ("forward", "backward", "optimiser"))
    events = spent.pop("events", 0.0)
    return {
        "outside": 1 - inside / steps,
        "events": events / (steps + events),
        "parts": {name: seconds / steps for name, seconds in sorted(spent.items(), key=lambda item: -item[1])},
        "images": task["images"],
    }


# The sitting.


def child() -> None:
    """Reads a task, then numbers of seconds, from stdin; answers each in one line of JSON."""
    answers = open_answers()
    task = json.loads(sys.stdin.readline())
    if task["kind"] != "keras" and task["kind"] != "keras-bf16":
        sys.path.insert(0, str(SOURCE))
        import torch

        torch.set_num_threads(task["threads"])
    if task["kind"] == "outside":
        answers.write(json.dumps(outside(task)) + "\n")
        return
    make, task["precision"] = CONTENDERS[task["kind"]]
    run, about = make(task)
    wait: Callable[[], None] = lambda: None  # noqa: E731
    if task["device"] != "cpu":
        import torch

        wait = torch.cuda.synchronize
    run(task["warmup"])
    answer_turns(answers, run, about, task["batch"], wait)


@contextlib.contextmanager
def prepared(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The task that all contenders get: the networks of the preset at this size, and real pictures for all of them."""
    import numpy as np

    sys.path.insert(0, str(SOURCE))
    from limner.core.config import DataSpec
    from limner.data.prepare import prepare
    from limner.recipes.build import build_method
    from limner.recipes.settings import compose

    with tempfile.TemporaryDirectory() as folder:
        dataset = prepare("digits", size=arguments.size, channels=arguments.channels, out=Path(folder) / "data")
        recipe = compose(arguments.preset, arguments.set, data__source="digits", batch__size=arguments.batch)
        method = build_method(recipe, DataSpec.of_images(dataset.shape, dataset.classes))
        np.save(Path(folder) / "pixels.npy", dataset.images.gather(dataset.indices("train")))
        yield {
            "recipe": recipe.model_dump(mode="json"),
            "networks": described(method),
            "latent": recipe.method.latent,
            "batch": recipe.batch.size,
            "shape": list(dataset.shape),
            "data": str(dataset.path),
            "threads": arguments.threads,
            "pixels": str(Path(folder) / "pixels.npy"),
            "device": arguments.device,
            "preset": arguments.preset,
            "settings": [*arguments.set, f"batch.size={recipe.batch.size}"],
            "warmup": 20 if arguments.device == "cpu" else 100,
            "images": arguments.outside_images,
        }


def peak(device: str, threads: int) -> dict[str, float]:
    """Measured GFLOP/s per number format, the better of a large matrix product and a large convolution.

    (On a CPU the float32 product is MKL's, which gives some processors half of what the convolution gets.)
    """
    import torch

    torch.set_num_threads(threads)
    n, batch, channels, side = (8192, 256, 512, 32) if device != "cpu" else (2048, 16, 256, 16)
    found = {}
    for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        last = {"memory_format": torch.channels_last}
        a, b = (torch.randn(n, n, device=device).to(kind) for _ in range(2))
        x = torch.randn(batch, channels, side, side, device=device).to(kind).contiguous(**last)
        kernel = torch.randn(channels, channels, 3, 3, device=device).to(kind).contiguous(**last)
        work = [
            (2 * n**3, torch.mm, (a, b)),
            (2 * batch * side**2 * channels**2 * 9, torch.conv2d, (x, kernel, None, 1, 1)),
        ]
        best = 0.0
        for operations, run, what in work * 6:
            began = time.perf_counter()
            for _ in range(3 if device == "cpu" else 20):
                run(*what)
            if device != "cpu":
                torch.cuda.synchronize()
            best = max(best, (3 if device == "cpu" else 20) * operations / (time.perf_counter() - began) / 1e9)
        found[name] = best
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--contenders", default="limner,limner-fp32,eager,keras", help=f"of {', '.join(CONTENDERS)}")
    parser.add_argument("--skip", action="append", default=[], help="a contender to leave out, such as keras")
    parser.add_argument("--keras-python", help="an interpreter that has tensorflow-cpu (see requirements-keras.txt)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each contender in each round")
    parser.add_argument(
        "--quiet",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="measure only while nothing else runs, and wait so long for it (Linux)",
    )
    parser.add_argument("--size", type=int, default=28)
    parser.add_argument("--channels", type=int, choices=(1, 3), default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--preset", default="dcgan")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the recipe")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    parser.add_argument("--precision", choices=("auto", "fp32"), default="auto", help="fp32: without `limner`")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--outside-images", type=int, default=64 * 400, help="images of the run that times the loop; 0: none")
    parser.add_argument("--json", type=Path, help="write everything there")
    arguments = parser.parse_args()
    if arguments.child:
        child()
        return
    names = [name for name in arguments.contenders.split(",") if name not in arguments.skip]
    if arguments.precision == "fp32":
        names = [name for name in names if name != "limner"]
    if arguments.device == "cuda":
        names = [name for name in names if not name.startswith("keras")]
    if arguments.keras_python is None and any(name.startswith("keras") for name in names):
        print("no --keras-python: leaving Keras out", file=sys.stderr)
        names = [name for name in names if not name.startswith("keras")]
    with prepared(arguments) as task:
        result = sitting(arguments, task, names)
    print(table(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def sitting(arguments: argparse.Namespace, task: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    from limner.core import precision

    outer = None
    if arguments.outside_images:
        print("timing what is outside the networks …", file=sys.stderr)
        worker = Worker(task | {"kind": "outside"}, sys.executable, PROGRAM)
        outer = worker.about
        worker.close()
    print("starting the contenders …", file=sys.stderr)
    pythons = {name: arguments.keras_python if name.startswith("keras") else sys.executable for name in names}
    workers = [Worker(task | {"kind": name}, python, PROGRAM) for name, python in pythons.items()]
    counts = {json.dumps(worker.about["parameters"], sort_keys=True) for worker in workers}
    assert len(counts) == 1, f"the contenders' networks differ: {counts}"
    speeds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(arguments.rounds):
        for worker in workers:
            speeds[worker.name].append(worker.measure(arguments.seconds, arguments.quiet))
        print(f"round {number + 1}: " + ", ".join(f"{name} {speeds[name][-1]:.0f}" for name in names), file=sys.stderr)
    for worker in workers:
        worker.close()
    size = (task["shape"][0], task["shape"][1])
    forward = {name: flop(layers, size) for name, layers in task["networks"].items()}
    # One generated and one real image: a forward pass and twice that for a backward one.
    per_image = 3 * forward["generator"] + 6 * forward["discriminator"]
    return {
        "processor": precision.processor(),
        "threads": arguments.threads,
        "device": arguments.device,
        "shape": task["shape"],
        "batch": task["batch"],
        "preset": arguments.preset,
        "parameters": workers[0].about["parameters"],
        "flop_per_image": per_image,
        "peak_gflops": peak(arguments.device, arguments.threads),
        "contenders": {
            w.name: {"precision": w.about["precision"], "version": w.about["version"], "images_per_second": speeds[w.name]}
            for w in workers
        },
        "outside": outer,
    }


def table(result: dict[str, Any]) -> str:
    """Markdown: medians, ratios round by round, and the share of what a matrix product gets."""
    made, peers = result["contenders"], [name for name in result["contenders"] if not name.startswith("limner")]
    height, width, channels = result["shape"]
    lines = [
        f"{result['processor']}, {result['threads']} threads.",
        f"{result['preset']} at {height}×{width}×{channels}, batch {result['batch']}; "  # noqa: ISC004
        f"parameters {result['parameters']['generator']:,} + {result['parameters']['discriminator']:,}.",
        f"Peak, measured on large products: {result['peak_gflops']['bf16']:,.0f} GFLOP/s in bf16, "  # noqa: ISC004
        f"{result['peak_gflops']['fp32']:,.0f} in fp32.",
        "",
        "| | precision | images/s | lowest – highest | " + " | ".join(f"× {peer}" for peer in peers) + " | of the peak |",
        "|---|---|---|---|" + "---|" * (len(peers) + 1),
    ]
    for name, about in made.items():
        speeds = about["images_per_second"]
        ratios = [
            statistics.median(mine / other for mine, other in zip(speeds, made[peer]["images_per_second"], strict=True))
            for peer in peers
        ]
        share = statistics.median(speeds) * result["flop_per_image"] / 1e9 / result["peak_gflops"][about["precision"]]
        lines.append(
            f"| {name} ({about['version']}) | {about['precision']} | {statistics.median(speeds):,.0f} | "
            f"{min(speeds):,.0f} – {max(speeds):,.0f} | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + f" | {share:.1%} |"
        )
    if result["outside"]:
        outer = result["outside"]
        parts = ", ".join(f"{name} {share:.1%}" for name, share in outer["parts"].items())
        lines += [
            "",
            f"Outside the networks and the optimiser, over {outer['images']:,} images of a real run: {outer['outside']:.1%} "  # noqa: ISC004
            f"of a step, pictures and checkpoints aside (those: {outer['events']:.1%} of this short run). Parts: {parts}.",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

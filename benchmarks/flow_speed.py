"""Images per second of limner's flow in training and in sampling, against public packages with networks of equal size.

For each peer of `flow_contenders.py`, limner's network of the same kind (a U-Net, or a transformer) gets the width and depth at
which its parameters are within 2 % of the peer's. Then limner, that same network in a plain eager float32 loop, and the peer
take turns, each in a process of its own, so that whatever else the machine does meets all alike; what counts is the median of
the ratios of the rounds. `plain` tells how much of a ratio is limner's network, and how much its layers, number format and
loop.

    python benchmarks/flow_speed.py --peers-python /tmp/peers/bin/python
    python benchmarks/flow_speed.py --peers-python /tmp/peers/bin/python --peers torchcfm --shapes 28x28x1 --rounds 1
    python benchmarks/flow_speed.py --peers plain

The last one needs no other packages: limner's default network, and the same in the plain loop.

Peers run in float32, as their documentation has it on a processor; where limner computes in bfloat16, a second column has them
under torch's autocast to it. Nobody's network knows classes (that of `dit` has to: they are all 0).
"""

from __future__ import annotations

import argparse
import bisect
import json
import math
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common  # benchmarks/common.py, beside this file
from turns import Worker

CONTENDERS = Path(__file__).with_name("flow_contenders.py")
PEERS = ("torchcfm", "ddpm", "diffusers", "dit")
TRANSFORMERS = ("dit",)
TOLERANCE = 0.02
"""How far limner's parameters may be from a peer's, as a share of them."""
TURNS = {"train": "training", "sample": "sampling"}


@dataclass(frozen=True)
class Family:
    """Networks of limner's that differ in their width alone."""

    settings: dict[str, int | str]
    widths: range
    build: Callable[[int], Any]
    """The network of a width."""

    def parameters(self, width: int) -> int:
        import torch

        with torch.device("meta"):
            return sum(weight.numel() for weight in self.build(width).parameters())


def families(shape: tuple[int, int, int], transformer: bool) -> Iterator[Family]:
    """Those of a kind of network, the nearest to limner's defaults first."""
    from limner.methods.flow.config import automatic_multipliers
    from limner.nets.dit import Dit, DitSize
    from limner.nets.unet import UNet, UNetSize

    if transformer:
        for depth in (6, 5, 7, 4, 8, 10, 12):
            settings: dict[str, int | str] = {"kind": "transformer", "depth": depth}
            yield Family(settings, range(64, 513, 16), lambda width, n=depth: Dit(shape, DitSize(width, n, 4, 4, 0.0)))
        return
    multipliers = automatic_multipliers(-(-max(shape[1:]) // 2))
    for blocks in (1, 2, 3):
        for step, heads in ((8, 4), (2, 2)):  # widths that are no multiples of 8 are slower

            def build(width: int, blocks: int = blocks, heads: int = heads) -> UNet:
                return UNet(shape, UNetSize(width, multipliers, blocks, 8, heads, 2, 0.0))

            yield Family({"kind": "unet", "blocks": blocks, "heads": heads}, range(16, 257, step), build)


def fit(parameters: int, shape: tuple[int, int, int], transformer: bool) -> list[str]:
    """Settings with which limner's network has about so many parameters: within 2 %, else the program ends."""
    nearest = (math.inf, "")
    for family in families(shape, transformer):
        place = bisect.bisect_left(family.widths, parameters, key=family.parameters)
        for width in family.widths[max(place - 1, 0) : place + 1]:
            difference = abs(family.parameters(width) / parameters - 1)
            settings = {**family.settings, "width": width}
            if difference <= TOLERANCE:
                return [f"method.network.{name}={value}" for name, value in settings.items()]
            nearest = min(nearest, (difference, str(settings)))
    raise SystemExit(f"no network of limner's has {parameters:,} parameters; {nearest[1]} is {nearest[0]:.1%} away")


def sitting(told: argparse.Namespace, peer: str, shape: tuple[int, int, int], turn: str) -> dict[str, Any]:
    """Each contender's description, and its images per second in each round."""
    task = {
        "turn": turn,
        "shape": shape,
        "batch": told.batch,
        "passes": told.passes,
        "threads": told.threads,
        "warmup": told.warmup,
        "bf16": False,
        "settings": [],
    }
    workers, settings = {}, list[str]()
    if peer != "plain":
        workers[peer] = Worker(task | {"kind": peer}, told.peers_python, CONTENDERS)
        settings = fit(workers[peer].about["parameters"], shape, peer in TRANSFORMERS)
        if told.bf16:
            workers[f"{peer} bf16"] = Worker(task | {"kind": peer, "bf16": True}, told.peers_python, CONTENDERS)
    for kind in ("plain", "limner"):
        workers[kind] = Worker(task | {"kind": kind, "settings": settings}, sys.executable, CONTENDERS)
    speeds: dict[str, list[float]] = {name: [] for name in workers}
    for number in range(told.rounds):
        for name, worker in workers.items():
            speeds[name].append(worker.measure(told.seconds, told.quiet))
        line = ", ".join(f"{name} {values[-1]:.1f}" for name, values in speeds.items())
        print(f"{peer}, {shape}, {TURNS[turn]}, round {number + 1}: {line}", file=sys.stderr, flush=True)
    for worker in workers.values():
        worker.close()
    about = {name: worker.about for name, worker in workers.items()}
    return {"peer": peer, "shape": shape, "turn": turn, "settings": settings, "about": about, "images_per_second": speeds}


def ratio(speeds: Mapping[str, Sequence[float]], name: str, other: str) -> str:
    """The median of the rounds' ratios, the lowest and the highest."""
    if other not in speeds:
        return ""
    ratios = sorted(one / two for one, two in zip(speeds[name], speeds[other], strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} – {ratios[-1]:.2f})"


def row(result: Mapping[str, Any]) -> str:
    peer, speeds, about = result["peer"], result["images_per_second"], result["about"]
    channels, height, width = result["shape"]
    medians = {name: f"{statistics.median(values):,.1f}" for name, values in speeds.items()}
    cells = [
        f"{height}×{width}×{channels}",
        TURNS[result["turn"]],
        f"`{peer}`",
        *(f"{about[name]['parameters'] / 1e6:.2f} / {about[name]['multiply_adds'] / 1e6:,.0f}" for name in ("plain", peer)),
        *(medians.get(name, "") for name in ("limner", "plain", peer, f"{peer} bf16")),
        *(ratio(speeds, "limner", other) for other in (peer, f"{peer} bf16")),
        ratio(speeds, "limner", "plain"),
        ratio(speeds, "plain", peer),
    ]
    return "| " + " | ".join(cells) + " |"


HEADER = (
    "| pictures | | peer | limner's network: million parameters / multiply-adds | the peer's | limner, images/s | plain | "
    "peer | peer, bf16 | limner ÷ peer, median (lowest – highest) | limner ÷ peer in bf16 | limner ÷ plain | plain ÷ peer |"
)


def shapes_of(words: str) -> list[tuple[int, int, int]]:
    """(C, H, W) of each of ``28x28x1,32x32x3``."""
    sizes = [tuple(map(int, word.split("x"))) for word in words.split(",")]
    return [(channels, height, width) for height, width, channels in sizes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-python", help="an interpreter that has the peers (see requirements-peers.txt)")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--shapes", default="28x28x1,32x32x3")
    parser.add_argument("--turns", default=",".join(TURNS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each contender in each round, at least")
    parser.add_argument("--warmup", type=int, default=3, help="iterations of each contender before the first round")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--passes", type=int, default=10, help="evaluations of the network for a picture in sampling")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    parser.add_argument("--quiet", type=float, default=0.0, metavar="SECONDS", help="as in throughput.py")
    parser.add_argument("--json", type=Path, help="write everything there")
    told = parser.parse_args()
    peers, turns = told.peers.split(","), told.turns.split(",")
    unknown = sorted({*peers} - {*PEERS, "plain"}) + sorted({*turns} - {*TURNS})
    if unknown:
        parser.error(f"no {unknown[0]}; peers are plain, {', '.join(PEERS)}, turns {', '.join(TURNS)}")
    if told.peers_python is None and peers != ["plain"]:
        parser.error("peers have an interpreter of their own; give it as --peers-python, or --peers plain")
    sys.path.insert(0, str(common.SOURCE))
    import torch

    from limner.core import precision

    told.bf16 = precision.choose(torch.device("cpu")) == "bf16"
    results = []
    for shape in shapes_of(told.shapes):
        for turn in turns:
            results += [sitting(told, peer, shape, turn) for peer in peers]
            if told.json:
                told.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    versions = sorted({about["version"] for result in results for about in result["about"].values()})
    print(f"{precision.processor()}, {told.threads} threads; batch {told.batch}; {told.passes} passes a picture in sampling")
    print(f"{', '.join(versions)}; limner in {'bf16' if told.bf16 else 'fp32'}\n")
    print(f"{HEADER}\n|{'---|' * (HEADER.count('|') - 1)}")
    print("\n".join(map(row, results)))


if __name__ == "__main__":
    main()

"""Makes the old runs that `tests/contract/test_old_runs.py` opens: half-finished and finished ones, and what they became.

They were made by commit 2f4edf3, before limner was rebuilt, and are kept so that whatever is rebuilt later goes on with them to
the same bits. To make them again, check that commit out beside this one and run, in this repository:

    OMP_NUM_THREADS=1 PYTHONPATH=THERE/src:tests python tests/old_runs/make.py OUT [NAME ...]

It knows that commit's insides (it stops a run within a step), and is not meant for the code of today. One thread: a sum that is
split differently is rounded differently. Every run takes the built-in digits (8x8), float32 and networks of a few thousand
weights, since what is tested is what a run folder holds, not what it learned.

OUT/NAME/run is the run folder as limner left it, without pictures, log and report. OUT/NAME/expected.json says how far it was
and what it then became: a digest of every tensor, losses, plan, place; OUT/NAME/expected.npz what the model then drew.
OUT/made.json says on what machine all that was computed. `record.py` has the formats. Two makings on one machine are equal but
for seconds, and but for the run whose length goes by the clock.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

import limner
from limner.core import precision
from limner.core.step import Stepper
from limner.loop import NotFinite
from limner.table import PRESETS
from old_runs import record

SEED = 3
RATE = 0.02
"""The learning rate: so high that ten steps are enough for pictures to differ. Grey ones would hide what has changed."""
BATCH = 16
IMAGES, HALF, LONGER = 160, 80, 240
SEEDS = [0, 1, 2, 5]

CODER = ("method.width=4", "method.widest=8", "method.latent=4", "method.components=2")
BROAD = (*CODER, "method.hidden=8")
DCGAN = (
    "method.latent=8",
    "method.generator.width=4",
    "method.generator.widest=8",
    "method.discriminator.width=4",
    "method.discriminator.widest=8",
)
RESNET = (*DCGAN, "method.discriminator.blocks=1")
CODES = ("stages.codec.method.width=4", "stages.codec.method.widest=8", "stages.codec.method.blocks=1")
PRIOR = ("method.width=8", "method.depth=2", "method.heads=2")
BOOK = ("stages.codec.method.codes=12", "stages.codec.method.dim=4")
NARROW: dict[str, Sequence[str]] = {
    "autoencoder": CODER,
    "beta-vae": BROAD,
    "cgan": DCGAN,
    "dcgan": DCGAN,
    "densegan": (
        *DCGAN,
        "method.generator.blocks=1",
        "method.discriminator.blocks=1",
    ),
    "factor-vae": (*BROAD, "method.critic.widths=[8]"),
    "fsq": (*CODES, "stages.codec.method.levels=[4,3,3]", *PRIOR),
    "gan": ("method.latent=8", "method.generator.widths=[12,16]", "method.discriminator.widths=[12,8]"),
    "lsgan": DCGAN,
    "prior": PRIOR,
    "r3gan": DCGAN,
    "sngan": RESNET,
    "tc-vae": BROAD,
    "vae": CODER,
    "vq-vae": (*CODES, *BOOK, *PRIOR),
    "vqgan": (*CODES, *BOOK, "stages.codec.method.discriminator_width=4", *PRIOR),
    "wgan": DCGAN,
    "wgan-gp": RESNET,
}

VARIANTS: dict[str, Sequence[str]] = {
    "dcgan": (
        *DCGAN,
        "method.updates=alternating",
        "method.discriminator.norm=batch",
        "method.discriminator.dropout=0.3",
        "method.r1_gamma=0",
    ),
    "gan": (*NARROW["gan"], "method.r1_gamma=0.5", "method.penalty_every=3", "batch.chunks=2", "data.mirror=true"),
    "r3gan": (
        "method.networks=r3",
        "method.latent=8",
        "method.generator.width=4",
        "method.generator.widest=8",
        "method.generator.group=4",
        "method.generator.blocks=1",
        "method.discriminator.width=4",
        "method.discriminator.widest=8",
        "method.discriminator.group=4",
        "method.discriminator.blocks=1",
        "method.labels=true",
        "method.augment.kind=adaptive",
        "method.augment.start=0.5",
        "method.augment.speed=500",
    ),
    "sngan": (*RESNET, "method.labels=true", "method.critic_steps=2", "method.augment.kind=diff"),
    "autoencoder": (
        "method.networks=mlp",
        "method.widths=[12]",
        "method.latent=4",
        "method.components=2",
        "method.noise=0.3",
        "method.hide=0.2",
    ),
    "beta-vae": (*NARROW["beta-vae"], "method.capacity.value=9", "method.capacity.warmup=0.5", "method.decoder=logistic"),
    "factor-vae": (
        *NARROW["factor-vae"],
        "batch.chunks=2",
        "method.decoder=laplace",
        "method.blocks=1",
        "method.block=dense",
    ),
    "tc-vae": (
        "method.width=4",
        "method.widest=8",
        "method.latent=4",
        "method.broadcast=false",
        "method.map=true",
        "method.prior=normal",
        "method.free_bits=0.1",
        "method.decoder=bernoulli",
    ),
    "vae": ("method.width=4", "method.widest=8", "method.latent=4", "method.prior=normal"),
}
"""A second set of settings per preset: what has state of its own, or counts iterations."""

LATENTS = {
    "preset": "gan",
    "stages": [
        {
            "name": "codec",
            "share": 0.5,
            "method": {
                "kind": "vae",
                "latent": 4,
                "width": 4,
                "widest": 8,
                "components": 2,
                "optimiser": {"lr": RATE},
            },
        }
    ],
    "method": {
        "kind": "gan",
        "networks": "mlp",
        "latent": 4,
        "generator": {"widths": [8], "norm": "none", "optimiser": {"lr": {"value": RATE, "decay_from": 0.5}}},
        "discriminator": {"widths": [8], "optimiser": {"lr": RATE}},
    },
}
"""A GAN that works in the continuous latents of an autoencoder, which the same run trains first."""
BARE = f"{{kind: vqvae, width: 4, widest: 8, blocks: 1, codes: 12, dim: 4, optimiser: {{lr: {RATE}}}}}"

EACH = ("previews.every=0.05", "previews.count=1")
"""A look at every step, and so a row of metrics for every step: rows by the clock would be other ones each time."""
SLOW = ("ema.half_life=0.1", "ema.ramp=1")
"""An average that still remembers, at the end, what it was when the run was stopped."""
QUIET = ("score.points=0", "checkpoints.every=1", f"batch.size={BATCH}", "precision=fp32")


@dataclass(frozen=True)
class Case:
    """An old run: how it is trained, where it is left, how it goes on."""

    preset: str
    settings: Sequence[str]
    stop: int | None = HALF
    """Images at which it is stopped; none is a finished run."""
    images: int | None = IMAGES
    minutes: float | None = None
    first: int | None = None
    """A budget that is used up before the one of `images` is given."""
    longer: Sequence[str] = ()
    """Settings that come with the longer budget."""
    start: str | None = None
    """The finished run whose averaged weights it starts from."""
    fault: int | None = None
    """Images at which a loss is not finite."""
    keep: Sequence[str] = record.PARTS
    """Files of tensors of a finished run."""


def cases() -> dict[str, Case]:
    """Name -> case. Every preset; then what has state of its own; then stages, plans and finished runs."""
    latents = "latents.yaml"
    made = {preset: Case(preset, NARROW[preset]) for preset in sorted(PRESETS)}
    made |= {f"{preset}-varied": Case(preset, settings) for preset, settings in VARIANTS.items()}
    for preset, stop in (("vq-vae", 48), ("fsq", 32), ("vqgan", 64)):
        made[f"{preset}-first-stage"] = Case(preset, NARROW[preset], stop=stop)
    made["latents-first-stage"] = Case(latents, (), stop=48)
    made["latents-second-stage"] = Case(latents, (), stop=112)
    made["latents-longer"] = Case(latents, (), stop=208, images=240, first=160)
    made["vae-longer"] = Case("vae", NARROW["vae"], stop=144, images=240, first=96, longer=("batch.chunks=2",))
    made["gan-rollback"] = Case(
        "gan", (*NARROW["gan"], "on_nonfinite=rollback", "checkpoints.every=0.2", "checkpoints.keep=0"), stop=112, fault=80
    )
    # So small a share that the clock has no say: the first and the last score are always taken, and no other one.
    scored = ("score.points=5", "score.count=64", "score.share=1.0e-9", "checkpoints.keep=0")
    made["gan-scored"] = Case("gan", (*NARROW["gan"], *scored))
    made["gan-minutes"] = Case("gan", NARROW["gan"], images=None, minutes=0.06)
    made["vae-started"] = Case("vae", NARROW["vae"], start="finished-vae")
    weights = ("model", "ema")
    made["finished-autoencoder"] = Case("autoencoder", NARROW["autoencoder"], stop=None, keep=weights)
    made["finished-gan"] = Case("cgan", DCGAN, stop=None)
    made["finished-vae"] = Case("vae", NARROW["vae"], stop=None, keep=weights)
    made["finished-codec"] = Case("vq-vae", ("stages=[]", f"method={BARE}"), stop=None, keep=weights)
    made["finished-prior"] = Case("vq-vae", NARROW["vq-vae"], stop=None, keep=weights)
    made["finished-latents"] = Case(latents, (), stop=None, keep=weights)
    return made


def fast(case: Case) -> list[str]:
    """The settings that give every optimiser of `case` the learning rate."""
    if case.preset == "latents.yaml" or "stages=[]" in case.settings:
        return []  # written out there
    players = ("generator.", "discriminator.") if PRESETS[case.preset].family == "gan" else ("",)
    learned = [f"method.{player}optimiser.lr.value={RATE}" for player in players]
    staged = case.preset in ("vq-vae", "fsq", "vqgan")
    return learned + ([f"stages.codec.method.optimiser.lr.value={RATE}"] if staged else [])


# ---- stopping


@contextmanager
def before_step(images: int, act: Callable[[], None]) -> Iterator[None]:
    """Within the block, `act` is called once, just before the step that starts at `images`."""
    original, done = Stepper.step, []

    def step(self: Stepper, draw: Any, at: Any, iteration: int) -> Any:
        if at.images >= images and not done:
            done.append(at.images)
            act()
        return original(self, draw, at, iteration)

    Stepper.step = step  # type: ignore[method-assign]
    try:
        yield
    finally:
        Stepper.step = original  # type: ignore[method-assign]
    assert done == [images], f"the run came to {done}, not to {images} images"


def ask_to_stop() -> None:
    """As a person's Ctrl-C: the step that has begun is finished, and the run is saved."""
    os.kill(os.getpid(), signal.SIGTERM)


def fail() -> None:
    raise NotFinite("made on purpose")


# ---- making


def train(case: Case, scratch: Path, stop: bool) -> Path:
    """The run folder of `case`, as it is when it was stopped, or at its end."""
    preset = case.preset
    if preset.endswith(".yaml"):
        preset = str(scratch / preset)
        Path(preset).write_text(yaml.safe_dump(LATENTS), encoding="utf-8")
    timed = case.minutes is not None
    looks = ("previews.every=1", "checkpoints.every=0.1", "checkpoints.keep=100") if timed else EACH
    settings = [*QUIET, *SLOW, *looks, *fast(case), *case.settings]
    settings += [f"codec={scratch / 'finished-prior'}"] if case.preset == "prior" else []
    settings += [f"init_from={scratch / case.start}"] if case.start is not None else []
    sys.argv = ["limner", "train", "digits"]  # provenance tells the command, and with it where this file lies
    with ExitStack() as stack:
        if stop and case.stop is not None:
            stack.enter_context(before_step(case.stop - BATCH, ask_to_stop))
        if case.fault is not None:
            stack.enter_context(before_step(case.fault, fail))
        first = case.images if case.first is None else case.first
        out = scratch / ("parts" if stop else "whole")
        path = limner.train(
            "digits", preset=preset, out=out, images=first, minutes=case.minutes, seed=SEED, name="old", settings=settings
        ).run
        if case.first is not None:
            limner.resume(path, images=case.images, settings=case.longer)
    return path


def killed(path: Path) -> int:
    """Takes a finished run back to an earlier checkpoint, as if it had been killed some time after it; gives its images."""
    end = record.rows(path, "plan.jsonl")[-1]["images"]
    there = sorted(int(folder.name) for folder in (path / "checkpoints").iterdir())
    left = max(images for images in there if images <= 0.8 * end)
    for images in there:
        if images != left:
            shutil.rmtree(path / "checkpoints" / f"{images:09d}")
    status = json.loads((path / "status.json").read_text(encoding="utf-8"))
    (path / "status.json").write_text(json.dumps(status | {"state": "training"}, indent=2) + "\n", encoding="utf-8")
    return left


def strip(path: Path, to: Path, keep: Sequence[str]) -> None:
    """Copies of a run what is needed to go on with it, with no path in it."""
    to.mkdir(parents=True)
    for name in ("recipe.yaml", "plan.jsonl", "metrics.jsonl", "scores.jsonl", "status.json", "provenance.json"):
        if (path / name).is_file():
            shutil.copy(path / name, to / name)
    for folder in sorted((path / "checkpoints").iterdir()):
        inside = to / "checkpoints" / folder.name
        inside.mkdir(parents=True)
        for name in ("state.json", "COMPLETE", *(f"{part}.safetensors" for part in keep)):
            shutil.copy(folder / name, inside / name)
    told = json.loads((to / "provenance.json").read_text(encoding="utf-8"))
    told["hardware"]["system"] = told["hardware"]["system"].partition("-")[0]
    (to / "provenance.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    recipe = yaml.safe_load((to / "recipe.yaml").read_text(encoding="utf-8"))
    for key in ("codec", "init_from"):  # read once, when the run began; a run that goes on is complete in itself
        recipe[key] = recipe[key] and Path(recipe[key]).name
    (to / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True), encoding="utf-8")


def calls_of(run: Path, given: Any, scratch: Path, finished: bool) -> dict[str, Sequence[Any]]:
    """Name -> what this model can be asked for."""
    asked: dict[str, Sequence[Any]] = {
        "sample": ("sample", {"seeds": SEEDS}),
        "labelled": ("sample", {"seeds": SEEDS, "label": "3"}),
        "truncated": ("sample", {"seeds": SEEDS, "truncation": 0.7}),
        "cool": ("sample", {"seeds": SEEDS, "temperature": 0.7, "top_k": 5}),
        "reconstruct": ("reconstruct", {}),
        "encode": ("encode", {}),
        "interpolate": ("interpolate", {"seeds": [0, 1], "steps": 4}),
    }
    if finished:
        asked["written"] = ("sample", {"seeds": SEEDS})
        asked["traverse"] = ("traverse", {"seed": 1, "latents": [0, 2], "steps": 3})
    can = {}
    for name, call in asked.items():
        try:
            record.draw(run, {name: call}, given, scratch / "tried")
            can[name] = call
        except limner.InputError:
            continue
    return can


def make(name: str, case: Case, out: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        shutil.rmtree(out / name, ignore_errors=True)
        finished, timed = case.stop is None, case.minutes is not None
        for needed in ("finished-prior", "finished-vae"):
            if (out / needed).is_dir():
                record.copied(needed, scratch, out)
        whole = train(case, scratch, stop=False)
        given = record.given(out)
        calls = calls_of(whole, given, scratch, finished)
        pictures = record.draw(whole, calls, given, scratch / "drawn")
        if timed:
            became = record.spoken(whole, 0, timed, pictures)
            since = killed(whole)
            strip(whole, out / name / "run", record.PARTS)
        else:
            path = whole if finished else train(case, scratch, stop=True)
            strip(path, out / name / "run", case.keep)
            since = int(record.last(path).name)
            became = record.spoken(whole, -1 if finished else since, timed, pictures)
            if finished:
                became["weights"] = {part: became["weights"][part] for part in case.keep}
        told = {"finished": finished, "timed": timed, "stopped_at": since, "calls": calls, "became": became}
        if finished and case.keep == record.PARTS:
            limner.resume(whole, images=LONGER)
            later = record.draw(whole, {"sample": calls["sample"]}, given, scratch / "later")
            told["longer"] = {"images": LONGER, "became": record.spoken(whole, IMAGES, timed, later)}
            pictures["longer"] = later["sample"]
        (out / name / "expected.json").write_text(json.dumps(told, separators=(",", ":")) + "\n", encoding="utf-8")
        np.savez_compressed(out / name / "expected.npz", **pictures)


def main() -> None:
    out, chosen = Path(sys.argv[1]).resolve(), sys.argv[2:]
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    images = limner.prepare("digits").images.gather(np.arange(4))
    np.savez_compressed(out / "given.npz", images=images)
    everything = cases()
    # What others are trained from comes first.
    for name in sorted(chosen or everything, key=lambda name: (not name.startswith("finished"), name)):
        print(name, flush=True)
        make(name, everything[name], out)
    told = {"made_by": out.name, "limner_processor": precision.processor(), "machine": record.machine()}
    (out / "made.json").write_text(json.dumps(told | {"runs": sorted(everything)}, indent=1) + "\n", encoding="utf-8")
    for path in out.rglob("*"):
        if path.is_file():
            for place in (tempfile.gettempdir(), str(Path.home()), str(out)):
                assert f"{place}/".encode() not in path.read_bytes(), f"{path} names a place on this machine: {place}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as cache:
        os.environ["LIMNER_CACHE"] = cache
        main()

"""The verbs that train: `train` and `resume`."""

from __future__ import annotations

import platform
import shlex
import sys
import traceback
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from limner.core import parallel, precision
from limner.core.errors import InputError
from limner.core.files import write_json
from limner.core.progress import Progress, Tell, silent
from limner.data.dataset import Dataset
from limner.recipes.build import build_method
from limner.recipes.recipe import Recipe, Segment
from limner.recipes.settings import parse_recipe, put_setting
from limner.runs.report import write_report
from limner.runs.run import Run
from limner.training.loop import Loop, NotFinite, mend_memory, out_of_memory
from limner.training.resolve import AUTO, check_processes, prepared_dataset, settle
from limner.training.scorer import Watch

__all__ = ["Outcome", "Progress", "resume", "train"]
ON_RESUME = ("batch.chunks", "on_nonfinite", "checkpoints.", "previews.", "score.")
"""What may be changed when a run goes on, because it changes no weights (chunks: only what looks across a batch)."""


@dataclass(frozen=True)
class Outcome:
    """What became of a run."""

    run: Path
    images: int
    seconds: float
    images_per_second: float
    parameters: dict[str, int]
    losses: dict[str, float]
    state: Literal["done", "stopped"]
    preset: str = ""
    why: tuple[str, ...] = ()
    """What was chosen for the person, and the reasons."""


def train(
    source: str | Path,
    *,
    preset: str = AUTO,
    out: Path | str = "runs",
    images: int | None = None,
    minutes: float | None = None,
    seed: int | None = None,
    name: str | None = None,
    settings: Sequence[str] = (),
    progress: Tell | None = None,
) -> Outcome:
    """Trains `preset` on the pictures in `source` (see `limner.prepare`) and leaves a run folder in `out`.

    `preset` may be a name, a recipe file, or "auto", which chooses by the pictures and the budget and says why. `images` or
    `minutes` is the budget; `settings` are ``key=value`` over the preset's own. Errors: `InputError` where the
    person can mend something; what was saved until then stays, and `resume` goes on from there.
    """
    tell = progress or silent
    with parallel.processes():
        recipe, dataset, why = settle(source, preset, images, minutes, seed, settings, tell)
        build_method(recipe, dataset.shape, dataset.classes)  # what does not fit says so before a folder is made
        label = name or f"{dataset.name}-{Path(recipe.preset).stem}"
        run = Run(parallel.from_lead(Run.create(Path(out), label, recipe).path if parallel.leads() else Path()))
        if parallel.leads():
            run.write_status("starting", images=0)
            write_json(run.path / "provenance.json", provenance(recipe, dataset))
            for line in why:
                run.log(line)
        with _alone(run):
            return replace(_go(run, recipe, dataset, tell), why=why)


def resume(
    run: Path | str,
    *,
    images: int | None = None,
    minutes: float | None = None,
    settings: Sequence[str] = (),
    progress: Tell | None = None,
) -> Outcome:
    """Goes on with `run` exactly where its last checkpoint is (from its recipe, where there is none yet).

    With `images` or `minutes`, the number is the new total, and the schedules go on towards it.
    """
    tell = progress or silent
    opened = Run.open(run)
    with parallel.processes():
        recipe = opened.recipe()
        dataset = prepared_dataset(recipe, tell)
        if recipe.data.fingerprint != dataset.fingerprint:
            raise InputError(
                f"{recipe.data.source} is no longer what {opened.path} was trained on (its fingerprint differs); bring the "
                f"pictures back, or start a new run with init_from={opened.path}"
            )
        with _alone(opened):
            recipe = _go_on(opened, recipe, images, minutes, settings)
            check_processes(recipe)
            return _go(opened, recipe, dataset, tell)


def _alone(run: Run) -> AbstractContextManager[None]:
    """The run's lock, held by the process that writes."""
    return run.locked() if parallel.leads() else nullcontext()


def _go(run: Run, recipe: Recipe, dataset: Dataset, tell: Tell) -> Outcome:
    """Trains, and leaves the run's status, log and report telling the truth, whatever happens."""
    precision.settle()
    try:
        if parallel.leads():
            run.sweep()
        with precision.repeatable():
            return _mended(run, recipe, dataset, tell)
    except BaseException as error:
        if parallel.leads():
            images = run.checkpoints()[-1].images if run.checkpoints() else 0
            run.write_status(
                "interrupted" if isinstance(error, KeyboardInterrupt) else "failed", images=images, error=str(error)
            )
            error.add_note(f"log: {run.path / 'log.txt'}")
            mendable = isinstance(error, InputError | KeyboardInterrupt)
            run.log(f"{type(error).__name__}: {error}" if mendable else traceback.format_exc())
        raise


def _mended(run: Run, recipe: Recipe, dataset: Dataset, tell: Tell) -> Outcome:
    """`_loop`; memory that does not suffice, wherever it ran out, is something a person can mend."""
    try:
        return _loop(run, recipe, dataset, tell)
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise mend_memory(run, recipe) from error


def _loop(run: Run, recipe: Recipe, dataset: Dataset, tell: Tell) -> Outcome:
    scorer = None
    if recipe.score.points and parallel.leads():
        tell(Progress("preparing the judge"))
        watch = Watch(dataset, recipe.score.count)
        scorer = watch.score
        scored_on = {"split": watch.split, "pictures": watch.pictures}
        write_json(run.path / "provenance.json", run.provenance() | {"judge": watch.checksum, "scored_on": scored_on})
        run.log(f"scores compare with {watch.pictures:,} pictures of the {watch.split} split")
    loop = Loop(run, recipe, dataset, scorer, tell)
    there = run.checkpoints()
    loop.build(there[-1] if there else None)
    if parallel.leads():
        run.forget_after(loop.place.images)
    if not loop.plan.rows and recipe.budget.images is not None:
        if parallel.leads():
            run.add_plan(0, recipe.budget.images)
        loop.plan.rows.append((0, recipe.budget.images))
    if parallel.leads():
        run.log(f"training from {loop.place.images} images on {precision.processor()} in {recipe.precision}")
    state = _train(loop)
    if parallel.leads():
        # A checkpoint's own second is when it was saved; what came after it is not lost, only not counted.
        run.write_status(state, images=loop.place.images, seconds=loop.place.seconds, total=loop.plan.total(loop.place.images))
        write_report(run.path)
    seconds = loop.place.seconds
    return Outcome(
        run.path, loop.place.images, seconds, loop.place.images / max(seconds, 1e-9), parameters(loop), loop.losses,
        "done" if state == "done" else "stopped", recipe.preset,
    )  # fmt: skip


def _train(loop: Loop) -> str:
    """`Loop.train`, going back once where a loss is not finite and the recipe says so."""
    while True:
        try:
            return loop.train()
        except NotFinite as broken:
            there = loop.run.checkpoints()
            good = f"the last good checkpoint is {there[-1].path}" if there else "there is no checkpoint yet"
            if loop.recipe.on_nonfinite != "rollback" or loop.place.rollbacks or not there:
                raise InputError(
                    f"the loss '{broken}' is not finite at {loop.place.images} images; {good}; lower the learning rate, or "
                    f"`limner resume {loop.run.path} on_nonfinite=rollback`"
                ) from broken
            loop.run.log(f"the loss '{broken}' is not finite at {loop.place.images} images; going back once: {good}")
            loop.build(there[-1])
            loop.roll_back()


def _go_on(run: Run, recipe: Recipe, images: int | None, minutes: float | None, settings: Sequence[str]) -> Recipe:
    """The recipe with what is to change from here on, written down as a segment before it is used."""
    for setting in settings:
        if not setting.startswith(ON_RESUME):
            raise InputError(
                f"'{setting}' cannot change while a run goes on ({', '.join(ON_RESUME)} can); start a new one with init_from="
            )
    there = run.checkpoints()
    start = there[-1].images if there else 0
    if images is not None and images <= start:
        raise InputError(f"{run.path} has seen {start} images already; --images is the new total, so give more than that")
    if minutes is not None and (images is not None or minutes <= 0):
        if images is None:
            raise InputError(f"--minutes is the new total, so give more than {minutes:g}")
        minutes = None  # as `train` has it: a budget in images says more
    if images is None and minutes is None and not settings:
        return recipe
    tree = recipe.model_dump(mode="json")
    for setting in settings:
        put_setting(tree, setting)
    chunks = tree["batch"]["chunks"] if tree["batch"]["chunks"] != recipe.batch.chunks else None
    tree["segments"].append(Segment(start=start, images=images, minutes=minutes, chunks=chunks).model_dump(mode="json"))
    changed = parse_recipe(tree, str(run.path))
    if parallel.leads():
        run.write_recipe(changed)
        if images is not None or minutes is not None:
            run.replan(start, images if images is not None else _in_images(run, start, minutes or 0.0, changed.batch.size))
    parallel.from_lead(None)  # nobody reads the plan before it is written
    return changed


def _in_images(run: Run, start: int, minutes: float, batch: int) -> int | None:
    """A new total in minutes, by the speed so far; the clock corrects it on the way. None where nothing was measured yet."""
    if start == 0:
        return None
    seconds = float(run.checkpoints()[-1].state()["seconds"])
    left = 60 * minutes - seconds
    if left <= 0:
        raise InputError(
            f"{run.path} has trained for {seconds / 60:.1f} minutes already; --minutes is the new total, so give more"
        )
    return start + max(1, round(start / seconds * left / batch)) * batch


def provenance(recipe: Recipe, dataset: Dataset) -> dict[str, Any]:
    """What is needed to understand, much later, where a run came from."""
    import numpy
    import PIL
    import pydantic
    import safetensors

    return {
        "command": shlex.join(["limner", *sys.argv[1:]]),
        "versions": {
            "python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__,
            "pillow": PIL.__version__, "pydantic": pydantic.VERSION, "safetensors": safetensors.__version__,
        },
        "hardware": {
            "processor": precision.processor(), "threads": torch.get_num_threads(), "processes": parallel.world(),
            "system": platform.platform(terse=True),
        },
        "precision": recipe.precision,
        "data": {"name": dataset.name, "fingerprint": dataset.fingerprint, "shape": list(dataset.shape)},
        "seed": recipe.seed,
    }  # fmt: skip


def parameters(loop: Loop) -> dict[str, int]:
    """Parameters of each player, and in all; frozen biases are in the published counts, and in these."""
    players = loop.method.players()
    each = {
        name: sum(weight.numel() for weight in loop.method.get_submodule(player.module).parameters())
        for name, player in players.items()
    }
    return each | {"total": sum(each.values())}

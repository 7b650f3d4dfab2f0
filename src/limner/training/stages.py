"""The stages of a run: each trains a Method of its own, which then serves the next one as its frozen codec."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from limner.core import precision, seeds
from limner.core.capabilities import Pixels
from limner.core.cond import Batch
from limner.core.config import ConditionKind
from limner.core.digest import digest
from limner.core.errors import InputError
from limner.core.method import Method, StepContext, averaged
from limner.data.dataset import Dataset
from limner.data.feed import LABELS, Feed
from limner.recipes.build import build_method, stage_configs
from limner.recipes.recipe import Recipe
from limner.runs.averages import choose_guide, remove_excess, write_snapshot
from limner.runs.checkpoint import Checkpoint, TrainState, load_weights
from limner.runs.codec import codec_weights
from limner.runs.plan import Plan, whole_batches
from limner.runs.run import Run
from limner.training.averages import PowerAverages
from limner.training.ema import Ema
from limner.training.step import Stepper

FIT_STREAM = 1000
"""Number of the stream of training images that `Method.fit_at_start` and `fit_at_checkpoint` use; no phase draws from it."""
FIT_BATCH = 64
"""Images in a batch of that stream."""


@dataclass(frozen=True)
class StageTraining:
    """What one stage trains: the method with its live weights, their average, and the optimisers that move them."""

    method: Method
    ema: Ema | PowerAverages
    stepper: Stepper


class Training:
    """A run in training: its recipe and data, how far it is, and the stage that is being trained."""

    def __init__(self, run: Run, recipe: Recipe, dataset: Dataset, checkpoint: Checkpoint | None = None) -> None:
        """At the start of the run, or at the state in `checkpoint`."""
        self.run, self.recipe, self.dataset = run, recipe, dataset
        self.device = precision.device()
        self.feed = Feed(dataset, "train", self.device, recipe.seed, recipe.data.mirror)
        self.stages = stage_configs(recipe)
        self.plan = Plan(run.plan())
        self.restore(checkpoint)

    def restore(self, checkpoint: Checkpoint | None) -> None:
        """Builds the stage's networks, their average and their optimisers, new or with the state in `checkpoint`."""
        finished_stages = sum(share == 0 for _, share, _ in self.stages)  # those that come trained, from another run
        self.state = TrainState(**checkpoint.state()) if checkpoint else TrainState(stage=finished_stages)
        codec = codec_weights(self.recipe) if finished_stages and not checkpoint else None
        self.stage = self._build_stage(codec)
        if checkpoint:
            method, ema = self.stage.method, self.stage.ema
            load_weights(method, checkpoint.tensors("model"), checkpoint.path)
            load_weights(ema.method, checkpoint.tensors("ema"), checkpoint.path, averaged(method))
            if isinstance(ema, PowerAverages):
                ema.load_state(checkpoint.tensors("averages"), checkpoint.path)
            self.stage.stepper.load_state(checkpoint.tensors("optim"))

    def change_draws(self) -> None:
        """Changes all random draws from here on. After a loss that was not finite the same draws would lead to it again."""
        self.state.rollbacks += 1
        self.stage.stepper.seed = self._step_seed()

    def progress(self, images: int | None = None) -> float:
        """The fraction of the current stage's share of the budget that is used, 0..1; or was used at an earlier number of
        `images`, by the plan of now.

        It is counted from the image at which the stage began, so that a longer budget lengthens the stages not yet finished.
        """
        total = self.plan.total(self.state.images)
        if total is None:
            return 0.0
        end = total * sum(share for _, share, _ in self.stages[: self.state.stage + 1])
        start, images = self.state.stage_start, self.state.images if images is None else images
        return min((images - start) / (end - start), 1.0) if end > start else 1.0

    def position(self) -> StepContext:
        """Where the run stands before its next step."""
        return StepContext(self.state.images, self.progress())

    def total_images(self) -> int | None:
        """The images at which the run will end, after a whole batch; None while a budget in minutes is not yet measured."""
        total = self.plan.total(self.state.images)
        return None if total is None else whole_batches(total, self.recipe.batch.size)

    def finished(self) -> bool:
        """Whether the whole budget is used up."""
        return self.plan.finished(self.state.images)

    def stage_finished(self) -> bool:
        """Whether the stage's share of the budget is used up and another stage follows."""
        return self.state.stage < len(self.stages) - 1 and self.progress() >= 1.0

    def start_next_stage(self) -> None:
        """Builds the next stage, with this stage's method at its averaged weights as the frozen codec."""
        method = self.stage.ema.method
        self.fit_at_checkpoint(method)
        weights, names = method.state_dict(), averaged(method)
        self.state.stage += 1
        self.state.stage_start = self.state.images
        self.stage = self._build_stage({name: weights[name] for name in names})

    def enter_stage(self, stage: int) -> None:
        """Builds the untrained networks of `stage`, for a dry run."""
        self.state.stage = stage
        self.stage = self._build_stage()

    def remember_latents(self) -> None:
        """Has the feed encode every training image once by the frozen codec, and cache the latents under the codec's digest."""
        codec = self.stage.method.codec
        if isinstance(codec, Pixels):
            self.feed.remember(None)
            return
        settings = [config.model_dump(mode="json") for _, _, config in self.stages[: self.state.stage]]
        self.feed.remember(codec.encode, digest(codec.state_dict(), settings))  # type: ignore[attr-defined]

    def read_pictures(self, held_out: Feed | None = None) -> tuple[str, ...]:
        """Has the stage's method read all training pictures, and all that are `held_out`; returns what it says of the first."""
        method, lines = self.stage.method, tuple[str, ...]()
        if held_out is not None:
            held_out.accept(self.feed.accepts)
        for feed in (held_out, self.feed):
            if feed is not None:
                with seeds.preserve_generators(self.device):
                    seeds.seed_all(self.recipe.seed, "pictures", self.state.stage)
                    lines = method.read_pictures(feed)
        return lines

    def update_average(self) -> None:
        """Moves the averaged weights after one more batch.

        A half-life is a share of the budget, and shorter at the start, so that the first weights are forgotten.
        """
        ema, average, size = self.recipe.ema, self.stage.ema, self.recipe.batch.size
        images = self.state.images - self.state.stage_start
        if isinstance(average, PowerAverages):
            average.update(size, images)
            return
        total = self.plan.total(self.state.images)
        half_life = ema.ramp * images if total is None else min(ema.half_life * total, ema.ramp * images)
        average.update(size, half_life)

    def is_snapshot_due(self, images_before: int) -> bool:
        """Whether the step that began at `images_before` images reached a mark of `ema.snapshots` of the stage, or its end."""
        count = self.recipe.ema.snapshots
        if not isinstance(self.stage.ema, PowerAverages):
            return False
        before, now = (math.floor(self.progress(images) * count + 1e-9) for images in (images_before, self.state.images))
        return now > before or self.finished() or self.stage_finished()

    def save_snapshot(self) -> None:
        """Writes the two averages into the run's folder ``averages/``; beyond `ema.gigabytes` its oldest go.

        Errors: `InputError` where it cannot be written.
        """
        state, total = self.state, self.plan.total(self.state.images)
        assert isinstance(self.stage.ema, PowerAverages)
        assert total is not None
        place = {"images": state.images, "stage": state.stage, "stage_start": state.stage_start}
        self.run.check_presence()
        write_snapshot(self.run.path, self.stage.ema.averages(), place, self.recipe)
        snapshots = self.run.snapshots()
        remove_excess(snapshots, choose_guide(snapshots, total), self.recipe.ema.gigabytes)

    def fit_at_checkpoint(self, method: Method, count: int | None = None) -> None:
        """Estimates what `method` does not learn by gradients, from training images: as many as it likes, or `count`."""
        with seeds.preserve_generators(self.device):
            method.fit_at_checkpoint(self.fit_batches(count))

    def fit_batches(self, count: int | None = None) -> Iterator[Batch]:
        """The reading of training images, 64 at a time, for `Method.fit_at_start` and `fit_at_checkpoint`.

        It ends after `count` images, or never.
        """
        seeds.seed_all(self.recipe.seed, "fit", self.state.images)
        start = 0
        while count is None or start < count:
            size = FIT_BATCH if count is None else min(FIT_BATCH, count - start)
            yield self.feed.draw(FIT_STREAM, start, size)
            start += size

    def save(self) -> Checkpoint:
        """Writes a complete checkpoint, and removes older ones but the best and as many of the newest as the recipe keeps."""
        method, ema = self.stage.method, self.stage.ema
        mean = ema.method.state_dict()
        parts = {
            "model": method.state_dict(),
            "ema": {name: mean[name] for name in averaged(method)},
            "optim": self.stage.stepper.state(),
        }
        if isinstance(ema, PowerAverages):
            parts["averages"] = ema.state()
        checkpoint = self.run.save(self.state.images, parts, asdict(self.state), self.recipe)
        self.run.prune(self.recipe.checkpoints.keep)
        try:
            self.feed.keep()
        except InputError as error:  # training does not need the file; the next run encodes again
            self.run.log(f"latents are not kept: {error}")
        return checkpoint

    def parameter_counts(self) -> dict[str, int]:
        """Number of parameters of each player and of all (`total`). Frozen biases count, as they do in published counts."""
        method = self.stage.method
        counts = {
            name: sum(weight.numel() for weight in method.get_submodule(player.module).parameters())
            for name, player in method.players().items()
        }
        return counts | {"total": sum(counts.values())}

    def _build_stage(self, codec: Mapping[str, Tensor] | None = None) -> StageTraining:
        """The stage with initial weights, or those of `init_from`; `codec` holds the weights of its frozen codec, if any."""
        recipe = self.recipe
        with seeds.preserve_generators(self.device):
            method = self._build_method(codec)
        stepper = Stepper(method, recipe.batch.size, recipe.batch.chunks, recipe.number_format(), self._step_seed())
        ema = PowerAverages(method) if recipe.ema.kind == "power" else Ema(method)
        return StageTraining(method, ema, stepper)

    def _build_method(self, codec: Mapping[str, Tensor] | None) -> Method:
        """The method of the stage, fitted at its start."""
        recipe, state = self.recipe, self.state
        seeds.seed_all(recipe.seed, "init", state.stage)
        method = build_method(recipe, recipe.data.spec(), state.stage)
        self.feed.accept(method.accepts | LABELS)
        if codec is not None:
            load_weights(method.codec, codec, self.run.path)  # type: ignore[arg-type]
        precision.prepare_module(method, self.device)
        method.train()
        if state.stage:
            method.codec.eval()  # type: ignore[attr-defined]
        begins = state.images == state.stage_start
        if recipe.init_from is not None and begins and state.stage == len(self.stages) - 1:
            _load_initial_weights(method, recipe.init_from)
        if begins:
            method.fit_at_start(self.fit_batches())
        return method

    def _step_seed(self) -> int:
        """The seed of every draw in a step; a different one after each rollback."""
        rollbacks = self.state.rollbacks
        return seeds.fold(self.recipe.seed, "rollback", rollbacks) if rollbacks else self.recipe.seed


def _load_initial_weights(method: Method, run: str) -> None:
    """Loads the weights of `run` into `method`: averaged weights where there are any, which discriminators have not.

    Errors: `InputError` where the weights do not fit.
    """
    source = Run.open(run).checkpoint()
    try:
        load_weights(method, source.tensors("model") | source.tensors("ema"), source.path)
    except InputError as error:
        raise InputError(f"{error}; give this run that one's method settings, or leave init_from out") from error


def check_method(recipe: Recipe) -> frozenset[ConditionKind]:
    """Builds the last stage's method without memory for its weights, and returns the conditions that it accepts.

    Errors: `InputError` for settings that do not go together or do not fit the data.
    """
    try:
        with torch.device("meta"):
            return build_method(recipe, recipe.data.spec()).accepts
    except (RuntimeError, TypeError, OverflowError) as error:
        if "overflow" not in str(error).lower():
            raise
        raise InputError("these networks have more weights than 64 bits count; set smaller sizes") from error

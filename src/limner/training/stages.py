"""The stages of a run: each trains a Method of its own, which then serves the next one as its frozen codec."""

from __future__ import annotations

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
from limner.runs.checkpoint import Checkpoint, TrainState, load_weights
from limner.runs.codec import codec_weights
from limner.runs.plan import Plan
from limner.runs.run import Run
from limner.training.ema import Ema
from limner.training.step import Stepper

FIT_STREAM = 1000
"""The reading of the training split that `Method.fit_at_start` and `fit_at_checkpoint` use; no phase draws from it."""


@dataclass(frozen=True)
class StageTraining:
    """What one stage trains: the method with its live weights, their average, and the optimisers that move them."""

    method: Method
    ema: Ema
    stepper: Stepper


class Training:
    """A run in training: what it was told, how far it is, and the stage that it is in."""

    def __init__(self, run: Run, recipe: Recipe, dataset: Dataset, checkpoint: Checkpoint | None = None) -> None:
        """At the run's beginning, or where `checkpoint` left it."""
        self.run, self.recipe, self.dataset = run, recipe, dataset
        self.device = precision.device()
        self.feed = Feed(dataset, "train", self.device, recipe.seed, recipe.data.mirror)
        self.stages = stage_configs(recipe)
        self.plan = Plan(run.plan())
        self.restore(checkpoint)

    def restore(self, checkpoint: Checkpoint | None) -> None:
        """Builds the stage's networks, their average and their optimisers: fresh, or as the checkpoint left them."""
        finished_stages = sum(share == 0 for _, share, _ in self.stages)  # those that come trained, from another run
        self.state = TrainState(**checkpoint.state()) if checkpoint else TrainState(stage=finished_stages)
        codec = codec_weights(self.recipe) if finished_stages and not checkpoint else None
        self.stage = self._build_stage(codec)
        if checkpoint:
            method, ema = self.stage.method, self.stage.ema
            load_weights(method, checkpoint.tensors("model"), checkpoint.path)
            load_weights(ema.method, checkpoint.tensors("ema"), checkpoint.path, averaged(method))
            self.stage.stepper.load_state(checkpoint.tensors("optim"))

    def draw_otherwise(self) -> None:
        """From here on, other random draws: after a loss that was not finite, the same ones would lead there again."""
        self.state.rollbacks += 1
        self.stage.stepper.seed = self._step_seed()

    def progress(self) -> float:
        """Of the current stage's share of the budget, 0..1; from where the stage began: a longer budget stretches it."""
        total = self.plan.total(self.state.images)
        if total is None:
            return 0.0
        end = total * sum(share for _, share, _ in self.stages[: self.state.stage + 1])
        start = self.state.stage_start
        return min((self.state.images - start) / (end - start), 1.0) if end > start else 1.0

    def position(self) -> StepContext:
        """Where the next step stands."""
        return StepContext(self.state.images, self.progress())

    def finished(self) -> bool:
        """Whether the whole budget is used up."""
        return self.plan.finished(self.state.images)

    def stage_finished(self) -> bool:
        """Whether the stage's share of the budget is used up and another stage follows."""
        return self.state.stage < len(self.stages) - 1 and self.progress() >= 1.0

    def start_next_stage(self) -> None:
        """The stage's averaged method becomes the next stage's frozen codec."""
        ended = self.stage.ema.method
        ended.fit_at_checkpoint(self.fit_batches())
        weights, names = ended.state_dict(), averaged(ended)
        self.state.stage += 1
        self.state.stage_start = self.state.images
        self.stage = self._build_stage({name: weights[name] for name in names})

    def enter_stage(self, stage: int) -> None:
        """Builds the untrained networks of `stage`, for a dry run."""
        self.state.stage = stage
        self.stage = self._build_stage()

    def remember_latents(self) -> None:
        """A frozen codec encodes every training image once; the result is kept in the cache, under the codec's digest."""
        codec = self.stage.method.codec
        if isinstance(codec, Pixels):
            self.feed.remember(None)
            return
        settings = [config.model_dump(mode="json") for _, _, config in self.stages[: self.state.stage]]
        self.feed.remember(codec.encode, digest(codec.state_dict(), settings))  # type: ignore[attr-defined]

    def update_average(self) -> None:
        """Moves the averaged weights after one more batch.

        Half-life as a share of the budget, ramped up at the start so that early weights are forgotten.
        """
        ema = self.recipe.ema
        images = self.state.images - self.state.stage_start
        total = self.plan.total(self.state.images)
        half_life = ema.ramp * images if total is None else min(ema.half_life * total, ema.ramp * images)
        self.stage.ema.update(self.recipe.batch.size, half_life)

    def fit_batches(self) -> Iterator[Batch]:
        """The endless reading of training images, 64 at a time, for `Method.fit_at_start` and `fit_at_checkpoint`."""
        seeds.seed_all(self.recipe.seed, "fit", self.state.images)
        start = 0
        while True:
            yield self.feed.draw(FIT_STREAM, start, 64)
            start += 64

    def save(self) -> Checkpoint:
        """Writes a whole checkpoint; older ones go, but for the best and as many as the recipe keeps."""
        method, ema = self.stage.method, self.stage.ema.method
        mean = ema.state_dict()
        parts = {
            "model": method.state_dict(),
            "ema": {name: mean[name] for name in averaged(method)},
            "optim": self.stage.stepper.state(),
        }
        checkpoint = self.run.save(self.state.images, parts, asdict(self.state), self.recipe)
        self.run.prune(self.recipe.checkpoints.keep)
        try:
            self.feed.keep()
        except InputError as error:  # a run can do without; the next one will encode again
            self.run.log(f"latents are not kept: {error}")
        return checkpoint

    def parameter_counts(self) -> dict[str, int]:
        """Parameters of each player, and in all (`total`); frozen biases are in the published counts, and in these."""
        method = self.stage.method
        counts = {
            name: sum(weight.numel() for weight in method.get_submodule(player.module).parameters())
            for name, player in method.players().items()
        }
        return counts | {"total": sum(counts.values())}

    def _build_stage(self, codec: Mapping[str, Tensor] | None = None) -> StageTraining:
        """The stage's networks, untrained; `codec` holds the weights of the frozen codec below them."""
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
        stepper = Stepper(method, recipe.batch.size, recipe.batch.chunks, recipe.number_format(), self._step_seed())
        return StageTraining(method, Ema(method), stepper)

    def _step_seed(self) -> int:
        """Drives every draw of a step; another one after each rollback."""
        rollbacks = self.state.rollbacks
        return seeds.fold(self.recipe.seed, "rollback", rollbacks) if rollbacks else self.recipe.seed


def _load_initial_weights(method: Method, run: str) -> None:
    """Starts from the weights of `run`: the averaged ones where there is an average (a discriminator has none)."""
    source = Run.open(run).checkpoint()
    try:
        load_weights(method, source.tensors("model") | source.tensors("ema"), source.path)
    except InputError as error:
        raise InputError(f"{error}; give this run that one's method settings, or leave init_from out") from error


def check_method(recipe: Recipe) -> frozenset[ConditionKind]:
    """Builds the last stage's method without memory for its weights; the conditions that it accepts.

    Errors: `InputError` for settings that do not fit.
    """
    with torch.device("meta"):
        return build_method(recipe, recipe.data.spec()).accepts
